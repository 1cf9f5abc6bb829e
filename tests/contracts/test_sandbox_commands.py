"""What every sandbox does with a command: its output, its input, its end, its surroundings."""

import os
import threading
from pathlib import Path

import pytest

from orchestration.core.errors import StorageError
from orchestration.core.ports import Command, SandboxProvider, Stream
from tests.contracts.sandboxes import OWN, PATIENCE, Opened, living


def test_output_arrives_per_stream_and_in_order(box: Opened) -> None:
    _, seen = box.shell("for i in 1 2 3; do echo out $i; echo err $i >&2; done")
    assert (seen.stdout, seen.stderr) == (b"out 1\nout 2\nout 3\n", b"err 1\nerr 2\nerr 3\n")


def test_output_arrives_while_the_command_runs(box: Opened) -> None:
    told = threading.Event()
    flag = box.folders.out / "heard"

    def output(_stream: Stream, _chunk: bytes) -> None:
        flag.touch()
        told.set()

    script = 'echo first; while [ ! -e "$TASKQ_OUT/heard" ]; do :; done'
    exit_ = box.sandbox.run(Command(argv=("/bin/sh", "-c", script), timeout=PATIENCE), output)
    assert exit_.succeeded
    assert told.is_set()


def test_bytes_of_any_value_arrive_unchanged(box: Opened) -> None:
    every_byte = bytes(range(256)) * 5
    _, seen = box.run("cat", stdin=every_byte)
    assert seen.stdout == every_byte


def test_the_exit_code_is_reported(box: Opened) -> None:
    exit_, _ = box.shell("exit 137")
    assert (exit_.code, exit_.signal, exit_.succeeded) == (137, None, False)


def test_a_signal_is_reported_as_one(box: Opened) -> None:
    exit_, _ = box.shell("kill -SEGV $$")
    assert (exit_.code, exit_.signal) == (None, 11)


def test_an_unknown_program_is_exit_127_and_said_on_stderr(box: Opened) -> None:
    exit_, seen = box.run("no-such-program")
    assert exit_.code == 127
    assert b"no-such-program" in seen.stderr


def test_a_file_that_is_no_program_is_exit_126(box: Opened) -> None:
    (box.folders.workspace / "notes").write_text("not a program", encoding="utf-8")
    exit_, seen = box.run("./notes")
    assert exit_.code == 126
    assert b"Permission denied" in seen.stderr


def test_a_removed_workspace_is_an_exit_not_a_hang(own_box: Opened) -> None:
    removed = own_box.shell('cd / && rmdir "$OLDPWD"')[0].succeeded
    assert own_box.run("true")[0].code == (126 if removed else 0)


def test_a_program_that_never_reads_its_stdin_holds_nobody_up(box: Opened) -> None:
    exit_, _ = box.run("true", stdin=b"x" * 10_000_000)
    assert exit_.succeeded


def test_a_program_that_closes_its_stdin_goes_on(box: Opened) -> None:
    _, seen = box.run("/bin/sh", "-c", "exec <&-; echo on", stdin=b"x" * 1_000_000)
    assert seen.stdout == b"on\n"


def test_a_program_that_closes_its_output_goes_on(box: Opened) -> None:
    exit_, _ = box.shell('exec >&- 2>&-; echo done > "$TASKQ_OUT/done"')
    assert exit_.succeeded
    assert (box.folders.out / "done").read_text(encoding="utf-8") == "done\n"


def test_without_input_stdin_is_empty(box: Opened) -> None:
    assert box.run("cat")[0].succeeded


def test_a_flood_neither_blocks_nor_is_kept(box: Opened) -> None:
    sizes: list[int] = []
    memory: list[int] = []

    def output(_stream: Stream, chunk: bytes) -> None:
        sizes.append(len(chunk))
        memory.append(int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]))

    box.sandbox.run(Command(argv=("head", "-c", "100000000", "/dev/zero"), timeout=PATIENCE), output)
    assert sum(sizes) == 100_000_000
    assert (max(memory) - memory[0]) * os.sysconf("SC_PAGESIZE") < 20_000_000


def test_commands_run_one_after_the_other(box: Opened) -> None:
    results = [box.shell(f"exit {number}")[0].code for number in range(5)]
    assert results == [0, 1, 2, 3, 4]


def test_a_failing_reader_ends_the_command_and_leaves_the_sandbox_usable(box: Opened) -> None:
    def output(_stream: Stream, _chunk: bytes) -> None:
        raise StorageError("the disk is full")

    with pytest.raises(StorageError, match="disk is full"):
        box.sandbox.run(Command(argv=("/bin/sh", "-c", f"echo hi; sleep 70001.{OWN}"), timeout=PATIENCE), output)
    assert not living(f"70001.{OWN}")
    assert box.run("true")[0].succeeded


def test_the_environment_is_built_from_nothing(box: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERATOR_TOKEN", "canary")
    _, seen = box.run("env", EXTRA="given")
    variables = dict(line.split("=", 1) for line in seen.stdout.decode().splitlines())
    inside = box.kind.inside(box.folders)
    assert set(variables.pop("PATH").split(":")) >= {"/usr/bin", "/bin"}
    assert {name: value for name, value in variables.items() if not name.startswith(box.kind.of_image)} == {
        "HOME": f"{inside.data}/home",
        "TMPDIR": f"{inside.data}/tmp",
        "XDG_CONFIG_HOME": f"{inside.data}/home/.config",
        "XDG_CACHE_HOME": f"{inside.data}/home/.cache",
        "XDG_DATA_HOME": f"{inside.data}/home/.local/share",
        "XDG_STATE_HOME": f"{inside.data}/home/.local/state",
        "XDG_RUNTIME_DIR": f"{inside.data}/run",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "SHELL": "/bin/sh",
        "USER": "taskq",
        "LOGNAME": "taskq",
        "GIT_CONFIG_NOSYSTEM": "1",
        "TASKQ_QUEUE_ID": box.spec.queue,
        "TASKQ_TASK_ID": "T-1",
        "TASKQ_ATTEMPT": "1",
        "TASKQ_OUT": str(inside.out),
        "TASKQ_CONFIG": str(inside.config),
        "TASKQ_SECRETS": str(inside.secrets),
        "TASKQ_SANDBOX": box.kind.name,
        "EXTRA": "given",
    }


def test_no_descriptor_of_ours_is_inherited(box: Opened) -> None:
    _, seen = box.shell("for each in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$each ] && echo $each; done; exit 0")
    assert seen.stdout == b""


def test_commands_run_in_the_workspace_and_may_write_the_attempts_folders(box: Opened) -> None:
    exit_, seen = box.shell('pwd; touch here "$HOME/x" "$TMPDIR/x" "$XDG_RUNTIME_DIR/x" "$TASKQ_OUT/x" ../git/x')
    assert exit_.succeeded, seen.stderr
    assert seen.stdout.decode().strip() == str(box.kind.inside(box.folders).workspace)
    assert (box.folders.workspace / "here").exists()


def test_each_command_has_a_session_of_its_own_and_no_terminal(box: Opened) -> None:
    exit_, _ = box.shell(
        'read -r _ _ _ _ _ session _ < /proc/$$/stat; [ "$session" = $$ ] && ! (: < /dev/tty) 2>/dev/null'
    )
    assert exit_.succeeded


def test_the_provider_says_that_it_can_be_used(provider: SandboxProvider) -> None:
    health = provider.check()
    assert health.usable
    assert health.detail


def test_a_sandbox_says_whether_something_can_go_on_beside_its_commands(box: Opened) -> None:
    assert (box.sandbox.services is not None) is box.kind.serves


def test_nothing_is_reaped_where_nothing_was_left(provider: SandboxProvider) -> None:
    assert provider.reap({"taskq.queue": "no-such-queue"}) == 0
