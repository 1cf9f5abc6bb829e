"""A person goes on in the sandbox of a task in review: what they add is collected, and never lost or waved through."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.containers import OWN, Docked, docked, forwarders, holders
from tests.journeys.shell import Repo, Taskq
from tests.journeys.terminal import PROMPT, Terminal, in_shell
from tests.journeys.waiting import wait_until

__all__ = ["docked"]
pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]


@pytest.fixture
def reviewed(docked: Docked) -> Docked:
    """The task is in review, with one file."""
    docked.add("echo first > first.txt")
    docked.taskq.run("run")
    assert docked.task()["status"] == "review"
    return docked


def commit(docked: Docked) -> str:
    return str(docked.task()["revision"]["commit"])


def paths(docked: Docked) -> list[str]:
    return [change["path"] for change in docked.task()["revision"]["files"]]


def ahead(docked: Docked) -> Path:
    return docked.folder() / "ahead"


def test_what_a_person_adds_in_a_shell_becomes_a_revision_to_be_approved_by_itself(
    reviewed: Docked, repo: Repo
) -> None:
    first = reviewed.task()["revision"]
    with in_shell(reviewed.taskq, OWN) as terminal:
        assert ahead(reviewed).exists()
        terminal.type("cat first.txt && echo second > second.txt\n")
        terminal.expect(PROMPT)
        terminal.type("exit 3\n")
        assert terminal.wait() == 0
    assert f"New revision of {OWN}: 2 files +2 -0" in terminal.seen
    second = reviewed.task()["revision"]
    assert (paths(reviewed), first["collect"], second["collect"]) == (["first.txt", "second.txt"], 1, 2)
    assert repo.git("rev-parse", first["ref"]) == first["commit"]
    assert repo.git("rev-parse", "main") not in {first["commit"], second["commit"]}
    assert (reviewed.task()["status"], reviewed.containers(), ahead(reviewed).exists()) == ("review", [], False)
    reviewed.taskq.run("approve", OWN, "--land", "ff")
    assert repo.git("rev-parse", "main") == second["commit"]


def test_a_look_around_adds_no_revision(reviewed: Docked) -> None:
    before = reviewed.task()
    with in_shell(reviewed.taskq, OWN) as terminal:
        terminal.type("ls\n")
        terminal.expect(PROMPT)
        terminal.type("\x04")
        assert terminal.wait() == 0
    assert f"Nothing new: {OWN} is at {commit(reviewed)[:12]}" in terminal.seen
    assert reviewed.task() == before


def test_while_a_person_is_there_nobody_else_comes_in_and_nothing_is_approved(reviewed: Docked) -> None:
    with in_shell(reviewed.taskq, OWN) as terminal:
        (container,) = reviewed.running_containers()
        for command in (("approve", OWN), ("collect", OWN)):
            assert "leave that review first" in reviewed.taskq.run(*command, code=3).stderr
        with Terminal(reviewed.taskq, "review", OWN, "--shell") as other:
            assert other.wait() == 3
        assert "leave that review first" in other.seen
        reviewed.taskq.run("cleanup")
        assert [one["Id"] for one in reviewed.running_containers()] == [container["Id"]]
        terminal.type("exit\n")
        assert terminal.wait() == 0
    reviewed.taskq.run("approve", OWN)


def test_a_person_s_container_gets_no_more_than_the_agent_s(reviewed: Docked) -> None:
    with in_shell(reviewed.taskq, OWN) as terminal:
        (container,) = reviewed.running_containers()
        found: Any = reviewed.engine.api.inspect_container(container["Id"])
        terminal.type("exit\n")
        terminal.wait()
    host = found["HostConfig"]
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"]) == ("none", True, ["ALL"])
    assert found["Config"]["Labels"]["taskq.task"] == OWN


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_way_to_leave(reviewed: Docked, number: signal.Signals) -> None:
    with in_shell(reviewed.taskq, OWN) as terminal:
        terminal.type("echo second > second.txt; echo wrote\n")
        terminal.expect("wrote\r\n")
        terminal.kill(number)
        assert terminal.wait() == 0
    assert "New revision" in terminal.seen
    assert paths(reviewed) == ["first.txt", "second.txt"]


def test_a_container_that_goes_under_the_person_loses_no_work(reviewed: Docked) -> None:
    with in_shell(reviewed.taskq, OWN) as terminal:
        terminal.type("echo second > second.txt; echo wrote\n")
        terminal.expect("wrote\r\n")
        (container,) = reviewed.running_containers()
        reviewed.engine.api.remove_container(container["Id"], force=True)
        assert terminal.wait() == 3
    assert "New revision" in terminal.seen
    assert paths(reviewed) == ["first.txt", "second.txt"]


def in_the_shell(docked: Docked, terminal: Terminal) -> None:
    terminal.expect(PROMPT)
    terminal.type("echo second > second.txt; echo wrote\n")
    terminal.expect("wrote\r\n")


def when_the_mark_is_there(docked: Docked, terminal: Terminal) -> None:
    wait_until(ahead(docked).exists, what="the mark is there")


def when_the_container_is_there(docked: Docked, terminal: Terminal) -> None:
    wait_until(lambda: docked.containers() != [], what="the container is there")


def while_it_collects(docked: Docked, terminal: Terminal) -> None:
    in_the_shell(docked, terminal)
    (docked.folder() / "inbox/work.bundle").unlink(missing_ok=True)
    terminal.type("exit\n")
    wait_until((docked.folder() / "inbox/work.bundle").exists, what="the bundle is fetched")


POINTS: list[Callable[[Docked, Terminal], None]] = [
    when_the_mark_is_there,
    when_the_container_is_there,
    in_the_shell,
    while_it_collects,
]


@pytest.mark.parametrize("point", POINTS)
def test_a_review_that_is_killed_loses_nothing_and_is_not_approved_around(
    reviewed: Docked, repo: Repo, point: Callable[[Docked, Terminal], None]
) -> None:
    wrote = point in {in_the_shell, while_it_collects}
    with Terminal(reviewed.taskq, "review", OWN, "--shell") as terminal:
        point(reviewed, terminal)
        terminal.kill(signal.SIGKILL)
        assert terminal.wait() == -signal.SIGKILL
    wait_until(lambda: reviewed.running_containers() == [], what="the container has ended by itself")
    wait_until(lambda: holders(reviewed.state) == {}, what="nobody has a file of the attempt open")
    if ahead(reviewed).exists():
        assert f"taskq collect {OWN}" in reviewed.taskq.run("approve", OWN, code=3).stderr
    else:
        assert point is while_it_collects
    reviewed.taskq.run("cleanup")
    assert reviewed.containers() == []
    assert (reviewed.folder() / "workspace/second.txt").exists() is wrote
    reviewed.taskq.run("collect", OWN)
    assert paths(reviewed) == (["first.txt", "second.txt"] if wrote else ["first.txt"])
    assert (reviewed.containers(), forwarders(reviewed.state), ahead(reviewed).exists()) == ([], [], False)
    reviewed.taskq.run("approve", OWN, "--land", "ff")
    assert repo.git("rev-parse", "main") == commit(reviewed)
    (report,) = reviewed.taskq.json("cleanup")
    assert (report["kept"], report["problem"]) == ([], None)
    assert not list(reviewed.state.glob("*/attempts/*/*"))


def test_a_review_that_was_killed_is_gone_on_with_by_the_next(reviewed: Docked) -> None:
    with Terminal(reviewed.taskq, "review", OWN, "--shell") as terminal:
        in_the_shell(reviewed, terminal)
        terminal.kill(signal.SIGKILL)
        terminal.wait()
    with in_shell(reviewed.taskq, OWN) as terminal:
        terminal.type("cat second.txt; exit\n")
        assert terminal.wait() == 0
    assert paths(reviewed) == ["first.txt", "second.txt"]


def test_work_that_may_not_pass_stays_and_says_how_to_go_on(reviewed: Docked) -> None:
    with in_shell(reviewed.taskq, OWN) as terminal:
        terminal.type("mkdir -p sub; ln -s /etc/passwd sub/link; echo made\n")
        terminal.expect("made\r\n")
        terminal.type("exit\n")
        assert terminal.wait() == 1
    assert "refused" in terminal.seen
    assert "taskq collect" in reviewed.taskq.run("approve", OWN, code=3).stderr
    with in_shell(reviewed.taskq, OWN) as terminal:
        terminal.type("rm -r sub; git reset --quiet HEAD~1; exit\n")
        assert terminal.wait() == 0
    reviewed.taskq.run("approve", OWN)


@pytest.mark.parametrize("how", ["--web", "--tui"])
def test_without_a_session_there_is_a_shell_to_look_around_with(reviewed: Docked, how: str) -> None:
    with Terminal(reviewed.taskq, "review", OWN, how) as terminal:
        assert terminal.wait() == 2
    assert f"taskq review {OWN} --shell" in " ".join(terminal.seen.split())
    assert not ahead(reviewed).exists()
    assert reviewed.containers() == []


def test_an_attempt_that_is_not_kept_is_refused_with_the_reason_and_its_diff_is_shown(reviewed: Docked) -> None:
    (reviewed.folder() / "spec.json").unlink()
    with Terminal(reviewed.taskq, "review", OWN, "--shell") as terminal:
        assert terminal.wait() == 2
    assert f"taskq review {OWN} --diff" in " ".join(terminal.seen.split())
    assert "+first" in reviewed.taskq.run("review", OWN, "--diff").stdout


def test_a_kind_of_sandbox_that_cannot_be_visited_says_so(taskq: Taskq, repo: Repo) -> None:
    taskq.run("add", "--id", "T-1", "--repo", str(repo.path), "--task", "x", "--agent-command", "echo a > a.txt")
    taskq.run("run")
    with Terminal(taskq, "review", "T-1", "--shell") as terminal:
        assert terminal.wait() == 2
    assert "nobody can visit a sandbox of kind local" in " ".join(terminal.seen.split())
    taskq.run("approve", "T-1")


def test_an_image_that_is_gone_is_made_ready_again(reviewed: Docked) -> None:
    spec = reviewed.folder() / "spec.json"
    known = next(image["Id"] for image in reviewed.engine.api.images() if image["Id"] in spec.read_text())
    text = spec.read_text(encoding="utf-8").replace(known, "sha256:" + "0" * 64)
    spec.write_text(text, encoding="utf-8")
    with in_shell(reviewed.taskq, OWN) as terminal:
        terminal.type("exit\n")
        assert terminal.wait() == 0
