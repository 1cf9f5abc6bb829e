"""What a quick command may not load: a fresh interpreter imports the command line and shows its modules."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("asyncio", "docker", "filelock", "frontmatter", "git", "h11", "msgspec", "rich", "structlog", "yaml")


def modules_after(statement: str) -> frozenset[str]:
    """Return the modules that a fresh interpreter has loaded after *statement*."""
    program = f"{statement}\nimport json, sys\njson.dump(sorted(sys.modules), sys.stdout)"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True
    )
    return frozenset(json.loads(ended.stdout))


@pytest.fixture(scope="module")
def loaded() -> frozenset[str]:
    """The modules behind the command line; none as long as it does not exist."""
    written = (ROOT / "orchestration" / "cli" / "main.py").exists()
    return modules_after("import orchestration.cli.main" if written else "pass")


@pytest.mark.parametrize("heavy", HEAVY)
def test_importing_the_command_line_does_not_load(heavy: str, loaded: frozenset[str]) -> None:
    assert sorted(name for name in loaded if name.split(".")[0] == heavy) == []


@pytest.mark.parametrize("heavy", [name for name in HEAVY if importlib.util.find_spec(name) is not None])
def test_the_look_at_loaded_modules_sees(heavy: str) -> None:
    assert heavy in modules_after(f"import {heavy}")
