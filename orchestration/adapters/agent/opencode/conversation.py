"""One prompt to OpenCode's server, and what it tells until the session is idle again.

Guarantees: it ends. At the time limit, when the provider asks to wait for long, and when answers break off again and
again, the session is aborted; permissions are given, as the sandbox is the boundary, but not the one to go in circles.
"""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from orchestration.adapters.agent.opencode import refusals
from orchestration.adapters.agent.opencode.hearing import Hearing
from orchestration.adapters.agent.opencode.judgement import UNFINISHED, Problem
from orchestration.adapters.agent.opencode.lines import Lines
from orchestration.adapters.agent.opencode.resets import at_milliseconds
from orchestration.adapters.agent.opencode.server import ASK, Server
from orchestration.adapters.agent.opencode.told import Told, inner, text_of
from orchestration.core.errors import SandboxError, WorkFailedError
from orchestration.core.ports import Exit

PATIENCE: Final = timedelta(minutes=2)
"""How long OpenCode may wait for a provider that refuses, before the stage ends and says when to try again."""
_LAST_WORDS: Final = 2.0
"""Seconds for which the end of a server, whose stream ended, may take to show."""
_CIRCLES: Final = "doom_loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What is asked of whom, in which session. *model* is ``PROVIDER/MODEL``."""

    session: str
    agent: str
    text: str
    model: str | None
    variant: str | None

    @property
    def content(self) -> Mapping[str, Any]:
        """As the server takes it."""
        content: dict[str, Any] = {"agent": self.agent, "parts": [{"type": "text", "text": self.text}]}
        if self.model is not None:
            provider, _, name = self.model.partition("/")
            content["model"] = {"providerID": provider, "modelID": name}
        if self.variant is not None:
            content["variant"] = self.variant
        return content


def converse(server: Server, prompt: Prompt, hearing: Hearing, *, timeout: timedelta) -> tuple[Exit, Problem | None]:
    """Ask, and hear until it is idle. A problem is one that is not in what it told.

    Raises: WorkFailedError when the server does not take the prompt, SandboxError.
    """
    started = time.monotonic()
    talk = _Talk(server, prompt, hearing)
    with server.client.listen("/event", timeout=timeout) as pieces:
        is_over = talk.follow(pieces)
    elapsed = timedelta(seconds=time.monotonic() - started)
    if not is_over or talk.problem is not None or talk.is_broken_off:
        talk.abort()
    if is_over:
        return Exit(code=0, elapsed=elapsed), talk.problem
    if elapsed >= timeout:
        return Exit(code=None, timed_out=True, elapsed=elapsed), None
    return _end_of(server, elapsed), None


class _Talk:
    def __init__(self, server: Server, prompt: Prompt, hearing: Hearing) -> None:
        self._server = server
        self._prompt = prompt
        self._hearing = hearing
        self._lines = Lines()
        self._is_busy = False
        self._waits_since: datetime | None = None
        self.problem: Problem | None = None

    @property
    def is_broken_off(self) -> bool:
        return self._hearing.evidence.unfinished >= UNFINISHED

    def follow(self, pieces: Iterator[bytes]) -> bool:
        """Hear the stream; return whether it is over, rather than cut."""
        has_asked = False
        for piece in pieces:
            for line in self._lines.feed(piece):
                if not has_asked:  # the stream is open: nothing can be missed
                    has_asked = True
                    path = f"/session/{self._prompt.session}/prompt_async"
                    self._server.ask("POST", path, self._prompt.content)
                if line.startswith(b"data:") and self._is_over(line.removeprefix(b"data:")):
                    return True
            self._hearing.say_dropped(self._lines.dropped)
        return False

    def abort(self) -> None:
        """End what the session does, as far as the server still listens."""
        with contextlib.suppress(WorkFailedError, SandboxError):
            self._server.client.ask("POST", f"/session/{self._prompt.session}/abort", timeout=ASK / 6)

    def _is_over(self, data: bytes) -> bool:
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            return False
        if not isinstance(event, dict):
            return False
        properties = inner(event, "properties")
        is_ours = text_of(properties, "sessionID") == self._prompt.session
        match text_of(event, "type"):
            case "session.status" if is_ours and text_of(inner(properties, "status"), "type") == "busy":
                self._is_busy = True
            case "session.status" if is_ours and text_of(inner(properties, "status"), "type") == "idle":
                return self._is_busy
            case "permission.asked" if text_of(properties, "permission") != _CIRCLES:
                self._reply(properties, "once")
                return False
        line = as_line(event)
        told = self._hearing.take(line) if line is not None else None
        return told is not None and self._is_to_end(told, properties)

    def _is_to_end(self, told: Told, properties: Mapping[str, Any]) -> bool:
        match told.kind:
            case "permission":
                self._reply(properties, "reject")
            case "status":
                return self._waits_for_long(told)
            case "step_start" | "step_finish" | "tool_use" | "text":
                self._waits_since = None
        return self.is_broken_off

    def _waits_for_long(self, told: Told) -> bool:
        now = datetime.now(UTC)
        self._waits_since = self._waits_since or now
        at = at_milliseconds(told.next, now=now)
        if at is None or at - self._waits_since <= PATIENCE:
            return False
        said = " ".join(told.text.split())
        text = f"the model's provider refuses until {at:%Y-%m-%dT%H:%M:%SZ}: {said[:300]}"
        self.problem = Problem(code=refusals.LIMIT, text=text, retry_at=at)
        return True

    def _reply(self, properties: Mapping[str, Any], reply: str) -> None:
        request = text_of(properties, "id")
        if request.replace("_", "").isalnum() and request.isascii():
            with contextlib.suppress(WorkFailedError):  # it was answered, or withdrawn
                self._server.ask("POST", f"/permission/{request}/reply", {"reply": reply})


def as_line(event: Mapping[str, Any]) -> bytes | None:
    """Return an event of the server in the form of ``opencode run --format json``; None for what that does not tell."""
    properties = inner(event, "properties")
    part = inner(properties, "part")
    common: dict[str, Any] = {
        "timestamp": time.time_ns() // 1_000_000,
        "sessionID": text_of(properties, "sessionID") or text_of(part, "sessionID"),
    }
    match text_of(event, "type"):
        case "message.part.updated":
            kind = _kind_of(part)
            line = None if kind is None else {"type": kind, **common, "part": part}
        case "session.error":
            line = {"type": "error", **common, "error": properties.get("error")}
        case "session.status" if text_of(inner(properties, "status"), "type") == "retry":
            line = {"type": "status", **common, "status": properties.get("status")}
        case "permission.asked":
            line = {"type": "permission", **common, "permission": text_of(properties, "permission")}
        case "session.compacted":
            line = {"type": "compacted", **common}
        case _:
            line = None
    return None if line is None else json.dumps(line).encode()


def _kind_of(part: Mapping[str, Any]) -> str | None:
    match text_of(part, "type"):
        case "tool" if text_of(inner(part, "state"), "status") in {"completed", "error"}:
            return "tool_use"
        case "step-start":
            return "step_start"
        case "step-finish":
            return "step_finish"
        case "text" | "reasoning" as kind if inner(part, "time").get("end"):
            return kind
    return None


def _end_of(server: Server, elapsed: timedelta) -> Exit:
    """Return how the server ended whose stream ended; nothing is known of one that goes on."""
    deadline = time.monotonic() + _LAST_WORDS
    while server.service.exit is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return server.service.exit or Exit(code=None, elapsed=elapsed)
