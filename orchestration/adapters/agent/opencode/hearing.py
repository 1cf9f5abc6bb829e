"""Hears what OpenCode tells, line by line: keeps it raw and in our words, shows it to people, gathers the evidence."""

from typing import Final

from orchestration.adapters.agent.opencode.evidence import Evidence
from orchestration.adapters.agent.opencode.lines import LONGEST, Lines
from orchestration.adapters.agent.opencode.told import Told, parse
from orchestration.core.agent_events import AgentEvent
from orchestration.core.ports import AgentRecord, Output

_SHOWN: Final = 64 * 1024
"""Characters of one text that people are shown."""


class Hearing:
    """One stage's. *session* is the one that is gone on with, when there is one."""

    def __init__(self, record: AgentRecord, output: Output, *, session: str | None) -> None:
        self._record = record
        self._output = output
        self._lines = Lines()
        self._dropped = 0
        self.evidence = Evidence()
        if session is not None:
            self.join(session)

    def join(self, session: str) -> None:
        """Say which session it is from now on."""
        if self.evidence.session is None:
            self.evidence = Evidence(session=session)
            self._record.event(AgentEvent(kind="session", text=session))

    def feed(self, piece: bytes) -> None:
        """Take a piece of output that is one event a line."""
        for line in self._lines.feed(piece):
            self.take(line)
        self.say_dropped(self._lines.dropped)

    def flush(self) -> None:
        """Take what came after the last line's end."""
        for line in self._lines.flush():
            self.take(line)

    def take(self, line: bytes) -> Told | None:
        """Take one line; return what it told, None for what is no event (which people see as it is)."""
        if not line.strip():
            return None
        told = parse(line)
        if told is None:
            self._output("stdout", line + b"\n")
            return None
        self._record.raw(line)
        if told.session is not None and self.evidence.session is None:
            self.join(told.session)
        self.evidence = self.evidence.then(told)
        event = _event(told)
        if event is not None:
            self._record.event(event)
        self._show(told)
        return told

    def say(self, text: str) -> None:
        """Show people a line of ours."""
        self._output("stderr", f"taskq: {text}\n".encode("utf-8", "backslashreplace"))

    def say_dropped(self, count: int) -> None:
        """Say it when more than before, *count* lines in all, were too long to be taken."""
        if count > self._dropped:
            self._dropped = count
            self.say(f"an event of more than {LONGEST >> 20} MiB was dropped")

    def _show(self, told: Told) -> None:
        shown = ""
        match told.kind:
            case "text":
                shown = told.text.strip()[:_SHOWN]
            case "tool_use":
                shown = told.text
            case "error" if told.trouble is not None:
                shown = f"error: {told.trouble.message or told.trouble.name}"[:_SHOWN]
            case "status" if told.next is not None:
                shown = f"waits to ask the model again: {told.text}"[:_SHOWN]
            case "compacted":
                shown = "the conversation was made shorter"
        if shown:
            self._output("stdout", f"{shown}\n".encode("utf-8", "backslashreplace"))


def _event(told: Told) -> AgentEvent | None:
    match told.kind:
        case "text" | "reasoning":
            return AgentEvent(kind=told.kind, text=told.text)
        case "tool_use":
            return AgentEvent(kind="tool", text=told.text, tool=told.tool, state=told.state)
        case "step_finish":
            return AgentEvent(kind="step", text=told.text, usage=told.usage)
        case "error" if told.trouble is not None:
            return AgentEvent(kind="error", text=told.trouble.message or told.trouble.name)
    return None
