import tomllib
from pathlib import Path

from tools import locked_requirements

ROOT = Path(__file__).resolve().parents[2]
LOCK = """
[[package]]
name = "project"
version = "1"
source = { editable = "." }
dependencies = [{ name = "alpha", extra = ["fast"] }, { name = "gamma", marker = "sys_platform == 'win32'" }]

[package.dev-dependencies]
dev = [{ name = "delta", marker = "python_version < '3.12'" }]

[[package]]
name = "alpha"
version = "2.0"
source = { registry = "https://example.invalid/simple" }
sdist = { url = "a.tar.gz", hash = "sha256:aa" }
wheels = [{ url = "a.whl", hash = "sha256:ab" }]

[package.optional-dependencies]
fast = [{ name = "beta" }]

[[package]]
name = "beta"
version = "3"
source = { registry = "https://example.invalid/simple" }
wheels = [{ url = "b.whl", hash = "sha256:bb" }]
dependencies = [{ name = "gamma", marker = "sys_platform == 'darwin'" }, { name = "delta" }]

[[package]]
name = "gamma"
version = "4"
source = { registry = "https://example.invalid/simple" }
wheels = [{ url = "g.whl", hash = "sha256:cc" }]

[[package]]
name = "delta"
version = "5"
source = { registry = "https://example.invalid/simple" }
wheels = [{ url = "d.whl", hash = "sha256:dd" }]

[[package]]
name = "unneeded"
version = "6"
source = { registry = "https://example.invalid/simple" }
"""


def test_requirements_carry_versions_hashes_markers_and_what_extras_need() -> None:
    assert locked_requirements.requirements(LOCK) == (
        "alpha==2.0 \\\n    --hash=sha256:ab \\\n    --hash=sha256:aa\n"
        "beta==3 \\\n    --hash=sha256:bb\n"
        "delta==5 \\\n    --hash=sha256:dd\n"
        "gamma==4 ; (sys_platform == 'darwin') or (sys_platform == 'win32') \\\n    --hash=sha256:cc\n"
    )


def test_the_real_lock_file_gives_every_package_but_our_own(tmp_path: Path) -> None:
    output = tmp_path / "requirements.txt"
    assert locked_requirements.main(["--output", str(output)]) == 0
    listed = {line.split("==")[0] for line in output.read_text(encoding="utf-8").splitlines() if "==" in line[:60]}
    locked = {package["name"] for package in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]}
    assert {name for name in listed if not name.startswith(" ")} == locked - {"taskq-orchestrator"}
