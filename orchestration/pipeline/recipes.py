"""Which stages an attempt goes through, in which order; to be read at a glance."""

from functools import partial

from orchestration.core.events import OutputSeen
from orchestration.core.ports import Output, Stream
from orchestration.core.status import Status
from orchestration.pipeline.parts import Parts
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt, Stage
from orchestration.pipeline.stages.collect import collect
from orchestration.pipeline.stages.setup import setup
from orchestration.pipeline.stages.teardown import teardown
from orchestration.pipeline.stages.work import build, plan

Recipe = tuple[Stage, ...]


def standard(parts: Parts, room: Room, *, agent: str, dirty_run: bool) -> Recipe:
    """Make a workspace, let the agent plan and build, take the work out; then a person looks."""
    worker = parts.agent(agent)
    watch = partial(_watch, parts)
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
            ),
            status=Status.PLANNING,
        ),
        Stage(name="plan", run=partial(plan, agent=worker, room=room, watch=watch), status=Status.PLANNING),
        Stage(name="build", run=partial(build, agent=worker, room=room, watch=watch), status=Status.BUILDING),
        *salvage(parts, room),
    )


def salvage(parts: Parts, room: Room) -> Recipe:
    """Take out what is there, and end the sandbox: how every attempt ends, also one that a crash cut short."""
    return (
        Stage(
            name="collect",
            run=partial(
                collect, workspace=parts.workspace, repository=parts.repository, room=room, watch=partial(_watch, parts)
            ),
            always=True,
        ),
        Stage(name="teardown", run=partial(teardown, room=room), always=True),
    )


def _watch(parts: Parts, attempt: Attempt, stage: str) -> Output:
    def show(stream: Stream, chunk: bytes) -> None:
        parts.observe(OutputSeen(task=attempt.task, stage=stage, stream=stream, chunk=chunk))

    return show
