"""A journal of about twenty lines, cut at every byte and bent at every byte: a true state, or damage that is told.

Each is looked at by a store that knows nothing, and by one that finds the index as it was before the damage.
"""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestration.core.errors import CorruptStateError, NewerVersionError
from orchestration.core.ports import Clock
from orchestration.store import fsck
from orchestration.store.layout import QueueFolder
from orchestration.store.tasks import JournalTaskStore
from tests.store.proof.script import State, a_task, prefixes, state_of

SEED = 20261121
OpenStore = Callable[..., JournalTaskStore]
BENDS = {"a bit": lambda byte, chance: byte ^ (1 << chance.randrange(8)), "to zero": lambda byte, chance: 0}
KNOWS_NOTHING, KNOWS_THE_INDEX = "nothing", "the index"
SAMPLES = [
    (KNOWS_NOTHING, 60),
    (KNOWS_THE_INDEX, 300),
    pytest.param(KNOWS_NOTHING, 12, marks=pytest.mark.full),
    pytest.param(KNOWS_THE_INDEX, 40, marks=pytest.mark.full),
    pytest.param(KNOWS_NOTHING, 1, marks=pytest.mark.soak),
    pytest.param(KNOWS_THE_INDEX, 1, marks=pytest.mark.soak),
]
"""What the store knows before the damage, and one of how many bytes is tried."""


class Whole(NamedTuple):
    """The journal before anything was done to it; *states* and *sizes* after each change, from none on."""

    content: bytes
    states: tuple[State, ...]
    sizes: tuple[int, ...]
    index: Path

    def state_at(self, size: int) -> State:
        return next(state for state, end in zip(self.states[::-1], self.sizes[::-1], strict=True) if end <= size)


@pytest.fixture
def whole(queue: QueueFolder, store: JournalTaskStore, open_eager: OpenStore) -> Whole:
    states = prefixes(store)
    assert state_of(open_eager().read()) == states[-1]
    content = queue.journal.read_bytes()
    assert 18 <= content.count(b"\n") <= 24
    index = queue.root.with_name("index-before")
    shutil.copytree(queue.root / "index", index)
    return Whole(content, states, (0, *ends(content)), index)


@pytest.fixture
def reopen(knows: str, open_store: OpenStore, open_eager: OpenStore) -> OpenStore:
    """Return a function that opens the queue anew, and for so small a journal uses an index if there is to be one."""
    return open_eager if knows == KNOWS_THE_INDEX else open_store


def ends(content: bytes) -> Iterator[int]:
    """Yield where each change ends: after a line that no other line of the same change follows."""
    end = 0
    for line in content.split(b"\n")[:-1]:
        end += len(line) + 1
        if b'"more":' not in line:
            yield end


def put(queue: QueueFolder, content: bytes, index: Path | None) -> None:
    shutil.rmtree(queue.root / "index", ignore_errors=True)
    if index is not None and index.exists():
        shutil.copytree(index, queue.root / "index")
    queue.journal.write_bytes(content)


def seen(store: JournalTaskStore) -> tuple[State, bool]:
    """Return what a reader sees, and whether it was told of damage."""
    try:
        snapshot = store.read()
    except NewerVersionError:
        return {}, True  # refused
    return state_of(snapshot), bool(snapshot.damage)


def chosen(count: int, share: int) -> list[int]:
    chance = random.Random(SEED)
    return [place for place in range(count) if share == 1 or chance.randrange(share) == 0]


@pytest.mark.parametrize(("knows", "share"), SAMPLES)
def test_cut_at_any_byte_exactly_the_whole_changes_before_it_are_there(
    knows: str, share: int, whole: Whole, queue: QueueFolder, reopen: OpenStore
) -> None:
    for size in (*chosen(len(whole.content), share), *whole.sizes):
        put(queue, whole.content[:size], whole.index if knows == KNOWS_THE_INDEX else None)
        state, is_told = seen(reopen())
        assert state == whole.state_at(size), size
        assert not is_told, size


@pytest.mark.parametrize(("knows", "share"), SAMPLES)
@pytest.mark.parametrize("bend", BENDS)
def test_bent_at_any_byte_the_state_is_true_or_the_damage_is_told(
    knows: str, bend: str, share: int, whole: Whole, queue: QueueFolder, reopen: OpenStore
) -> None:
    chance = random.Random(SEED)
    told = 0
    places = chosen(len(whole.content), share)
    for place in (*places, len(whole.content) - 1):
        bent = bytearray(whole.content)
        bent[place] = BENDS[bend](bent[place], chance)
        put(queue, bytes(bent), whole.index if knows == KNOWS_THE_INDEX else None)
        state, is_told = seen(reopen())
        told += is_told
        if is_told:
            continue
        if place == len(whole.content) - 1:  # without its newline the last change never ended
            assert state in {"all": whole.states[-1], "but the last": whole.state_at(place)}.values()
        else:
            assert state == whole.states[-1], place
    assert told > len(places) // 4 if knows == KNOWS_THE_INDEX else told >= len(places) * 0.95


@pytest.mark.parametrize(
    "share", [200, pytest.param(40, marks=pytest.mark.full), pytest.param(1, marks=pytest.mark.soak)]
)
def test_bent_at_any_byte_a_writer_refuses_or_loses_nothing_and_repair_keeps_every_byte(
    share: int, whole: Whole, queue: QueueFolder, open_store: OpenStore, clock: Clock
) -> None:
    chance = random.Random(SEED)
    for place in chosen(len(whole.content), share):
        bent = bytearray(whole.content)
        bent[place] ^= 1 << chance.randrange(8)
        put(queue, bytes(bent), None)
        shutil.rmtree(queue.history, ignore_errors=True)
        before, _ = seen(open_store())
        try:
            open_store().add([a_task("next")], by="test")
        except (CorruptStateError, NewerVersionError):
            assert queue.journal.read_bytes() == bytes(bent), place
            assert repaired(queue, bytes(bent), clock), place
            continue
        there = state_of(open_store().read())
        assert there.pop("next")[0] == "todo"
        assert there == before, place
        assert kept_or_there(queue, bytes(bent)), place


def repaired(queue: QueueFolder, bent: bytes, clock: Clock) -> bool:
    """Repair, unless a newer version is named there; say whether every byte still is in the queue's folder."""
    try:
        report = fsck.repair(queue.root, clock)
    except NewerVersionError:
        return queue.journal.read_bytes() == bent
    return report.is_sound and kept_or_there(queue, bent)


def kept_or_there(queue: QueueFolder, bent: bytes) -> bool:
    kept = [path.read_bytes() for path in queue.history.glob("*")] if queue.history.exists() else []
    journal = queue.journal.read_bytes()
    return bent in kept or any(
        journal.startswith(bent.removesuffix(piece)) for piece in (b"", *kept) if bent.endswith(piece)
    )
