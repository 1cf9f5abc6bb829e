"""The guest's program, compiled once, and a guest behind each kind of stream."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.adapters.sandbox.guest.guests import SOURCE, TRANSPORTS, Guest, guest_over_socket

STRICT = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


@pytest.fixture(scope="session")
def compiled() -> Iterator[Callable[..., Path]]:
    """Return a function that compiles the guest, in a folder that every user can read.

    Its *without* is a piece of the source to leave out: what a mechanism is for shows where it is not.
    """
    if shutil.which("cc") is None:
        pytest.skip("cc is missing: there is no cc on PATH; get it with: apt-get install gcc libc6-dev")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)

        def compile_with(*options: str, without: str = "") -> Path:
            program = folder / f"taskq-guest{len(list(folder.iterdir()))}"
            text = SOURCE.read_text(encoding="utf-8")
            assert without in text
            source = text.replace(without, "") if without else text
            subprocess.run(
                ["cc", *STRICT, *options, "-o", program, "-x", "c", "-"], input=source, text=True, check=True
            )
            return program

        yield compile_with


@pytest.fixture(scope="session")
def program(compiled: Callable[..., Path]) -> Path:
    return compiled("-O2", "-static")


@pytest.fixture(scope="session")
def sanitized(compiled: Callable[..., Path]) -> Path:
    """Return the program with checks of every access to memory; a failed one aborts it."""
    return compiled("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(params=TRANSPORTS)
def guest(request: pytest.FixtureRequest, program: Path, tmp_path: Path) -> Iterator[Guest]:
    with TRANSPORTS[request.param](program, tmp_path) as guest:
        yield guest


@pytest.fixture
def socket_guest(program: Path, tmp_path: Path) -> Iterator[Guest]:
    with guest_over_socket(program, tmp_path) as guest:
        yield guest
