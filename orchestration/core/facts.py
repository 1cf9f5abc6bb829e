"""What is known of a task since it ran: its run, revision, usage, landing and failure. Frozen values.

A module of its own because `taskq add` needs none of it, and every class here costs start-up time.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """The process that holds an attempt, so named that a recycled pid or a reboot is noticed."""

    host: str
    pid: int
    started: str
    boot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedHost:
    """A host that a sandbox asked for and was refused, *count* times. *host* is as the sandbox said it: untrusted."""

    host: str
    port: int | None
    reason: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxFacts:
    """What was observed of a sandbox. *id* is the container's or machine's; *image* is the id of what it started from.

    *waivers* say in words what is wider than the defaults, such as an open network.
    """

    kind: str
    id: str | None = None
    name: str | None = None
    image: str | None = None
    network: str | None = None
    refused: tuple[RefusedHost, ...] = ()
    waivers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Facts of the current attempt, known since its claim. *token* is the claim's rev: the fencing token."""

    attempt: int
    token: int
    sandbox: str
    folder: str
    runner: Runner
    started_at: datetime
    session: str | None = None
    observed: SandboxFacts | None = None
    """The sandbox as observed; known since it was opened."""
    is_resumed: bool = False
    """Whether it goes on in the folders and the agent's session of a try before; of a todo task: whether it is to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One path that a revision changes against its base. Counts are None for binary files."""

    path: str
    status: str
    added: int | None
    removed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One collected state of a task's work; review and landing are about exactly one.

    *flags* are findings of the tree check that a reviewer must see, such as ``changes .gitattributes drivers``.
    *published* is False when a person had moved the branch or changed the worktree, so that neither was touched.
    """

    commit: str
    base_commit: str
    ref: str
    attempt: int
    collect: int
    collected_at: datetime
    source: str
    files: tuple[FileChange, ...] = ()
    flags: tuple[str, ...] = ()
    published: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the agent used, as its structured output said; None is unknown, never zero. ``+`` adds what is known."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    reasoning_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=_sum(self.input_tokens, other.input_tokens),
            output_tokens=_sum(self.output_tokens, other.output_tokens),
            cost_usd=_sum(self.cost_usd, other.cost_usd),
            reasoning_tokens=_sum(self.reasoning_tokens, other.reasoning_tokens),
            cache_read_tokens=_sum(self.cache_read_tokens, other.cache_read_tokens),
            cache_write_tokens=_sum(self.cache_write_tokens, other.cache_write_tokens),
        )


def _sum(one: Number | None, other: Number | None) -> Number | None:
    if one is None or other is None:
        return one if other is None else other
    return one + other


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """How and when an approved revision came into its base."""

    commit: str
    how: str
    base: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt did not succeed. *report* is the path of the full report under ``queue/errors``.

    *retry_at* is when whoever refused (a provider's limit) says that it may be tried again.
    """

    stage: str
    code: str
    message: str
    command: str | None = None
    exit_code: int | None = None
    stdout_tail: str = ""
    stderr_tail: str = ""
    report: str | None = None
    retry_at: datetime | None = None
