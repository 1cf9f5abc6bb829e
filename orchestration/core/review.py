"""A person's visit to the sandbox of a finished attempt. Frozen values."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from orchestration.core.attempts import AttemptFolders
from orchestration.core.models import Task
from orchestration.core.ports import AgentServer, Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """An attempt's sandbox, open for a person until the visitor that is handed this returns.

    *serve* opens the agent's session while its block lasts; it raises UsageError where the agent has none. *left* is
    set when the person is to leave; *stop* then ends whatever still runs, from any thread.
    """

    task: Task
    folders: AttemptFolders
    services: Services
    serve: Callable[[], AbstractContextManager[AgentServer]]
    left: threading.Event
    stop: Callable[[], None]


Visitor = Callable[[Visit], None]
"""What a person does in an open sandbox; when it returns, the person has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where a browser finds a session: *url* opens it at once, or asks for *password* first where that is not None."""

    title: str
    url: str = field(repr=False)
    password: str | None = field(default=None, repr=False)
