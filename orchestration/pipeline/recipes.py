"""Which stages an attempt goes through, in which order; to be read at a glance."""

from collections.abc import Sequence
from functools import partial

from orchestration.core.attempts import AttemptSpec
from orchestration.core.events import OutputSeen
from orchestration.core.ports import Leaks, Stream
from orchestration.core.status import Status
from orchestration.pipeline.equipment import Equipment
from orchestration.pipeline.log import StageLog
from orchestration.pipeline.parts import Parts
from orchestration.pipeline.record import EventRecord
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt, Stage
from orchestration.pipeline.stages.collect import collect
from orchestration.pipeline.stages.setup import setup
from orchestration.pipeline.stages.teardown import teardown
from orchestration.pipeline.stages.work import build, plan
from orchestration.support.redaction import Redactor

Recipe = tuple[Stage, ...]


def standard(parts: Parts, room: Room, equipment: Equipment, *, dirty_run: bool) -> Recipe:
    """Make a workspace, let the agent plan and build, take the work out; then a person looks."""
    log_of = partial(_log_of, parts, equipment)
    record_of = partial(_record_of, parts, equipment)
    agent = equipment.agent
    return (
        Stage(
            name="setup",
            run=partial(
                setup,
                workspace=parts.workspace,
                repository=parts.repository,
                records=parts.records,
                room=room,
                dirty_run=dirty_run,
                log_of=log_of,
                observe=parts.observe,
            ),
            status=Status.PLANNING,
        ),
        Stage(
            name="plan",
            run=partial(plan, agent=agent, room=room, log_of=log_of, record_of=record_of),
            status=Status.PLANNING,
        ),
        Stage(
            name="build",
            run=partial(build, agent=agent, room=room, log_of=log_of, record_of=record_of),
            status=Status.BUILDING,
        ),
        *salvage(parts, room, equipment),
    )


def salvage(parts: Parts, room: Room, equipment: Equipment) -> Recipe:
    """Take out what is there, and end the sandbox: how every attempt ends, also one that a crash cut short."""
    return (
        Stage(
            name="collect",
            run=partial(
                collect,
                workspace=parts.workspace,
                repository=parts.repository,
                room=room,
                log_of=partial(_log_of, parts, equipment),
                leaks_of=partial(_leaks_of, parts, equipment),
            ),
            always=True,
        ),
        Stage(name="teardown", run=partial(teardown, room=room), always=True),
    )


def _log_of(parts: Parts, equipment: Equipment, attempt: Attempt, stage: str) -> StageLog:
    def watch(stream: Stream, chunk: bytes) -> None:
        parts.observe(OutputSeen(task=attempt.task, stage=stage, stream=stream, chunk=chunk))

    return StageLog(
        attempt.folders.logs / f"{stage}.log",
        limit=attempt.spec.limits.output,
        watch=watch,
        secrets=_secrets(parts, equipment, attempt.spec),
        heading=f"[taskq: resumed at {parts.clock.now():%Y-%m-%d %H:%M:%SZ}]".encode() if attempt.is_resumed else b"",
    )


def _record_of(parts: Parts, equipment: Equipment, attempt: Attempt, stage: str) -> EventRecord:
    return EventRecord(
        attempt.folders.logs,
        stage,
        limit=attempt.spec.limits.output,
        clock=parts.clock,
        secrets=_secrets(parts, equipment, attempt.spec),
        resumed=attempt.is_resumed,
    )


def _leaks_of(parts: Parts, equipment: Equipment, spec: AttemptSpec) -> Leaks | None:
    secrets = _secrets(parts, equipment, spec)
    return Redactor(secrets).find if secrets else None


def _secrets(parts: Parts, equipment: Equipment, spec: AttemptSpec) -> Sequence[tuple[str, bytes]]:
    return [*equipment.secrets, *((name, parts.secret(name)) for name in spec.toolchain.secrets)]
