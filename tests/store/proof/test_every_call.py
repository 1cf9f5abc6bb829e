"""Each call to the disk goes wrong once, in each way, amid a dozen operations; a new process looks at what is left."""

import errno
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestration.core.errors import CorruptStateError, StorageError, UsageError
from orchestration.store.layout import create_queue
from orchestration.store.tasks import JournalTaskStore
from orchestration.support.files import Disk
from tests.store.proof.script import OPERATIONS, Model, State

ROOT = Path(__file__).resolve().parents[3]
READER = Path(__file__).with_name("reader.py")
SEED = 20261121
SHORT = 0
"""Instead of an error: the call takes a part of what it was given."""
FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EINTR": errno.EINTR, "short": SHORT}
OpenStore = Callable[..., JournalTaskStore]


class OnceFaultyDisk(Disk):
    """The *at*-th of all calls (from 1) goes wrong with *error*; SHORT is for calls that take bytes."""

    def __init__(self, at: int, error: int) -> None:
        self.calls = 0
        self.failed: str | None = None
        self._at = at
        self._error = error

    def _fails(self, call: str) -> bool:
        self.calls += 1
        if self.calls == self._at and self._error:
            self.failed = call
            raise OSError(self._error, os.strerror(self._error))
        return self.calls == self._at

    def write(self, descriptor: int, content: bytes) -> int:
        return super().write(descriptor, content[: len(content) // 2] if self._fails("write") else content)

    def overwrite(self, descriptor: int, content: bytes, offset: int) -> int:
        return super().overwrite(
            descriptor, content[: len(content) // 2] if self._fails("overwrite") else content, offset
        )

    def truncate(self, descriptor: int, size: int) -> None:
        self._fails("truncate")
        super().truncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        self._fails("sync")
        super().sync(descriptor)

    def sync_all(self, descriptor: int) -> None:
        self._fails("sync_all")
        super().sync_all(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        self._fails("replace")
        super().replace(source, target)

    def lock(self, descriptor: int) -> None:
        self._fails("lock")
        super().lock(descriptor)


class Run(NamedTuple):
    """One pass through the operations: what may be there after it, and what was said of each operation."""

    folder: Path
    possible: Sequence[State]
    outcomes: tuple[str, ...]
    calls: int
    failed: str | None
    """The call that raised, if one did."""


def run(folder: Path, open_store: OpenStore, at: int, error: int) -> Run:
    """Do all operations, by turns through two stores, and follow in a dictionary what they say of themselves."""
    create_queue(folder)
    disk = OnceFaultyDisk(at, error)
    stores = [open_store(disk, folder) for _ in range(2)]
    model = Model()
    doubted: list[State] = []
    outcomes = []
    for number, operation in enumerate(OPERATIONS):
        after = model.copy()
        try:
            operation.on_model(after)
            is_due = True
        except KeyError:
            is_due = False
        try:
            operation.on_store(stores[number % 2])
        except (UsageError, KeyError):
            assert not is_due, operation.name
            outcomes.append("refused")
        except StorageError:
            outcomes.append("failed")
        except CorruptStateError as told:
            if told.code == "in_doubt" and is_due:
                doubted.append(after.tasks)
            outcomes.append(told.code)
        else:
            assert is_due, operation.name
            model = after
            outcomes.append("done")
    return Run(folder, [model.tasks, *doubted], tuple(outcomes), disk.calls, disk.failed)


def look(runs: Sequence[Run]) -> None:
    """Let a new process read and then use every queue; it must see what the dictionaries say."""
    done = subprocess.run(
        [sys.executable, str(READER), str(ROOT), "use"],
        input="".join(f"{each.folder}\n" for each in runs),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for each, line in zip(runs, done.stdout.splitlines(), strict=True):
        seen = json.loads(line)
        there = {name: tuple(facts) for name, facts in seen["before"]["tasks"].items()}
        assert there in each.possible, each
        assert bool(seen["before"]["damage"]) == ("in_doubt" in each.outcomes), each
        assert {name: tuple(f) for name, f in seen["after"]["tasks"].items() if name != "later"} == there, each
        assert "later" in seen["after"]["tasks"], each
        assert seen["after"]["damage"] == [], each


def test_without_a_fault_every_operation_does_what_the_dictionary_says(tmp_path: Path, open_store: OpenStore) -> None:
    sound = run(tmp_path / "queue", open_store, at=0, error=SHORT)
    assert sorted(set(sound.outcomes)) == ["done", "refused"]
    assert sound.outcomes.count("refused") == 1
    look([sound])


@pytest.mark.parametrize("share", [9, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_call_goes_wrong_what_was_said_is_there_and_what_raised_is_not_or_in_doubt(
    fault: str, share: int, tmp_path: Path, open_store: OpenStore
) -> None:
    calls = run(tmp_path / "sound", open_store, at=0, error=SHORT).calls
    chance = random.Random(SEED)
    chosen = [at for at in range(1, calls + 1) if share == 1 or chance.randrange(share) == 0]
    runs = [run(tmp_path / f"queue-{at}", open_store, at, FAULTS[fault]) for at in chosen]
    look(runs)
    for each in runs:  # nobody tries a failed sync again and calls that a success
        assert each.failed not in {"sync", "sync_all"} or {"failed", "in_doubt"} & set(each.outcomes), each
    if share == 1:
        outcomes = {outcome for each in runs for outcome in each.outcomes}
        assert outcomes >= ({"done", "failed"} if fault == "short" else {"done", "failed", "in_doubt", "poisoned"})
