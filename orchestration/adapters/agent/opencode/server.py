"""OpenCode's server in a sandbox: started, asked what it knows, ended.

Guarantees: a server that did not become ready is ended, and why is said; its password is fresh and in no argument.
"""

import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Final

from orchestration.adapters.agent.judgement import FAILED
from orchestration.adapters.agent.opencode import refusals
from orchestration.adapters.agent.opencode.client import Client
from orchestration.adapters.agent.opencode.judgement import UNKNOWN_AGENT, Problem
from orchestration.adapters.agent.opencode.operator import BAD_CONFIG
from orchestration.adapters.agent.opencode.seeds import Seeds
from orchestration.adapters.agent.opencode.told import inner, text_of
from orchestration.core.errors import WorkFailedError
from orchestration.core.ports import Command, Exit, Service, Services, Stream

PORT: Final = 4096
_READY: Final = b"listening on"
_START: Final = timedelta(seconds=120)
_LOOK: Final = 0.1
ASK: Final = timedelta(seconds=60)
_TAIL: Final = 4096
_SESSION: Final = re.compile(r"ses_[A-Za-z0-9]{1,64}", re.ASCII)
_CONFIG_ERROR: Final = re.compile(r"Config\w*Error|Configuration is invalid|is not valid JSON")
_COLOUR: Final = re.compile(rb"\x1b\[[0-9;]*m")
_DENIED: Final = ("question", "plan_enter", "plan_exit")
"""What nobody could answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The agents that can be started with, and the names of models by provider."""

    agents: frozenset[str]
    models: Mapping[str, frozenset[str]]

    def refusal(self, *, agent: str, model: str | None) -> Problem | None:
        """Return why a prompt for *agent* and *model* would not do what it should; None when it would."""
        if agent not in self.agents:
            return Problem(code=UNKNOWN_AGENT, text=f"OpenCode has no agent {agent!a:.80} that it could start with")
        provider, _, name = (model or "").partition("/")
        if model is None or name in self.models.get(provider, ()):
            return None
        every = [f"{one}/{each}" for one, names in self.models.items() for each in names]
        near = get_close_matches(model, every, n=1, cutoff=0.5)
        hint = (
            f"did you mean {near[0]!a:.100}"
            if near
            else f"it has these providers: {', '.join(sorted(self.models))!a:.200}"
        )
        return Problem(code=refusals.UNKNOWN_MODEL, text=f"OpenCode does not know the model {model!a:.100}; {hint}")


class NotStartedError(WorkFailedError):
    """The server did not become ready; *ended* is how it ended."""

    def __init__(self, message: str, *, code: str, ended: Exit) -> None:
        super().__init__(message, code=code)
        self.ended = ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that is ready. *said* returns the end of what its program wrote."""

    client: Client
    service: Service
    password: str
    said: Callable[[], str]

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        """See `Client.ask`."""
        return self.client.ask(method, path, content, timeout=ASK)

    def catalogue(self) -> "Catalogue":
        """Return the agents and models that OpenCode knows here. Raises: WorkFailedError, SandboxError."""
        agents = frozenset(
            text_of(each, "name")
            for each in _objects(self.ask("GET", "/agent"))
            if text_of(each, "mode") in {"primary", "all"}
        )
        return Catalogue(agents=agents, models=dict(_models(self.ask("GET", "/config/providers"))))

    def session(self, title: str) -> str:
        """Return the id of a new session. Raises: WorkFailedError, SandboxError."""
        denied = [{"permission": name, "pattern": "*", "action": "deny"} for name in _DENIED]
        made = self.ask("POST", "/session", {"title": title, "permission": denied})
        return checked(text_of(made, "id") if isinstance(made, dict) else "")

    def has(self, session: str) -> bool:
        """Return whether there is this session. Raises: WorkFailedError, SandboxError."""
        try:
            self.ask("GET", f"/session/{checked(session)}")
        except WorkFailedError as error:
            if error.code != "server_refused":
                raise
            return False
        return True


def start(services: Services, seeds: Seeds, *, lifetime: timedelta) -> Server:
    """Start a server that goes on for *lifetime* at most, and wait until it is ready.

    Raises: NotStartedError (``bad_agent_config``, ``agent_failed``), SandboxError.
    """
    password = secrets.token_urlsafe(32)
    ready = threading.Event()
    tails: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def output(stream: Stream, chunk: bytes) -> None:
        tails[stream] = (tails[stream] + chunk)[-_TAIL:]
        if _READY in tails["stdout"]:
            ready.set()

    def said() -> str:
        return _COLOUR.sub(b"", tails["stderr"] + tails["stdout"]).decode("utf-8", "backslashreplace").strip()

    command = Command(
        argv=("opencode", "serve", "--hostname", "127.0.0.1", "--port", str(PORT)),
        timeout=lifetime,
        env={**seeds.environment, "OPENCODE_SERVER_PASSWORD": password},
    )
    service = services.start(command, output)
    waited = 0.0
    while not ready.wait(_LOOK) and service.exit is None and waited < _START.total_seconds():
        waited += _LOOK
    if not ready.is_set() or service.exit is not None:
        raise _not_started(service.stop(), said())
    client = Client(services, port=PORT, password=password)
    return Server(client=client, service=service, password=password, said=said)


def checked(session: str) -> str:
    """Return *session*, which comes from inside and goes into paths. Raises: WorkFailedError for what is no id."""
    if not _SESSION.fullmatch(session):
        raise WorkFailedError(f"{session[:80]!a} is no session of OpenCode", code="no_session")
    return session


def problem_of(error: WorkFailedError) -> Problem:
    """Return what a server that did not do what was asked means."""
    if _CONFIG_ERROR.search(str(error)):
        return Problem(code=BAD_CONFIG, text=f"OpenCode cannot use its configuration, or the repository's: {error}")
    return Problem(code=error.code if error.code in {BAD_CONFIG, "no_session"} else FAILED, text=str(error))


def _not_started(ended: Exit, said: str) -> NotStartedError:
    if ended.code == 127:
        message = "there is no program opencode in the sandbox; use an image that has it, see: taskq build-image"
        return NotStartedError(message, code=FAILED, ended=ended)
    code = BAD_CONFIG if _CONFIG_ERROR.search(said) else FAILED
    return NotStartedError(f"OpenCode's server did not start: {said[-500:]!a}", code=code, ended=ended)


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    yield from (each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()


def _models(value: Any) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield each provider with the names of its models."""
    for provider in _objects(value.get("providers") if isinstance(value, dict) else None):
        yield text_of(provider, "id"), frozenset(inner(provider, "models"))
