"""What agents write, shown while they do: by line, with the task's name, and never in command of a terminal."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from orchestration.assembly import App
from orchestration.cli.commands.logs import CHUNK
from orchestration.cli.progress import LONGEST, PlainLines
from orchestration.cli.render import LiveRun
from orchestration.core.agent_events import AgentEvent
from orchestration.core.events import Observer, OutputSeen, StageEnded, TaskClaimed, TaskSettled
from orchestration.core.models import Task
from orchestration.pipeline.record import EventRecord
from orchestration.support.clock import SystemClock
from tests.cli.conftest import Cli
from tests.engine.fakes import START, a_run, a_task
from tests.journeys.shell import Repo

HOSTILE = {
    "clear": b"\x1b[2J",
    "title": b"\x1b]0;owned\x07",
    "clipboard": b"\x1b]52;c;b3duZWQ=\x1b\\",
    "link": b"\x1b]8;;http://x\x1b\\click\x1b]8;;\x1b\\",
    "device string": b"\x1bP$q q\x1b\\",
    "C1 as UTF-8": "\u009b2J\u009d0;x\u009c".encode(),
    "C1 as bytes": b"\x9b2J\x9d0;x\x9c",
    "bidi": "\u202egnp.exe\u2066".encode(),
    "zero width": "a\u200bb\ufeff".encode(),
    "return": b"safe\rforged",
    "backspace": b"no\x08\x08yes",
    "bell and form feed": b"\x07\x0c\x0b",
    "markup": b"[red]x[/red][link=http://x]y[/link]",
}
COMMANDS = (b"\x1b[2J", b"\x1b]", b"\x1bP", b"\x9b2J", "\u009b".encode(), "\u202e".encode(), "\u200b".encode(), b"\x07")
"""What no screen of ours may be sent; rich moves the cursor, and nothing else."""
TASK = a_task()._replace(attempt=1, run=a_run())


def seen(chunk: bytes, task: Task = TASK) -> OutputSeen:
    return OutputSeen(task=task, stage="build", stream="stdout", chunk=chunk)


def show_live(observe: Observer, chunks: list[bytes]) -> None:
    for chunk in chunks:
        observe(seen(chunk))


def is_harmless(text: str) -> bool:
    """Whether a terminal only shows *text*."""
    return all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_no_byte_of_an_agent_commands_the_terminal_on_any_screen(
    hostile: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = PlainLines(follow=True)
    with plain as observe:
        show_live(observe, [hostile + b"\n"])
    with LiveRun(follow=True) as observe:
        show_live(observe, [hostile + b"\n"])
    out = capsys.readouterr().out
    assert is_harmless(out), out
    assert out.count("T-1 | ") == 2


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_nor_when_it_comes_one_byte_at_a_time(hostile: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with PlainLines(follow=True) as observe:
        show_live(observe, [bytes([byte]) for byte in hostile + b"\n"])
    assert is_harmless(capsys.readouterr().out)


def test_markup_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveRun(follow=True) as observe:
        show_live(observe, [HOSTILE["markup"] + b"\n"])
    assert "T-1 | [red]x[/red][link=http://x]y[/link]\n" in capsys.readouterr().out


@pytest.mark.parametrize("screen", [PlainLines, LiveRun])
def test_a_line_that_never_ends_is_shown_in_pieces_and_held_no_longer(
    screen: Callable[..., PlainLines | LiveRun], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = screen(follow=True)
    with shown as observe:
        show_live(observe, [b"x" * 10_000] * 100)
    held = shown._rests if isinstance(shown, PlainLines) else shown._output._rests
    assert sum(map(len, held.values())) <= LONGEST
    assert capsys.readouterr().out.count("x") > 1_000_000 - 2 * LONGEST


@pytest.mark.parametrize("screen", [PlainLines, LiveRun])
def test_the_end_of_a_stage_ends_its_last_line_and_so_does_the_end_of_the_task(
    screen: Callable[..., PlainLines | LiveRun], capsys: pytest.CaptureFixture[str]
) -> None:
    with screen(follow=True) as observe:
        observe(seen(b"planned"))
        observe(StageEnded(task=TASK, stage="plan", elapsed=START - START, succeeded=True))
        observe(seen(b"built"))
        observe(TaskSettled(task=TASK, elapsed=START - START))
    assert "T-1 | planned\nT-1 | built\nT-1: todo after 0.0s\n" in capsys.readouterr().out


def test_tasks_at_once_are_told_apart_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    other = a_task("T-2")
    with PlainLines(follow=True) as observe:
        observe(seen(b"one "))
        observe(seen(b"other\n", other))
        observe(seen(b"line\n"))
    assert capsys.readouterr().out == "T-2 | other\nT-1 | one line\n"


def test_without_follow_nothing_of_it_is_shown_or_held(capsys: pytest.CaptureFixture[str]) -> None:
    shown = PlainLines(follow=False)
    with shown as observe:
        show_live(observe, [b"said\n", b"rest"])
    assert (capsys.readouterr().out, shown._rests) == ("", {})


def test_a_resumed_attempt_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainLines(follow=False) as observe:
        observe(TaskClaimed(task=TASK, at=START))
        observe(TaskClaimed(task=TASK._replace(run=a_run(is_resumed=True)), at=START))
    assert capsys.readouterr().out == "T-1: started (attempt 1)\nT-1: resumed (attempt 1)\n"


@pytest.fixture
def worked(cli: Cli, repo: Repo) -> Path:
    """A task whose agent wrote everything hostile, and told it in events too; returns the agent's output."""
    output = repo.path / "output"
    output.write_bytes(b"\n".join(HOSTILE.values()) + b"\n")
    repo.commit("Say")
    said = cli("add", "--id", "T-1", "--repo", str(repo.path), "--task", "W", "--agent-command", "cat output; >x")
    assert said.code == 0, said
    return output


def on_terminal(*arguments: str) -> bytes:
    """Return what a terminal is sent by one command line."""
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb", buffering=0) as screen:
        command = [sys.executable, "-m", "orchestration", *arguments]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower) as process:
            os.close(follower)
            pieces = []
            with suppress(OSError):  # Linux's way to say that nobody writes any more
                while piece := screen.read(1 << 16):
                    pieces.append(piece)
        assert process.returncode == 0, pieces
    return b"".join(pieces)


def test_on_a_real_terminal_a_followed_run_and_its_logs_are_only_shown(worked: Path, cli: Cli) -> None:
    for arguments in (("run", "--follow"), ("logs", "T-1")):
        sent = on_terminal(*arguments)
        assert b"gnp.exe" in sent
        assert [command for command in COMMANDS if command in sent] == []


def test_the_same_bytes_would_have_commanded_it(worked: Path) -> None:
    content = worked.read_bytes()
    assert all(command in content for command in COMMANDS)


def test_events_are_for_programs_as_they_are_and_for_a_terminal_made_safe(worked: Path, cli: Cli) -> None:
    cli("run")
    raw = b'{"text":"' + "\u202e\u009b2J".encode() + b'"}'
    folders = App.open()._records.folders("T-1", 1)
    with EventRecord(folders.logs, "build", limit=10_000, clock=SystemClock()) as record:
        record.raw(raw)
        record.event(AgentEvent(kind="text", text="\u202e\x1b[2J"))
    piped = subprocess.run(
        [sys.executable, "-m", "orchestration", "logs", "T-1", "--raw"], capture_output=True, check=True
    )
    assert piped.stdout == raw + b"\n"
    assert [command for command in COMMANDS if command in on_terminal("logs", "T-1", "--raw")] == []
    (event,) = cli("logs", "T-1", "--events").out.splitlines()
    assert '"kind": "text", "text": "\\u202e\\u001b[2J"' in event
    (file,) = cli("logs", "T-1", "--events", "--json").json
    assert file["path"].endswith("build.events.jsonl")
    assert cli("logs", "T-1", "--events", "--stage", "plan").code == 2


def test_a_character_that_lies_in_two_pieces_of_a_log_is_shown_as_one(worked: Path, cli: Cli) -> None:
    cli("run")
    log = App.open()._records.folders("T-1", 1).logs / "build.log"
    content = "x" * (CHUNK - 1) + "é" + "y" * (CHUNK - 2) + "\u009b"
    log.write_bytes(content.encode() + b"\xe2\x82")
    shown = cli("logs", "T-1", "--stage", "build").out
    assert shown == "==> build <==\n" + content[:-1] + "\\x9b\\xe2\\x82"


def test_an_agent_that_tells_no_events_has_none(worked: Path, cli: Cli) -> None:
    cli("run")
    said = cli("logs", "T-1", "--events")
    assert (said.code, "has no such log" in said.err) == (2, True)
