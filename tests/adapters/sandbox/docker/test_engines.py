"""Other kinds of engines, real ones: remapped users, rootless, podman; found by address and by context."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestration.adapters.sandbox.docker.engine import Engine
from tests.adapters.sandbox.docker import engines
from tests.adapters.sandbox.docker.engines import KINDS, Other

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]
ASK = 'perl -MIO::Socket::INET -e \'$s = IO::Socket::INET->new("127.0.0.1:3128") or die; print $s "{request}"; <$s>\''
WORK = "; ".join(
    [
        "id -u",
        "grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status",
        "ls /sys/class/net",
        "touch /usr/x 2>/dev/null || echo read-only",
        "echo 42 > answer",
        ASK.format(request="CONNECT refused.example:443 HTTP/1.1\\r\\nHost: refused.example:443\\r\\n\\r\\n"),
    ]
)
CONFINED = ["CapEff:0000000000000000", "CapBnd:0000000000000000", "NoNewPrivs:1", "Seccomp:2", "lo", "read-only"]


@dataclass(frozen=True)
class Place:
    """An engine, its operator, and his repository and queue."""

    name: str
    other: Other

    @property
    def folder(self) -> Path:
        return self.other.home / "place"

    def taskq(self, *arguments: str) -> str:
        """Run a command of taskq's as the operator; return what it wrote on both streams."""
        queue = str(self.folder / "queue")
        return self.run(sys.executable, "-m", "orchestration", *arguments, TASKQ_QUEUE=queue)

    def git(self, *arguments: str) -> str:
        return self.run("git", "-C", str(self.folder / "repo"), *arguments)

    def run(self, *argv: str, **variables: str) -> str:
        identity = {
            f"GIT_{role}_{part}": "a@b.invalid" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")
        }
        done = self.other.run(*argv, **identity, **variables)
        assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def task(self) -> Any:
        return json.loads(self.taskq("show", "T-1", "--json"))


@pytest.fixture(scope="module")
def image(engine: Engine) -> Iterator[Path]:
    with engines.packed_image(engine) as packed:
        yield packed


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest, capability: Callable[[str], None]) -> Iterator[Place]:
    capability(request.param)
    with KINDS[request.param](request.getfixturevalue("image")) as other:
        made = Place(request.param, other)
        made.run("mkdir", "-p", str(made.folder / "repo"))
        made.git("init", "--quiet", "--initial-branch=main")
        made.git("commit", "--quiet", "--allow-empty", "--message=Start")
        made.taskq("init", str(made.folder / "queue"))
        made.taskq("add", "--id=T-1", f"--repo={made.folder}/repo", "--task=Do it", "--agent-command", WORK)
        yield made


@pytest.fixture(scope="module")
def ran(place: Place) -> str:
    """Run the task; return what was said on screen."""
    return place.taskq("run")


INSIDE = {"userns-remap": 1000, "rootless": 0, "podman": 1000}


@pytest.mark.usefixtures("ran")
def test_the_agent_is_confined_and_runs_as_the_user_that_the_engine_needs(place: Place) -> None:
    said = ["".join(line.split()) for line in place.taskq("logs", "T-1").splitlines()]
    assert str(INSIDE[place.name]) in said
    assert [line for line in CONFINED if line not in said] == []


@pytest.mark.usefixtures("ran")
def test_its_files_are_outside_whose_they_should_be(place: Place) -> None:
    facts = place.task()
    with place.other.engine() as engine:
        shift = engine.facts().remap
    expected = {"userns-remap": 1000 + (shift[0] if shift else 0), "rootless": engines.OPERATOR, "podman": 1000}
    written = Path(facts["run"]["folder"]) / "workspace" / "answer"
    assert written.stat().st_uid == expected[place.name]
    if place.name == "userns-remap":
        assert expected[place.name] > 1000, "the control: it is remapped"


@pytest.mark.usefixtures("ran")
def test_a_refused_host_is_recorded(place: Place) -> None:
    assert "refused.example:443" in place.taskq("show", "T-1")


def test_limits_that_the_engine_does_not_hold_are_said_on_screen_and_in_show(place: Place, ran: str) -> None:
    with place.other.engine() as engine:
        unlimited = engine.facts().unlimited
        held = engine.api.info()
    assert ("memory" in unlimited) == (not held["MemoryLimit"])
    warning = "the engine does not hold these limits: "
    for shown in (ran, place.taskq("show", "T-1")):
        assert (warning in shown) == bool(unlimited)
        assert all(f"{warning}{', '.join(unlimited)}" in line for line in shown.splitlines() if warning in line)


def test_what_it_made_is_landed_and_nothing_is_left_in_the_engine(place: Place, ran: str) -> None:
    assert "T-1: review" in ran
    place.taskq("approve", "T-1", "--land", "ff")
    assert place.git("show", "main:answer") == "42\n"
    assert (place.folder / "repo/answer").stat().st_uid == place.other.uid
    folder = Path(place.task()["run"]["folder"])
    assert folder.exists(), "the control"
    place.taskq("cleanup")
    assert not folder.exists()
    with place.other.engine() as engine:
        assert engine.api.containers(all=True) == []


@pytest.mark.parametrize("how", ["named", "current"])
def test_a_context_leads_to_its_engine(place: Place, tmp_path: Path, how: str) -> None:
    name = "elsewhere"
    folder = tmp_path / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    meta = {
        "Name": name,
        "Metadata": {},
        "Endpoints": {"docker": {"Host": place.other.address, "SkipTLSVerify": False}},
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": name if how == "current" else "default"}))
    look = (
        "import os; from orchestration.adapters.sandbox.docker.engine import Engine; print(Engine(os.environ).address)"
    )
    environment = {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": name if how == "named" else ""}
    root = Other("", tmp_path)
    assert root.run(sys.executable, "-c", look, **environment).stdout.strip() == place.other.address
    environment |= {"DOCKER_CONFIG": str(tmp_path / "none"), "DOCKER_CONTEXT": ""}
    assert root.run(sys.executable, "-c", look, **environment).stdout.strip() != place.other.address, "the control"
