"""Services in a container: what of them can be seen from outside, and that nothing of them is left or piles up."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.adapters.sandbox.docker.images import DEFAULT_DOCKER_IMAGE
from orchestration.core.errors import SandboxError
from orchestration.core.models import Limits
from orchestration.core.ports import Command
from tests.adapters.sandbox.docker.conftest import QUEUE, Box
from tests.adapters.sandbox.guest.persons import at_a_terminal

pytestmark = pytest.mark.full
OpenBox = Callable[..., AbstractContextManager[Box]]
WaitUntil = Callable[[Callable[[], object]], None]
LONG = timedelta(minutes=5)
CANARY = "canary-3f1c"
RUNNER = """
import os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.adapters.sandbox.docker.provider import DockerSandboxProvider
from orchestration.core.attempts import AttemptFolders
from orchestration.core.ports import Command
from tests.builders import a_spec
root = Path(sys.argv[1])
spec = a_spec(queue=sys.argv[2], network="none", created_at=datetime.fromtimestamp(os.getpid(), UTC))
provider = DockerSandboxProvider(Engine(os.environ), cache=root)
with provider.open(spec, AttemptFolders(root=root), lease=0) as sandbox:
    script = f"setsid -f sleep {sys.argv[3]}; echo up; sleep 300"
    command = Command(argv=("/bin/sh", "-c", script), timeout=timedelta(minutes=5))
    sandbox.services.start(command, lambda stream, chunk: print(chunk.decode(), end="", flush=True))
    sys.stdin.read()
"""
OLD_GUEST = """#!/bin/sh
[ "$1" = hold ] && echo ready || printf 'h\\000\\000\\000\\001\\001'
exec cat >/dev/null
"""


def told(box: Box) -> str:
    """Return all that the engine says of the container and of what runs in it."""
    found = box.inspected
    execs = [box.engine.api.exec_inspect(identifier) for identifier in found["ExecIDs"] or ()]
    assert execs, "the control: something runs"
    return str((found, execs, box.engine.api.top(box.sandbox.facts.id, ps_args="axww")))


def test_what_a_service_is_told_is_in_its_environment_and_nowhere_else(box: Box, wait_until: WaitUntil) -> None:
    seen: list[bytes] = []
    script = 'echo "$OPENCODE_SERVER_PASSWORD"; sleep 100'
    command = Command(argv=("/bin/sh", "-c", script), timeout=LONG, env={"OPENCODE_SERVER_PASSWORD": CANARY})
    service = box.sandbox.services.start(command, lambda _stream, chunk: seen.append(chunk))
    wait_until(lambda: b"".join(seen) == f"{CANARY}\n".encode())
    assert CANARY not in told(box)
    service.stop()


def test_what_a_terminal_is_told_is_in_its_environment_and_nowhere_else(box: Box) -> None:
    command = Command(argv=("/bin/sh", "-c", 'echo "<$PASSWORD>"; read -r _'), timeout=LONG, env={"PASSWORD": CANARY})
    with at_a_terminal() as person:
        descriptors = {"stdin": person.terminal, "stdout": person.terminal}
        with person.using(lambda: box.sandbox.services.interact(command, **descriptors)):
            person.wait_for(f"<{CANARY}>".encode())
            assert CANARY not in told(box)
            person.type(b"\r")
        assert person.ended[0].succeeded


def test_when_the_runner_is_killed_its_services_end(
    tmp_path: Path, engine: Engine, living: Callable[[str], list[int]], wait_until: WaitUntil
) -> None:
    token = f"78001.{os.getpid()}s"
    root = tmp_path / "attempt"
    root.mkdir()
    argv = [sys.executable, "-c", RUNNER, str(root), QUEUE, token]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"up\n"
        assert living(f"sleep\0{token}"), "the control: it was there"
        runner.send_signal(signal.SIGKILL)
    wait_until(lambda: not living(f"sleep\0{token}"))
    left = engine.api.containers(all=True, filters={"label": [f"taskq.queue={QUEUE}"]})
    for one in left:
        engine.api.remove_container(one["Id"], force=True)
    assert len(left) == 1


def test_connections_that_are_closed_leave_nothing_here_and_nothing_inside(box: Box, wait_until: WaitUntil) -> None:
    up = threading.Event()
    script = "require('net').createServer(c => c.pipe(c)).listen(4096, '127.0.0.1', () => console.log('up'))"
    command = Command(argv=("node", "-e", script), timeout=LONG)
    service = box.sandbox.services.start(command, lambda _stream, _chunk: up.set())
    assert up.wait(20)

    def converse() -> None:
        connection = box.sandbox.services.connect(4096)
        connection.send(b"hi")
        assert connection.receive() == b"hi"
        connection.close()

    converse()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(12):
        thread = threading.Thread(target=converse)
        thread.start()
        thread.join(20)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    wait_until(lambda: "dial" not in str(box.engine.api.top(box.sandbox.facts.id)))
    service.stop()


def test_a_service_that_needs_more_memory_than_there_is_says_so(open_box: OpenBox, wait_until: WaitUntil) -> None:
    seen: list[bytes] = []
    with open_box(limits=Limits(memory=64 * 1024**2)) as box:
        command = Command(argv=("perl", "-e", "$x = 'x' x 200_000_000; sleep 100"), timeout=LONG)
        service = box.sandbox.services.start(command, lambda _stream, chunk: seen.append(chunk))
        wait_until(lambda: service.exit)
        assert service.exit is not None
        assert service.exit.signal == signal.SIGKILL
        assert b"ran out of its memory" in b"".join(seen)
        assert "memory" not in box.shell("kill -9 $$")[2], "what was told once is not told of others"


def test_a_container_that_is_gone_starts_nothing_and_is_named(box: Box, wait_until: WaitUntil) -> None:
    box.engine.api.kill(box.sandbox.facts.id)
    wait_until(lambda: not box.inspected["State"]["Running"])
    services = box.sandbox.services
    for use in (lambda: services.start(Command(argv=("true",), timeout=LONG)), lambda: services.connect(80)):
        with pytest.raises(SandboxError, match=box.sandbox.facts.name) as caught:
            use()
        assert caught.value.code == "not_running"


def test_an_image_with_an_older_guest_is_refused_with_what_makes_a_new_one(engine: Engine, open_box: OpenBox) -> None:
    script = f"cat >/usr/local/lib/taskq/bin/taskq-guest <<'END'\n{OLD_GUEST}END\n"
    made = engine.api.create_container(DEFAULT_DOCKER_IMAGE, ["-c", script], entrypoint=["sh"], user="0")["Id"]
    try:
        engine.api.start(made)
        engine.api.wait(made)
        old = engine.api.commit(made)["Id"]
    finally:
        engine.api.remove_container(made, force=True)
    try:
        with pytest.raises(SandboxError, match="taskq build-image") as caught, open_box(image=old):
            pass
        assert caught.value.code == "image_unfit"
    finally:
        engine.api.remove_image(old)
