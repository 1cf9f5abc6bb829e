import socket
import threading
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestration.adapters.review.web import Web
from orchestration.core.attempts import AttemptFolders
from orchestration.core.errors import SandboxError
from orchestration.core.ports import AgentServer, Command, Connection, Exit, Output, Service, discard_output
from orchestration.core.review import Page, Visit
from tests.adapters.review.conftest import Inside, Serving
from tests.adapters.review.test_openchamber import environment
from tests.engine.fakes import a_task

__all__ = ["environment"]
PASSWORD = "p@ss/word"
PAGE = "/L3dvcms/session/ses_1"


@dataclass
class Connected:
    """Services of a sandbox with one server; *asked* are the ports that were asked for."""

    inside: Inside
    asked: list[int] = field(default_factory=list)

    def start(self, command: Command, output: Output = discard_output) -> Service:
        raise NotImplementedError

    def connect(self, port: int) -> Connection:
        self.asked.append(port)
        return self.inside.connect()

    def interact(self, command: Command, *, stdin: int, stdout: int) -> Exit:
        raise NotImplementedError


@dataclass
class Scene:
    """A visit, and what was told of its page; *is_served* while the agent's server runs."""

    visit: Visit
    services: Connected
    is_served: threading.Event
    pages: list[Page] = field(default_factory=list)

    def tell(self, page: Page) -> None:
        self.pages.append(page)
        self.visit.left.set()


@pytest.fixture
def scene(serve: Serving, tmp_path: Path) -> Scene:
    is_served = threading.Event()

    @contextmanager
    def served() -> Iterator[AgentServer]:
        attach = Command(argv=("attach",), timeout=timedelta(minutes=1))
        is_served.set()
        yield AgentServer(port=4096, user="open code", password=PASSWORD, page=PAGE, attach=attach)
        is_served.clear()

    services = Connected(serve(lambda client: client.sendall(b"hello")))
    visit = Visit(
        task=a_task(),
        folders=AttemptFolders(root=tmp_path / "attempt"),
        services=services,
        serve=served,
        left=threading.Event(),
        stop=lambda: None,
    )
    return Scene(visit, services, is_served)


def a_web(scene: Scene, *, variables: Mapping[str, str] | None = None, opens: bool | None = None) -> Web:
    worktree = scene.visit.folders.root.parent
    return Web(environment=variables or {}, tell=scene.tell, opens=opens, worktree=worktree)


def test_without_openchamber_it_is_the_agent_s_own_page_with_its_password(scene: Scene) -> None:
    a_web(scene).session(scene.visit)
    (page,) = scene.pages
    parts = urlsplit(page.url)
    assert page.url.startswith("http://open%20code:p%40ss%2Fword@127.0.0.1:")
    assert (parts.path, page.password) == (PAGE, None)
    assert PASSWORD not in repr(page)
    assert "p%40ss" not in repr(page)


def test_the_page_s_port_leads_to_the_agent_s_server_until_the_person_leaves(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[bytes] = []

    def look(page: Page) -> None:
        assert scene.is_served.is_set()
        with socket.create_connection(("127.0.0.1", urlsplit(page.url).port or 0), timeout=20) as client:
            said.append(client.recv(10))
        scene.tell(page)

    Web(environment={}, tell=look, opens=None, worktree=Path("/nowhere")).session(scene.visit)
    assert (said, scene.services.asked, scene.is_served.is_set()) == ([b"hello"], [4096], False)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(scene.pages[0].url).port or 0))


def test_openchamber_is_the_page_where_it_is_installed(scene: Scene, environment: Mapping[str, str]) -> None:
    a_web(scene, variables=environment).session(scene.visit)
    (page,) = scene.pages
    assert (page.title, page.password is None) == ("OpenChamber", False)


def test_without_a_worktree_openchamber_has_nothing_to_show(scene: Scene, environment: Mapping[str, str]) -> None:
    Web(environment=environment, tell=scene.tell, opens=None, worktree=Path("/nowhere")).session(scene.visit)
    assert scene.pages[0].title == "the agent's own page"


@pytest.mark.parametrize(
    ("opens", "variables", "expected"),
    [(None, {}, 0), (None, {"DISPLAY": ":0"}, 1), (False, {"DISPLAY": ":0"}, 0), (True, {}, 1)],
)
def test_a_browser_is_opened_where_it_can_be_unless_somebody_said_otherwise(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: int, *, opens: bool | None
) -> None:
    told: list[str] = []
    monkeypatch.setattr(webbrowser, "open", told.append)
    a_web(scene, variables=variables, opens=opens).session(scene.visit)
    assert len(told) == expected
    assert all(one.startswith("file:///") and "p%40ss" not in one for one in told)


def test_a_server_that_does_not_start_is_told(scene: Scene) -> None:
    @contextmanager
    def served() -> Iterator[AgentServer]:
        raise SandboxError("it did not start")
        yield

    with pytest.raises(SandboxError, match="did not start"):
        a_web(scene).session(replace(scene.visit, serve=served))
    assert scene.pages == []
