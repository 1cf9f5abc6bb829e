"""A new process that reads queues and says, one JSON object per line, what it saw.

Usage: reader.py ROOT [use], with a folder per line on its stdin. To use a queue is to repair it and add one task.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

root, *options = sys.argv[1:]
sys.path.insert(0, root)

from orchestration.core.models import Task  # noqa: E402  # found by the path that was just given
from orchestration.core.naming import TaskId  # noqa: E402
from orchestration.core.status import Status  # noqa: E402
from orchestration.store import fsck  # noqa: E402
from orchestration.store.tasks import JournalTaskStore  # noqa: E402

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Clock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


def seen(folder: Path) -> dict[str, object]:
    snapshot = JournalTaskStore(folder, Clock()).read()
    return {
        "tasks": {
            task.id: (task.status, task.rev, task.title, len(task.text or "")) for task in snapshot.tasks.values()
        },
        "damage": [damage.why for damage in snapshot.damage],
    }


def use(folder: Path) -> None:
    report = fsck.repair(folder, Clock())
    if not report.is_sound:
        raise SystemExit(f"{folder} is not sound after its repair: {report}")
    later = Task(id=TaskId("later"), repo="/srv/repo", base="main", status=Status.TODO, created_at=NOW, updated_at=NOW)
    JournalTaskStore(folder, Clock()).add([later], by="reader")


for line in sys.stdin:
    queue = Path(line.rstrip("\n"))
    before = seen(queue)
    if "use" in options:
        use(queue)
    sys.stdout.write(json.dumps({"before": before, "after": seen(queue)}) + "\n")
