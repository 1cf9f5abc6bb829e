"""What every run of the tests needs: a world of its own, and an honest list of what was not tested here.

Guarantees: no test sees the operator's HOME, XDG folders, git configuration or ``TASKQ_`` variables.
Guarantees: a test that skips for a capability that CI promises (``TASKQ_CI_PROMISES``) fails instead.
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tools.capabilities import CAPABILITIES, PROMISES, missing, remedy

PROMISED = frozenset(os.environ.get(PROMISES, "").split())
FOREIGN = re.compile(r"(?:GIT|XDG|TASKQ|CLICOLOR|FORCE_COLOR|NO_COLOR)(?:_|$)", re.ASCII)
USER_PIP = (".config/pip/pip.conf", ".pip/pip.conf")


@pytest.fixture(scope="session", autouse=True)
def own_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the session an empty HOME and a git that knows nothing of the operator; pip still finds its index."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as world:
        for name in filter(FOREIGN.match, tuple(os.environ)):
            world.delenv(name)
        world.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # each child process would compile everything again
        for found in filter(Path.is_file, (Path.home() / name for name in USER_PIP)):
            world.setenv("PIP_CONFIG_FILE", str(found))
        world.setenv("HOME", str(home))
        world.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        world.setenv("GIT_CONFIG_NOSYSTEM", "1")
        for role in ("AUTHOR", "COMMITTER"):
            world.setenv(f"GIT_{role}_NAME", "A Tester")
            world.setenv(f"GIT_{role}_EMAIL", "tester@example.invalid")
        yield home


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Undo how a command that ran inside this process set the log up: it wrote to a stderr that is closed now."""
    before = sys.modules["structlog"].get_config() if "structlog" in sys.modules else None
    yield
    if before is not None:
        sys.modules["structlog"].configure(**before)
    elif "structlog" in sys.modules:
        sys.modules["structlog"].reset_defaults()


@pytest.fixture(scope="session")
def capability() -> Callable[[str], None]:
    """Return a function that skips the test, and says how to run it, unless the machine has what is named."""

    def require(name: str) -> None:
        assert name in CAPABILITIES, f"no capability {name}; tools/capabilities.py knows: {', '.join(CAPABILITIES)}"
        why = missing(name)
        if why is not None:
            pytest.skip(f"{name} is missing: {why}; get it with: {remedy(name)}")

    return require


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Hold CI to its promises, test by test."""
    report = yield
    hold_to_promises(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Hold CI to its promises, file by file."""
    report = yield
    hold_to_promises(report)
    return report


def hold_to_promises(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip for want of something promised into a failure."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = reason_of(report)
        broken = [name for name in sorted(PROMISED) if re.search(rf"\b{re.escape(name)}\b", reason)]
        if broken:
            report.outcome = "failed"
            report.longrepr = f"{PROMISES} promises {', '.join(broken)}, but this was skipped: {reason}"


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why a test or file was skipped."""
    told = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    return told.removeprefix("Skipped: ")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was not tested here, with how to get it."""
    reasons = Counter(reason_of(report) for report in terminalreporter.stats.get("skipped", ()))
    if reasons:
        terminalreporter.section("not tested here")
        for reason, count in sorted(reasons.items()):
            terminalreporter.line(f"{count:4} x {reason}")
