"""Rules for every file: docstrings, length, ports, and nothing of the machine it was written on."""

import ast
import re
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "orchestration"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 400
LONG_FOR_A_REASON = {
    "orchestration/assembly.py": "the composition root: where names become objects; one short method each",
    "orchestration/core/ports.py": "every port with the values that it speaks in: what an adapter's author reads",
}
"""A file over the limit, and why it is one idea all the same."""
MACHINE_PATH = re.compile("(?<![\\w.~$}/-])/(?:" + "|".join(("wo" + "rk", "op" + "t")) + ")(?:/[\\w.]|\\b(?![/\\w-]))")


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def project_files() -> list[Path]:
    """Return every file that is, or would be, committed."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted(path for name in set(listed.stdout.split("\0")) if name and (path := ROOT / name).is_file())


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=shown)
def test_an_init_holds_a_docstring_and_nothing_else(path: Path) -> None:
    assert len(ast.parse(path.read_text(encoding="utf-8")).body) == 1


def test_no_file_of_code_is_long_without_a_reason() -> None:
    code = [path for path in project_files() if path.suffix == ".py"]
    lengths = {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in code}
    long = {name for name, length in lengths.items() if length > LONGEST}
    assert long == set(LONG_FOR_A_REASON)
    assert all(LONG_FOR_A_REASON.values())


def test_a_port_has_at_most_five_methods() -> None:
    tree = ast.parse((PACKAGE / "core" / "ports.py").read_text(encoding="utf-8"))
    ports = [
        node for node in tree.body if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
    ]
    assert ports
    methods = {port.name: sum(map(_is_method, port.body)) for port in ports}
    assert {name: count for name, count in methods.items() if not 1 <= count <= 5} == {}


def _is_method(node: ast.stmt) -> bool:
    """A property is a fact that a port has, and not a thing that it does."""
    return isinstance(node, ast.FunctionDef) and "property" not in map(ast.unparse, node.decorator_list)


def test_no_file_names_a_folder_of_the_machine_it_was_written_on() -> None:
    text = {path: path.read_bytes().decode("utf-8", "replace") for path in project_files()}
    named = [f"{shown(path)}: {found.group()}" for path in text for found in MACHINE_PATH.finditer(text[path])]
    assert named == []


@pytest.mark.parametrize(
    ("line", "names_one"),
    [
        ("see /wo" + "rk/main", True),
        ("'/op" + "t/tool'", True),
        ("cd /wo" + "rk", True),
        ("out/wo" + "rk/x", False),
        ("~/wo" + "rk/x", False),
        ("/wo" + "rker/x", False),
        ("plan/wo" + "rk", False),
    ],
)
def test_the_look_for_machine_paths_sees_only_absolute_ones(line: str, names_one: bool) -> None:  # noqa: FBT001 - a table's column
    assert bool(MACHINE_PATH.search(line)) is names_one


def test_every_dependency_of_the_package_says_why_it_is_there() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    start = lines.index("dependencies = [")
    entries = [line.strip() for line in lines[start : lines.index("]", start)]]
    bare = [line for before, line in pairwise(entries) if not (before.startswith("#") or line.startswith("#"))]
    assert len(entries) > 2
    assert bare == []


def test_the_licence_of_the_package_is_the_licence_in_the_checkout() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / project["license-files"][0]).read_text(encoding="utf-8")
