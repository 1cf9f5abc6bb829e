"""The rules of the test run itself, seen by running pytest on small projects that use our conftest."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTHING: Mapping[str, str] = {}


def promise(names: str) -> Mapping[str, str]:
    return {"TASKQ_CI_PROMISES": names}


@dataclass(frozen=True)
class Project:
    folder: Path

    def run(
        self, body: str, options: tuple[str, ...] = (), environ: Mapping[str, str] = NOTHING
    ) -> subprocess.CompletedProcess[str]:
        """Run pytest on one file with *body*, in a process of its own."""
        (self.folder / "test_it.py").write_text(body, encoding="utf-8")
        own = self.folder.with_name(f"{self.folder.name}-inner")  # the shared place makes each run tidy up after others
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--basetemp={own}", *options]
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "TASKQ_"))}
        full = {**inherited, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environ}
        return subprocess.run(command, cwd=self.folder, env=full, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "tools").mkdir()
    for name in ("__init__.py", "capabilities.py"):
        shutil.copy(ROOT / "tools" / name, tmp_path / "tools")
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n", encoding="utf-8")
    return Project(tmp_path)


SKIPS_FOR_BWRAP = """
def test_needs_a_sandbox(capability, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    capability("bwrap")
"""


def test_a_missing_capability_skips_and_the_end_of_the_run_says_how_to_get_it(project: Project) -> None:
    ended = project.run(SKIPS_FOR_BWRAP)
    assert ended.returncode == 0, ended.stdout
    assert "not tested here" in ended.stdout
    assert "1 x bwrap is missing: there is no bwrap on PATH; get it with: apt-get install bubblewrap" in ended.stdout


WITH_WORKERS = pytest.param(("-p", "xdist", "-n", "1"), id="with workers", marks=pytest.mark.full)


@pytest.mark.parametrize("options", [pytest.param((), id="alone"), WITH_WORKERS])
def test_a_skip_for_a_promised_capability_is_a_failure(project: Project, options: tuple[str, ...]) -> None:
    ended = project.run(SKIPS_FOR_BWRAP, options=options, environ=promise("strace bwrap"))
    assert ended.returncode == 1, ended.stdout
    assert "TASKQ_CI_PROMISES promises bwrap, but this was skipped" in ended.stdout


def test_a_file_that_skips_itself_for_a_promised_capability_is_a_failure(project: Project) -> None:
    body = "import pytest\npytest.skip('no bwrap here', allow_module_level=True)\n"
    assert project.run(body).returncode == 5, "without a promise it is a skip, and nothing ran"
    assert project.run(body, environ=promise("bwrap")).returncode == 2


def test_a_skip_for_something_else_stays_a_skip_under_promises(project: Project) -> None:
    body = "import pytest\ndef test_it():\n    pytest.skip('only on a Mac')\n"
    ended = project.run(body, environ=promise("bwrap strace"))
    assert ended.returncode == 0, ended.stdout
    assert "1 x only on a Mac" in ended.stdout


def test_an_expected_failure_is_no_broken_promise(project: Project) -> None:
    body = "import pytest\n@pytest.mark.xfail(reason='bwrap')\ndef test_it():\n    assert False\n"
    assert project.run(body, environ=promise("bwrap")).returncode == 0


def test_an_unknown_capability_is_an_error_in_the_test(project: Project) -> None:
    ended = project.run("def test_it(capability):\n    capability('bubblewarp')\n")
    assert ended.returncode == 1
    assert "no capability bubblewarp" in ended.stdout


def test_tests_see_nothing_of_the_operator(project: Project, tmp_path: Path) -> None:
    operator = tmp_path / "operator"
    operator.mkdir()
    (operator / ".gitconfig").write_text("[user]\nname = The Operator\n", encoding="utf-8")
    body = """
import os, pathlib, subprocess
def test_it():
    told = {name for name in os.environ if name.startswith(("XDG_", "TASKQ_", "GIT_DIR"))}
    assert told == set()
    assert list(pathlib.Path.home().iterdir()) == []
    name = subprocess.run(["git", "config", "user.name"], capture_output=True, cwd="/", check=False)
    assert name.stdout == b""
"""
    foreign: dict[str, str] = {
        "HOME": str(operator),
        "XDG_STATE_HOME": str(operator),
        "TASKQ_QUEUE": str(operator),
        "GIT_DIR": str(operator),
        "GIT_CONFIG_GLOBAL": str(operator / ".gitconfig"),
    }
    ended = project.run(body, environ=foreign)
    assert ended.returncode == 0, ended.stdout
    control = project.run(body, options=("--noconftest",), environ=foreign)
    assert control.returncode == 1, "without the conftest the test would see the operator"


def test_how_one_test_sets_the_log_up_is_nothing_to_the_next(project: Project) -> None:
    body = """
def test_one(capsys):
    import sys, structlog
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))
def test_two():
    import structlog
    structlog.get_logger().warning("still.here")
"""
    ended = project.run(body)
    assert ended.returncode == 0, ended.stdout
    control = project.run(body, options=("--noconftest",))
    assert "I/O operation on closed file" in control.stdout


def test_pip_still_reads_the_configuration_of_the_operator(project: Project, tmp_path: Path) -> None:
    settings = tmp_path / "operator" / ".config" / "pip" / "pip.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text("[global]\ntimeout = 77\n", encoding="utf-8")
    body = f"import os\ndef test_it():\n    assert os.environ['PIP_CONFIG_FILE'] == {str(settings)!r}\n"
    ended = project.run(body, environ={"HOME": str(tmp_path / "operator")})
    assert ended.returncode == 0, ended.stdout


def test_this_session_runs_in_a_home_of_its_own(own_world: Path, capability: Callable[[str], None]) -> None:
    assert Path.home() == own_world
    assert os.environ["GIT_CONFIG_GLOBAL"] == os.devnull
