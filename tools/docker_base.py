#!/usr/bin/env python3
"""A base image without a registry: Debian's smallest system by ``debootstrap``, imported into the engine.

Responsible for: ``taskq-base:<suite>``, on which ``taskq build-image --base`` builds where no registry is reached.
Guarantees: nothing is done when the image is there; the system is made once and kept outside the checkout, whole or
not at all.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from orchestration.adapters.sandbox.docker import images
from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.core.errors import TaskqError

REPOSITORY: Final = "taskq-base"
MIRROR: Final = "http://deb.debian.org/debian"
_NEEDLESS: Final = ("usr/share/man", "usr/share/doc", "usr/share/locale", "var/lib/apt/lists", "var/cache/apt")
_ARCHITECTURES: Final[Mapping[str, str]] = {"x86_64": "amd64", "aarch64": "arm64"}


class BaseError(Exception):
    """The base cannot be made; the message says what would help."""


def main(arguments: list[str] | None = None) -> int:
    """Make the image unless it is there; 1 when it cannot be made."""
    parser = argparse.ArgumentParser(description="Make a base image with debootstrap.")
    parser.add_argument("--suite", default="bookworm")
    parser.add_argument("--mirror", default=MIRROR)
    parser.add_argument("--repository", default=REPOSITORY, help="the name that the image gets, before its suite")
    parser.add_argument("--check", action="store_true", help="run a container of it too, and fail when that fails")
    options = parser.parse_args(arguments)
    reference = f"{options.repository}:{options.suite}"
    engine = Engine(os.environ)
    try:
        provide(engine, reference, mirror=options.mirror)
        if options.check:
            check(engine, reference)
    except (BaseError, TaskqError, OSError) as error:
        say(str(error))
        return 1
    return 0


def provide(engine: Engine, reference: str, *, mirror: str) -> None:
    """Make the image *reference*, whose tag is the suite, unless it is there. Raises: BaseError, TaskqError."""
    if images.find(engine, reference) is not None:
        say(f"{reference} is here")
        return
    suite = reference.rpartition(":")[2]
    kept = cached(suite, os.environ)
    if not kept.exists():
        say(f"{kept} is made by debootstrap")
        make(kept, suite=suite, mirror=mirror)
    load(engine, kept, reference)
    say(f"{reference} is imported from {kept}")


def cached(suite: str, environ: Mapping[str, str]) -> Path:
    """Return where the packed system of *suite* is kept, for this machine's architecture."""
    root = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    machine = platform.machine()
    return root / "taskq-ci" / f"base-{suite}-{_ARCHITECTURES.get(machine, machine)}.tar"


def make(kept: Path, *, suite: str, mirror: str) -> None:
    """Pack the system of *suite* into the new file *kept*. Raises: BaseError."""
    debootstrap = shutil.which("debootstrap", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if debootstrap is None:
        raise BaseError("debootstrap is missing; get it with: apt-get install debootstrap")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="taskq-base-") as folder:
        root = Path(folder) / "root"
        command = [debootstrap, "--variant=minbase", "--include=ca-certificates", suite, str(root), mirror]
        ended = subprocess.run(  # noqa: S603 - found above
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
        )
        if ended.returncode != 0:
            tail = " | ".join(ended.stdout.strip().splitlines()[-3:])
            raise BaseError(f"debootstrap ended with {ended.returncode}: {tail}")
        for needless in _NEEDLESS:
            _empty(root / needless)
        _pack(root, kept)


def load(engine: Engine, packed: Path, reference: str) -> None:
    """Import *packed* as the image *reference*. Raises: TaskqError."""
    repository, _, tag = reference.rpartition(":")
    with engine.errors(f"import {packed}"):
        engine.api.import_image_from_file(str(packed), repository=repository, tag=tag, changes=['CMD ["bash"]'])
    images.resolve(engine, reference)


def check(engine: Engine, reference: str) -> None:
    """See that a container of the image runs. Raises: BaseError, TaskqError."""
    with engine.errors(f"run a container of {reference}"):
        made = engine.api.create_container(reference, ["true"], labels={"taskq.test": "base"})
        try:
            engine.api.start(made)
            status = engine.api.wait(made)["StatusCode"]
        finally:
            engine.api.remove_container(made, force=True)
    if status != 0:
        raise BaseError(f"a container of {reference} ended with {status}")
    say(f"a container of {reference} runs")


def _empty(folder: Path) -> None:
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _pack(root: Path, kept: Path) -> None:
    descriptor, name = tempfile.mkstemp(dir=kept.parent, prefix=f"{kept.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
            archive.add(root, ".")
        Path(name).replace(kept)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def say(what: str) -> None:
    """Tell whoever waits what is going on."""
    sys.stdout.write(f"docker_base: {what}\n")


if __name__ == "__main__":
    sys.exit(main())
