"""What a fake model answers: values, and the script that a task's text can carry."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of one of the agent's tools."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Say:
    """An answer that streams *text*, then calls. *flood* bytes of more text follow; *cut* breaks the stream off."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    flood: int = 0
    cut: bool = False
    pause: float = 0.0
    """Seconds before the end of the answer."""
    tokens: tuple[int, int] = (100, 10)
    """What is said of the usage: input and output."""


@dataclass(frozen=True, kw_only=True)
class Refuse:
    """An answer that is an error of HTTP."""

    status: int
    message: str = "no"
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    """No answer, until the server ends or the other side hangs up."""


Reply = Say | Refuse | Hang


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request, as the model got it. *authorization* is the header."""

    path: str
    model: str
    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[str, ...]
    authorization: str
    number: int
    """From 1."""

    @property
    def said(self) -> str:
        """What the last of the user's messages says."""
        told = [_plain(message.get("content")) for message in self.messages if message.get("role") == "user"]
        return told[-1] if told else ""

    @property
    def answered(self) -> int:
        """How many of the calls since the user's last message have their result."""
        roles = [message.get("role") for message in self.messages]
        last = len(roles) - 1 - roles[::-1].index("user") if "user" in roles else 0
        return roles[last:].count("tool")


Answer = Callable[[Asked], Reply]

UNAUTHORIZED: Final = Refuse(status=401, message="Incorrect API key provided", code="invalid_api_key")
BROKEN: Final = Refuse(status=500, message="The server had an error")
TOO_LONG: Final = Refuse(
    status=400, message="This model's maximum context length is 8192 tokens", code="context_length_exceeded"
)
_WRITE: Final = re.compile(r"^write (?P<path>\S+): (?P<content>.*)$", re.MULTILINE)
_BASH: Final = re.compile(r"^run (?P<command>.+)$", re.MULTILINE)


def limited(*, seconds: float) -> Refuse:
    """Return a refusal for a limit that ends in so many seconds."""
    return Refuse(
        status=429, message="Rate limit reached", code="rate_limit_exceeded", headers={"retry-after": f"{seconds:g}"}
    )


def do_as_told(asked: Asked) -> Reply:
    """Do what the lines ``write PATH: CONTENT`` and ``run COMMAND`` of the whole conversation say, one at a time.

    In plan mode it only says that it would do it.
    """
    text = "\n".join(_plain(message.get("content")) for message in asked.messages if message.get("role") == "user")
    wanted = _calls(text)
    if not asked.tools or is_planning(asked) or asked.answered >= len(wanted):
        return Say(text="I would do this." if is_planning(asked) else "It is done.")
    return Say(text="Working.", calls=(wanted[asked.answered],))


def is_planning(asked: Asked) -> bool:
    """Return whether the user's last message is of OpenCode's plan mode."""
    return "plan mode" in asked.said.lower()


def _calls(text: str) -> list[Call]:
    writes = [
        Call(tool="write", arguments={"filePath": found["path"], "content": f"{found['content']}\n"})
        for found in _WRITE.finditer(text)
    ]
    runs = [
        Call(tool="bash", arguments={"command": found["command"], "description": "runs"})
        for found in _BASH.finditer(text)
    ]
    return list({repr(call): call for call in (*writes, *runs)}.values())


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""
