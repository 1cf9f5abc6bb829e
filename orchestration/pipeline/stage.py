"""What a stage is, what is known of an attempt, and how an attempt is stopped from outside."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.facts import Failure, Revision, SandboxFacts, Usage
from orchestration.core.models import Task
from orchestration.core.ports import Sandbox
from orchestration.core.status import Status
from orchestration.pipeline.log import StageLog
from orchestration.pipeline.record import EventRecord

StopReason = Literal["interrupted", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What is known of an attempt so far; every stage returns it with more known.

    *prepared* says that there is a workspace to work in and to collect from; *collected* turns False once an agent may
    have written there, and True again when what it wrote is under our ref. *stopped* is why it was cut short from
    outside; None also when that came too late to cut anything. *sandbox* is what was observed of the agent's sandbox.
    *planned* says that there is no plan to make: the attempt is resumed, and its session knows one.
    """

    task: Task
    spec: AttemptSpec
    folders: AttemptFolders
    prepared: bool = False
    collected: bool = True
    planned: bool = False
    plan: str | None = None
    session: str | None = None
    usage: Usage | None = None
    revision: Revision | None = None
    failure: Failure | None = None
    stopped: StopReason | None = None
    sandbox: SandboxFacts | None = None
    timings: Mapping[str, timedelta] = field(default_factory=dict)

    @property
    def is_resumed(self) -> bool:
        """Whether it goes on in the folders of a try before."""
        return self.task.run is not None and self.task.run.is_resumed


OpenLog = Callable[[Attempt, str], StageLog]
"""Returns the log, yet to be entered, of a stage of an attempt."""
OpenRecord = Callable[[Attempt, str], EventRecord]
"""Returns the record, yet to be entered, of what an agent tells in a stage of an attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of an attempt, its needs bound; safe to run again.

    *status* is what the task shows while it runs (None: unchanged). *always* stages run after a failure too.
    """

    name: str
    run: Callable[[Attempt], Attempt]
    status: Status | None = None
    always: bool = False


class StopSwitch:
    """Stops an attempt from another thread: whatever runs in its sandbox ends, and no further stage begins.

    The first reason given stays.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: StopReason | None = None
        self._sandbox: Sandbox | None = None

    @property
    def reason(self) -> StopReason | None:
        """Why the attempt is to stop; None while it is not."""
        return self._reason

    def attach(self, sandbox: Sandbox) -> None:
        """Name the sandbox to stop; when the switch was thrown before, it is stopped at once."""
        with self._lock:
            self._sandbox = sandbox
            thrown = self._reason is not None
        if thrown:
            sandbox.stop()

    def throw(self, reason: StopReason) -> None:
        """Stop the attempt; again is no error."""
        with self._lock:
            self._reason = self._reason or reason
            sandbox = self._sandbox
        if sandbox is not None:
            sandbox.stop()
