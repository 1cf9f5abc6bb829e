"""Runs a recipe: stage after stage, each failure a fact, collect and teardown in any case.

Guarantees: returns; the only exceptions that leave are those that no `Exception` is.
"""

import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from orchestration.core.errors import TaskqError
from orchestration.core.events import Observer, StageEnded, StageStarted
from orchestration.core.models import Task
from orchestration.core.ports import Clock
from orchestration.core.status import Status
from orchestration.pipeline.failure import from_error
from orchestration.pipeline.recipes import Recipe
from orchestration.pipeline.stage import Attempt, Stage, StopSwitch
from orchestration.support.logs import get_logger

log = get_logger()

Enter = Callable[[Attempt, Status], Task]
"""Records that the attempt's task is in a status now, or raises when the task is no longer ours."""


def process(
    attempt: Attempt, recipe: Recipe, *, enter: Enter, switch: StopSwitch, observe: Observer, clock: Clock
) -> Attempt:
    """Return what is known of *attempt* after the recipe."""
    for stage in recipe:
        if not stage.always:
            attempt = attempt if attempt.failure is not None else _cut(attempt, switch)
            if attempt.failure is not None or attempt.stopped is not None:
                continue
        observe(StageStarted(task=attempt.task, stage=stage.name, at=clock.now()))
        started = clock.monotonic()
        attempt = _run(attempt, stage, enter=enter)
        if not stage.always and attempt.failure is not None:
            attempt = _cut(attempt, switch)
        elapsed = timedelta(seconds=clock.monotonic() - started)
        attempt = replace(attempt, timings={**attempt.timings, stage.name: elapsed})
        observe(StageEnded(task=attempt.task, stage=stage.name, elapsed=elapsed, succeeded=attempt.failure is None))
    return attempt


def _cut(attempt: Attempt, switch: StopSwitch) -> Attempt:
    """Return the attempt as cut short, when the switch was thrown; the first reason stays."""
    if switch.reason is None or attempt.stopped is not None:
        return attempt
    return replace(attempt, stopped=switch.reason)


def _run(attempt: Attempt, stage: Stage, *, enter: Enter) -> Attempt:
    """Return the attempt after *stage*; the first failure of an attempt is the one that it keeps."""
    try:
        if stage.status is not None and stage.status is not attempt.task.status:
            attempt = replace(attempt, task=enter(attempt, stage.status))
        return stage.run(attempt)
    except TaskqError as error:
        failure = from_error(error, stage=stage.name)
    except Exception as error:  # the edge of an attempt: our bug fails one task, never the run
        log.exception("stage.broke", task=attempt.spec.task, stage=stage.name)
        failure = replace(from_error(error, stage=stage.name), stderr_tail=traceback.format_exc()[-4096:])
    return replace(attempt, failure=attempt.failure or failure)
