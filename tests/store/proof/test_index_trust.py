"""An index that lies: it is believed only where nothing about it and its journal says that it may be wrong.

Each reason to doubt it is tried with an index that would give a wrong answer if it were believed all the same.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from orchestration.core.models import Task
from orchestration.store.layout import QueueFolder
from orchestration.store.line import decode_line, encode_line
from orchestration.store.tasks import JournalTaskStore

OpenStore = Callable[[], JournalTaskStore]
COUNT = 30
TITLE_BEFORE, TITLE_AFTER = "first", "later"


@pytest.fixture
def indexed(queue: QueueFolder, open_eager: OpenStore, a_task: Callable[..., Task]) -> QueueFolder:
    """A queue of thirty tasks with an index from which one of them is missing: a lie that can be told."""
    open_eager().add([a_task(f"t{number}", title=TITLE_BEFORE) for number in range(COUNT)], by="test")
    assert len(list(open_eager().read().tasks)) == COUNT
    change_index(queue, "DELETE FROM task WHERE id = 't3'")
    return queue


def change_index(queue: QueueFolder, statement: str) -> None:
    with closing(sqlite3.connect(queue.index_file)) as connection:
        connection.execute(statement)
        connection.commit()


def lines_of(queue: QueueFolder) -> list[bytes]:
    return queue.journal.read_bytes().splitlines(keepends=True)


def edited(lines: list[bytes], place: int) -> bytes:
    """Return the journal with another title in one line, as long as before and with the right checksum."""
    changed = list(lines)
    changed[place] = encode_line({**decode_line(lines[place]), "title": TITLE_AFTER})
    content = b"".join(changed)
    assert len(content) == len(b"".join(lines))
    return content


def test_an_index_about_which_nothing_is_wrong_is_believed(indexed: QueueFolder, open_eager: OpenStore) -> None:
    """The control: the lie is told wherever the index is believed."""
    assert [f"t{number}" for number in range(COUNT) if number != 3] == list(open_eager().read().tasks)


def unclean(queue: QueueFolder) -> None:
    change_index(queue, "UPDATE head SET clean = 0")


def from_before_the_machine_started(queue: QueueFolder) -> None:
    change_index(queue, "UPDATE head SET boot = 'an earlier one'")


def of_another_version(queue: QueueFolder) -> None:
    change_index(queue, "UPDATE head SET format = format + 1")


def of_another_file_with_the_same_end(queue: QueueFolder) -> None:
    copy = queue.root / "copy"
    shutil.copyfile(queue.journal, copy)
    copy.replace(queue.journal)


def of_a_file_whose_end_was_edited(queue: QueueFolder) -> None:
    queue.journal.write_bytes(edited(lines_of(queue), -2))


def of_a_file_that_was_cut(queue: QueueFolder) -> None:
    """Cut and grown again to the very size, with the lines of another history."""
    lines = lines_of(queue)
    os.truncate(queue.journal, sum(len(line) for line in lines[:10]))
    with queue.journal.open("ab") as journal:
        journal.write(edited(lines, -1)[sum(len(line) for line in lines[:10]) :])


@pytest.mark.parametrize(
    "reason",
    [
        unclean,
        from_before_the_machine_started,
        of_another_version,
        of_another_file_with_the_same_end,
        of_a_file_whose_end_was_edited,
        of_a_file_that_was_cut,
    ],
)
def test_an_index_that_may_be_wrong_is_not_believed(
    reason: Callable[[QueueFolder], None], indexed: QueueFolder, open_eager: OpenStore
) -> None:
    reason(indexed)
    assert list(open_eager().read().tasks) == [f"t{number}" for number in range(COUNT)]


def test_deleting_the_index_at_any_moment_changes_nothing(
    queue: QueueFolder, open_eager: OpenStore, a_task: Callable[..., Task]
) -> None:
    store, other = open_eager(), open_eager()
    for number in range(COUNT):
        shutil.rmtree(queue.root / "index", ignore_errors=True)
        (store, other)[number % 2].add([a_task(f"t{number}")], by="test")
        if number % 3 == 0:
            shutil.rmtree(queue.root / "index", ignore_errors=True)
        due = [f"t{each}" for each in range(number + 1)]
        assert list(store.read().tasks) == list(other.read().tasks) == due
