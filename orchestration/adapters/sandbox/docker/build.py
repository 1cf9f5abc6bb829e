"""One build of an image: its context, what the engine says meanwhile, and how it failed.

Guarantees: a build that is left early, by a signal, an error, its time limit or because it was stopped, is ended by the
engine, which removes the build's container; every line that the engine says is passed on as it comes.
Not responsible for: what is built, and its tags. Only what every builder can do is asked for, BuildKit is not needed.
"""

import contextlib
import io
import math
import re
import tarfile
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Final, Literal

import docker
import requests
import urllib3

from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.core.errors import SandboxError

Say = Callable[[str], None]
"""Takes one line, without its end."""
_FULL: Final = ("no space left on device", "disk quota exceeded")
_STEPS: Final = ("Step ", "STEP ")
_CHATTER: Final = (*_STEPS, " ---> ", "Removing intermediate container ")
"""How lines begin that the engine says itself, in between what the steps say."""
_COLOURS: Final = re.compile(r"\x1b\[(?:91|0)m")
"""Around what a step says on stderr, by the engine's own builder."""
_LOOK_SECONDS: Final = 0.1
_REMEMBERED: Final = 40
_TOLD: Final = 5
_LONGEST: Final = 64 * 1024
"""What is more, without an end of line, is passed on as it is."""


class BuildFailedError(SandboxError):
    """A step of a build failed. *step* is as the engine names it, *status* what its command ended with."""

    default_code = "build_failed"

    def __init__(self, message: str, *, code: str | None = None, step: str, status: int | None, tail: str) -> None:
        super().__init__(message, code=code)
        self.step = step
        self.status = status
        self.tail = tail


def never() -> bool:
    """Say that nothing was stopped."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What to build. *context* is an open tar, *dockerfile* a path in it; *what* names the image in messages.

    *is_stopped* is asked while it is built, from another thread.
    """

    what: str
    context: IO[bytes]
    dockerfile: str = "Dockerfile"
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    pull: bool = False
    rebuild: bool = False
    timeout: timedelta | None = None
    is_stopped: Callable[[], bool] = never


@contextlib.contextmanager
def context(files: Mapping[str, bytes | Path]) -> Iterator[IO[bytes]]:
    """Pack *files* into a temporary tar that is the same for the same files; open in the block, gone after it."""
    with tempfile.TemporaryFile(prefix="taskq-build-") as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, content in sorted(files.items()):
                with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as opened:
                    member = tarfile.TarInfo(name)
                    member.size = opened.seek(0, io.SEEK_END)
                    opened.seek(0)
                    archive.addfile(member, opened)
        packed.seek(0)
        yield packed


def run(engine: Engine, build: Build, say: Say) -> str:
    """Return the id of the built image.

    Raises: BuildFailedError (also, with code ``build_timeout``, past the time limit); SandboxError, such as
    ``disk_full`` or ``sandbox_stopped``.
    """
    story = _Story(build.what, say)
    api = engine.api
    with engine.errors(f"build {build.what}"), _hanging_up(api, build) as end:
        try:
            for message in api.build(
                fileobj=build.context,
                custom_context=True,
                dockerfile=build.dockerfile,
                buildargs=dict(build.arguments),
                labels=dict(build.labels),
                pull=build.pull,
                nocache=build.rebuild,
                rm=True,
                forcerm=True,
                decode=True,
            ):
                story.take(message)
        except (urllib3.exceptions.HTTPError, requests.RequestException, OSError):
            if end.why is None:
                raise
    match end.why:
        case "late":
            raise story.failed(f"not done after {build.timeout}", code="build_timeout")
        case "stopped":
            raise stopped(build.what)
        case None:
            return story.image()


def stopped(what: str) -> SandboxError:
    """Return the error that says that *what* was ended from outside."""
    return SandboxError(f"the build of {what} was stopped", code="sandbox_stopped")


class _Story:
    """What the engine says of a build."""

    def __init__(self, what: str, say: Say) -> None:
        self._what = what
        self._say = say
        self._step = ""
        self._rest = ""
        self._image: str | None = None
        self._lines: deque[str] = deque(maxlen=_REMEMBERED)

    def take(self, message: Mapping[str, Any]) -> None:
        """Pass one message on. Raises: BuildFailedError, SandboxError when it tells of an error."""
        if "error" in message:
            detail = message.get("errorDetail") or {}
            self._flush()
            raise self.failed(str(detail.get("message") or message["error"]), status=detail.get("code"))
        if "ID" in (message.get("aux") or {}):
            self._image = str(message["aux"]["ID"])
        if "status" in message and not message.get("progressDetail"):
            self._tell(": ".join(str(message[key]) for key in ("id", "status") if message.get(key)))
        stream = _COLOURS.sub("", str(message.get("stream", "")))
        if stream.startswith(_CHATTER):
            self._flush()
        *lines, self._rest = (self._rest + stream).split("\n")
        for line in lines:
            self._tell(line)
        if len(self._rest) > _LONGEST:
            self._flush()

    def image(self) -> str:
        """Return what was built."""
        self._flush()
        if self._image is None:
            raise self.failed("the engine ended the build without naming an image")
        return self._image

    def failed(self, why: str, *, code: str | None = None, status: int | None = None) -> SandboxError:
        """Return the error that says why, at which step, and what was said before it."""
        step, tail = self._step[:200], list(self._lines)
        told = " | ".join(tail[-_TOLD:])
        message = f"cannot build {self._what}: " + ": ".join(
            part for part in (step, " ".join(why.split()), told) if part
        )
        if any(sign in text.lower() for sign in _FULL for text in (why, *tail)):
            return SandboxError(f"{message}; free some space: docker system df", code="disk_full")
        return BuildFailedError(message, code=code, step=step, status=status, tail="\n".join(tail))

    def _flush(self) -> None:
        rest, self._rest = self._rest, ""
        self._tell(rest)

    def _tell(self, line: str) -> None:
        shown = line.rstrip("\r").rpartition("\r")[2].rstrip()
        if not shown:
            return
        if shown.startswith(_STEPS):
            self._step = shown
            self._lines.clear()
        elif not shown.startswith(_CHATTER):
            self._lines.append(shown)
        self._say(shown)


@dataclass(slots=True)
class _End:
    """Why we hung up on the engine; None when we did not."""

    why: Literal["late", "stopped"] | None = None


@contextlib.contextmanager
def _hanging_up(api: docker.APIClient, build: Build) -> Iterator[_End]:
    """Hang up on the engine when the block is left, its time is over or it was stopped, which is told.

    An engine ends a build whose asker has gone; nothing else that its API has would end one.
    """
    answers: list[requests.Response] = []
    end, left = _End(), threading.Event()
    deadline = math.inf if build.timeout is None else time.monotonic() + build.timeout.total_seconds()

    def keep(answer: requests.Response, *_arguments: object, **_keywords: object) -> None:
        answers.append(answer)
        if end.why is not None:
            answer.close()

    def watch() -> None:
        while end.why is None and not left.wait(_LOOK_SECONDS):
            end.why = "stopped" if build.is_stopped() else "late" if time.monotonic() > deadline else None
        if end.why is not None:
            for answer in answers:
                answer.raw.shutdown()

    api.hooks["response"].append(keep)
    watcher = threading.Thread(target=watch, name="build", daemon=True)
    try:
        watcher.start()
        yield end
    finally:
        left.set()
        watcher.join()
        api.hooks["response"].remove(keep)
        for answer in answers:
            answer.close()
