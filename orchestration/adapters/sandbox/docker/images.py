"""Images: the default one and how it is built, and how a reference becomes the id of an image that is here.

Guarantees: nothing is pulled but the base of a build, and only when that build was asked to pull; of the files that are
named as certificates, only certificates get into the image.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from docker.errors import ImageNotFound

from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.core.errors import SandboxError, UsageError

OPENCODE_VERSION: Final = "1.18.33"
"""As the Dockerfile pins it."""
DEFAULT_DOCKER_IMAGE: Final = "taskq/opencode:latest"
_REFERENCE: Final = re.compile(r"[A-Za-z0-9](?:\.?[A-Za-z0-9_:@/-])*", re.ASCII)
"""Wider than an image's name may be, but no ``..``: the client puts the name into an address as it is."""
_GUEST: Final = "orchestration/adapters/sandbox/guest/taskq-guest.c"
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----\s.+?\s-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """The image that a build made. *id* is ``sha256:...``."""

    id: str
    tags: tuple[str, ...]
    seconds: float


def resolve(engine: Engine, reference: str) -> str:
    """Return the id of the image that *reference* names here.

    Raises: SandboxError (``image_missing``) with how to get it.
    """
    identifier = find(engine, reference)
    if identifier is None:
        how = "taskq build-image" if reference == DEFAULT_DOCKER_IMAGE else f"docker pull {reference}"
        raise SandboxError(f"there is no image {reference} here; get it with: {how}", code="image_missing")
    return identifier


def find(engine: Engine, reference: str) -> str | None:
    """Return the id of the image that *reference* names here; None when it names none."""
    if not _REFERENCE.fullmatch(reference):
        return None
    with engine.errors(f"look for image {reference}"):
        try:
            return str(engine.api.inspect_image(reference)["Id"])  # type: ignore[no-untyped-call] # the stubs lack it
        except ImageNotFound:
            return None


def tag(engine: Engine, identifier: str, reference: str) -> None:
    """Give the image a name; it is taken from the image that had it."""
    repository, _, version = reference.rpartition(":")
    with engine.errors(f"tag {reference}"):
        engine.api.tag(identifier, repository, version)


def build_image(
    engine: Engine,
    *,
    base: str | None,
    rebuild: bool,
    pull: bool,
    ca_files: Sequence[Path],
    output: Callable[[str], None],
) -> BuiltImage:
    """Build the default image on *base* (None: as the Dockerfile says) and tag it; *output* takes each line.

    *rebuild* uses nothing of an earlier build. *pull* gets the newest base, but one that is named and here stays.
    Raises: UsageError for a file without certificates; SandboxError, BuildFailedError.
    """
    started = time.monotonic()
    from orchestration.adapters.sandbox.docker.build import Build, BuildFailedError, context, run  # noqa: PLC0415 - tarfile

    certificates = {f"certs/site-{number}.crt": found for number, found in enumerate(_certificates(ca_files), start=1)}
    is_here = base is not None and find(engine, base) is not None
    if base is not None and not is_here and not pull:
        raise SandboxError(f"there is no image {base} here; get it with: docker pull {base}", code="image_missing")
    tags = (f"{DEFAULT_DOCKER_IMAGE.partition(':')[0]}:{OPENCODE_VERSION}", DEFAULT_DOCKER_IMAGE)
    with context({"Dockerfile": dockerfile(), _GUEST: _shipped(_GUEST), **certificates}) as packed:
        build = Build(
            what="the default image",
            context=packed,
            arguments={} if base is None else {"BASE_IMAGE": base},
            pull=pull and not is_here,
            rebuild=rebuild,
        )
        try:
            identifier = run(engine, build, output)
        except BuildFailedError as error:
            if " FROM " not in error.step:
                raise
            message = f"{error}; name a base that is here with: taskq build-image --base IMAGE"
            raise SandboxError(message, code="image_missing") from error
    for each in tags:
        tag(engine, identifier, each)
    return BuiltImage(id=identifier, tags=tags, seconds=time.monotonic() - started)


def dockerfile() -> bytes:
    """Return the Dockerfile of the default image: at the top of a checkout, beside this module when installed."""
    package = files("orchestration")
    installed = package.joinpath("adapters", "sandbox", "docker", "image", "Dockerfile")
    return installed.read_bytes() if installed.is_file() else _shipped("Dockerfile")


def _shipped(name: str) -> bytes:
    return files("orchestration").joinpath("..", *name.split("/")).read_bytes()


def _certificates(paths: Sequence[Path]) -> list[bytes]:
    """Return each certificate of the files by itself, as the system's own tool wants them."""
    found = []
    for path in paths:
        try:
            inside = _CERTIFICATE.findall(path.read_bytes())
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}", code="no_file") from error
        if not inside:
            raise UsageError(f"{path} holds no certificate in PEM form", code="no_certificate")
        found += [certificate + b"\n" for certificate in inside]
    return found
