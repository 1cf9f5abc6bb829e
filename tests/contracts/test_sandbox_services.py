"""What goes on in a sandbox beside its commands: services, connections to their ports, programs on a terminal."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from orchestration.core.errors import SandboxError, StorageError
from orchestration.core.ports import Command, Connection, Exit, Service, Services, Stream
from tests.adapters.sandbox.guest.persons import Person, at_a_terminal
from tests.contracts.sandboxes import OWN, PATIENCE, PROVIDERS, Kind, Opened, Seen, living, wait_until

pytestmark = pytest.mark.full
PORT = 4096
ECHO = (
    "require('net').createServer({allowHalfOpen: true}, c => { c.on('error', () => {}); c.pipe(c) })"
    f".listen({PORT}, '127.0.0.1', () => console.log('up'))"
)
TICK = (
    "require('net').createServer(c => { c.on('error', () => {}); const t = setInterval(() => c.write('tick '), 50);"
    f" c.on('close', () => {{ clearInterval(t); console.log('left') }}) }})"
    f".listen({PORT}, '127.0.0.1', () => console.log('up'))"
)


@pytest.fixture(scope="module", params=[name for name, kind in PROVIDERS.items() if kind.serves])
def kind(request: pytest.FixtureRequest, capability: Callable[[str], None]) -> Kind:
    found = PROVIDERS[request.param]
    assert found.needs is not None
    capability(found.needs)
    return found


def services_of(box: Opened) -> Services:
    services = box.sandbox.services
    assert services is not None
    return services


def started(box: Opened, *argv: str, until: bytes = b"up", seconds: float = 60, **env: str) -> tuple[Service, Seen]:
    """Start a service, and return it with its output when it has said that it is up."""
    seen = Seen()
    service = services_of(box).start(Command(argv=argv, timeout=timedelta(seconds=seconds), env=env), seen)
    wait_until(lambda: until in seen.stdout or service.exit)
    assert until in seen.stdout, (seen, service.exit)
    return service, seen


def ended(service: Service) -> Exit:
    wait_until(lambda: service.exit)
    found = service.exit
    assert found is not None
    return found


@pytest.fixture
def echo(box: Opened) -> Iterator[Service]:
    service, _ = started(box, "node", "-e", ECHO)
    yield service
    service.stop()


def received(connection: Connection, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = connection.receive()
        assert part, f"it ended after {len(found)} bytes"
        found += part
    return found


# --- services -------------------------------------------------------------------------------------------------------


def test_a_service_runs_while_commands_do(box: Opened) -> None:
    service, seen = started(
        box, "/bin/sh", "-c", 'echo up; while [ ! -e "$TASKQ_OUT/go" ]; do sleep 0.02; done; echo on'
    )
    assert service.exit is None
    assert box.shell('touch "$TASKQ_OUT/go"')[0].succeeded
    assert ended(service).code == 0
    assert seen.stdout == b"up\non\n"


def test_a_service_has_the_sandboxs_environment_its_own_variables_and_the_workspace(box: Opened) -> None:
    service, seen = started(box, "/bin/sh", "-c", 'echo "$TASKQ_OUT $MORE"; pwd; echo up', MORE="given")
    inside = box.kind.inside(box.folders)
    assert seen.stdout.decode() == f"{inside.out} given\n{inside.workspace}\nup\n"
    assert ended(service).succeeded


def test_stopping_a_service_ends_all_that_it_started_and_again_is_no_error(box: Opened) -> None:
    script = f"(setsid /bin/sh -c 'trap \"\" TERM HUP INT; sleep 77001.{OWN}; :' &) ; echo up; sleep 77001.{OWN}"
    service, _ = started(box, "/bin/sh", "-c", script)
    assert living(f"77001.{OWN}"), "the control: it was there"
    exit_ = service.stop()
    assert exit_.stopped
    assert not living(f"77001.{OWN}")
    assert service.stop() == service.exit == exit_
    assert box.run("true")[0].succeeded


def test_a_service_that_ends_takes_along_what_it_started(box: Opened) -> None:
    service, _ = started(box, "/bin/sh", "-c", f"setsid -f sleep 77002.{OWN}; echo up; exit 3")
    assert ended(service).code == 3
    assert not living(f"77002.{OWN}")


def test_a_service_has_a_time_limit(box: Opened) -> None:
    service, _ = started(box, "/bin/sh", "-c", "echo up; sleep 100", seconds=0.5)
    assert ended(service).timed_out


def test_a_program_that_is_not_there_is_a_service_that_ended(box: Opened) -> None:
    seen = Seen()
    service = services_of(box).start(Command(argv=("no-such-program",), timeout=PATIENCE), seen)
    assert ended(service).code == 127
    assert b"no-such-program" in seen.stderr


def test_several_services_run_and_end_each_by_itself(box: Opened) -> None:
    several = [started(box, "/bin/sh", "-c", "echo up; sleep 100")[0] for _ in range(3)]
    assert several[1].stop().stopped
    assert [service.exit is None for service in several] == [True, False, True]
    for service in several:
        service.stop()


def test_output_that_cannot_be_taken_ends_the_service_and_is_told_when_it_is_stopped(box: Opened) -> None:
    def output(_stream: Stream, _chunk: bytes) -> None:
        raise StorageError("the disk is full")

    command = Command(argv=("/bin/sh", "-c", f"echo up; sleep 77003.{OWN}"), timeout=PATIENCE)
    service = services_of(box).start(command, output)
    assert not ended(service).succeeded
    assert not living(f"77003.{OWN}")
    with pytest.raises(StorageError, match="disk is full"):
        service.stop()


def test_a_stopped_sandbox_ends_its_services_and_connections_and_starts_nothing_more(own_box: Opened) -> None:
    service, _ = started(own_box, "node", "-e", ECHO)
    connection = services_of(own_box).connect(PORT)
    connection.send(b"hi")
    assert received(connection, 2) == b"hi"
    own_box.sandbox.stop()
    assert ended(service).stopped
    assert ends(connection)
    with pytest.raises(SandboxError) as caught:
        services_of(own_box).start(Command(argv=("true",), timeout=PATIENCE))
    assert caught.value.code == "sandbox_stopped"
    with pytest.raises(SandboxError):
        services_of(own_box).connect(PORT)


def test_a_service_that_kills_all_that_it_may_was_killed_and_nothing_of_it_meets_the_next_command(
    own_box: Opened,
) -> None:
    wait = 'while [ ! -e "$TASKQ_OUT/go" ]; do sleep 0.02; done'
    script = f"setsid -f sleep 77004.{OWN}; echo up; {wait}; read -r _ _ _ guest _ </proc/$$/stat; kill -9 $guest"
    service, _ = started(own_box, "/bin/sh", "-c", script)
    (own_box.folders.out / "go").touch()
    assert ended(service).signal == 9
    assert living(f"77004.{OWN}"), "the control: it was left"
    assert own_box.run("true")[0].succeeded
    assert not living(f"77004.{OWN}")
    again, _ = started(own_box, "node", "-e", ECHO)
    assert again.stop().stopped


def test_leaving_the_sandbox_leaves_nothing_of_its_services(kind: Kind, own_box: Opened) -> None:
    # The box is left by its fixture; what is asserted there is that its provider finds nothing to reap.
    script = f"(setsid sleep 77005.{OWN} &) ; echo up; sleep 77005.{OWN}"
    service, _ = started(own_box, "/bin/sh", "-c", script)
    assert living(f"77005.{OWN}"), kind
    own_box.provider.reap(own_box.spec.labels)
    assert not living(f"77005.{OWN}")
    assert ended(service).signal == 9


# --- connections ----------------------------------------------------------------------------------------------------


def ends(connection: Connection) -> bool:
    """Return whether nothing more comes; a connection may also be lost."""
    try:
        return connection.receive() == b""
    except OSError:
        return True


@pytest.mark.usefixtures("echo")
def test_bytes_of_any_value_go_to_a_port_and_come_back(box: Opened) -> None:
    content = bytes(range(256)) * 4096
    connection = services_of(box).connect(PORT)
    sending = threading.Thread(target=connection.send, args=(content,))
    sending.start()
    assert received(connection, len(content)) == content
    sending.join()
    connection.close()


@pytest.mark.usefixtures("echo")
def test_a_command_cannot_speak_into_a_connection_and_could_into_a_program_of_its_own(box: Opened) -> None:
    connection = services_of(box).connect(PORT)
    connection.send(b"here")
    assert received(connection, 4) == b"here"
    script = (
        "sleep 30 & for each in /proc/[0-9]*; do"
        " name=$(tr '\\0' ' ' <$each/cmdline 2>/dev/null);"
        ' case $name in /*/taskq-guest" dial "*|"sleep 30 ") ls $each/fd >/dev/null 2>&1'
        ' && echo "open $name" || echo "shut $name";; esac; done'
    )
    _, seen = box.shell(script)
    assert sorted(line.split()[::2] for line in seen.stdout.decode().splitlines()) == [["open", "30"], ["shut", "dial"]]
    connection.close()


@pytest.mark.usefixtures("echo")
def test_many_connections_are_open_at_once(box: Opened) -> None:
    connections = [services_of(box).connect(PORT) for _ in range(12)]
    for number, connection in enumerate(connections):
        connection.send(f"{number:02}".encode())
    assert [int(received(connection, 2)) for connection in reversed(connections)] == list(reversed(range(12)))
    for connection in connections:
        connection.close()


@pytest.mark.usefixtures("echo")
def test_connections_may_be_opened_by_threads_at_the_same_time(box: Opened) -> None:
    said: list[bytes] = []

    def converse(number: int) -> None:
        connection = services_of(box).connect(PORT)
        connection.send(b"%d" % number)
        said.append(received(connection, 1))
        connection.close()

    threads = [threading.Thread(target=converse, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE.total_seconds())
    assert sorted(said) == [b"%d" % number for number in range(8)]


def test_where_nobody_listens_the_connection_ends_at_once(box: Opened) -> None:
    connection = services_of(box).connect(9)
    assert ends(connection)
    connection.close()


def test_a_server_that_ends_is_the_end_of_its_connections(box: Opened, echo: Service) -> None:
    connection = services_of(box).connect(PORT)
    connection.send(b"hi")
    assert received(connection, 2) == b"hi"
    echo.stop()
    assert ends(connection)
    connection.close()


@pytest.mark.usefixtures("echo")
def test_closing_a_connection_wakes_who_waits_for_it(box: Opened) -> None:
    connection = services_of(box).connect(PORT)
    connection.send(b"hi")
    assert received(connection, 2) == b"hi"
    heard: list[bool] = []
    waiting = threading.Thread(target=lambda: heard.append(ends(connection)))
    waiting.start()
    connection.close()
    connection.close()
    waiting.join(PATIENCE.total_seconds())
    assert heard == [True]
    with pytest.raises(OSError):
        connection.send(b"x" * (1 << 20))


def test_a_server_that_never_stops_talking_sees_that_the_other_side_has_left(box: Opened) -> None:
    service, seen = started(box, "node", "-e", TICK)
    connection = services_of(box).connect(PORT)
    received(connection, 20)
    assert b"left" not in seen.stdout, "the control: it was heard for as long as somebody listened"
    connection.close()
    wait_until(lambda: b"left" in seen.stdout)
    service.stop()


# --- terminals ------------------------------------------------------------------------------------------------------


@pytest.fixture
def person() -> Iterator[Person]:
    with at_a_terminal() as made:
        yield made


def interacting(box: Opened, person: Person, script: str, **env: str) -> Callable[[], Exit]:
    command = Command(argv=("/bin/sh", "-c", script), timeout=PATIENCE, env=env)
    return lambda: services_of(box).interact(command, stdin=person.terminal, stdout=person.terminal)


def test_a_program_on_a_terminal_hears_its_person_and_says_how_it_ended(box: Opened, person: Person) -> None:
    before = person.modes()
    script = 'stty -echo; stty size; echo "$TERM $MORE in $PWD"; read -r line; echo "<$line>"; exit 7'
    with person.using(interacting(box, person, script, MORE="given")):
        person.wait_for(b"24 80")
        person.wait_for(f" given in {box.kind.inside(box.folders).workspace}\r\n".encode())
        person.type(b"typed\r")
        person.wait_for(b"<typed>")
    assert person.ended[0].code == 7
    assert b"\x1b" not in person.seen, "nothing is added to what a program that ends by itself has said"
    assert person.modes() == before


def test_the_size_of_the_terminal_is_followed(box: Opened, person: Person) -> None:
    with person.using(interacting(box, person, "trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.05; done")):
        person.wait_for(b"up")
        person.resize(50, 132)
        person.wait_for(b"50 132")


def test_ctrl_c_reaches_the_program_inside(box: Opened, person: Person) -> None:
    with person.using(interacting(box, person, "trap 'echo heard; exit 4' INT; echo up; sleep 20 & wait")):
        person.wait_for(b"up")
        person.type(b"\x03")
        person.wait_for(b"heard")
    assert person.ended[0].code == 4


def test_commands_run_while_a_person_is_at_a_terminal_and_nothing_of_it_is_left(box: Opened, person: Person) -> None:
    with person.using(interacting(box, person, f"setsid -f sleep 77006.{OWN}; echo up; read -r _")):
        person.wait_for(b"up")
        assert box.run("true")[0].succeeded
        assert living(f"77006.{OWN}"), "the control: it was there"
        person.type(b"\r")
    assert not living(f"77006.{OWN}")


def test_a_sandbox_that_is_stopped_ends_the_terminal_and_gives_the_persons_back(
    own_box: Opened, person: Person
) -> None:
    before = person.modes()
    with person.using(interacting(own_box, person, "printf '\\033[?1049h\\033[?25l'; echo up; sleep 50")):
        person.wait_for(b"up")
        own_box.sandbox.stop()
    assert person.ended[0].stopped
    assert b"\x1b[?25h" in person.seen, "who is ended has no time to show the cursor again"
    assert person.modes() == before


def test_a_sandbox_that_is_gone_is_an_error_and_gives_the_persons_terminal_back(
    own_box: Opened, person: Person
) -> None:
    before = person.modes()
    with person.using(interacting(own_box, person, "echo up; sleep 50")):
        person.wait_for(b"up")
        own_box.provider.reap(own_box.spec.labels)
    assert [type(error) for error in person.failed] == [SandboxError]
    assert person.modes() == before
