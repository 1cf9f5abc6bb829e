"""Published packages, fetched once and checked; and an operator who has one of them as a repository."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.journeys.shell import Repo, Taskq
from tests.real.packages import Package

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Package], Path]:
    """Return a function that gives a package's archive; pip refuses another hash before it looks inside."""

    @cache
    def fetch(package: Package) -> Path:
        folder = tmp_path_factory.mktemp(package.name)
        pinned = folder / "pinned.txt"
        pinned.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
        chosen = ["--no-deps", "--no-binary", package.name, "--require-hashes", "--requirement", str(pinned)]
        done = subprocess.run(
            [*pip, *chosen, "--dest", str(folder)], capture_output=True, encoding="utf-8", timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        [archive] = folder.glob("*.tar.gz")
        assert hashlib.sha256(archive.read_bytes()).hexdigest() == package.sha256
        return archive

    return fetch


@pytest.fixture
def package(request: pytest.FixtureRequest, capability: Callable[[str], None]) -> Package:
    """The package that the test is about."""
    capability("pypi")
    named: Package = request.param
    return named


@pytest.fixture
def project(package: Package, fetched: Callable[[Package], Path], tmp_path: Path) -> Repo:
    """The package as its author's repository, with one commit."""
    made = Repo(tmp_path / package.name)
    made.path.mkdir()
    unpack = [
        "tar",
        "--extract",
        "--strip-components=1",
        "--file",
        str(fetched(package)),
        "--directory",
        str(made.path),
    ]
    subprocess.run(unpack, check=True)
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit(f"{package.name} {package.version} as published")
    return made


@pytest.fixture
def operator(tmp_path: Path) -> Taskq:
    """The operator, who has this environment's tools on PATH and one script of their own."""
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    script = home / "bin/rename-identifier"
    shutil.copy(HERE / "codemod.py", script)
    script.chmod(0o755)
    path = f"{home / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(home), "TASKQ_QUEUE": str(tmp_path / "queue"), "LANG": "C.UTF-8"}
    ready = Taskq(environment, tmp_path)
    ready.run("init", str(tmp_path / "queue"))
    return ready
