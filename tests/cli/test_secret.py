"""What `secret` keeps, and where a value never is."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

VALUE = b"ghs_16C7e42F292c6912E7"


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[str], bytes]:
    """Return a function that reads what is kept under a name."""
    return lambda name: (tmp_path / "home/.config/taskq/secrets" / name).read_bytes()


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Return a function that says what a pipe to the command holds."""
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_value_comes_from_a_pipe_without_its_last_newline(
    cli: Cli, kept: Callable[[str], bytes], stdin: Callable[[bytes], None], end: bytes
) -> None:
    stdin(VALUE + end)
    said = cli("secret", "set", "TOKEN")
    assert (said.code, said.out, said.err) == (0, "Secret set: TOKEN\n", "")
    assert kept("TOKEN") == VALUE


def test_a_value_comes_from_a_file_byte_for_byte_but_for_one_newline(
    cli: Cli, kept: Callable[[str], bytes], tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(b"\xff\x00\r\nkey\n\n")
    assert cli("secret", "set", "KEY", "--from-file", "key").code == 0
    assert kept("KEY") == b"\xff\x00\r\nkey\n"


def test_names_are_listed_and_values_are_not(cli: Cli, stdin: Callable[[bytes], None]) -> None:
    assert (cli("secret", "list").out, cli("secret", "list", "--json").json) == ("", [])
    for name in ("B", "A"):
        stdin(VALUE)
        cli("secret", "set", name)
    assert cli("secret", "list").out == "A\nB\n"
    assert cli("secret", "list", "--json").json == ["A", "B"]
    assert (cli("secret", "remove", "A").out, cli("secret", "list").out) == ("Secret removed: A\n", "B\n")


@pytest.mark.parametrize(
    ("arguments", "content", "words"),
    [
        (("set", "token"), VALUE, "no name of a secret"),
        (("set", "TOKEN"), b"abc\n", "too few"),
        (("set", "TOKEN"), b"x" * 70_000, "more than 64 KiB"),
        (("set", "TOKEN", "--from-file", "nowhere"), b"", "nowhere: cannot be read"),
        (("set", "TOKEN", VALUE.decode()), b"", "unexpected extra argument"),
        (("set", "TOKEN", "--value", VALUE.decode()), b"", "--value"),
        (("set",), b"", "NAME"),
        (("remove", "TOKEN"), b"", "there is no secret TOKEN"),
        (("lst",), b"", "there are: set, list, remove"),
        ((), b"", None),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_kept(
    cli: Cli, stdin: Callable[[bytes], None], arguments: tuple[str, ...], content: bytes, words: str | None
) -> None:
    stdin(content)
    said = cli("secret", *arguments)
    assert said.code == 2
    assert words is None or words in said.err
    assert cli("secret", "list").out == ""


def test_on_a_terminal_a_value_is_asked_for_and_never_shown(tmp_path: Path, kept: Callable[[str], bytes]) -> None:
    ours, theirs = pty.openpty()
    environ = {**os.environ, "HOME": str(tmp_path / "home"), "TASKQ_QUEUE": str(tmp_path / "queue")}
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestration", "secret", "set", "TOKEN"],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    os.close(theirs)
    try:
        seen = read_until(ours, b"Value of TOKEN")
        os.write(ours, VALUE + b"\n")
        seen += read_until(ours, b"Secret set: TOKEN")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert VALUE not in seen
    assert kept("TOKEN") == VALUE


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """Return what a terminal shows up to *wanted*; the test's own timeout bounds the wait."""
    seen = b""
    while wanted not in seen:
        seen += os.read(descriptor, 4096)
    return seen
