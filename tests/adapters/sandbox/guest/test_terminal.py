"""A program on a terminal of its own in the sandbox, joined to a person's: keys, size, Ctrl-C, and the end of it."""

import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.adapters.sandbox.guest.terminal import PersonsTerminal
from orchestration.core.errors import SandboxError
from orchestration.core.ports import Command, Exit
from tests.adapters.sandbox.guest.guests import OWN, PATIENCE, Guest, guest_over_socket
from tests.adapters.sandbox.guest.persons import Person, at_a_terminal

QUIET = "stty -echo; echo ready;"


@pytest.fixture
def person() -> Iterator[Person]:
    with at_a_terminal() as made:
        yield made


def joined(guest: Guest, person: Person, script: str, *, seconds: float = 20) -> Callable[[], Exit]:
    """Return what runs a shell script on a terminal that is joined to the person's."""
    command = Command(argv=("/bin/sh", "-c", script), timeout=timedelta(seconds=seconds), env={"TOLD": "secret"})
    terminal = PersonsTerminal(person.terminal, person.terminal)

    def run() -> Exit:
        with terminal.raw():
            return guest.session.interact(command, terminal, environment=guest.environment, cwd=str(guest.folder))

    return run


def test_it_is_a_terminal_in_all_three_places_and_controls_the_session(guest: Guest, person: Person) -> None:
    script = "tty <&0; tty <&1; tty <&2; : </dev/tty && echo its own; ps -o tpgid= -p $$ | grep -qw $$ && echo in front"
    with person.using(joined(guest, person, script)):
        first, second, third = (person.wait_for(b"\r\n") for _ in range(3))
        assert first.startswith(b"/dev/pts/")
        assert first == second == third
        person.wait_for(b"its own\r\n")
        person.wait_for(b"in front\r\n")
    assert person.ended[0].code == 0


def test_what_is_typed_goes_in_and_what_is_said_comes_out(guest: Guest, person: Person) -> None:
    with person.using(joined(guest, person, f'{QUIET} read -r line; echo "<$line> $TOLD in $PWD"; exit 7')):
        person.wait_for(b"ready")
        person.type(b"typed\r")
        person.wait_for(f"<typed> secret in {guest.folder}".encode())
    assert (person.ended[0].code, person.ended[0].signal) == (7, None)


def test_the_terminal_inside_has_the_size_of_the_persons_and_follows_it(guest: Guest, person: Person) -> None:
    person.resize(33, 111)
    script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done"
    with person.using(joined(guest, person, script)):
        person.wait_for(b"33 111")
        person.resize(50, 132)
        person.wait_for(b"50 132")
        guest.session.stop()
    assert person.ended[0].stopped


def test_ctrl_c_interrupts_what_runs_inside_and_not_the_person(guest: Guest, person: Person) -> None:
    with person.using(joined(guest, person, "trap 'echo interrupted; exit 3' INT; echo ready; sleep 20 & wait")):
        person.wait_for(b"ready")
        person.type(b"\x03")
        person.wait_for(b"interrupted")
    assert person.ended[0].code == 3


def test_the_end_of_input_is_a_key_like_any_other(guest: Guest, person: Person) -> None:
    with person.using(joined(guest, person, f"{QUIET} cat; echo over")):
        person.wait_for(b"ready")
        person.type(b"\x04")
        person.wait_for(b"over")
    assert person.ended[0].succeeded


def test_all_that_was_said_before_the_end_is_shown(guest: Guest, person: Person) -> None:
    with person.using(joined(guest, person, "head -c 300000 /dev/zero | tr '\\0' x; printf end")):
        assert len(person.wait_for(b"end")) == 300_000
    assert person.ended[0].succeeded


def test_much_that_is_typed_waits_until_the_program_reads(guest: Guest, person: Person) -> None:
    content = bytes(range(33, 123)) * 1000
    script = f"stty raw -echo; echo ready; read -r _ < hold; head -c {len(content)} | md5sum; md5sum content"
    (guest.folder / "content").write_bytes(content)
    os.mkfifo(guest.folder / "hold")
    with person.using(joined(guest, person, script)):
        person.wait_for(b"ready")
        typing = threading.Thread(target=person.type, args=(content,))
        typing.start()
        (guest.folder / "hold").write_text("now\n", encoding="ascii")
        typed = person.wait_for(b"  -").split()[-1]
        assert person.wait_for(b"  content").split()[-1] == typed
        typing.join()


def test_nothing_that_was_started_on_it_is_left(
    guest: Guest, person: Person, living: Callable[[str], list[int]]
) -> None:
    script = f"setsid sleep 76001.{OWN} & nohup sleep 76001.{OWN} & echo ready; read -r _"
    with person.using(joined(guest, person, script)):
        person.wait_for(b"ready")
        assert living(f"76001.{OWN}"), "the control: it was there"
        person.type(b"\r")
    assert not living(f"76001.{OWN}")
    assert guest.run("true")[0].succeeded, "the guest serves on"


def test_the_time_limit_holds(guest: Guest, person: Person) -> None:
    with person.using(joined(guest, person, "cat", seconds=0.3)):
        pass
    assert person.ended[0].timed_out


def test_an_unknown_program_is_said_on_the_screen(guest: Guest, person: Person) -> None:
    terminal = PersonsTerminal(person.terminal, person.terminal)
    command = Command(argv=("no-such-program",), timeout=PATIENCE)
    ended = guest.session.interact(command, terminal, environment=guest.environment, cwd="/")
    assert ended.code == 127
    person.wait_for(b"no-such-program")


@pytest.mark.parametrize("script", ["exit 0", "kill -9 $$", "stty raw; exit 1"])
def test_the_persons_terminal_is_afterwards_as_it_was(guest: Guest, person: Person, script: str) -> None:
    before = person.modes()
    with person.using(joined(guest, person, f"echo ready; read -r _; {script}")):
        person.wait_for(b"ready")
        assert person.modes() != before, "the control: it is raw meanwhile"
        person.type(b"\r")
    assert person.modes() == before
    assert person.ended


def test_the_persons_terminal_is_as_it_was_after_the_guest_is_lost(program: Path, person: Person) -> None:
    with guest_over_socket(program, Path("/")) as guest:
        before = person.modes()
        with person.using(joined(guest, person, "echo ready; read -r _")):
            person.wait_for(b"ready")
            guest.process.kill()
    assert person.modes() == before
    assert [type(error) for error in person.failed] == [SandboxError]


def test_a_terminal_that_hangs_up_ends_what_runs_on_it(
    guest: Guest, person: Person, living: Callable[[str], list[int]]
) -> None:
    command = Command(argv=("/bin/sh", "-c", f"echo ready; sleep 76002.{OWN}"), timeout=PATIENCE)
    terminal = PersonsTerminal(person.terminal, person.terminal)
    ended: list[Exit] = []
    thread = threading.Thread(
        target=lambda: ended.append(guest.session.interact(command, terminal, environment=guest.environment, cwd="/"))
    )
    thread.start()
    person.wait_for(b"ready")
    os.close(person.screen)
    thread.join(20)
    assert ended[0].stopped
    assert not living(f"76002.{OWN}")


def test_what_is_no_terminal_is_refused() -> None:
    source, target = os.pipe()
    with pytest.raises(SandboxError, match="no terminal") as caught, PersonsTerminal(source, target).raw():
        pass
    os.close(source)
    os.close(target)
    assert caught.value.code == "no_terminal"


def test_a_plain_command_after_it_has_no_terminal(guest: Guest, person: Person) -> None:
    with person.using(joined(guest, person, "exit 0")):
        pass
    assert guest.shell("tty; : </dev/tty")[0].code != 0


def test_with_every_access_checked_it_serves_a_terminal(sanitized: Path, person: Person) -> None:
    with guest_over_socket(sanitized, Path("/")) as guest:
        with person.using(joined(guest, person, f"{QUIET} read -r _; stty size; exit 5")):
            person.wait_for(b"ready")
            person.resize(40, 100)
            person.type(b"\r")
        assert person.ended[0].code == 5
