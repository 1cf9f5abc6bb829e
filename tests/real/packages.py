"""The published packages, and for each the five commands that stand for five agents at work."""

from collections.abc import Mapping
from dataclasses import dataclass, field

FORMAT = "ruff format --isolated --no-cache --quiet --line-length 110"
LINT = "ruff check --isolated --no-cache --quiet --select UP,I --target-version py311 --fix --exit-zero"
UPGRADE = "pyupgrade --py311-plus --exit-zero-even-if-changed"


@dataclass(frozen=True, kw_only=True)
class Package:
    """A source distribution: where to get it, what it must be, and what to do to it."""

    name: str
    version: str
    sha256: str
    commands: Mapping[str, str] = field(hash=False)


CLICK = Package(
    name="click",
    version="8.2.1",
    sha256="27c491cc05d968d271d5a1db13e3b5a184636d9d930f148c50b038f0d0646202",
    commands={
        "format": f"{FORMAT} src tests",
        "modern-imports": f"{LINT} src tests",
        "upgrade": f"find src tests/typing -name '*.py' -exec {UPGRADE} {{}} +",
        "rename-a-name": "rename-identifier make_str as_text src && rename-identifier make_str as_text tests",
        "rework-the-documents": """
            git rm --quiet -r tests/typing
            git mv docs/why.rst docs/reasons.rst
            git commit --quiet --message 'Give the reasons a name'
            sed -i s/why/reasons/ docs/index.rst
            mkdir -p docs/images/deep
            mv docs/_static/*.png docs/images/deep/
            printf 'Eine Seite f\\303\\274r sich\\r\\n' > 'docs/a new page.md'
            rm docs/make.bat
            chmod +x docs/conf.py
            ln -s ../README.md docs/README.md
        """,
    },
)

PRE_COMMIT = Package(
    name="pre-commit",
    version="4.0.1",
    sha256="80905ac375958c0444c65e9cebebd948b3cdb518f335a091a670a89d652139d2",
    commands={
        "format": f"{FORMAT} pre_commit setup.py",
        "modern-imports": f"{LINT} pre_commit",
        "upgrade": f"find pre_commit -name '*.py' -exec {UPGRADE} {{}} +",
        "rename-a-name": "rename-identifier cmd_output command_output pre_commit",
        "rework-the-documents": """
            rm -r pre_commit.egg-info
            git mv pre_commit/languages/r.py pre_commit/languages/gnu_r.py
            sed -i 's/languages import r$/languages import gnu_r as r/' pre_commit/all_languages.py
            git commit --quiet --all --message 'Say which R'
            mkdir docs
            mv README.md docs/index.md
            printf '\\n## How to read on\\n' >> docs/index.md
            ln -s docs/index.md README.md
        """,
    },
)
