"""A run for those who read lines: plain text into a pipe, or one JSON object per event."""

import base64
import json
import threading
from types import TracebackType
from typing import Final

import click

from orchestration.core.events import (
    Observer,
    OutputSeen,
    RunEvent,
    SandboxOpened,
    StageEnded,
    StageStarted,
    TaskClaimed,
    TaskSettled,
)
from orchestration.core.models import Task
from orchestration.support.quantities import spell_duration
from orchestration.support.text import decode, visible

LONGEST: Final = 64 * 1024
"""Bytes of a line that is not ended after which it is shown in pieces."""


class _Lines:
    """An observer as a context manager; prints under a lock, since events come from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_silent = False

    def __enter__(self) -> Observer:
        return self._observe

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left to do."""

    def _observe(self, event: RunEvent) -> None:
        with self._lock:
            for line in self.lines_of(event):
                self._show(line)

    def _show(self, line: str) -> None:
        """Print *line*; when nobody reads any more, the run goes on in silence."""
        if not self._is_silent:
            try:
                click.echo(line)
            except BrokenPipeError:
                self._is_silent = True

    def lines_of(self, event: RunEvent) -> list[str]:
        """Return the lines that tell of *event*."""
        raise NotImplementedError


class PlainLines(_Lines):
    """One line when a task starts and when it ends; with *follow* what agents write, by line, with the task's id."""

    def __init__(self, *, follow: bool) -> None:
        super().__init__()
        self._follow = follow
        self._rests: dict[tuple[str, str], bytes] = {}

    def lines_of(self, event: RunEvent) -> list[str]:
        """Return the lines that tell of *event*."""
        match event:
            case TaskClaimed():
                return [claimed_line(event)]
            case SandboxOpened():
                return waiver_lines(event)
            case StageEnded():
                return self.rests(event.task)
            case TaskSettled():
                return [*self.rests(event.task), settled_line(event)]
            case OutputSeen() if self._follow:
                return self._output(event)
            case _:
                return []

    def _output(self, event: OutputSeen) -> list[str]:
        key = (event.task.id, event.stream)
        *lines, rest = (self._rests.pop(key, b"") + event.chunk).split(b"\n")
        if len(rest) > LONGEST:
            lines.append(rest)
        elif rest:
            self._rests[key] = rest
        return [output_line(event.task.id, line) for line in lines]

    def rests(self, task: Task) -> list[str]:
        """Return what was written of lines that *task*'s programs have not ended, and forget it."""
        keys = [key for key in self._rests if key[0] == task.id]
        return [output_line(task.id, self._rests.pop(key)) for key in keys]


class EventLines(_Lines):
    """One JSON object per event."""

    def lines_of(self, event: RunEvent) -> list[str]:
        """Return the line that tells of *event*."""
        task = event.task
        facts: dict[str, object] = {"id": task.id, "attempt": task.attempt}
        match event:
            case TaskClaimed():
                facts |= {"event": "task_claimed"}
            case StageStarted():
                facts |= {"event": "stage_started", "stage": event.stage}
            case StageEnded():
                facts |= {"event": "stage_ended", "stage": event.stage, "succeeded": event.succeeded}
                facts |= {"seconds": round(event.elapsed.total_seconds(), 3)}
            case SandboxOpened():
                facts |= {"event": "sandbox_opened", "sandbox": event.facts.kind, "network": event.facts.network}
                facts |= {"container": event.facts.id, "image": event.facts.image}
                facts |= {"waivers": list(event.facts.waivers)}
            case OutputSeen():
                facts |= {"event": "output", "stage": event.stage, "stream": event.stream}
                facts |= {"base64": base64.b64encode(event.chunk).decode("ascii")}
            case TaskSettled():
                facts |= {"event": "task_settled", "status": str(task.status), "reason": task.reason}
                facts |= {"seconds": round(event.elapsed.total_seconds(), 3)}
        return [json.dumps(facts)]


def claimed_line(event: TaskClaimed) -> str:
    """Return which attempt begins or goes on, in one line."""
    task = event.task
    deed = "resumed" if task.run is not None and task.run.is_resumed else "started"
    return f"{task.id}: {deed} (attempt {task.attempt})"


def output_line(identifier: str, line: bytes) -> str:
    """Return one line of an agent's output, made safe, after the id of its task."""
    text = visible(decode(line.rstrip(b"\r")))
    return f"{identifier} | {text}"


def waiver_lines(event: SandboxOpened) -> list[str]:
    """Return what of an open sandbox is wider than the defaults, a line each."""
    return [visible(f"{event.task.id}: warning: {waiver}") for waiver in event.facts.waivers]


def settled_line(event: TaskSettled) -> str:
    """Return how a task ended, in one line."""
    task = event.task
    why = f": {task.error.message}" if task.error is not None and task.status == "failed" else ""
    return visible(f"{task.id}: {task.status} after {spell_duration(event.elapsed)}{why}")
