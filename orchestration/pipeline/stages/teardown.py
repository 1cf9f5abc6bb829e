"""Teardown: end the sandbox. Never changes a result; safe to repeat."""

from orchestration.core.errors import TaskqError
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt
from orchestration.support.logs import get_logger

log = get_logger()


def teardown(attempt: Attempt, *, room: Room) -> Attempt:
    """Return the attempt as it is; nothing of its sandbox runs any more."""
    try:
        room.leave()
    except TaskqError as error:
        log.warning("sandbox.close_failed", task=attempt.spec.task, attempt=attempt.spec.attempt, error=str(error))
    return attempt
