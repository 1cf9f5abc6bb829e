"""The repository's toolchain: the image that an attempt starts from, with what ``.taskq.toml`` wants on it.

Guarantees: what was built once for the same inputs is not built again, also when several runners want it at once; no
image that the repository names is pulled, but a Dockerfile of its own may name one that the engine then gets.
Not responsible for: what a build fetches from the network.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Final

import filelock

from orchestration.adapters.sandbox.docker import images, layers
from orchestration.adapters.sandbox.docker.build import Build, BuildFailedError, Say, context, never, run, stopped
from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.core.errors import BusyError, WorkFailedError
from orchestration.core.ports import BaseTree
from orchestration.core.toolchain import TOOLCHAIN_FILE, Toolchain

PATIENCE: Final = timedelta(minutes=10)


def prepare(
    engine: Engine,
    toolchain: Toolchain,
    tree: BaseTree,
    *,
    default_image: str,
    cache: Path,
    output: Say,
    timeout: timedelta = PATIENCE,
    is_stopped: Callable[[], bool] = never,
) -> str:
    """Return the id of the image for an attempt; *timeout* is for each build that it takes.

    *cache* is a folder for the locks of builds. *output* takes each line that a build says.
    Raises: SandboxError (``image_missing``, ``build_failed``, ``sandbox_stopped``); BusyError; WorkFailedError for the
    repository's own: ``bad_dockerfile``, ``build_failed``, ``no_git``, ``setup_failed``.
    """
    part = _Part(engine=engine, tree=tree, cache=cache, output=output, timeout=timeout, is_stopped=is_stopped)
    image = images.resolve(engine, default_image)
    if toolchain.dockerfile is not None:
        image = part.from_dockerfile(toolchain.dockerfile, image)
    elif toolchain.image is not None:
        image = part.adopted(images.resolve(engine, toolchain.image), toolchain.image, image)
    return image if toolchain.setup is None else part.set_up(toolchain, image)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Builds what is not there yet, one key at a time."""

    engine: Engine
    tree: BaseTree
    cache: Path
    output: Say
    timeout: timedelta
    is_stopped: Callable[[], bool]

    def from_dockerfile(self, path: str, default_image: str) -> str:
        """Return taskq's part on what the repository's Dockerfile makes of its files."""
        blobs = self.tree.blobs()
        if path not in blobs:
            message = f"{TOOLCHAIN_FILE} names the dockerfile {path!a:.200}, which is no file of the base commit"
            raise WorkFailedError(message, code="bad_dockerfile")

        def build() -> str:
            with _blaming("build_failed"), self._exported() as exported, exported.open("rb") as packed:
                made = self._build(Build(what=f"the repository's {path}", context=packed, dockerfile=path))
            return self.adopted(made, path, default_image)

        return self._once("dockerfile", layers.dockerfile_key(path, blobs, default_image, _adopt()), build)

    def adopted(self, image: str, name: str, default_image: str) -> str:
        """Return *image* with taskq's part of the default image on it; *name* is what the repository calls it."""
        if image == default_image:
            return image

        key = layers.layer_key(image, default_image, _adopt())

        def build() -> str:
            dockerfile = layers.layer_dockerfile(image, default_image).encode()
            with context({"Dockerfile": dockerfile, layers.ADOPT: _adopt()}) as packed:
                wanted = Build(what=f"taskq's part on {name}", context=packed, labels={"taskq.layer": key})
                try:
                    return self._build(wanted)
                except BuildFailedError as error:
                    if error.status != layers.NOTHING_INSTALLS:
                        raise
                    message = f"{name} has no git, and no package manager that taskq knows; use an image with git"
                    raise WorkFailedError(message, code="no_git") from error

        return self._once("layer", key, build)

    def set_up(self, toolchain: Toolchain, image: str) -> str:
        """Return *image* after the repository's `setup`."""
        key = layers.setup_key(image, toolchain, self.tree.blobs())
        what = f"the snapshot after the setup of {TOOLCHAIN_FILE}"

        def build() -> str:
            with self._exported() as exported:
                needs: dict[str, bytes | Path] = {
                    "Dockerfile": layers.setup_dockerfile(image).encode(),
                    layers.SETUP: layers.setup_script(toolchain),
                    layers.TREE: exported,
                }
                with context(needs) as packed, _blaming("setup_failed"):
                    return self._build(Build(what=what, context=packed, labels={"taskq.snapshot": key}))

        return self._once("snapshot", key, build)

    def _once(self, kind: str, key: str, build: Callable[[], str]) -> str:
        """Return the image of this *key*, built first if there is none; others who want it wait."""
        reference = f"taskq/{kind}:{key}"
        found = images.find(self.engine, reference)
        if found is not None:
            return found
        with _held(self.cache / "builds" / f"{key}.lock", reference, self.timeout, self.is_stopped):
            found = images.find(self.engine, reference)
            if found is None:
                found = build()
                images.tag(self.engine, found, reference)
        return found

    def _build(self, build: Build) -> str:
        return run(self.engine, replace(build, timeout=self.timeout, is_stopped=self.is_stopped), self.output)

    @contextlib.contextmanager
    def _exported(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="taskq-tree-") as folder:
            path = Path(folder) / layers.TREE
            self.tree.export(path)
            yield path


def _adopt() -> bytes:
    return files("orchestration").joinpath("adapters", "sandbox", "docker", "image", layers.ADOPT).read_bytes()


@contextlib.contextmanager
def _blaming(code: str) -> Iterator[None]:
    """Let a failed build be the repository's failure, not the engine's."""
    try:
        yield
    except BuildFailedError as error:
        raise WorkFailedError(str(error), code=code) from error


@contextlib.contextmanager
def _held(lock: Path, what: str, patience: timedelta, is_stopped: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock file across threads and processes; it stays for ever.

    Raises: BusyError after *patience*; SandboxError (``sandbox_stopped``).
    """
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = filelock.FileLock(lock, timeout=patience.total_seconds(), mode=0o600, thread_local=False, poll_interval=0.05)
    try:
        held.acquire(cancel_check=is_stopped)
    except filelock.Timeout:
        if is_stopped():
            raise stopped(what) from None
        message = f"another taskq builds {what} since {patience}; wait for it or end it"
        raise BusyError(message, code="build_locked") from None
    try:
        yield
    finally:
        held.release()
