"""What every sandbox does, whatever it is made of. A new provider joins the table ``PROVIDERS``."""

import contextlib
import fcntl
import os
import shutil
import stat
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.adapters.sandbox.local.provider import LocalSandboxProvider
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.errors import SandboxError, StorageError, WorkFailedError
from orchestration.core.models import Limits
from orchestration.core.naming import TaskId
from orchestration.core.ports import Command, Exit, Sandbox, SandboxProvider, Stream

PROVIDERS: dict[str, tuple[str | None, Callable[[], SandboxProvider]]] = {
    "local-in-bubblewrap": ("bwrap", lambda: LocalSandboxProvider(use_bubblewrap=True)),
    "local-without": (None, lambda: LocalSandboxProvider(use_bubblewrap=False)),
}
PATIENCE = timedelta(seconds=20)
OWN = f"{os.getpid()}s"
"""Makes what our processes sleep unlike what those of another test run do."""


@dataclass
class Seen:
    """Takes output as it comes."""

    stdout: bytes = b""
    stderr: bytes = b""
    chunks: list[tuple[Stream, bytes]] = field(default_factory=list)

    def __call__(self, stream: Stream, chunk: bytes) -> None:
        self.chunks.append((stream, chunk))
        setattr(self, stream, getattr(self, stream) + chunk)


@dataclass(frozen=True)
class Opened:
    sandbox: Sandbox
    provider: SandboxProvider
    spec: AttemptSpec
    folders: AttemptFolders

    def run(self, *argv: str, seconds: float = 20, stdin: bytes = b"", **env: str) -> tuple[Exit, Seen]:
        seen = Seen()
        timeout = timedelta(seconds=seconds)
        return self.sandbox.run(Command(argv=argv, timeout=timeout, stdin=stdin, env=env), seen), seen

    def shell(self, script: str, **options: float) -> tuple[Exit, Seen]:
        return self.run("/bin/sh", "-c", script, **options)  # type: ignore[arg-type]  # only `seconds` is passed on


@pytest.fixture(scope="module", params=PROVIDERS)
def provider(request: pytest.FixtureRequest, capability: Callable[[str], None]) -> SandboxProvider:
    needs, make = PROVIDERS[request.param]
    if needs is not None:
        capability(needs)
    return make()


@pytest.fixture(scope="module")
def shared_box(provider: SandboxProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    with opened(provider, tmp_path_factory.mktemp("shared")) as box:
        yield box


@pytest.fixture
def box(shared_box: Opened) -> Opened:
    """Return a sandbox with empty folders; it was used before."""
    folders = shared_box.folders
    for folder in (folders.workspace, folders.git, folders.config, folders.out):
        for entry in folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    return shared_box


@pytest.fixture
def own_box(provider: SandboxProvider, tmp_path: Path) -> Iterator[Opened]:
    """Return a sandbox that a test may spoil."""
    with opened(provider, tmp_path) as box:
        yield box


@contextlib.contextmanager
def opened(provider: SandboxProvider, root: Path) -> Iterator[Opened]:
    folders = AttemptFolders(root=root / "attempt")
    folders.root.mkdir()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    spec = AttemptSpec(
        version=1,
        queue=f"queue-{os.getpid()}",
        task=TaskId("T-1"),
        attempt=1,
        token=1,
        text="do it",
        repo="/nowhere",
        base="main",
        base_commit="0" * 40,
        branch="task/t-1",
        worktree_path=None,
        agent="command",
        agent_command=None,
        model=None,
        sandbox="local",
        limits=Limits(),
        allow_empty=False,
        created_at=now,
        start_commit="0" * 40,
        previous_tip=None,
        collect=1,
    )
    lease = os.open(folders.lease, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lease, fcntl.LOCK_EX)
        with provider.open(spec, folders, lease=lease) as sandbox:
            yield Opened(sandbox, provider, spec, folders)
    finally:
        os.close(lease)


def living(token: str) -> list[int]:
    """Return the host's processes that have *token* in their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if token.encode() in (entry / "cmdline").read_bytes() and int(entry.name) != os.getpid():
                    found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE.total_seconds()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


# --- commands -------------------------------------------------------------------------------------------------------


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


# --- the end of processes -------------------------------------------------------------------------------------------


def test_a_timeout_reaches_a_double_forked_grandchild_in_its_own_session(box: Opened) -> None:
    seen_alive: list[list[int]] = []

    def output(_stream: Stream, _chunk: bytes) -> None:
        seen_alive.append(living(f"70002.{OWN}"))

    script = f"(setsid /bin/sh -c 'echo up; trap \"\" TERM HUP INT; sleep 70002.{OWN}; :' &) ; sleep 70002.{OWN}"
    command = Command(argv=("/bin/sh", "-c", script), timeout=timedelta(seconds=0.5))
    exit_ = box.sandbox.run(command, output)
    assert exit_.timed_out
    assert not exit_.succeeded
    assert seen_alive[0], "the control: it was there"
    assert not living(f"70002.{OWN}")


@pytest.mark.parametrize(
    "how",
    ["/bin/sh", "setsid /bin/sh", "setsid env -i /bin/sh", "nohup setsid -f /bin/sh"],
    ids=["child", "own-session", "no-environment", "daemon"],
)
def test_what_a_command_leaves_behind_is_gone_when_run_returns(box: Opened, how: str) -> None:
    seen_alive: list[list[int]] = []

    def output(_stream: Stream, chunk: bytes) -> None:
        if b"up" in chunk:
            seen_alive.append(living(f"70003.{OWN}"))
            (box.folders.out / "seen").touch()

    script = f"""({how} -c 'echo up; sleep 70003.{OWN}; :' &)
        while [ ! -e "$TASKQ_OUT/seen" ]; do sleep 0.01; done; exit 4"""
    exit_ = box.sandbox.run(Command(argv=("/bin/sh", "-c", script), timeout=PATIENCE), output)
    assert exit_.code == 4
    assert seen_alive[0], "the control: it was there"
    assert not living(f"70003.{OWN}")


HOPPER = """
import os, sys, time
end = time.monotonic() + 15
if os.fork():
    os.write(1, b"hopping")
    time.sleep(30)
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    os.setsid()
"""


def test_a_process_that_forks_and_flees_without_end_is_caught(box: Opened) -> None:
    script = box.folders.workspace / f"hopper-{OWN}.py"
    script.write_text(HOPPER, encoding="utf-8")
    began = time.monotonic()
    exit_, seen = box.run("python3", "-S", str(script), seconds=0.5)
    assert exit_.timed_out
    assert seen.stdout == b"hopping"
    assert not living(f"hopper-{OWN}")
    assert time.monotonic() - began < 12, "it was killed, it did not just end by itself"


def test_a_fork_storm_is_ended(box: Opened) -> None:
    storm = f"n=0; while [ $n -lt 300 ]; do (sleep 70006.{OWN} &) ; n=$((n+1)); done; echo all; wait; sleep 70006.{OWN}"
    exit_, _ = box.shell(storm, seconds=0.6)
    assert exit_.timed_out
    assert not living(f"70006.{OWN}")


def test_stop_from_another_thread_ends_the_command(own_box: Opened) -> None:
    running = threading.Event()
    results: list[Exit] = []

    def work() -> None:
        command = Command(argv=("/bin/sh", "-c", f"echo up; sleep 70007.{OWN}"), timeout=PATIENCE)
        results.append(own_box.sandbox.run(command, lambda _stream, _chunk: running.set()))

    thread = threading.Thread(target=work)
    thread.start()
    assert running.wait(20)
    own_box.sandbox.stop()
    thread.join(20)
    assert (results[0].stopped, results[0].timed_out, results[0].succeeded) == (True, False, False)
    assert not living(f"70007.{OWN}")


def test_after_stop_no_command_is_run(own_box: Opened) -> None:
    own_box.sandbox.stop()
    with pytest.raises(SandboxError, match="stopped") as caught:
        own_box.shell('touch "$TASKQ_OUT/ran"')
    assert caught.value.code == "sandbox_stopped"
    assert not (own_box.folders.out / "ran").exists()


def test_after_a_timeout_the_next_command_is_run(box: Opened) -> None:
    assert box.run("sleep", f"70008.{OWN}", seconds=0.1)[0].timed_out
    assert box.run("true")[0].succeeded


def test_leaving_the_block_ends_a_command_that_still_runs(
    provider: SandboxProvider, box: Opened, tmp_path: Path
) -> None:
    folders = AttemptFolders(root=tmp_path / "second")
    folders.root.mkdir()
    errors: list[Exception] = []
    with (tmp_path / "lease").open("w", encoding="utf-8") as lease:
        with provider.open(box.spec, folders, lease=lease.fileno()) as sandbox:
            thread = threading.Thread(target=_run_and_note, args=(sandbox, errors))
            thread.start()
            wait_until(lambda: living(f"70009.{OWN}"))
        thread.join(20)
    assert not living(f"70009.{OWN}")
    assert isinstance(errors[0], SandboxError)


def _run_and_note(sandbox: Sandbox, errors: list[Exception]) -> None:
    try:
        sandbox.run(Command(argv=("sleep", f"70009.{OWN}"), timeout=PATIENCE))
    except SandboxError as error:
        errors.append(error)


# --- surroundings ---------------------------------------------------------------------------------------------------


def test_the_environment_is_built_from_nothing(box: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERATOR_TOKEN", "canary")
    _, seen = box.run("env", EXTRA="given")
    variables = dict(line.split("=", 1) for line in seen.stdout.decode().splitlines())
    data = str(box.folders.data)
    assert variables.pop("PATH") == os.environ["PATH"]
    assert {name: value.replace(data, "DATA") for name, value in variables.items()} == {
        "HOME": "DATA/home",
        "TMPDIR": "DATA/tmp",
        "XDG_CONFIG_HOME": "DATA/home/.config",
        "XDG_CACHE_HOME": "DATA/home/.cache",
        "XDG_DATA_HOME": "DATA/home/.local/share",
        "XDG_STATE_HOME": "DATA/home/.local/state",
        "XDG_RUNTIME_DIR": "DATA/run",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "SHELL": "/bin/sh",
        "USER": "taskq",
        "LOGNAME": "taskq",
        "GIT_CONFIG_NOSYSTEM": "1",
        "TASKQ_QUEUE_ID": box.spec.queue,
        "TASKQ_TASK_ID": "T-1",
        "TASKQ_ATTEMPT": "1",
        "TASKQ_OUT": str(box.folders.out),
        "TASKQ_CONFIG": str(box.folders.config),
        "TASKQ_SANDBOX": "local",
        "EXTRA": "given",
    }


def test_no_descriptor_of_ours_is_inherited(box: Opened) -> None:
    _, seen = box.shell("for each in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$each ] && echo $each; done; exit 0")
    assert seen.stdout == b""


def test_commands_run_in_the_workspace_and_may_write_the_attempts_folders(box: Opened) -> None:
    exit_, seen = box.shell('pwd; touch here "$HOME/x" "$TMPDIR/x" "$XDG_RUNTIME_DIR/x" "$TASKQ_OUT/x" ../git/x')
    assert exit_.succeeded, seen.stderr
    assert seen.stdout.decode().strip() == str(box.folders.workspace)
    assert (box.folders.workspace / "here").exists()


def test_each_command_has_a_session_of_its_own_and_no_terminal(box: Opened) -> None:
    exit_, _ = box.shell(
        'read -r _ _ _ _ _ session _ < /proc/$$/stat; [ "$session" = $$ ] && ! (: < /dev/tty) 2>/dev/null'
    )
    assert exit_.succeeded


# --- files in -------------------------------------------------------------------------------------------------------


def test_a_sent_file_is_read_inside_under_the_returned_path(box: Opened) -> None:
    path = box.sandbox.send("task.md", b"first")
    assert box.sandbox.send("task.md", b"second") == path
    _, seen = box.run("cat", path)
    assert seen.stdout == b"second"


def test_a_sent_file_is_for_its_owner_to_read(box: Opened) -> None:
    path = Path(box.sandbox.send("secret", b"x"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/x", ".hidden", "a\0b"])
def test_only_a_plain_name_can_be_sent(box: Opened, name: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        box.sandbox.send(name, b"")


def test_a_file_that_cannot_be_kept_is_a_storage_error(box: Opened) -> None:
    (box.folders.config / "taken").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        box.sandbox.send("taken", b"")
    assert [entry.name for entry in box.folders.config.iterdir()] == ["taken"]


# --- files out ------------------------------------------------------------------------------------------------------


def fetch_code(box: Opened, name: str, to: Path, *, limit: int = 1000) -> str:
    """Return the code with which fetching is refused; nothing may be left of it."""
    with pytest.raises(WorkFailedError) as caught:
        box.sandbox.fetch(name, to, limit=limit)
    assert not to.exists()
    assert not str(caught.value).endswith(".")
    return caught.value.code


def test_a_regular_file_is_fetched(box: Opened, tmp_path: Path) -> None:
    box.shell('mkdir "$TASKQ_OUT/sub" && printf 0123456789 > "$TASKQ_OUT/sub/result"')
    box.sandbox.fetch("sub/result", tmp_path / "to", limit=10)
    assert (tmp_path / "to").read_bytes() == b"0123456789"


def test_a_missing_file_is_refused(box: Opened, tmp_path: Path) -> None:
    assert fetch_code(box, "nothing", tmp_path / "to") == "missing_output"


@pytest.mark.parametrize(
    "make",
    [
        'ln -s /etc/passwd "$TASKQ_OUT/result"',
        'echo x > "$TASKQ_OUT/other"; ln -s other "$TASKQ_OUT/result"',
        'mkfifo "$TASKQ_OUT/result"',
        'mkdir "$TASKQ_OUT/result"',
        'echo x > "$TASKQ_OUT/other"; ln "$TASKQ_OUT/other" "$TASKQ_OUT/result"',
        """python3 -c 'import os, socket; os.chdir(os.environ["TASKQ_OUT"]); socket.socket(1).bind("result")'""",
    ],
    ids=["link-out", "link-inside", "fifo", "folder", "hard-link", "socket"],
)
def test_what_is_no_plain_file_is_refused(box: Opened, tmp_path: Path, make: str) -> None:
    exit_, seen = box.shell(make)
    assert exit_.succeeded, seen.stderr
    assert fetch_code(box, "result", tmp_path / "to") == "unsafe_output"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_a_device_is_refused(box: Opened, tmp_path: Path) -> None:
    os.mknod(box.folders.out / "result", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    assert fetch_code(box, "result", tmp_path / "to") == "unsafe_output"


def test_a_link_on_the_way_is_refused(box: Opened, tmp_path: Path) -> None:
    box.shell('ln -s /etc "$TASKQ_OUT/sub"')
    assert fetch_code(box, "sub/passwd", tmp_path / "to") == "unsafe_output"


@pytest.mark.parametrize("name", ["../lease", "/etc/passwd", "a/../../b", "", "a//b"])
def test_a_path_that_leads_out_is_our_own_mistake(box: Opened, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no path below"):
        box.sandbox.fetch(name, tmp_path / "to", limit=1000)


def test_a_file_above_the_limit_is_refused_however_sparse(box: Opened, tmp_path: Path) -> None:
    assert box.shell('truncate -s 1T "$TASKQ_OUT/sparse" || truncate -s 1G "$TASKQ_OUT/sparse"')[0].succeeded
    assert fetch_code(box, "sparse", tmp_path / "to") == "output_limit"


def test_nothing_on_the_host_is_overwritten(box: Opened, tmp_path: Path) -> None:
    (tmp_path / "to").write_text("mine", encoding="utf-8")
    box.shell('echo x > "$TASKQ_OUT/result"')
    with pytest.raises(StorageError, match="cannot make"):
        box.sandbox.fetch("result", tmp_path / "to", limit=1000)
    assert (tmp_path / "to").read_text(encoding="utf-8") == "mine"


def test_the_archive_holds_files_and_links_as_links_and_no_git(box: Opened, tmp_path: Path) -> None:
    script = """
        mkdir -p a/b .git A/.GIT 'c/.git ' 'd/git~1' empty
        echo 1 > a/b/file; echo 2 > run; chmod 700 run; ln -s /etc/passwd link; ln run second; mkfifo fifo
        touch .git/config A/.GIT/config 'c/.git /config' 'd/git~1/config' .gitignore
    """
    exit_, seen = box.shell(script)
    assert exit_.succeeded, seen.stderr
    box.sandbox.archive(tmp_path / "tar", limit=1000, files=20)
    with tarfile.open(tmp_path / "tar") as archive:
        members = {
            each.name: (each.linkname if each.issym() else archive.extractfile(each).read(), each.mode)  # type: ignore[union-attr]  # a file
            for each in archive
        }
    assert members == {
        ".gitignore": (b"", 0o644),
        "a/b/file": (b"1\n", 0o644),
        "link": ("/etc/passwd", 0o644),
        "run": (b"2\n", 0o755),
        "second": (b"2\n", 0o755),
    }


def test_the_same_tree_gives_the_same_archive(box: Opened, tmp_path: Path) -> None:
    box.shell("for n in 3 1 2; do mkdir $n; echo $n > $n/file; echo $n > $n.txt; done")
    box.sandbox.archive(tmp_path / "one", limit=1000, files=20)
    box.shell("touch -d 2001-01-01 1/file; rm 2.txt; echo 2 > 2.txt")
    box.sandbox.archive(tmp_path / "two", limit=1000, files=20)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    ("make", "why"),
    [("truncate -s 1001 big", "larger than 1000 bytes"), ("for n in 1 2 3 4 5 6; do mkdir $n; done", "more than 5")],
)
def test_an_archive_stays_below_its_limits(box: Opened, tmp_path: Path, make: str, why: str) -> None:
    box.shell(make)
    with pytest.raises(WorkFailedError, match=why) as caught:
        box.sandbox.archive(tmp_path / "tar", limit=1000, files=5)
    assert caught.value.code == "archive_limit"
    assert not (tmp_path / "tar").exists()


# --- the provider ---------------------------------------------------------------------------------------------------


def test_the_provider_says_that_it_can_be_used(provider: SandboxProvider) -> None:
    health = provider.check()
    assert health.usable
    assert health.detail


def test_nothing_is_reaped_where_nothing_was_left(provider: SandboxProvider) -> None:
    assert provider.reap({"taskq.queue": "no-such-queue"}) == 0
