"""A person goes on in the agent's session: the real OpenCode in a real container, its page in a real browser."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.journeys.containers import OWN, Docked, all_arguments, docked
from tests.journeys.shell import Repo
from tests.journeys.terminal import Terminal
from tests.journeys.waiting import wait_until
from tests.model.server import KEY, FakeModel, config
from tools.capabilities import BROWSER_FLAGS

__all__ = ["docked"]
pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
PAGE_MS = 90_000


@pytest.fixture
def session(docked: Docked) -> Iterator[Docked]:
    """The task is in review, with one file that OpenCode wrote."""
    with FakeModel() as model:
        file = Path(docked.taskq.environment["HOME"]) / ".config/opencode/opencode.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(config(model.url)), encoding="utf-8")
        common = ("--id", OWN, "--repo", str(docked.repo.path), "--agent", "opencode")
        docked.taskq.run("add", *common, "--title", "A file", "--task", "write one.txt: one")
        docked.taskq.run("run")
        assert docked.task()["status"] == "review", docked.task()["error"]
        yield docked


def paths(docked: Docked) -> list[str]:
    return [change["path"] for change in docked.task()["revision"]["files"]]


@contextmanager
def opened(docked: Docked, *flags: str) -> Iterator[tuple[Terminal, str]]:
    """Open the session for a browser; yield the terminal and the page's address."""
    with Terminal(docked.taskq, "review", OWN, *flags) as terminal:
        terminal.expect("the agent's own page: ")
        yield terminal, terminal.expect("\r\n")


def test_a_follow_up_in_the_page_becomes_a_revision_to_be_approved_by_itself(
    session: Docked, repo: Repo, capability: Callable[[str], None]
) -> None:
    capability("chromium")
    from playwright.sync_api import sync_playwright

    first = session.task()["revision"]
    with opened(session, "--no-open") as (terminal, url), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(BROWSER_FLAGS))
        page = browser.new_page()
        page.goto(url)
        page.get_by_text("It is done.").first.wait_for(timeout=PAGE_MS)
        editor = page.locator("[contenteditable=true]").first
        editor.click()
        page.keyboard.type("write two.txt: two")
        page.keyboard.press("Enter")
        wait_until((session.folder() / "workspace/two.txt").exists, what="the agent has written", seconds=60)
        assert "leave that review first" in session.taskq.run("approve", OWN, code=3).stderr
        assert (urlsplit(url).password or "").encode() not in all_arguments()
        browser.close()
        terminal.type("\x03")
        assert terminal.wait() == 0
    assert f"New revision of {OWN}: 2 files +2 -0" in terminal.seen
    second = session.task()["revision"]
    assert (second["collect"], paths(session)) == (2, ["one.txt", "two.txt"])
    assert repo.git("rev-parse", first["ref"]) == first["commit"]
    assert (session.containers(), session.task()["status"]) == ([], "review")
    assert KEY not in terminal.seen
    held = [path for path in session.folder().rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert held == [], "what was seeded for the session is left"
    session.taskq.run("approve", OWN, "--land", "ff")
    assert repo.git("rev-parse", "main") == second["commit"]


def test_a_review_on_a_terminal_opens_the_session_by_itself_and_a_kill_loses_nothing(
    session: Docked, repo: Repo
) -> None:
    with opened(session) as (terminal, _):
        assert session.running_containers(), "the control: it runs"
        (session.folder() / "workspace/late.txt").write_text("late\n", encoding="utf-8")
        terminal.kill(signal.SIGKILL)
        terminal.wait()
    wait_until(lambda: session.running_containers() == [], what="the container has ended by itself")
    assert f"taskq collect {OWN}" in session.taskq.run("approve", OWN, code=3).stderr
    assert f"New revision of {OWN}: 2 files" in session.taskq.run("collect", OWN).stdout
    assert paths(session) == ["late.txt", "one.txt"]
    session.taskq.run("approve", OWN)


def test_the_agent_s_own_program_joins_the_session_on_the_terminal(session: Docked) -> None:
    with Terminal(session.taskq, "review", OWN, "--tui") as terminal:
        terminal.expect("It is done.")
        terminal.type("\x03")
        assert terminal.wait() == 0
    assert "Nothing new" in terminal.seen
