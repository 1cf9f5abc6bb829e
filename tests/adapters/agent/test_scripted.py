"""The agent `scripted`, instruction by instruction."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestration.adapters.agent.scripted import ScriptedAgent, check, compile_script
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.errors import UsageError

Work = Callable[..., Any]


@pytest.fixture
def play(work: Work) -> Work:
    """Return a function that plays a script."""
    return lambda script, **options: work(ScriptedAgent(), text=f"Some prose.\n\nscript:\n{script}\n", **options)


def test_files_are_written_appended_and_deleted(play: Work, folders: AttemptFolders) -> None:
    result, _ = play(r"""
        # a comment
        write a dir/new file.txt: it's $HOME\n\ttwo\\n
        append a dir/new file.txt: three
        write -rf: dashes
        write empty:
        delete greeting
    """)
    assert result.problem is None
    root = folders.workspace
    assert (root / "a dir/new file.txt").read_text(encoding="utf-8") == "it's $HOME\n\ttwo\\n\nthree\n"
    assert (root / "-rf").read_text(encoding="utf-8") == "dashes\n"
    assert (root / "empty").read_text(encoding="utf-8") == "\n"
    assert not (root / "greeting").exists()


def test_a_commit_takes_everything(play: Work, git: Callable[..., str]) -> None:
    assert play("write new: x\ncommit -m it's done")[0].problem is None
    assert git("log", "-1", "--format=%s %an") == "-m it's done taskq agent\n"
    assert git("status", "--short") == ""


def test_words_are_said_as_they_are(play: Work) -> None:
    assert play("say 100% \\\\ $(id) `id`\nsay -n")[1] == "100% \\ $(id) `id`\n-n\n"


def test_a_lie_changes_nothing(play: Work, git: Callable[..., str]) -> None:
    result, wrote = play("lie")
    assert result.problem is None
    assert "every test passes" in wrote
    assert git("status", "--short") == ""


def test_a_flood_is_as_large_as_said(play: Work) -> None:
    assert len(play("flood 3MB")[1]) == 3 * 1024**2


def test_a_nap_is_short_and_a_shell_line_is_run(play: Work) -> None:
    assert play("sleep 10ms\nrun echo $((6 * 7)); exit 0\nsay after")[1] == "42\nafter\n"


def test_what_is_spawned_is_ended_with_the_agent(play: Work) -> None:
    result, wrote = play("spawn\nsay on\nfail 7")
    assert (result.exit.code, wrote) == (7, "on\n")


def test_broken_git_is_broken_for_good(play: Work, folders: AttemptFolders) -> None:
    assert play("break-git")[0].problem is None
    result, _ = play("run git status")
    assert result.exit.code == 128
    assert (folders.workspace / "greeting").exists()


def test_the_first_failure_ends_the_script(play: Work) -> None:
    result, wrote = play("say one\ndelete nothing\nsay two")
    assert (result.code, wrote) == ("agent_failed", "one\n")


def test_prose_may_come_before_the_script_only() -> None:
    assert compile_script("write nothing: x\nscript:\nsay hi") == "set -eu\nprintf '%s\\n' hi\n"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("comit done", "line 3 of the script: 'comit' is no instruction; did you mean 'commit'"),
        ("say hi\nand then rest", "line 4 of the script: 'and' is no instruction"),
        ("write nothing", "needs a path, a colon and a text"),
        ("write : text", "needs a path, a colon and a text"),
        ("delete", "needs a path"),
        ("commit", "needs a message"),
        ("run", "needs a line of shell"),
        ("fail 0", "needs an exit code from 1 to 255"),
        ("fail 256", "needs an exit code from 1 to 255"),
        ("fail \u0663", "needs an exit code from 1 to 255"),
        ("sleep soon", "'soon' is no duration"),
        ("flood much", "'much' is no size"),
        ("crash now", "takes nothing after it"),
        ("say a\0b", "holds a NUL"),
    ],
)
def test_a_line_that_means_nothing_is_refused_at_intake(spec: AttemptSpec, script: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(replace(spec, text=f"prose\nscript:\n{script}"))
    assert why in str(caught.value)


def test_a_text_without_a_script_is_refused_with_the_grammar(spec: AttemptSpec) -> None:
    with pytest.raises(UsageError, match=r"no line 'script:'.*write, append, .*break-git"):
        check(replace(spec, text="Fix the bug"))
