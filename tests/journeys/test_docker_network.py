"""What an agent in a container reaches, and how that is said, through the command line."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.journeys.containers import OWN, Docked, ask, docked

__all__ = ["docked"]
pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
INTERFACES = "ls /sys/class/net > net.txt; echo ${HTTPS_PROXY:-none} > proxy.txt"


@dataclass
class Site:
    """A server on the host's loopback; *asked* is what came."""

    port: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def fetch(self) -> str:
        """Return the agent's command that gets a page through the proxy, and prints what comes."""
        request = f"GET http://{self.authority}/page HTTP/1.1\\r\\nHost: {self.authority}\\r\\n\\r\\n"
        return f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128; printf \"{request}\" >&3; cat <&3'"


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            body = b"a page of the host\n"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield made
        server.shutdown()
        thread.join(10)


def configure(docked: Docked, text: str) -> None:
    """Write the operator's configuration."""
    path = Path(docked.taskq.environment["HOME"]) / ".config/taskq/config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def work(docked: Docked, name: str, identifier: str = OWN) -> str:
    """Return a file of what was collected."""
    return docked.repo.git("show", f"task/{identifier.lower()}:{name}")


@pytest.mark.parametrize("flags", [(), ("--network", "allowlist")])
def test_by_default_there_is_loopback_a_proxy_and_no_waiver(docked: Docked, flags: tuple[str, ...]) -> None:
    docked.add(INTERFACES, *flags)
    ran = docked.taskq.run("run")
    assert "warning" not in ran.stdout + ran.stderr
    assert (work(docked, "net.txt"), work(docked, "proxy.txt")) == ("lo", "http://127.0.0.1:3128")
    assert "WAIVER" not in docked.taskq.run("review", OWN).stdout


def test_with_none_there_is_loopback_and_no_proxy(docked: Docked) -> None:
    docked.add(f"{INTERFACES}; ! {ask('pypi.org:443')}", "--network", "none")
    docked.taskq.run("run")
    assert (work(docked, "net.txt"), work(docked, "proxy.txt")) == ("lo", "none")
    seen = docked.task()["run"]["observed"]
    assert (seen["network"], seen["refused"], seen["waivers"]) == ("none", [], [])


@pytest.mark.parametrize("form", ["plain", "--follow", "--json"])
def test_an_open_network_is_said_while_it_runs_and_in_review(docked: Docked, form: str) -> None:
    docked.add(INTERFACES, "--network", "open")
    ran = docked.taskq.run("run", *([] if form == "plain" else [form])).stdout
    assert ('"waivers": ["the network is open"]' if form == "--json" else f"{OWN}: warning: the network is open") in ran
    assert "eth0" in work(docked, "net.txt").split()
    assert work(docked, "proxy.txt") == "none"
    for command in ("review", "show"):
        told = docked.taskq.run(command, OWN).stdout
        assert "the network is open" in told
        assert "network open" in told


def test_refused_hosts_are_shown_with_how_often_they_were_asked_for(docked: Docked) -> None:
    evil, other = ask("evil.example:443"), ask("other.example:8443")
    docked.add(f"{evil}; {evil}; {evil}; {other}; {ask('169.254.169.254:80')}; echo x > work.txt")
    docked.taskq.run("run")
    for command in ("review", "show"):
        told = docked.taskq.run(command, OWN).stdout
        assert "evil.example:443 (not in the allow-list) x3" in told
        assert "other.example:8443 (not in the allow-list)" in told
        assert "169.254.169.254:80" in told
        assert 'allow = ["HOST"] in .taskq.toml' in told
    refused = {host["host"]: host["count"] for host in docked.taskq.json("review", OWN)["run"]["observed"]["refused"]}
    assert refused == {"evil.example": 3, "other.example": 1, "169.254.169.254": 1}


def test_what_one_task_asked_for_is_not_said_of_another_beside_it(docked: Docked) -> None:
    names = [f"{OWN}-{number}" for number in range(3)]
    for name in names:
        docked.add(f"{ask(f'{name.lower()}.example:443')}; echo x > work.txt", identifier=name)
    docked.taskq.run("run", "--max-parallel", "3")
    for name in names:
        refused = docked.task(name)["run"]["observed"]["refused"]
        assert [host["host"] for host in refused] == [f"{name.lower()}.example"]


def test_a_private_address_that_the_operator_opens_is_reached_through_the_proxy(docked: Docked, site: Site) -> None:
    configure(docked, f'allow_private = ["{site.authority}"]\n')
    docked.add(f"{site.fetch} > page.txt")
    docked.taskq.run("run")
    assert "a page of the host" in work(docked, "page.txt")
    assert site.asked == ["/page"]
    assert docked.task()["run"]["observed"]["refused"] == []


@pytest.mark.parametrize("where", ["the repository", "the operator's list of public hosts"])
def test_a_private_address_is_opened_by_allow_private_alone(docked: Docked, site: Site, where: str) -> None:
    listed = f'allow = ["{site.authority}"]\n'
    docked.say(listed) if where == "the repository" else configure(docked, listed)
    docked.add(f"{site.fetch} > page.txt; true")
    docked.taskq.run("run")
    assert work(docked, "page.txt").startswith("HTTP/1.1 403")
    (refused,) = docked.task()["run"]["observed"]["refused"]
    assert (refused["host"], refused["port"], refused["reason"]) == ("127.0.0.1", site.port, "private address")
    assert site.asked == []


def test_a_mistake_in_the_operators_allow_list_is_said_before_any_attempt(docked: Docked) -> None:
    configure(docked, 'allow = ["http://host.example/"]\n')
    docked.add("echo x > work.txt")
    refused = docked.taskq.run("run", code=2).stderr
    assert "host.example" in refused
    task = docked.task()
    assert (task["status"], task["attempt"]) == ("todo", 0)
