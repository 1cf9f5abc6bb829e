"""Lines that another tool wrote, raw where ours are escaped: what ends a line is a newline and nothing else."""

import json
from collections.abc import Callable

import pytest

from orchestration.store import fsck
from orchestration.store.layout import QueueFolder
from orchestration.store.tasks import JournalTaskStore

ENDS_OF_LINES_ELSEWHERE = {"next line": "\u0085", "line separator": "\u2028", "paragraph separator": "\u2029"}
"""What `str.splitlines` takes for the end of a line, and JSON lets stand raw."""


@pytest.mark.parametrize("name", ENDS_OF_LINES_ELSEWHERE)
def test_a_record_with_a_raw_separator_in_it_is_one_record(
    name: str, queue: QueueFolder, open_eager: Callable[[], JournalTaskStore], a_task: Callable
) -> None:
    times = {"created_at": "2025-01-02T03:04:05", "updated_at": "2025-01-02T03:04:05"}
    title = f"one{ENDS_OF_LINES_ELSEWHERE[name]}two"
    record = {"id": "T-1", "repo": "/srv/repo", "base": "main", "status": "todo", "title": title, **times}
    line = json.dumps(record, ensure_ascii=False).encode()
    queue.journal.write_bytes(line + b"\r\n" + line.replace(b"T-1", b"T-2") + b"\n")
    open_eager().add([a_task("ours")], by="test")
    snapshot = open_eager().read()
    assert [task.title for task in snapshot.tasks.values()] == [title, title, None]
    assert snapshot.damage == ()
    assert fsck.check(queue.root).is_sound
