"""The engine: how it is found, one client a thread, and its errors as ours, each with what would help.

Found as the engine's own command line does: ``DOCKER_HOST``, else the current context (``DOCKER_CONTEXT``, or the one
that ``docker context use`` has set), else the default socket.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final

import docker
import requests
import urllib3
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.utils import kwargs_from_env

from orchestration.adapters.sandbox.docker.client import Client
from orchestration.core.errors import SandboxError, UsageError

DEFAULT_SOCKET: Final = "unix:///var/run/docker.sock"
_ANSWER_SECONDS: Final = 120
_HELD_LIMITS: Final = {"MemoryLimit": "memory", "CpuCfsQuota": "cpus", "PidsLimit": "pids"}
"""What an engine says of itself, and the limit of a task that stands and falls with it."""
_START_IT: Final = "start it (Debian: systemctl start docker), or name another with DOCKER_HOST"
_SIGNS: Final[tuple[tuple[str, str, str], ...]] = (
    ("no space left on device", "disk_full", "free some space: docker system df"),
    ("disk quota exceeded", "disk_full", "free some space: docker system df"),
    ("port is already allocated", "port_taken", "end what listens there, or let the engine choose a port"),
    ("address already in use", "port_taken", "end what listens there, or let the engine choose a port"),
    ("is already in use by", "name_taken", "see whose it is with: docker ps -a"),
    ("bind source path does not exist", "mount_foreign", "taskq and its engine must share a file system"),
    ("is not running", "not_running", "it has ended by itself"),
    ("container state improper", "not_running", "it has ended by itself"),
    ("no such image", "image_missing", "make it with: taskq build-image"),
    ("no such container", "container_gone", "somebody removed it"),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What matters to us of an engine. *remap* is what host uid and gid the root of its containers is, if remapped.

    *unlimited* names the limits that it takes and does not hold, and says nothing of when a container is made.
    """

    version: str
    security: tuple[str, ...]
    root: str
    is_rootless: bool
    remap: tuple[int, int] | None
    unlimited: tuple[str, ...] = ()


class Engine:
    """One engine. Its methods may be called from any thread; *environment* is the operator's."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._clients = threading.local()
        self._opened: list[Client] = []
        self._facts: Facts | None = None
        self._version = "auto"

    @property
    def address(self) -> str:
        """Where the engine is. Raises: UsageError for a context that is not there."""
        return str(self._arguments()["base_url"])

    @property
    def api(self) -> docker.APIClient:
        """The calling thread's client. Raises: SandboxError (``engine_down``, ``engine_unreachable``)."""
        client: Client | None = getattr(self._clients, "client", None)
        if client is None:
            with self.errors("reach the engine"):
                client = Client(**self._arguments(), version=self._version, timeout=_ANSWER_SECONDS)
            self._clients.client = client
            self._version = client.api_version
            self._opened.append(client)
        return client

    def close(self) -> None:
        """Close every thread's connections, when nobody uses them any more."""
        while self._opened:
            self._opened.pop().close()
        self._clients = threading.local()

    def facts(self) -> Facts:
        """Return what the engine says of itself, asked once. Raises: SandboxError."""
        if self._facts is None:
            with self.errors("ask the engine about itself"):
                info = self.api.info()
            self._facts = _facts(info)
        return self._facts

    @contextlib.contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn what the client raises into SandboxError with a stable code, what was tried, and what would help."""
        try:
            yield
        except ImageNotFound as error:
            message = f"cannot {doing}: {_said(error)}; make it with: taskq build-image"
            raise SandboxError(message, code="image_missing") from error
        except APIError as error:
            raise _from_answer(error, doing) from error
        except NameError as error:  # the library's word for an engine behind ssh without what that needs
            message = f"cannot {doing}: an engine behind ssh needs paramiko; pip install 'docker[ssh]'"
            raise SandboxError(message, code="engine_unreachable") from error
        except (
            DockerException,
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            HTTPException,
            OSError,
        ) as error:
            raise self._unreached(error, doing) from error

    def _arguments(self) -> dict[str, Any]:
        if self._environment.get("DOCKER_HOST"):
            found = dict(kwargs_from_env(environment=dict(self._environment)))
            return {"base_url": found.get("base_url", DEFAULT_SOCKET), "tls": found.get("tls", False)}
        name = self._environment.get("DOCKER_CONTEXT")
        try:
            context: Any = ContextAPI.get_context(name) if name else ContextAPI.get_current_context()
        except DockerException as error:
            raise UsageError(f"the engine's context cannot be read: {error}", code="bad_context") from error
        if context is None:
            message = f"there is no engine context {name!r}; see them with: docker context ls"
            raise UsageError(message, code="bad_context")
        return {"base_url": context.Host or DEFAULT_SOCKET, "tls": context.TLSConfig or False}

    def _unreached(self, error: Exception, doing: str) -> SandboxError:
        """Return why nobody answered: nobody is there, or nobody can be reached."""
        address = self.address
        causes = list(_causes(error))
        if any(isinstance(cause, PermissionError) for cause in causes):
            message = f"cannot {doing}: no permission for {address}; join its group (docker), or run it rootless"
            return SandboxError(message, code="engine_denied")
        if _is_local(address) and any(
            isinstance(cause, (FileNotFoundError, ConnectionRefusedError)) for cause in causes
        ):
            message = f"cannot {doing}: no engine answers at {address}; {_START_IT}"
            return SandboxError(message, code="engine_down")
        message = f"cannot {doing}: the engine at {address} cannot be reached: {causes[-1]}; {_START_IT}"
        return SandboxError(message, code="engine_unreachable")


def _is_local(address: str) -> bool:
    return address.startswith(("unix:", "http+unix:"))


def _facts(info: Mapping[str, Any]) -> Facts:
    security = tuple(str(option) for option in info.get("SecurityOptions") or ())
    names = {part.removeprefix("name=") for option in security for part in option.split(",")}
    root = str(info.get("DockerRootDir", ""))
    return Facts(
        version=str(info.get("ServerVersion", "")),
        security=security,
        root=root,
        is_rootless="rootless" in names,
        remap=_remap(root) if "userns" in names else None,
        unlimited=tuple(limit for said, limit in _HELD_LIMITS.items() if info.get(said) is False),
    )


def _remap(root: str) -> tuple[int, int] | None:
    """Return the host ids of a remapped root: such an engine keeps its data in a folder ``<uid>.<gid>``."""
    uid, _, gid = root.rstrip("/").rpartition("/")[2].partition(".")
    return (int(uid), int(gid)) if uid.isdecimal() and gid.isdecimal() else None


def _from_answer(error: APIError, doing: str) -> SandboxError:
    said = _said(error)
    for sign, code, remedy in _SIGNS:
        if sign in said.lower():
            return SandboxError(f"cannot {doing}: {said}; {remedy}", code=code)
    code = "container_gone" if isinstance(error, NotFound) else "engine_failed"
    return SandboxError(f"cannot {doing}: the engine says: {said}", code=code)


def _said(error: APIError) -> str:
    return " ".join(str(error.explanation or error).split())


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and what it came from, also where libraries carry the cause as an argument."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            yield one
            waiting += [*one.args, one.__cause__, one.__context__, getattr(one, "reason", None)]
