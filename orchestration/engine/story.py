"""A run told as log events, for operators who read logs: the same events that screens get, without agents' output."""

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
from orchestration.support.logs import get_logger

log = get_logger()


def told(observe: Observer) -> Observer:
    """Return *observe* with every event logged first."""

    def observe_and_tell(event: RunEvent) -> None:
        tell(event)
        observe(event)

    return observe_and_tell


def tell(event: RunEvent) -> None:
    """Log *event*."""
    facts = {"task": event.task.id, "attempt": event.task.attempt}
    match event:
        case TaskClaimed():
            log.info("task.claimed", **facts)
        case StageStarted():
            log.info("stage.started", stage=event.stage, **facts)
        case StageEnded():
            elapsed = round(event.elapsed.total_seconds(), 3)
            log.info("stage.ended", stage=event.stage, succeeded=event.succeeded, elapsed=elapsed, **facts)
        case SandboxOpened():
            opened = {"sandbox": event.facts.kind, "network": event.facts.network, "container": event.facts.name}
            log.info("sandbox.opened", **opened, **facts)
        case TaskSettled():
            elapsed = round(event.elapsed.total_seconds(), 3)
            log.info("task.settled", status=str(event.task.status), reason=event.task.reason, elapsed=elapsed, **facts)
        case OutputSeen():
            pass
