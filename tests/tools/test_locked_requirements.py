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
bench = [{ name = "epsilon" }]

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
name = "epsilon"
version = "7"
source = { registry = "https://example.invalid/simple" }
wheels = [{ url = "e.whl", hash = "sha256:ee" }]

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


def test_another_group_stands_in_the_place_of_dev() -> None:
    listed = locked_requirements.requirements(LOCK, "bench")
    assert "epsilon==7" in listed
    assert "epsilon" not in locked_requirements.requirements(LOCK)


def test_the_groups_of_the_real_lock_file_give_every_package_but_our_own(tmp_path: Path) -> None:
    listed = names("dev", tmp_path) | names("bench", tmp_path)
    locked = {package["name"] for package in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]}
    assert listed == locked - {"taskq-orchestrator"}


def test_what_taskq_is_measured_beside_is_in_no_other_environment(tmp_path: Path) -> None:
    assert names("bench", tmp_path) - names("dev", tmp_path) == {"huey", "litequeue", "persist-queue"}


def names(group: str, folder: Path) -> set[str]:
    output = folder / f"{group}.txt"
    assert locked_requirements.main(["--group", group, "--output", str(output)]) == 0
    lines = output.read_text(encoding="utf-8").splitlines()
    return {line.split("==")[0] for line in lines if "==" in line[:60] and not line.startswith(" ")}
