"""Which stages an attempt goes through, in which order; to be read at a glance."""

from collections.abc import Sequence
from functools import partial

from orchestration.core.attempts import AttemptSpec
from orchestration.core.events import OutputSeen
from orchestration.core.ports import Leaks, Stream
from orchestration.core.status import Status
from orchestration.pipeline.log import StageLog
from orchestration.pipeline.parts import Parts
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt, Stage
from orchestration.pipeline.stages.collect import collect
from orchestration.pipeline.stages.setup import setup
from orchestration.pipeline.stages.teardown import teardown
from orchestration.pipeline.stages.work import build, plan
from orchestration.support.redaction import Redactor

Recipe = tuple[Stage, ...]


def standard(parts: Parts, room: Room, *, agent: str, dirty_run: bool) -> Recipe:
    """Make a workspace, let the agent plan and build, take the work out; then a person looks."""
    worker = parts.agent(agent)
    log_of = partial(_log_of, parts)
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
        Stage(name="plan", run=partial(plan, agent=worker, room=room, log_of=log_of), status=Status.PLANNING),
        Stage(name="build", run=partial(build, agent=worker, room=room, log_of=log_of), status=Status.BUILDING),
        *salvage(parts, room),
    )


def salvage(parts: Parts, room: Room) -> Recipe:
    """Take out what is there, and end the sandbox: how every attempt ends, also one that a crash cut short."""
    return (
        Stage(
            name="collect",
            run=partial(
                collect,
                workspace=parts.workspace,
                repository=parts.repository,
                room=room,
                log_of=partial(_log_of, parts),
                leaks_of=partial(_leaks_of, parts),
            ),
            always=True,
        ),
        Stage(name="teardown", run=partial(teardown, room=room), always=True),
    )


def _log_of(parts: Parts, attempt: Attempt, stage: str) -> StageLog:
    def watch(stream: Stream, chunk: bytes) -> None:
        parts.observe(OutputSeen(task=attempt.task, stage=stage, stream=stream, chunk=chunk))

    path = attempt.folders.logs / f"{stage}.log"
    return StageLog(path, limit=attempt.spec.limits.output, watch=watch, secrets=_secrets(parts, attempt.spec))


def _leaks_of(parts: Parts, spec: AttemptSpec) -> Leaks | None:
    secrets = _secrets(parts, spec)
    return Redactor(secrets).find if secrets else None


def _secrets(parts: Parts, spec: AttemptSpec) -> Sequence[tuple[str, bytes]]:
    return [(name, parts.secret(name)) for name in spec.toolchain.secrets]
