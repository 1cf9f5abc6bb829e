"""The real command line, whose N-th system call of each kind fails or kills it; then new processes look at the queue.

Exit code 0 means that the change is there, an error that it is not, or that it is said to be in doubt.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from orchestration.core.errors import EXIT_DAMAGED, EXIT_NOT_NOW
from orchestration.core.status import Status
from orchestration.store.tasks import JournalTaskStore
from orchestration.support.clock import SystemClock

ROOT = Path(__file__).resolve().parents[3]
READER = Path(__file__).with_name("reader.py")
RUN = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from orchestration.taskq import main; main()"
TASKQ: Final = (sys.executable, "-B", "-c", RUN)
CALLS: Final = ("write", "pwrite64", "fdatasync", "fsync", "rename", "ftruncate", "link", "linkat", "unlink", "mkdir")
KILL: Final = "signal=KILL"
HURT: Final = {"KILL": KILL, "EIO": "error=EIO", "ENOSPC": "error=ENOSPC"}
KILLED: Final = -9
Statuses = Mapping[str, str]

pytestmark = pytest.mark.full


class Command(NamedTuple):
    """What is asked, and the states that a queue may be in: before, amid it if it takes several steps, after."""

    argv: tuple[str, ...]
    states: tuple[Statuses, ...]
    prepare: Callable[[Path], object] = lambda _queue: None


def forget_everything(queue: Path) -> None:
    queue.joinpath("tasks.jsonl").unlink()
    shutil.rmtree(queue / "locks")


def bend_the_last_line_but_one(queue: Path) -> None:
    journal = queue / "tasks.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"id":"b"', b'"id":"X"'))


def cancel_b(queue: Path) -> None:
    store = JournalTaskStore(queue, SystemClock())
    store.change("b", lambda task: task.advance(Status.CANCELLED, at=task.created_at), by="test")


def change_much(queue: Path) -> None:
    store = JournalTaskStore(queue, SystemClock())
    for title in ("one", "two", "three"):
        for name in ("a", "b"):
            store.change(name, lambda task, title=title: task._replace(title=title), by="test")


A_TASK: Final = ("--repo", "repo", "--agent-command", "true", "--sandbox", "local")
BOTH: Final = {"a": "todo", "b": "todo"}
COMMANDS: Final = {
    "the first add": Command(("add", "--id", "n", "--task", "x", *A_TASK), ({}, {"n": "todo"}), forget_everything),
    "an add": Command(("add", "--id", "n", "--task", "x", *A_TASK), (BOTH, {**BOTH, "n": "todo"})),
    "an add of a long text": Command(("add", "--from", "long.jsonl", *A_TASK), (BOTH, {**BOTH, "n": "todo"})),
    "a cancel": Command(("cancel", "b"), (BOTH, {**BOTH, "b": "cancelled"})),
    "a remove": Command(("remove", "b"), (BOTH, {**BOTH, "b": "cancelled"}, {"a": "todo"})),
    "a compact": Command(("compact",), (BOTH, BOTH), change_much),
    "an archive": Command(
        ("archive", "--older-than", "1ms"), ({"a": "todo", "b": "cancelled"}, {"a": "todo"}), cancel_b
    ),
    "a repair": Command(("fsck", "--repair"), ({"a": "todo"}, {"a": "todo"}), bend_the_last_line_but_one),
}


class Outcome(NamedTuple):
    """One run of a command that was hurt."""

    queue: Path
    fault: str
    code: int
    said: str
    complaint: str
    is_hurt: bool

    def possible(self, states: Sequence[Statuses]) -> Sequence[Statuses]:
        """Return the states that are in keeping with what the command said."""
        if self.code == 0 or (self.code == KILLED and self.said):
            return states[-1:]
        if self.code == KILLED or (self.code == EXIT_DAMAGED and "in doubt" in self.complaint):
            return states
        assert self.code in {EXIT_NOT_NOW, EXIT_DAMAGED}, self
        return states[:1] if states[0] == states[-1] else states[:-1]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, own_world: Path) -> Path:
    """A folder with a repository and a queue of two tasks."""
    folder = tmp_path_factory.mktemp("template")
    subprocess.run(["git", "init", "--quiet", "repo"], cwd=folder, check=True)
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "-m", "begin"], cwd=folder / "repo", check=True)
    (folder / "long.jsonl").write_text(json.dumps({"id": "n", "text": "long " * 60_000}) + "\n", encoding="utf-8")
    for argv in (("init", "queue"), *(("add", "--id", each, "--task", "x", *A_TASK) for each in "ab")):
        subprocess.run([*TASKQ, *argv], cwd=folder, check=True, capture_output=True)
    return folder


def run(argv: Sequence[str], queue: Path, folder: Path, fault: str) -> tuple[Outcome, list[str]]:
    """Run taskq with *fault* injected, if any; return how it ended and the calls that were seen."""
    trace = queue.with_suffix(".trace")
    inject = ("-e", f"inject={fault}") if fault else ()
    # The interpreter writes to much else, so that for `write` the files are named.
    paths = [queue / "tasks.jsonl", queue / "locks/journal.lock", queue / "tasks/n.md"]
    limits = [word for path in paths for word in ("-P", str(path))] if fault.startswith("write") else ()
    calls = fault.partition(":")[0] or ",".join(CALLS)
    quick = () if "signal" in fault else ("--seccomp-bpf",)  # with it, strace delivers no signal
    strace = ("strace", "-f", "-qq", *quick, "-o", str(trace), *limits, "-e", f"trace={calls}", *inject)
    done = subprocess.run(
        [*strace, *TASKQ, *argv, "--queue", str(queue)], cwd=folder, capture_output=True, text=True, check=False
    )
    made = [line for line in trace.read_text("utf-8", "replace").splitlines() if "(" in line]
    is_hurt = done.returncode == KILLED or any("(INJECTED)" in line for line in made)
    return Outcome(queue, fault, done.returncode, done.stdout, done.stderr, is_hurt), made


def hurt(command: Command, effect: str, template: Path, folder: Path) -> list[Outcome]:
    """Run the command with each of its calls hurt, until it passes without."""

    def a_queue(name: str) -> Path:
        queue = Path(shutil.copytree(template / "queue", folder / name))
        command.prepare(queue)
        return queue

    sound, made = run(command.argv, a_queue("sound"), template, "")
    assert sound.code == 0, sound
    outcomes = [sound]
    for call in [call for call in CALLS if any(f" {call}(" in line for line in made)]:
        for when in count(1):
            outcome, _ = run(command.argv, a_queue(f"{call}-{when}"), template, f"{call}:{effect}:when={when}")
            outcomes.append(outcome)
            if not outcome.is_hurt:
                assert outcome.code == 0, outcome
                break
    return outcomes


def states_there(outcomes: Sequence[Outcome]) -> list[tuple[Statuses, Statuses]]:
    """Return what a new process sees in each queue, as it is and once it was repaired and used."""
    done = subprocess.run(
        [sys.executable, str(READER), str(ROOT), "use"],
        input="".join(f"{each.queue}\n" for each in outcomes),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    return [(statuses(each["before"]), statuses(each["after"])) for each in seen]


def statuses(seen: Mapping[str, Mapping[str, Sequence[str]]]) -> Statuses:
    return {name: facts[0] for name, facts in seen["tasks"].items()}


@pytest.mark.parametrize("effect", HURT)
@pytest.mark.parametrize("name", COMMANDS)
def test_whatever_call_of_a_command_is_hurt_its_exit_code_tells_the_truth(
    name: str, effect: str, template: Path, tmp_path: Path, capability: Callable[[str], None]
) -> None:
    capability("strace")
    command = COMMANDS[name]
    outcomes = hurt(command, HURT[effect], template, tmp_path)
    for outcome, (before, after) in zip(outcomes, states_there(outcomes), strict=True):
        assert before in outcome.possible(command.states), outcome
        assert after == {**before, "later": "todo"}, outcome
    syncs = [outcome for outcome in outcomes if outcome.is_hurt and outcome.fault.startswith(("fsync", "fdatasync"))]
    assert syncs
    assert all(outcome.code != 0 for outcome in syncs), "a failed sync was tried again, or not looked at"
    codes = {outcome.code for outcome in outcomes}
    assert codes >= ({0, KILLED} if effect == "KILL" else {0, EXIT_NOT_NOW})
    sys.stdout.write(f"{name}, {effect}: {len(outcomes)} runs, exit codes {sorted(codes)}\n")


def test_the_command_line_sees_what_a_new_process_of_ours_sees(
    template: Path, tmp_path: Path, capability: Callable[[str], None]
) -> None:
    capability("strace")
    command = COMMANDS["an add"]
    for when, fault in enumerate(
        ("write:error=EIO:when=1", "fdatasync:error=EIO:when=1", "fdatasync:signal=KILL:when=1")
    ):
        queue = Path(shutil.copytree(template / "queue", tmp_path / f"queue-{when}"))
        outcome, _ = run(command.argv, queue, template, fault)
        argv = [*TASKQ, "status", "--json", "--queue", str(queue)]
        shown = subprocess.run(argv, capture_output=True, text=True, check=True)
        seen = {task["id"]: task["status"] for task in json.loads(shown.stdout)}
        assert [seen] == [before for before, _ in states_there([outcome])]
        assert ("in doubt" in shown.stderr) is ("in doubt" in outcome.complaint)
