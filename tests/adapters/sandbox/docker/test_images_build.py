"""The mechanics of a build: what is said while it goes on, and how it ends, also before its time."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.adapters.sandbox.docker.build import Build, BuildFailedError, context, run
from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.adapters.sandbox.docker.images import DEFAULT_DOCKER_IMAGE
from orchestration.core.errors import SandboxError
from tests.adapters.sandbox.docker.throwaway import containers, labelled, wait_until

ROOT = Path(__file__).resolve().parents[4]
pytestmark = pytest.mark.full


class Stopped(Exception):  # noqa: N818 - a word of the test, not an error of anybody's
    """What a reader of lines raises to leave."""


@pytest.fixture
def token(engine: Engine) -> Iterator[str]:
    """A label by which all that a test makes is found, and removed."""
    with labelled(engine) as token:
        yield token


def recipe(token: str, *lines: str) -> bytes:
    return "\n".join((f"FROM {DEFAULT_DOCKER_IMAGE}", f"LABEL {token}", *lines)).encode()


def build(
    engine: Engine, dockerfile: bytes, say: Callable[[str], None] = print, *, seconds: float | None = None
) -> str:
    with context({"Dockerfile": dockerfile}) as packed:
        timeout = None if seconds is None else timedelta(seconds=seconds)
        return run(engine, Build(what="the image of a test", context=packed, timeout=timeout), say)


def test_a_build_returns_the_id_of_what_it_made_and_leaves_no_container(engine: Engine, token: str) -> None:
    made = build(engine, recipe(token, "RUN true"))
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", made)
    assert engine.api.inspect_image(made)["Config"]["Labels"].items() >= {tuple(token.split("="))}
    assert containers(engine, token) == []


def test_a_failed_step_is_named_with_its_exit_code_and_its_last_words(engine: Engine, token: str) -> None:
    with pytest.raises(BuildFailedError) as caught:
        build(engine, recipe(token, "RUN echo about to fail; printf 'no newline'; exit 7"))
    assert caught.value.code == "build_failed"
    assert caught.value.status == 7
    assert "RUN echo about to fail" in caught.value.step
    assert caught.value.tail == "about to fail\nno newline"
    assert "about to fail | no newline" in str(caught.value)
    assert containers(engine, token) == []


def test_a_full_disk_is_told_from_a_failed_step(engine: Engine, token: str) -> None:
    with pytest.raises(SandboxError, match="docker system df") as caught:
        build(engine, recipe(token, "RUN echo 'cp: error writing: No space left on device' >&2; exit 1"))
    assert caught.value.code == "disk_full"


def test_lines_come_while_the_step_runs_and_who_leaves_ends_it(engine: Engine, token: str) -> None:
    running: list[str] = []

    def leave(line: str) -> None:
        if line == "started":
            running.extend(containers(engine, token))
            raise Stopped

    with pytest.raises(Stopped):
        build(engine, recipe(token, "RUN echo started; sleep 600"), leave)
    assert len(running) == 1
    wait_until(lambda: not containers(engine, token))


def test_a_build_past_its_time_is_ended(engine: Engine, token: str) -> None:
    with pytest.raises(BuildFailedError, match="not done after 0:00:03") as caught:
        build(engine, recipe(token, "RUN sleep 600"), seconds=3)
    assert caught.value.code == "build_timeout"
    wait_until(lambda: not containers(engine, token))


def test_the_engine_serves_the_same_thread_after_a_build_that_was_left(engine: Engine, token: str) -> None:
    with pytest.raises(BuildFailedError):
        build(engine, recipe(token, "RUN sleep 600"), seconds=1)
    assert build(engine, recipe(token, "RUN true"))


PROGRAM = """
import os, sys
from tests.adapters.sandbox.docker.test_images_build import build
from orchestration.adapters.sandbox.docker.engine import Engine
build(Engine(os.environ), sys.argv[1].encode(), lambda line: print(line, flush=True))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_ended_takes_its_build_along(engine: Engine, token: str, how: signal.Signals) -> None:
    dockerfile = recipe(token, "RUN echo started; sleep 600").decode()
    command = [sys.executable, "-c", PROGRAM, dockerfile]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "started\n" in iter(process.stdout.readline, "")
        assert containers(engine, token), "the step runs"
        process.send_signal(how)
        process.wait(timeout=30)
    wait_until(lambda: not containers(engine, token))


def test_a_context_is_the_same_bytes_for_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    packs = []
    for files in ({"a": b"1", "b": tmp_path / "file"}, {"b": b"content", "a": b"1"}):
        with context(files) as packed:
            packs.append(packed.read())
    assert packs[0] == packs[1]
