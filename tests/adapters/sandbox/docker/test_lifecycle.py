"""How a container begins and ends: by us, by a crash of ours, by somebody else; and each error with its remedy."""

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.adapters.sandbox.docker.images import DEFAULT_DOCKER_IMAGE
from orchestration.adapters.sandbox.docker.provider import DockerSandboxProvider
from orchestration.core.errors import SandboxError, UsageError
from orchestration.core.naming import container_name
from tests.adapters.sandbox.docker.conftest import CREATED, QUEUE, Box
from tests.builders import a_spec

pytestmark = pytest.mark.full
OpenBox = Callable[..., AbstractContextManager[Box]]


def wait_until(condition: Callable[[], object], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def ours(engine: Engine, **labels: str) -> list[str]:
    wanted = [f"taskq.queue={QUEUE}", *(f"taskq.{name}={value}" for name, value in labels.items())]
    return [one["Id"] for one in engine.api.containers(all=True, filters={"label": wanted})]


def from_elsewhere(call: str, *arguments: Any, **options: Any) -> None:
    """Do something to a container as another program of the operator's would."""
    with contextlib.closing(Engine(os.environ)) as other:
        getattr(other.api, call)(*arguments, **options)


@contextlib.contextmanager
def plain_container(engine: Engine, **settings: Any) -> Iterator[str]:
    """Make a container that is none of taskq's ways, and remove it."""
    made = engine.api.create_container(DEFAULT_DOCKER_IMAGE, ["sleep", "600"], entrypoint=[], **settings)["Id"]
    try:
        yield made
    finally:
        engine.api.remove_container(made, force=True)


def code_of(what: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(SandboxError) as caught:
        what()
    return caught.value.code, str(caught.value)


def test_leaving_the_block_removes_the_container(engine: Engine, open_box: OpenBox) -> None:
    with open_box() as box:
        assert ours(engine) == [box.sandbox.facts.id]
    assert ours(engine) == []


def test_a_container_that_is_removed_under_us_is_named_as_such_at_once(engine: Engine, box: Box) -> None:
    timer = threading.Timer(0.3, lambda: from_elsewhere("remove_container", box.sandbox.facts.id, force=True))
    timer.start()
    began = time.monotonic()
    code, message = code_of(lambda: box.shell("sleep 50"))
    timer.join()
    assert code == "container_gone"
    assert box.sandbox.facts.name in message
    assert time.monotonic() - began < 20


def test_a_container_that_dies_under_us_is_named_as_such_at_once(engine: Engine, box: Box) -> None:
    timer = threading.Timer(0.3, lambda: from_elsewhere("kill", box.sandbox.facts.id))
    timer.start()
    code, message = code_of(lambda: box.shell("sleep 50"))
    timer.join()
    assert code == "container_died"
    assert "exit code 137" in message


def test_reaping_a_task_leaves_the_task_whose_id_starts_alike(engine: Engine, open_box: OpenBox) -> None:
    with open_box(task="T-1") as one, open_box(task="T-10") as ten:
        assert one.provider.reap({"taskq.queue": QUEUE, "taskq.task": "T-1"}) == 1
        assert ours(engine) == [ten.sandbox.facts.id]
        assert ten.shell("echo still here")[1] == "still here\n"


def test_without_a_label_nothing_is_reaped(box: Box) -> None:
    with pytest.raises(ValueError, match="without a label"):
        box.provider.reap({})


STARTER = """
import os, sys, time
from pathlib import Path
from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.adapters.sandbox.docker.provider import DockerSandboxProvider
from orchestration.core.attempts import AttemptFolders
from orchestration.core.ports import Command
from datetime import UTC, datetime, timedelta
from tests.builders import a_spec
root = Path(sys.argv[1])
created = datetime.fromtimestamp(os.getpid(), UTC)
spec = a_spec(queue=sys.argv[2], network=sys.argv[3], created_at=created)
provider = DockerSandboxProvider(Engine(os.environ), cache=root)
with provider.open(spec, AttemptFolders(root=root), lease=0) as sandbox:
    command = Command(argv=("/bin/sh", "-c", "echo up; sleep 81001"), timeout=timedelta(seconds=300))
    sandbox.run(command, lambda stream, chunk: print(chunk.decode(), end="", flush=True))
"""


@pytest.mark.parametrize("network", ["none", "allowlist", "open"])
def test_when_the_runner_is_killed_its_container_ends_by_itself(
    engine: Engine, open_box: OpenBox, tmp_path: Path, network: str
) -> None:
    root = tmp_path / "attempt"
    root.mkdir()
    argv = [sys.executable, "-c", STARTER, str(root), QUEUE, network]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path.cwd()) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"up\n"
        (identifier,) = ours(engine)
        assert engine.api.inspect_container(identifier)["State"]["Running"], "the control"
        runner.send_signal(signal.SIGKILL)
    wait_until(lambda: not engine.api.inspect_container(identifier)["State"]["Running"])
    provider = DockerSandboxProvider(engine, cache=tmp_path)
    assert provider.reap({"taskq.queue": QUEUE}) == 1
    assert ours(engine) == []


def test_what_a_crash_left_under_the_attempts_name_gives_way_to_the_attempt(engine: Engine, open_box: OpenBox) -> None:
    spec = a_spec(queue=QUEUE, created_at=CREATED)
    name = container_name(spec.task, spec.created_at, spec.attempt)
    engine.api.create_container(DEFAULT_DOCKER_IMAGE, ["true"], name=name, labels=dict(spec.labels))
    with open_box() as box:
        assert ours(engine) == [box.sandbox.facts.id]


def test_a_name_that_somebody_else_has_is_left_to_them_and_said(engine: Engine, open_box: OpenBox) -> None:
    spec = a_spec(queue=QUEUE, created_at=CREATED)
    name = container_name(spec.task, spec.created_at, spec.attempt)
    with plain_container(engine, name=name) as theirs:
        code, message = code_of(lambda: open_box().__enter__())
        assert (code, name in message, "docker ps -a" in message) == ("name_taken", True, True)
        assert engine.api.inspect_container(theirs)["Name"] == f"/{name}"


def test_an_image_that_is_not_there_is_never_pulled_and_its_making_is_told(engine: Engine, open_box: OpenBox) -> None:
    code, message = code_of(lambda: open_box(image="sha256:" + "0" * 64).__enter__())
    assert code == "image_missing"
    assert "taskq build-image" in message


def test_an_image_without_our_part_is_told_from_a_broken_one(engine: Engine, open_box: OpenBox) -> None:
    made = engine.api.create_container(
        DEFAULT_DOCKER_IMAGE, ["-rf", "/usr/local/lib/taskq"], entrypoint=["rm"], user="0"
    )["Id"]
    try:
        engine.api.start(made)
        engine.api.wait(made)
        bare = engine.api.commit(made)["Id"]
    finally:
        engine.api.remove_container(made, force=True)
    try:
        code, message = code_of(lambda: open_box(image=bare).__enter__())
    finally:
        engine.api.remove_image(bare, force=True)
    assert code == "image_unfit"
    assert "taskq build-image" in message


def test_a_port_that_is_taken_is_named_with_what_would_help(engine: Engine) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        host = engine.api.create_host_config(port_bindings={"80/tcp": ("127.0.0.1", taken)})
        with plain_container(engine, ports=[(80, "tcp")], host_config=host) as made:

            def start() -> None:
                with engine.errors("start"):
                    engine.api.start(made)

            code, message = code_of(start)
    assert code == "port_taken"
    assert "let the engine choose" in message


@pytest.mark.parametrize("is_there", [True, False], ids=["other-content", "not-there"])
def test_a_folder_that_the_engine_does_not_show_is_found_before_any_agent_starts(
    engine: Engine, capability: Callable[[str], None], tmp_path: Path, *, is_there: bool
) -> None:
    """In a mount namespace of ours the folder is another than the engine's, as with an engine on another machine."""
    capability("mount")
    root = tmp_path / "attempt"
    root.mkdir()
    for name in ("workspace", "git", "config", "data", "out") if is_there else ():
        (root / name).mkdir()
    enter = 'mount -t tmpfs tmpfs "$1" && shift && exec "$@"'
    argv = ["unshare", "-m", "/bin/sh", "-c", enter, "sh", str(root), sys.executable, "-c", STARTER]
    done = subprocess.run(
        [*argv, str(root), QUEUE, "none"], capture_output=True, text=True, check=False, timeout=90, cwd=Path.cwd()
    )
    assert "must share a file system" in done.stderr
    assert "up" not in done.stdout
    assert ours(engine) == []


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # the client library's, of failed connects
def test_an_engine_that_is_down_is_told_from_one_that_cannot_be_reached() -> None:
    down, said = code_of(Engine({"DOCKER_HOST": "unix:///nowhere/docker.sock"}).facts)
    assert (down, "DOCKER_HOST" in said) == ("engine_down", True)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        code, said = code_of(Engine({"DOCKER_HOST": f"tcp://127.0.0.1:{unused.getsockname()[1]}"}).facts)
    assert (code, "cannot be reached" in said) == ("engine_unreachable", True)
    gc.collect()


def test_a_context_that_is_not_there_is_a_wrong_request() -> None:
    with pytest.raises(UsageError, match="no engine context 'nope'") as caught:
        _ = Engine({"DOCKER_CONTEXT": "nope"}).address
    assert caught.value.code == "bad_context"


def test_a_socket_without_permission_says_which_group_would_help(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        path = tmp_path / "docker.sock"
        server.bind(str(path))
        server.listen()
        path.chmod(0)
        script = (
            "import os\n"
            "from orchestration.adapters.sandbox.docker.engine import Engine\n"
            "os.setuid(65534) if os.getuid() == 0 else None\n"
            f"try: Engine({{'DOCKER_HOST': 'unix://{path}'}}).facts()\n"
            "except Exception as error: print(error.code, error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60, cwd=Path.cwd()
        )
    assert done.stdout.startswith("engine_denied"), done.stdout + done.stderr
