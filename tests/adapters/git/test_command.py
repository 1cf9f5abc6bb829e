"""How git is started on the host, and that nobody else starts it."""

import ast
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

import orchestration
from orchestration.adapters.git.command import HostGit, Place
from orchestration.core.errors import GitError
from tests.adapters.git.conftest import World

ROOT = Path(orchestration.__file__).parent
MAY_START_GIT = {"adapters/git/command.py", "adapters/git/intake.py", "adapters/git/health.py", "adapters/git/quick.py"}
STARTERS = {"run", "Popen", "call", "check_call", "check_output", "execute", "system", "popen"}


def test_no_variable_of_the_operator_reaches_git(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = world.folder / "canary"
    commit = world.commit_of("main")
    monkeypatch.setenv("GIT_TRACE", str(canary))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", "/nonexistent")

    assert world.host.git.run(Place(git_dir=world.repo / ".git"), "rev-parse", "main").text == commit
    assert not canary.exists()


def test_git_never_sees_the_operators_home(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    home = world.folder / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = From Home\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")

    answer = world.host.git.run(Place(git_dir=world.repo / ".git"), "config", "--get-all", "user.name")
    assert answer.text == "Olga Operator"


def test_a_failure_names_the_command_the_place_and_the_last_line(world: World) -> None:
    with pytest.raises(GitError) as caught:
        world.host.git.run(Place(git_dir=world.repo / ".git"), "cat-file", "blob", "main")
    assert str(caught.value).startswith(f"git cat-file failed in {world.repo}/.git: ")
    assert not str(caught.value).endswith(".")


def test_git_that_takes_too_long_is_ended_with_its_children(world: World) -> None:
    marker = world.folder / "pid"
    git = HostGit(home=world.folder / "empty", name="a", email="a@b", timeout=timedelta(seconds=1))
    command = f"alias.wait=!sh -c 'echo $$ >{marker}; exec sleep 60'"
    began = time.monotonic()

    with pytest.raises(GitError) as caught:
        git.run(Place(git_dir=world.repo / ".git"), "wait", config=(command,))

    assert caught.value.code == "git_timeout"
    assert time.monotonic() - began < 20
    eventually(lambda: not is_running(int(marker.read_text())))


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until the condition holds, ten seconds at most."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        os.sched_yield()


def is_running(process: int) -> bool:
    """Whether the process still does anything; one that ended and waits to be reaped does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_output_past_its_bound_ends_git(world: World) -> None:
    with pytest.raises(GitError) as caught:
        world.host.git.run(Place(git_dir=world.repo / ".git"), "log", limit=10)
    assert caught.value.code == "git_output"


def test_a_long_stderr_does_not_stop_git(world: World) -> None:
    noisy = "alias.noise=!i=0; while [ $i -lt 20000 ]; do echo some words to fill a pipe >&2; i=$((i+1)); done"
    answer = world.host.git.run(Place(git_dir=world.repo / ".git"), "noise", config=(noisy,))
    assert answer.code == 0


def test_input_reaches_git_as_bytes(world: World) -> None:
    place = Place(git_dir=world.repo / ".git")
    blob = world.host.git.run(place, "hash-object", "-w", "--stdin", stdin=b"\xff\x00\r\n").text
    assert world.host.git.run(place, "cat-file", "blob", blob).stdout == b"\xff\x00\r\n"


def test_only_the_git_adapter_starts_git() -> None:
    offenders = [
        str(file.relative_to(ROOT))
        for file in ROOT.rglob("*.py")
        if str(file.relative_to(ROOT)) not in MAY_START_GIT and starts_git(ast.parse(file.read_text("utf-8")))
    ]
    assert offenders == []


def test_the_scan_for_starters_of_git_finds_one() -> None:
    assert starts_git(ast.parse("subprocess.run(['git', 'status'])"))
    assert starts_git(ast.parse("Popen(('/usr/bin/git', 'x'))"))
    assert starts_git(ast.parse("os.system('git fetch')"))
    assert not starts_git(ast.parse("git.run(place, 'init')"))


def starts_git(tree: ast.AST) -> bool:
    """Whether the module calls a starter of processes with a program named git."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in STARTERS and any(map(_names_git, node.args)):
            return True
    return False


def _name(function: ast.expr) -> str:
    return getattr(function, "attr", None) or getattr(function, "id", "")


def _names_git(argument: ast.expr) -> bool:
    first = argument.elts[0] if isinstance(argument, (ast.List, ast.Tuple)) and argument.elts else argument
    if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        return (
            isinstance(first, ast.Starred) and isinstance(first.value, ast.Call) and _name(first.value.func) == "walled"
        )
    words = first.value.split()
    return bool(words) and words[0].rsplit("/", 1)[-1] == "git"
