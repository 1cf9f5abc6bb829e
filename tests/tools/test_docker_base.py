"""The base image of CI: a stand-in for debootstrap makes a small system, a real engine imports it."""

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex

import pytest

from orchestration.adapters.sandbox.docker import images
from orchestration.adapters.sandbox.docker.engine import Engine
from tools import docker_base

ROOT = Path(__file__).resolve().parents[2]
SMALL_SYSTEM = """
echo called >> "$CALLS"
mkdir -p "$4/usr/share/man/man1" "$4/bin" "$4/var/lib/apt/lists"
touch "$4/usr/share/man/man1/sh.1" "$4/bin/sh" "$4/var/lib/apt/lists/all"
ln -s ../bin "$4/var/cache"
"""


@pytest.fixture
def debootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return a function that puts a stand-in on the path; it returns the file in which each call is noted."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")

    def install(script: str) -> Path:
        stand_in = tmp_path / "bin" / "debootstrap"
        stand_in.parent.mkdir(exist_ok=True)
        stand_in.write_text(f"#!/bin/sh -e\n{script}\n", encoding="utf-8")
        stand_in.chmod(0o755)
        return tmp_path / "calls"

    return install


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


def made(repository: str) -> str:
    """Make the image in a process of its own; return what was said."""
    command = [sys.executable, "-m", "tools.docker_base", "--repository", repository]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True).stdout


def test_the_system_is_packed_without_what_nobody_reads(debootstrap: Callable[[str], Path], tmp_path: Path) -> None:
    debootstrap(SMALL_SYSTEM)
    packed = docker_base.cached("bookworm", os.environ)
    docker_base.make(packed, suite="bookworm", mirror="http://mirror.invalid")
    with tarfile.open(packed) as archive:
        names = set(archive.getnames())
    assert {"./bin/sh", "./var/cache", "./usr/share/man"} <= names
    assert not {"./usr/share/man/man1", "./var/lib/apt/lists/all"} & names
    assert kept(tmp_path) == [packed.name]


def test_a_failed_debootstrap_says_why_and_leaves_nothing_to_be_believed(
    debootstrap: Callable[[str], Path], tmp_path: Path
) -> None:
    debootstrap("echo E: no route to the mirror; exit 3")
    packed = docker_base.cached("bookworm", os.environ)
    with pytest.raises(docker_base.BaseError, match="ended with 3: E: no route to the mirror"):
        docker_base.make(packed, suite="bookworm", mirror="http://mirror.invalid")
    assert kept(tmp_path) == []


@pytest.mark.full
def test_the_image_is_made_once_and_its_system_is_kept_for_the_next_engine(
    capability: Callable[[str], None], debootstrap: Callable[[str], Path]
) -> None:
    capability("docker")
    calls = debootstrap(SMALL_SYSTEM)
    repository = f"taskq-test-{token_hex(4)}"
    engine = Engine(os.environ)
    try:
        assert "is imported from" in made(repository)
        assert "is here" in made(repository)
        assert images.find(engine, f"{repository}:bookworm") is not None
        engine.api.remove_image(f"{repository}:bookworm")
        assert "is imported from" in made(repository)
        assert calls.read_text(encoding="utf-8").splitlines() == ["called"]
    finally:
        engine.api.remove_image(f"{repository}:bookworm")
        engine.api.close()


def test_without_an_engine_it_fails_and_says_so(tmp_path: Path) -> None:
    environ = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"}
    command = [sys.executable, "-m", "tools.docker_base"]
    ended = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stdout.startswith("docker_base: cannot reach the engine: no engine answers at unix:")
