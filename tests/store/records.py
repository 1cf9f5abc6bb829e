"""Records of tasks, and ways to write and to take them, for the tests of exchange."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestration.core.facts import Failure, FileChange, Landed, Revision, Run, Runner, SandboxFacts, Usage
from orchestration.core.models import Limits, Task
from orchestration.core.status import Status
from orchestration.core.transfers import ImportReport
from orchestration.store.adopt import Source, import_tasks
from orchestration.store.codec import encode_task
from orchestration.store.export import export
from orchestration.store.named_texts import text_reader
from tests.store.conftest import SteppingClock

NOW = datetime(2026, 11, 21, 3, 0, 0, 123456, tzinfo=UTC)
PLAIN = {
    "id": "T-1",
    "repo": "/srv/repo",
    "base": "main",
    "task_file": "queue/tasks/T-1.md",
    "status": "todo",
    "branch": "task/t-1",
    "worktree_path": "/srv/worktrees/repo/T-1",
    "container": "",
    "port": 0,
    "session_id": "",
    "attempt": 0,
    "error_file": "",
    "created_at": "2026-03-01T10:00:00.123456+00:00",
    "updated_at": "2026-03-01T11:00:00.654321",
    "opencode_attempt_dir": "",
    "opencode_config_dir": "",
    "opencode_data_dir": "",
}
"""A record as the older queue wrote it: naive times after the first change, empty texts and 0 for what is absent."""
RAN = {
    "container": "0123456789ab",
    "port": 30000,
    "session_id": "5e55101d",
    "attempt": 2,
    "opencode_attempt_dir": "/old/queue/opencode/T-1/attempt-3",
    "opencode_config_dir": "/old/queue/opencode/T-1/attempt-3/config",
    "opencode_data_dir": "/old/queue/opencode/T-1/attempt-3/data",
}
FULL = Task(
    id="full",  # type: ignore[arg-type]  # an id
    repo="/srv/repo",
    base="main",
    status=Status.FAILED,
    created_at=NOW,
    updated_at=NOW,
    rev=1,
    title="caf\u00e9 \u2028",
    text="do it\n",
    base_commit="0" * 40,
    branch="task/full",
    worktree_path="/srv/w",
    task_file="/srv/full.md",
    reason="agent",
    priority=-3,
    labels=("a", "b"),
    after=("first",),
    not_before=NOW,
    agent="command",
    agent_command="make",
    model="m",
    variant="v",
    sandbox="docker",
    network="none",
    limits=Limits(setup=timedelta(seconds=1.5), cpus=0.5),
    allow_empty=True,
    attempt=3,
    charged=2,
    run=Run(
        attempt=3,
        token=9,
        sandbox="docker",
        folder="/state/3",
        runner=Runner(host="h", pid=1, started="s", boot="b"),
        started_at=NOW,
        session="s1",
        observed=SandboxFacts(kind="docker", id="c", waivers=("open network",)),
    ),
    revision=Revision(
        commit="1" * 40,
        base_commit="0" * 40,
        ref="refs/taskq/q/attempt/full/3.1",
        attempt=3,
        collect=1,
        collected_at=NOW,
        source="bundle",
        files=(FileChange(path="a", status="M", added=1, removed=None),),
    ),
    verification={"checks": [{"name": "test", "exit_code": 0}]},
    usage=Usage(input_tokens=1, cost_usd=0.25),
    landed=Landed(commit="2" * 40, how="ff", base="main", at=NOW),
    error=Failure(stage="build", code="agent", message="exit 1"),
)


GOOD = encode_task(FULL._replace(after=()))


def out_of(folder: Path, *identifiers: str) -> list[dict[str, Any]]:
    """Return what an export of the queue writes."""
    written: list[bytes] = []
    report = export(folder, identifiers, written.append, tell=lambda _count: None)
    assert report.problems == ()
    return [json.loads(line) for line in b"".join(written).splitlines()]


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def take_into(folder: Path, content: bytes, *, texts: Sequence[Path] = (), **how: Any) -> ImportReport:
    """Import *content* into the queue in *folder*; a plain record's task files are below *texts*."""
    choices: dict[str, Any] = {"skip_existing": False, "rename": False, "prepare": lambda: None, **how}
    defaults = {"agent": "opencode", "sandbox": "docker", "limits": Limits(pids=7)}
    source = Source("in.jsonl", content)
    return import_tasks(folder, SteppingClock(), source, defaults=defaults, read_text=text_reader(texts), **choices)
