"""What a guest does with a command, as the host sees it: its output, its input, its end, its surroundings."""

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.core.errors import StorageError
from orchestration.core.ports import Stream
from tests.adapters.sandbox.guest.guests import OWN, Guest


def test_output_arrives_per_stream_and_in_order(guest: Guest) -> None:
    _, seen = guest.shell("for i in 1 2 3; do echo out $i; echo err $i >&2; done")
    assert (seen.stdout, seen.stderr) == (b"out 1\nout 2\nout 3\n", b"err 1\nerr 2\nerr 3\n")


def test_output_arrives_while_the_command_runs(guest: Guest) -> None:
    def output(_stream: Stream, _chunk: bytes) -> None:
        (guest.folder / "heard").touch()

    exit_ = guest.run_into(output, "/bin/sh", "-c", "echo first; while [ ! -e heard ]; do :; done")
    assert exit_.succeeded


def test_bytes_of_any_value_go_through_unchanged(guest: Guest) -> None:
    every_byte = bytes(range(256)) * 5_000
    _, seen = guest.run("cat", stdin=every_byte)
    assert seen.stdout == every_byte


def test_what_the_dead_have_left_in_the_pipes_arrives_before_the_end(guest: Guest) -> None:
    _, seen = guest.shell("head -c 60000 /dev/zero; head -c 50000 /dev/zero >&2; kill -KILL $$")
    assert (len(seen.stdout), len(seen.stderr)) == (60_000, 50_000)


@pytest.mark.parametrize("code", [0, 1, 137, 255])
def test_the_exit_code_is_reported(guest: Guest, code: int) -> None:
    exit_, _ = guest.shell(f"exit {code}")
    assert (exit_.code, exit_.signal, exit_.succeeded) == (code, None, code == 0)


def test_a_signal_is_reported_as_one(guest: Guest) -> None:
    exit_, _ = guest.shell("kill -SEGV $$")
    assert (exit_.code, exit_.signal, exit_.succeeded) == (None, 11, False)


def test_the_time_that_a_command_took_is_reported(guest: Guest) -> None:
    exit_, _ = guest.run("sleep", "0.2")
    assert timedelta(seconds=0.2) <= exit_.elapsed < timedelta(seconds=10)


def test_an_unknown_program_is_exit_127_and_said_on_stderr(guest: Guest) -> None:
    exit_, seen = guest.run("no-such-program")
    assert exit_.code == 127
    assert seen.stderr == b"taskq: cannot run 'no-such-program': No such file or directory\n"


def test_a_file_that_is_no_program_is_exit_126(guest: Guest) -> None:
    (guest.folder / "notes").write_text("not a program", encoding="utf-8")
    exit_, seen = guest.run("./notes")
    assert exit_.code == 126
    assert seen.stderr == b"taskq: cannot run './notes': Permission denied\n"


def test_a_script_without_an_interpreter_is_not_given_to_a_shell(guest: Guest) -> None:
    (guest.folder / "script").write_text("echo run by a shell\n", encoding="utf-8")
    (guest.folder / "script").chmod(0o755)
    exit_, seen = guest.run("./script")
    assert (exit_.code, seen.stdout) == (126, b"")
    assert b"Exec format error" in seen.stderr


def test_a_removed_folder_is_exit_126_and_said(guest: Guest) -> None:
    guest.folder.rmdir()
    exit_, seen = guest.run("true")
    assert exit_.code == 126
    assert seen.stderr == f"taskq: cannot run '{guest.folder}': No such file or directory\n".encode()


@pytest.mark.parametrize(
    ("argv", "variable"),
    [(("true", "a\0b"), "x"), (("true",), "a\0b"), (("tr\0ue",), "x")],
    ids=["argument", "variable", "program"],
)
def test_a_nul_character_is_exit_126(guest: Guest, argv: tuple[str, ...], variable: str) -> None:
    exit_, seen = guest.run(*argv, NAME=variable)
    assert exit_.code == 126
    assert b"NUL character" in seen.stderr


@pytest.mark.parametrize("size", [300_000, 5_000_000], ids=["the-kernel", "the-protocol"])
def test_arguments_that_are_too_long_are_exit_126_whoever_refuses_them(guest: Guest, size: int) -> None:
    exit_, seen = guest.run("true", "x" * size)
    assert exit_.code == 126
    assert b"Argument list too long" in seen.stderr
    assert guest.run("true")[0].succeeded


def test_the_program_is_looked_for_in_the_path_of_its_own_environment(guest: Guest) -> None:
    hidden = guest.folder / "programs" / "only-here"
    hidden.parent.mkdir()
    hidden.write_text("#!/bin/sh\necho found", encoding="utf-8")
    hidden.chmod(0o755)
    assert guest.run("only-here")[0].code == 127
    assert guest.run("only-here", PATH=f"/nowhere:{hidden.parent}:/bin")[1].stdout == b"found\n"


def test_a_program_that_never_reads_its_stdin_holds_nobody_up(guest: Guest) -> None:
    assert guest.run("true", stdin=b"x" * 10_000_000)[0].succeeded


def test_a_program_that_closes_its_stdin_goes_on(guest: Guest) -> None:
    _, seen = guest.run("/bin/sh", "-c", "exec <&-; echo on", stdin=b"x" * 1_000_000)
    assert seen.stdout == b"on\n"


def test_a_program_that_closes_its_output_goes_on(guest: Guest) -> None:
    assert guest.shell("exec >&- 2>&-; sleep 0.1; echo done > done")[0].succeeded
    assert (guest.folder / "done").exists()


def test_without_input_stdin_is_empty(guest: Guest) -> None:
    exit_, seen = guest.run("cat")
    assert (exit_.code, seen.chunks) == (0, [])


def test_stdin_that_came_too_late_for_one_command_is_not_read_by_the_next(guest: Guest) -> None:
    for _ in range(20):
        guest.run("true", stdin=b"late" * 100_000)
        assert guest.run("cat", stdin=b"own")[1].stdout == b"own"


def test_commands_run_one_after_the_other(guest: Guest) -> None:
    assert [guest.shell(f"exit {number}")[0].code for number in range(5)] == [0, 1, 2, 3, 4]


def test_a_second_command_waits_for_the_first(guest: Guest) -> None:
    order: list[str] = []
    up = threading.Event()

    def output(_stream: Stream, chunk: bytes) -> None:
        up.set()
        order.append(chunk.decode().strip())

    def first() -> None:
        guest.run_into(output, "/bin/sh", "-c", "echo first; sleep 0.2; echo last")

    thread = threading.Thread(target=first)
    thread.start()
    assert up.wait(20)
    guest.run_into(output, "echo", "second")
    thread.join(20)
    assert order == ["first", "last", "second"]


def test_a_failing_reader_ends_the_command_and_leaves_the_guest_usable(
    guest: Guest, living: Callable[[str], list[int]]
) -> None:
    def output(_stream: Stream, _chunk: bytes) -> None:
        raise StorageError("the disk is full")

    with pytest.raises(StorageError, match="disk is full"):
        guest.run_into(output, "/bin/sh", "-c", f"yes & echo hi; sleep 71001.{OWN}")
    assert not living(f"71001.{OWN}")
    assert guest.run("echo", "on")[1].stdout == b"on\n"
    assert not guest.session.is_lost


def test_the_environment_is_built_from_nothing(guest: Guest) -> None:
    _, seen = guest.run("env", EXTRA="given\nand more", EMPTY="")
    variables = [*(f"{name}={value}" for name, value in guest.environment.items()), "EXTRA=given\nand more", "EMPTY="]
    assert seen.stdout.decode() == "".join(f"{variable}\n" for variable in variables)


def test_no_descriptor_of_the_guest_is_inherited(guest: Guest) -> None:
    _, seen = guest.shell("for each in 0 1 2 3 4 5 6 7 8 9 10 11 12; do [ -e /proc/$$/fd/$each ] && echo $each; done")
    assert seen.stdout == b"0\n1\n2\n"


def test_each_command_has_a_session_of_its_own_and_no_terminal(guest: Guest) -> None:
    script = 'read -r _ _ _ _ _ session _ < /proc/$$/stat; [ "$session" = $$ ] && ! (: < /dev/tty) 2>/dev/null'
    assert guest.shell(script)[0].succeeded


ORDINARY = (1 << 31) - 1
"""The signals 1 to 31; two beyond them belong to the C library, which lets nobody change them."""


def test_signals_are_as_a_program_expects_them(guest: Guest) -> None:
    _, seen = guest.run("grep", "^Sig[BI]", "/proc/self/status")
    blocked, ignored = (int(line.split()[1], 16) for line in seen.stdout.splitlines())
    assert (blocked & ORDINARY, ignored & ORDINARY) == (0, 0)


def test_text_of_any_kind_goes_through(guest: Guest) -> None:
    odd = "ä\n 日本 \udcff'"
    _, seen = guest.run("printf", "%s", odd)
    assert seen.stdout == os.fsencode(odd)


def test_a_command_starts_in_its_folder(guest: Guest) -> None:
    assert Path(guest.run("pwd")[1].stdout.decode().strip()) == guest.folder.resolve()
