"""Whatever is written to a guest, it says what is wrong, ends everything and exits 2; it never crashes."""

import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adapters.sandbox.guest.guests import OWN, PATIENCE, guest_without_processes, raw_guest

HELLO = b"h\0\0\0\1\2"


def frame(kind: bytes, payload: bytes = b"", *, size: int | None = None) -> bytes:
    return kind + struct.pack(">I", len(payload) if size is None else size) + payload


def request(*strings: bytes, arguments: int = 1, variables: int = 0, limit: int = 60_000) -> bytes:
    return frame(b"R", struct.pack(">QII", limit, arguments, variables) + b"".join(s + b"\0" for s in strings))


def on_a_terminal(of: bytes) -> bytes:
    """Return the request to do the same on a terminal."""
    return frame(b"T", struct.pack(">HH", 24, 80) + of[5:])


SLEEP = request(b"/", b"sleep", f"74001.{OWN}".encode(), arguments=2, variables=0)
MALFORMED = {
    "an-unknown-type": b"?\0\0\0\0",
    "a-frame-of-the-guest": HELLO,
    "a-huge-request": frame(b"R", size=0xFFFFFFFF),
    "a-request-over-the-limit": frame(b"R", size=(4 << 20) + 1),
    "a-request-of-nothing": frame(b"R"),
    "a-request-without-strings": frame(b"R", bytes(16)),
    "no-arguments": request(b"/", arguments=0),
    "fewer-strings-than-said": request(b"/", b"true", arguments=2),
    "more-strings-than-said": request(b"/", b"true", b"x", arguments=1),
    "counts-that-overflow": request(b"/", b"true", arguments=0xFFFFFFFF, variables=2),
    "no-last-nul": frame(b"R", struct.pack(">QII", 1, 1, 0) + b"/\0true"),
    "a-terminal-of-nothing": frame(b"T"),
    "a-terminal-without-strings": frame(b"T", bytes(20)),
    "a-terminal-while-a-command-runs": SLEEP + on_a_terminal(SLEEP),
    "a-command-while-a-terminal-is-used": on_a_terminal(SLEEP) + SLEEP,
    "a-size-too-short": frame(b"W", bytes(3)),
    "a-size-too-long": frame(b"W", bytes(5)),
    "too-much-stdin": frame(b"I", size=65537),
    "an-end-with-a-payload": frame(b"E", b"x"),
    "half-a-header": b"R\0",
    "half-a-frame": frame(b"R", bytes(100), size=200),
    "two-requests": SLEEP + SLEEP,
    "stdin-after-its-end": SLEEP + frame(b"I") + frame(b"I", b"x"),
    "stdin-out-of-turn": SLEEP + frame(b"I", bytes(65536)) * 3,
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_malformed_input_is_exit_2_and_said(
    sanitized: Path, content: bytes, living: Callable[[str], list[int]]
) -> None:
    ended = raw_guest(sanitized, content)
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout.startswith(HELLO) or not ended.stdout
    assert ended.stderr.startswith(b"taskq-guest: malformed input: ")
    assert ended.stderr.count(b"\n") == 1
    assert not living(f"74001.{OWN}")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        frame(b"E"),
        frame(b"I", b"x") * 3 + frame(b"I") * 2 + frame(b"W", bytes(4)) + frame(b"E"),
        SLEEP,
        SLEEP + frame(b"W", bytes(4)) + frame(b"E"),
        on_a_terminal(SLEEP) + frame(b"W", bytes(4)) + frame(b"I", b"keys"),
    ],
    ids=["nothing", "an-end-of-nothing", "what-is-for-nothing", "a-command", "an-ended-command", "a-terminal"],
)
def test_input_that_ends_between_frames_is_exit_0(
    sanitized: Path, content: bytes, living: Callable[[str], list[int]]
) -> None:
    ended = raw_guest(sanitized, content)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert not living(f"74001.{OWN}")


def test_a_host_that_asks_and_asks_and_never_listens_is_refused(program: Path) -> None:
    with guest_without_processes(program) as guest:
        stream = guest.session._stream
        with pytest.raises(OSError, match=r"Broken pipe|Connection reset"):
            stream.send(request(b"/", b"true") * 200_000)
        assert guest.process.wait(20) == 2


def noise(seed: int) -> bytes:
    """Return bytes that are random, or nearly a conversation."""
    chance = random.Random(seed)
    if chance.random() < 0.3:
        return chance.randbytes(chance.randrange(1, 200))
    parts = []
    for _ in range(chance.randrange(1, 6)):
        kind = chance.choice([b"R", b"I", b"E", b"T", b"W"])
        if kind in b"RT":
            strings = [chance.choice([b"/", b"", b"/bin/true", b"x" * 70_000]) for _ in range(chance.randrange(1, 6))]
            arguments = chance.randrange(0, len(strings) + 1)
            counts = {"arguments": arguments, "variables": len(strings) - 1 - arguments + chance.choice([0, 0, 0, 1])}
            asked = request(*strings, **{name: max(0, count) for name, count in counts.items()})
            parts.append(asked if kind == b"R" else on_a_terminal(asked))
        elif kind == b"W":
            parts.append(frame(kind, chance.randbytes(chance.choice([4, 4, 5]))))
        else:
            parts.append(frame(kind, b"" if kind == b"E" else chance.randbytes(chance.choice([0, 1, 65536]))))
    whole = bytearray(b"".join(parts))
    for _ in range(chance.choice([0, 0, 1, 3])):
        whole[chance.randrange(len(whole))] = chance.randrange(256)
    return bytes(whole[: chance.choice([len(whole), chance.randrange(len(whole)) + 1])])


def test_random_input_never_crashes_the_guest(sanitized: Path) -> None:
    codes: dict[int, int] = {}
    for seed in range(200):
        ended = raw_guest(sanitized, noise(seed))
        assert ended.returncode in {0, 2}, f"seed {seed}: {ended.stderr!r}"
        assert ended.stderr.startswith(b"taskq-guest: malformed input: ") == (ended.returncode == 2)
        codes[ended.returncode] = codes.get(ended.returncode, 0) + 1
    assert codes[2] > 40, "the control: much of it was malformed"
    assert codes[0] > 5, "the control: some of it was not"


@pytest.mark.full
def test_valgrind_finds_no_wrong_access(program: Path, compiled: Callable[..., Path]) -> None:
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is missing: there is no valgrind on PATH; get it with: apt-get install valgrind")
    dynamic = compiled("-O1", "-g")
    inputs = [*map(noise, range(12)), request(b"/", b"/bin/echo", b"hi", b"A=B", arguments=2, variables=1)]
    for content in inputs:
        ended = subprocess.run(
            ["valgrind", "-q", "--error-exitcode=99", "--trace-children=no", dynamic, "serve"],
            input=content,
            capture_output=True,
            timeout=PATIENCE.total_seconds() * 3,
            check=False,
        )
        assert ended.returncode in {0, 2}, ended.stderr.decode()


@pytest.mark.parametrize("arguments", [(), ("sing",), ("serve", "x"), ("hold", "1"), ("hold", "1", "x", "y")])
def test_wrong_usage_is_exit_2_and_says_how(program: Path, arguments: tuple[str, ...]) -> None:
    ended = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr.startswith(b"usage: taskq-guest serve")


def test_the_guest_says_which_one_it_is(program: Path) -> None:
    ended = subprocess.run([program, "--version"], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, b"taskq-guest 2\n")
