"""Bootstrap, run as ``make`` runs it, on small checkouts; the whole of it, with downloads, is marked full."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tools import bootstrap

ROOT = Path(__file__).resolve().parents[2]
NOTHING: Mapping[str, str] = {}


def run(checkout: Path, *arguments: str, environ: Mapping[str, str] = NOTHING) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(checkout / "tools" / "bootstrap.py"), *arguments]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)


def a_command(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What bootstrap needs of a checkout, and a stand-in for uv that makes an environment and takes notes."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "tools", folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("uv.lock", "pyproject.toml", "README.md", "LICENSE", "Dockerfile"):
        shutil.copy(ROOT / name, folder)
    (folder / "orchestration").mkdir()
    (folder / "orchestration" / "__init__.py").touch()
    return folder


@pytest.fixture
def with_uv(tmp_path: Path) -> Mapping[str, str]:
    script = f"""
test "$1" = --version && echo uv 0.99.0 && exit
echo "$@" >> {tmp_path}/calls
mkdir -p "$UV_PROJECT_ENVIRONMENT/bin" && touch "$UV_PROJECT_ENVIRONMENT/pyvenv.cfg"
ln -sf {sys.executable} "$UV_PROJECT_ENVIRONMENT/bin/python"
"""
    a_command(tmp_path / "bin", "uv", script)
    return {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}


def calls(checkout: Path) -> int:
    noted = checkout.parent / "calls"
    return len(noted.read_text(encoding="utf-8").splitlines()) if noted.exists() else 0


def test_a_second_run_does_nothing_until_the_lock_file_changes(checkout: Path, with_uv: Mapping[str, str]) -> None:
    for _ in range(2):
        ended = run(checkout, environ=with_uv)
        assert ended.returncode == 0, ended.stderr
        assert calls(checkout) == 1
    with (checkout / "uv.lock").open("a", encoding="utf-8") as lock:
        lock.write("\n")
    run(checkout, environ=with_uv)
    assert calls(checkout) == 2


def test_an_environment_has_the_group_that_it_was_asked_for(checkout: Path, with_uv: Mapping[str, str]) -> None:
    run(checkout, environ=with_uv)
    run(checkout, "--environment", ".venv-bench", "--group", "bench", environ=with_uv)
    default, bench = (checkout.parent / "calls").read_text(encoding="utf-8").splitlines()
    assert "--no-default-groups --group dev " in default
    assert "--no-default-groups --group bench " in bench
    assert (checkout / ".venv-bench" / "bin" / "python").exists()


def test_an_environment_of_another_group_is_made_anew(checkout: Path, with_uv: Mapping[str, str]) -> None:
    for group in ("dev", "dev", "bench"):
        run(checkout, "--group", group, environ=with_uv)
    assert calls(checkout) == 2


@pytest.mark.full
def test_an_environment_whose_interpreter_went_away_is_made_again(checkout: Path, with_uv: Mapping[str, str]) -> None:
    run(checkout, environ=with_uv)
    (checkout / ".venv" / "bin" / "python").unlink()
    run(checkout, environ=with_uv)
    assert calls(checkout) == 2


@pytest.mark.full
def test_a_checkout_that_was_moved_gets_its_environment_anew(checkout: Path, with_uv: Mapping[str, str]) -> None:
    run(checkout, environ=with_uv)
    moved = checkout.rename(checkout.with_name("elsewhere"))
    run(moved, environ=with_uv)
    assert calls(moved) == 2


def test_a_failed_set_up_is_tried_again_and_named(checkout: Path, tmp_path: Path) -> None:
    a_command(tmp_path / "bin", "uv", 'test "$1" = --version && echo uv 0.99.0 && exit\nexit 3')
    environ = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    for _ in range(2):
        ended = run(checkout, environ=environ)
        assert ended.returncode == 1
        assert "bootstrap: exit 3 from: " in ended.stderr
        assert "uv sync --quiet --locked" in ended.stderr


def test_a_folder_that_is_no_environment_is_left_alone(checkout: Path, with_uv: Mapping[str, str]) -> None:
    precious = checkout / "precious"
    precious.mkdir()
    (precious / "work.txt").touch()
    ended = run(checkout, "--environment", "precious", environ=with_uv)
    assert ended.returncode == 1
    assert "is no virtual environment" in ended.stderr
    assert [path.name for path in precious.iterdir()] == ["work.txt"]


@pytest.mark.full
def test_a_machine_whose_pip_has_an_index_of_its_own_installs_with_pip(
    checkout: Path, with_uv: Mapping[str, str], tmp_path: Path
) -> None:
    own = {**with_uv, "PIP_INDEX_URL": tmp_path.as_uri(), "PIP_RETRIES": "0", "PIP_FIND_LINKS": ""}
    ended = run(checkout, environ=own)
    assert ended.returncode == 1, "that index is empty"
    assert "bootstrap: venv and pip into .venv" in ended.stderr
    assert calls(checkout) == 0


def test_a_uv_that_is_too_old_or_does_not_run_is_passed_over(tmp_path: Path) -> None:
    a_command(tmp_path / "bin", "old", "echo uv 0.4.30")
    a_command(tmp_path / "bin", "broken", "exit 127")
    assert bootstrap.uv_version(str(tmp_path / "bin" / "old")) < bootstrap.OLDEST_UV
    assert bootstrap.uv_version(str(tmp_path / "bin" / "broken")) == ()
    assert bootstrap.uv_version(str(tmp_path / "bin" / "absent")) == ()


def test_an_old_python_is_told_how_to_name_another() -> None:
    with pytest.raises(bootstrap.SetupError, match=r"Python 3\.10 is too old, 3\.11 or newer .* make PYTHON="):
        bootstrap.check_python((3, 10))


def test_a_python_that_cannot_make_environments_says_what_to_install(checkout: Path, tmp_path: Path) -> None:
    script = str(checkout / "tools" / "bootstrap.py")
    program = f"import runpy, sys; sys.modules['ensurepip'] = None; runpy.run_path({script!r}, run_name='__main__')"
    command = [sys.executable, "-c", program]
    environ = {**os.environ, "PATH": str(tmp_path)}
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "install uv, or on Debian and Ubuntu: apt-get install python3-venv" in ended.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.full
@pytest.mark.parametrize("way", [(), ("--without-uv",)], ids=["fetched uv", "pip alone"])
def test_a_machine_with_only_python_gets_a_working_environment(
    checkout: Path, tmp_path: Path, capability: Callable[[str], None], way: tuple[str, ...]
) -> None:
    capability("pypi")
    (tmp_path / "home").mkdir()
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home")}
    ended = run(checkout, *way, environ=environ)
    assert ended.returncode == 0, ended.stderr
    assert ("getting uv" in ended.stderr) is not bool(way)
    check = "import click, pytest, orchestration; print(orchestration.__file__)"
    python = str(checkout / ".venv" / "bin" / "python")
    seen = subprocess.run([python, "-c", check], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert seen.stdout.strip() == str(checkout / "orchestration" / "__init__.py")
    assert run(checkout, environ=environ).stderr == ""
