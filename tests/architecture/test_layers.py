"""The layers of the house: what the import contracts say, that they say it of everything, and that they bite."""

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "orchestration"


def contracts() -> list[dict[str, Any]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return found


def lint_imports(checkout: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def children(folder: Path) -> set[str]:
    """Return the modules and packages right below a package."""
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    return modules | {path.parent.name for path in folder.glob("*/__init__.py")}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout that a test may break."""
    shutil.copytree(PACKAGE, tmp_path / "orchestration", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_import_contract_is_kept() -> None:
    ended = lint_imports(ROOT)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("core/stray.py", "import orchestration.support", "arrows only go down"),
        ("core/stray.py", "import yaml", "core imports nothing but the standard library"),
        ("pipeline/stray.py", "import orchestration.store", "only assembly imports concrete adapters and stores"),
        ("adapters/agent/stray.py", "import orchestration.adapters.git", "adapters of different kinds are strangers"),
        ("support/stray.py", "import docker", "docker lives in its one adapter"),
        ("cli/commands/stray.py", "import rich", "rich draws in cli.render only"),
    ],
)
def test_an_import_that_is_against_a_contract_breaks_it(copy: Path, module: str, line: str, broken: str) -> None:
    (copy / "orchestration" / module).write_text(f'"""A stray."""\n\n{line}\n', encoding="utf-8")
    ended = lint_imports(copy)
    assert ended.returncode == 1
    assert f"{broken} BROKEN" in ended.stdout


def test_the_layers_are_the_packages_and_modules_that_exist() -> None:
    [layers] = [contract["layers"] for contract in contracts() if contract["type"] == "layers"]
    named = {name.strip() for layer in layers for name in layer.split("|")}
    not_written_yet = {"taskq", "assembly"}
    assert children(PACKAGE) <= named
    assert named - children(PACKAGE) <= not_written_yet


def test_every_kind_of_adapter_is_a_stranger_to_the_others() -> None:
    [independent] = [contract["modules"] for contract in contracts() if contract["type"] == "independence"]
    assert set(independent) == {f"orchestration.adapters.{kind}" for kind in children(PACKAGE / "adapters")}


@pytest.mark.parametrize(
    ("contract", "allowed"),
    [
        ("only assembly imports concrete adapters and stores", {"assembly", "adapters", "store"}),
    ],
)
def test_a_forbidding_contract_leaves_out_only_what_it_allows(contract: str, allowed: set[str]) -> None:
    [sources] = [each["source_modules"] for each in contracts() if each["name"] == contract]
    expected = children(PACKAGE)
    for parent in {name.split(".")[0] for name in allowed if "." in name}:
        expected = (expected - {parent}) | {f"{parent}.{child}" for child in children(PACKAGE / parent)}
    assert {f"orchestration.{name}" for name in expected - allowed} <= set(sources)


def test_rich_is_imported_by_the_renderer_only() -> None:
    users = {
        path for path in PACKAGE.rglob("*.py") if any(name.split(".")[0] == "rich" for name in imported_names(path))
    }
    assert users <= {PACKAGE / "cli" / "render.py"}


def test_core_imports_only_the_standard_library_and_itself() -> None:
    for path in sorted((PACKAGE / "core").rglob("*.py")):
        for name in imported_names(path):
            top = name.split(".")[0]
            assert top in sys.stdlib_module_names or name.startswith("orchestration.core"), f"{path}: {name}"


def imported_names(path: Path) -> list[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return plain + [node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)]


def test_nothing_hides_a_library_or_a_module_of_the_standard_library() -> None:
    assert not (ROOT / "queue" / "__init__.py").exists(), "it would hide the standard library's queue"
    assert "mcp" not in children(PACKAGE), "it would hide the mcp library"
