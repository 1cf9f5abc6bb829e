"""The provider `docker`: one hardened container per attempt.

Guarantees: nothing of an attempt runs once the block that opened its sandbox is left; when the runner is killed its
containers end by themselves, and `reap` removes what is left of them, by label.
Not responsible for: the lease. A container cannot hold the runner's descriptor, so whoever finds a lease free reaps
before he touches what the attempt left.
"""

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, Self

from orchestration.adapters.sandbox.attempt_files import hand_over, make_folders, no_secret
from orchestration.adapters.sandbox.docker import images
from orchestration.adapters.sandbox.docker.container import INSIDE, host_settings, proxy_variables, settings
from orchestration.adapters.sandbox.docker.engine import Engine, Facts
from orchestration.adapters.sandbox.docker.keeper import Keeper, remove
from orchestration.adapters.sandbox.docker.sandbox import DockerSandbox
from orchestration.adapters.sandbox.docker.users import Users, users_for
from orchestration.adapters.sandbox.environment import environment
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.errors import SandboxError, TaskqError
from orchestration.core.facts import SandboxFacts
from orchestration.core.ports import BaseTree, Command, Health, Output
from orchestration.core.toolchain import Toolchain
from orchestration.support.files import make_private_folder

if TYPE_CHECKING:
    from orchestration.adapters.sandbox.egress.egress import Egress

KIND: Final = "docker"
_FRESH: Final = 5.0
"""Seconds for which an image's id is believed without asking the engine again."""
_PROBE_SECONDS: Final = timedelta(seconds=60)
_PROBE: Final = (
    'cat "$TASKQ_CONFIG/probe"; '
    'for each in . ../git ../data "$TASKQ_OUT"; do '
    'probe=$each/.taskq-probe-$$; : >"$probe" && rm -f "$probe" || exit 1; done; '
    "[ ! -e ../base ] || ls ../base >/dev/null"
)
"""Run before any agent: every folder is there, is the one that we made, and takes what the agent's user writes."""


class DockerSandboxProvider:
    """See `core.ports.SandboxProvider`.

    *image* is what sandboxes start from unless the repository says otherwise; *secret* returns the value of a secret by
    its name; *cache* is a folder for locks of builds.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        cache: Path,
        image: str = images.DEFAULT_DOCKER_IMAGE,
        secret: Callable[[str], bytes] = no_secret,
        grace: timedelta = timedelta(seconds=30),
    ) -> None:
        self._engine = engine
        self._cache = cache
        self._image = image
        self._secret = secret
        self._grace = grace
        self._asked: tuple[float, str | None] = (0.0, None)
        self._variables: dict[str, dict[str, str]] = {}

    @classmethod
    def make(
        cls, *, environment: Mapping[str, str], cache: Path, image: str | None, secret: Callable[[str], bytes]
    ) -> Self:
        """Return the provider for the engine that *environment* names, and an operator's settings."""
        return cls(Engine(environment), cache=cache, image=image or images.DEFAULT_DOCKER_IMAGE, secret=secret)

    def prepare(self, spec: AttemptSpec, tree: BaseTree, output: Output, *, is_stopped: Callable[[], bool]) -> str:
        """See `core.ports.SandboxProvider.prepare`: the id of the image, with what the repository wants on it."""
        if spec.toolchain == Toolchain():
            return self._default_image()
        from orchestration.adapters.sandbox.docker import toolchain  # noqa: PLC0415 - few repositories say anything

        return toolchain.prepare(
            self._engine,
            spec.toolchain,
            tree,
            default_image=self._image,
            cache=self._cache,
            timeout=spec.limits.setup,
            output=lambda line: output("stdout", f"{line}\n".encode()),
            is_stopped=is_stopped,
        )

    @contextlib.contextmanager
    def open(self, spec: AttemptSpec, folders: AttemptFolders, *, lease: int) -> Iterator[DockerSandbox]:  # noqa: ARG002
        """See `core.ports.SandboxProvider.open`."""
        engine = self._engine.facts()
        users = users_for(engine, (os.getuid(), os.getgid()))
        image = spec.image or self._default_image()
        values = {name: self._secret(name) for name in spec.toolchain.secrets}
        _make_ready(folders, users)
        with contextlib.ExitStack() as stack:
            egress = stack.enter_context(_way_out(spec, folders)) if spec.network == "allowlist" else None
            keeper = Keeper.create(self._engine, settings(spec, image=image), host_settings(spec, folders))
            stack.callback(keeper.remove)

            def observe() -> SandboxFacts:
                return SandboxFacts(
                    kind=KIND,
                    id=keeper.id,
                    name=keeper.name,
                    image=image,
                    network=spec.network,
                    refused=egress.refused() if egress is not None else (),
                    waivers=(*_waivers(spec, engine), *keeper.warnings),
                )

            def settle_in(sandbox: DockerSandbox) -> None:
                _check_mounts(sandbox, folders)
                _deliver(sandbox, values)

            sandbox = DockerSandbox(
                keeper,
                folders,
                users,
                environment=self._environment(spec, image),
                prepare=settle_in,
                observe=observe,
                grace=self._grace,
            )
            stack.callback(sandbox.close)
            sandbox.start()
            yield sandbox

    def reap(self, labels: Mapping[str, str]) -> int:
        """See `core.ports.SandboxProvider.reap`."""
        if not labels:
            raise ValueError("without a label, everything would be a leftover")
        wanted = {"label": [f"{name}={value}" for name, value in labels.items()]}
        deadline = time.monotonic() + self._grace.total_seconds()
        found = self._list(wanted)
        left = found
        while left:
            for identifier in left:
                remove(self._engine, identifier)
            left = self._list(wanted)
            if left and time.monotonic() > deadline:
                raise SandboxError(f"containers {', '.join(one[:12] for one in left)} do not go", code="engine_failed")
        return len(found)

    def check(self) -> Health:
        """See `core.ports.SandboxProvider.check`."""
        try:
            facts = self._engine.facts()
            image = images.resolve(self._engine, self._image)
        except TaskqError as error:
            what, _, remedy = str(error).partition("; ")
            return Health(name=KIND, usable=False, detail=what, remedy=remedy or None)
        kind = "rootless " if facts.is_rootless else "with remapped users, " if facts.remap else ""
        detail = f"engine {facts.version} {kind}at {self._engine.address}, image {self._image} ({image[7:19]})"
        return Health(name=KIND, usable=True, detail=detail)

    def _default_image(self) -> str:
        """Return the id of the image that most sandboxes start from; one that is made anew counts within seconds."""
        now = time.monotonic()
        asked, image = self._asked
        if image is None or now - asked > _FRESH:
            image = images.resolve(self._engine, self._image)
            self._asked = (now, image)
        return image

    def _list(self, wanted: Mapping[str, list[str]]) -> list[str]:
        with self._engine.errors("list containers"):
            return [one["Id"] for one in self._engine.api.containers(all=True, filters=dict(wanted))]

    def _environment(self, spec: AttemptSpec, image: str) -> dict[str, str]:
        """Return what the image says, and over it what every sandbox has."""
        if image not in self._variables:
            with self._engine.errors(f"look at image {image[:19]}"):
                found: dict[str, Any] = self._engine.api.inspect_image(image)  # type: ignore[no-untyped-call]
            said = found["Config"].get("Env") or []
            self._variables[image] = dict(pair.split("=", 1) for pair in said if "=" in pair)
        variables = self._variables[image]
        path = variables.get("PATH") or "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {**variables, **environment(spec, INSIDE, kind=KIND, path=path), **proxy_variables(spec)}


def _make_ready(folders: AttemptFolders, users: Users) -> None:
    make_folders(folders)
    if users.owner is not None:
        hand_over((folders.workspace, folders.git, folders.data, folders.out, folders.config), users.owner)


def _way_out(spec: AttemptSpec, folders: AttemptFolders) -> "Egress":
    from orchestration.adapters.sandbox.egress.egress import Egress  # noqa: PLC0415 - for an allow-list only

    make_private_folder(folders.logs)
    return Egress(
        folders.egress,
        folders.logs / "egress.jsonl",
        allow=(*spec.allow, *spec.toolchain.allow),
        allow_private=spec.allow_private,
    )


def _waivers(spec: AttemptSpec, engine: Facts) -> tuple[str, ...]:
    network = ("the network is open",) if spec.network == "open" else ()
    if not engine.unlimited:
        return network
    return (*network, f"the engine does not hold these limits: {', '.join(engine.unlimited)}")


def _check_mounts(sandbox: DockerSandbox, folders: AttemptFolders) -> None:
    """See that every folder inside is ours, and may be used. Raises: SandboxError that names what is not."""
    token = token_hex(16).encode()
    sandbox.send("probe", token)
    seen: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def output(stream: str, chunk: bytes) -> None:
        seen[stream] += chunk[:1000]

    ended = sandbox.run(Command(argv=("/bin/sh", "-c", _PROBE), timeout=_PROBE_SECONDS), output)
    if seen["stdout"] != token:
        message = (
            f"the engine does not show {folders.root} in containers; taskq and its engine must share a file system"
        )
        raise SandboxError(message, code="mount_foreign")
    if not ended.succeeded:
        said = seen["stderr"].decode("utf-8", "backslashreplace").strip()
        message = f"the agent's user cannot use the attempt's folders in the container: {said!a:.200}"
        raise SandboxError(message, code="mount_unusable")


def _deliver(sandbox: DockerSandbox, values: Mapping[str, bytes]) -> None:
    """Put the secrets into the container's memory; they are on no disk and in no setting of the container."""
    for name, value in values.items():
        script = (
            f'umask 077; cat >"$TASKQ_SECRETS"/{shlex.quote(name)} && chmod 0400 "$TASKQ_SECRETS"/{shlex.quote(name)}'
        )
        ended = sandbox.run(Command(argv=("/bin/sh", "-c", script), timeout=_PROBE_SECONDS, stdin=value))
        if not ended.succeeded:
            raise SandboxError(f"the secret {name} could not be put into the container", code="secret_undelivered")
