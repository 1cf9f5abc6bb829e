"""The ports that an attempt's stages are bound to, in one value."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestration.core.events import Observer
from orchestration.core.ports import Agent, AttemptRecords, Clock, Repository, SandboxProvider, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What running an attempt needs; *provider* and *agent* return one by its name, or raise UsageError.

    *secret* returns the value of a secret by its name, or raises UsageError.
    """

    workspace: Workspace
    repository: Repository
    records: AttemptRecords
    provider: Callable[[str], SandboxProvider]
    agent: Callable[[str], Agent]
    secret: Callable[[str], bytes]
    clock: Clock
    observe: Observer
