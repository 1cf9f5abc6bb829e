"""What is kept of an attempt beside the journal: its description, its result, and a report for people when it failed.

Guarantees: each file is on disk before its name is.
Not responsible for: the folders of the agent, which the git and sandbox adapters fill.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestration.core.attempts import AttemptFolders, AttemptResult, AttemptSpec
from orchestration.core.errors import CorruptStateError
from orchestration.core.facts import Failure
from orchestration.core.models import Task
from orchestration.core.naming import task_id
from orchestration.store.attempt_codec import (
    failure_from_json,
    failure_to_json,
    revision_from_json,
    revision_to_json,
    sandbox_from_json,
    sandbox_to_json,
    spec_from_json,
    spec_to_json,
    usage_from_json,
    usage_to_json,
)
from orchestration.store.values import decode_moment, encode_moment
from orchestration.support.files import make_private_folder, write_durably


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFiles:
    """The attempts' files: *attempts* holds ``<id>/<attempt>/``, *reports* the reports of failures."""

    attempts: Path
    reports: Path

    def folders(self, identifier: str, attempt: int) -> AttemptFolders:
        """Return where an attempt's folders are (they need not exist)."""
        return _folders(self.attempts, identifier, attempt)

    def save_spec(self, spec: AttemptSpec) -> None:
        """Keep the attempt's description, so that whoever finds it can collect its work."""
        root = self.folders(spec.task, spec.attempt).root
        make_private_folder(root)
        write_durably(root / "spec.json", _dump(spec_to_json(spec)))

    def load_spec(self, identifier: str, attempt: int) -> AttemptSpec | None:
        """Return the attempt's description; None when it never got that far."""
        fields = _load(self.folders(identifier, attempt).root / "spec.json")
        return None if fields is None else spec_from_json(fields)

    def save_result(self, result: AttemptResult, task: Task) -> AttemptResult:
        """Keep the result; for a failure write the report for people and return the result with its path in it."""
        if result.failure is not None:
            name = f"{result.task}-{result.finished_at:%Y%m%dT%H%M%S%fZ}.md"
            path = self.reports / name
            make_private_folder(self.reports)
            write_durably(path, report(task, result, result.failure).encode("utf-8", "backslashreplace"))
            result = replace(result, failure=replace(result.failure, report=str(path)))
        folders = self.folders(result.task, result.attempt)
        make_private_folder(folders.root)
        write_durably(folders.result, _dump(_result_to_json(result)))
        return result

    def load_result(self, identifier: str, attempt: int) -> AttemptResult | None:
        """Return the attempt's result; None when there is none."""
        path = self.folders(identifier, attempt).result
        fields = _load(path)
        if fields is None:
            return None
        try:
            return _result_from_json(fields)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptStateError(f"{path} cannot be read: {error}") from error


@lru_cache(maxsize=256)
def _folders(attempts: Path, identifier: str, attempt: int) -> AttemptFolders:
    return AttemptFolders(root=attempts / task_id(identifier) / str(attempt))


def report(task: Task, result: AttemptResult, failure: Failure) -> str:
    """Return the Markdown report of a failed attempt."""
    facts = {
        "task": task.id,
        "title": task.title,
        "attempt": result.attempt,
        "ended": encode_moment(result.finished_at),
        "stage": failure.stage,
        "code": failure.code,
        "command": failure.command,
        "exit code": failure.exit_code,
        "repository": task.repo,
        "base": f"{task.base} ({task.base_commit})",
        "branch": task.branch,
        "worktree": task.worktree_path,
        "agent": task.agent,
        "model": task.model,
        "session": result.session,
        "retry at": None if failure.retry_at is None else encode_moment(failure.retry_at),
        "sandbox": task.sandbox,
        "folder": task.run.folder if task.run is not None else None,
        "collected": result.revision.ref if result.revision is not None else None,
    }
    rows = "\n".join(f"- {name}: {_one_line(value)}" for name, value in facts.items() if value is not None)
    timings = "\n".join(f"- {stage}: {value.total_seconds():.2f} s" for stage, value in result.timings.items())
    return (
        f"# {task.id}: {failure.message}\n\n{rows}\n\n## Stages\n\n{timings}\n\n"
        f"## stdout (end)\n\n{_block(failure.stdout_tail)}\n\n## stderr (end)\n\n{_block(failure.stderr_tail)}\n\n"
        f"## What next\n\n- `taskq logs {task.id}` has all of the output, `taskq diff {task.id}` what was collected\n"
        f"- `taskq retry {task.id}` puts it back to todo; `taskq cancel {task.id}` gives it up\n{_resume(task, result)}"
    )


def _resume(task: Task, result: AttemptResult) -> str:
    if result.session is None:
        return ""
    return f"- `taskq retry {task.id} --resume` lets the agent go on where it was, in its session\n"


def _one_line(value: object) -> str:
    return " ".join(str(value).split())


def _block(text: str) -> str:
    """Return *text* as an indented block, which no text can end."""
    return "\n".join(f"    {line}" for line in text.split("\n")) if text else "    (empty)"


def _dump(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, allow_nan=False).encode("ascii") + b"\n"


def _load(path: Path) -> dict[str, Any] | None:
    try:
        fields = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, OSError, RecursionError) as error:
        raise CorruptStateError(f"{path} cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise CorruptStateError(f"{path} cannot be read: no JSON object")
    return fields


def _result_to_json(result: AttemptResult) -> dict[str, Any]:
    usage = result.usage
    return {
        "task": result.task,
        "attempt": result.attempt,
        "token": result.token,
        "finished_at": encode_moment(result.finished_at),
        "revision": None if result.revision is None else revision_to_json(result.revision),
        "failure": None if result.failure is None else failure_to_json(result.failure),
        "collected": result.collected,
        "stopped": result.stopped,
        "session": result.session,
        "usage": None if usage is None else usage_to_json(usage),
        "timings": {stage: value.total_seconds() for stage, value in result.timings.items()},
        "sandbox": None if result.sandbox is None else sandbox_to_json(result.sandbox),
    }


def _result_from_json(fields: Mapping[str, Any]) -> AttemptResult:
    usage = fields["usage"]
    sandbox = fields.get("sandbox")
    return AttemptResult(
        task=task_id(fields["task"]),
        attempt=int(fields["attempt"]),
        token=int(fields["token"]),
        finished_at=decode_moment(fields["finished_at"]),
        revision=None if fields["revision"] is None else revision_from_json(fields["revision"]),
        failure=None if fields["failure"] is None else failure_from_json(fields["failure"]),
        collected=bool(fields["collected"]),
        stopped=fields["stopped"],
        session=fields["session"],
        usage=None if usage is None else usage_from_json(usage),
        timings={stage: timedelta(seconds=value) for stage, value in fields["timings"].items()},
        sandbox=None if sandbox is None else sandbox_from_json(sandbox),
    )
