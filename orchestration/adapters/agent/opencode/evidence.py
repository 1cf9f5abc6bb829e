"""What OpenCode told, as far as it decides how a stage went. Pure: values in, values out; nothing grows but a text."""

from dataclasses import dataclass, fields, replace
from typing import Final

from orchestration.adapters.agent.opencode.told import Told, Trouble
from orchestration.core.facts import Usage

_LONGEST: Final = 256 * 1024
"""Characters kept of what the last message said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was told until now of *session*, and by the sessions that it started.

    *finish* is why the last step ended, None when one goes on; *trouble* the last error that nothing made good;
    *unfinished* how many steps in a row ended without a reason; *said* the last message's text.
    """

    session: str | None = None
    finish: str | None = None
    trouble: Trouble | None = None
    usage: Usage | None = None
    said: str = ""
    unfinished: int = 0
    asked: str | None = None
    """The permission that was asked for last, and not given."""
    of_message: str | None = None

    def then(self, told: Told) -> "Evidence":
        """Return the evidence with *told* added."""
        known = replace(self, usage=add(self.usage, told.usage), session=self.session or told.session)
        if told.kind == "permission":
            return replace(known, asked=told.text)
        if told.session != known.session:
            return known
        match told.kind:
            case "step_start":
                return replace(known, finish=None)
            case "text":
                return with_text(known, told)
            case "step_finish":
                unfinished = self.unfinished + 1 if told.text == "unknown" else 0
                return replace(known, finish=told.text, unfinished=unfinished)
            case "error":
                return replace(known, trouble=told.trouble, finish=None)
            case "compacted" if self.trouble is not None and self.trouble.name == "ContextOverflowError":
                return replace(known, trouble=None, finish=None)
        return known


def with_text(evidence: Evidence, told: Told) -> Evidence:
    """Return *evidence* with what a message says: all of the last one's texts."""
    before = evidence.said if told.message == evidence.of_message else ""
    joined = f"{before}\n\n{told.text}" if before else told.text
    return replace(evidence, said=joined[-_LONGEST:], of_message=told.message)


def add(first: Usage | None, then: Usage | None) -> Usage | None:
    """Return the sum; what neither knows stays unknown."""
    if first is None or then is None:
        return first or then
    sums = {}
    for each in fields(Usage):
        values = [value for usage in (first, then) if (value := getattr(usage, each.name)) is not None]
        sums[each.name] = sum(values) if values else None
    return Usage(**sums)
