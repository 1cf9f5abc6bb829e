"""How a stage of OpenCode went, by what it told: its exit code alone proves nothing. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from orchestration.adapters.agent import judgement as exits
from orchestration.adapters.agent.opencode import refusals
from orchestration.adapters.agent.opencode.evidence import Evidence
from orchestration.core.ports import Exit

UNKNOWN_AGENT: Final = "unknown_agent"
UNFINISHED: Final = 5
"""Answers without an end, in a row, after which OpenCode would go on asking for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a stage failed. *code* is stable; *text* is one line for people."""

    code: str
    text: str
    retry_at: datetime | None = None


NO_MEMORY: Final = Problem(
    code="out_of_memory",
    text="OpenCode was killed for want of memory; raise limits.memory, of which it needs 512MB and more",
)
NO_MODEL: Final = Problem(
    code="no_model",
    text="OpenCode has no model to ask; log in with: opencode auth login, or name one in opencode.json or with --model",
)


def judge(evidence: Evidence, ended: Exit, *, now: datetime, out_of_memory: bool = False) -> Problem | None:
    """Return what was wrong; None when the last step ended with ``stop``, and nothing speaks against it.

    *out_of_memory* is whether the kernel ended OpenCode for that.
    """
    if ended.stopped or ended.timed_out:
        return _of_exit(ended)
    if out_of_memory:
        return NO_MEMORY
    if evidence.trouble is not None:
        code, text, at = refusals.classify(evidence.trouble, now=now)
        return Problem(code=code, text=text, retry_at=at)
    if not ended.succeeded:
        return _of_exit(ended)
    if evidence.finish == "stop":
        return None
    if evidence.asked is not None:
        text = f"OpenCode asked for the permission {evidence.asked!a:.80}, and nobody was there to give it"
        return Problem(code=refusals.PERMISSION, text=text)
    return _without_end(evidence)


def _without_end(evidence: Evidence) -> Problem:
    match evidence.finish:
        case None:
            return Problem(code=exits.FAILED, text="OpenCode ended without an answer to its last step")
        case "unknown":
            text = f"the model's answers broke off, {max(evidence.unfinished, 1)} in a row"
            return Problem(code=refusals.UNAVAILABLE, text=text)
        case "length":
            return Problem(code=exits.FAILED, text="the model's last answer was cut at its longest length")
    return Problem(code=exits.FAILED, text=f"OpenCode's last step ended with {evidence.finish!a:.80}, and not its work")


def _of_exit(ended: Exit) -> Problem:
    result = exits.judge(ended, "opencode")
    return Problem(code=result.code or exits.FAILED, text=result.problem or "OpenCode ended before its work did")
