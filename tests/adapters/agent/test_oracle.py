"""The agent `oracle`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestration.adapters.agent.oracle import OracleAgent, check, interpreter
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.errors import UsageError

PATCH = """\
diff --git a/greeting b/greeting
--- a/greeting
+++ b/greeting
@@ -1 +1 @@
-hello
+good day
diff --git a/ignored b/ignored
new file mode 100644
--- /dev/null
+++ b/ignored
@@ -0,0 +1 @@
+kept all the same
"""


@pytest.mark.parametrize("name", ["fix.patch", "fix.DIFF"])
def test_a_patch_is_applied_and_left_uncommitted(
    work: Callable[..., Any], git: Callable[..., str], tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text(PATCH, encoding="utf-8")
    result, _ = work(OracleAgent(), agent_command=str(tmp_path / name))
    assert result.problem is None
    assert git("status", "--short").splitlines() == ["M  greeting", "A  ignored"]


def test_a_patch_that_does_not_apply_is_a_problem(
    work: Callable[..., Any], git: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "fix.patch").write_text(PATCH.replace("-hello", "-other"), encoding="utf-8")
    result, _ = work(OracleAgent(), agent_command=str(tmp_path / "fix.patch"))
    assert result.code == "agent_failed"
    assert result.problem == "the patch fix.patch does not apply to the workspace"
    assert git("status", "--short") == ""


def test_a_script_is_run_by_the_interpreter_in_its_first_line(work: Callable[..., Any], tmp_path: Path) -> None:
    script = tmp_path / "solution"
    script.write_text("#!/usr/bin/env python3\nimport os; print('python in', os.path.basename(os.getcwd()))\n")
    assert work(OracleAgent(), agent_command=str(script))[1] == "python in workspace\n"


def test_a_script_sees_the_task(work: Callable[..., Any], folders: AttemptFolders, tmp_path: Path) -> None:
    script = tmp_path / "solution"
    script.write_text('cat - "$TASKQ_TASK_FILE"', encoding="utf-8")
    assert work(OracleAgent(), agent_command=str(script), text="task.")[1] == "task.task."


@pytest.mark.parametrize(
    ("script", "argv"),
    [
        (b"#!/bin/bash -eu\nx", ("/bin/bash", "-eu")),
        (b"#! /usr/bin/env  python3 -u\r\n", ("/usr/bin/env", "python3 -u")),
        (b"#!\nx", ("/bin/sh",)),
        (b"echo\n#!/bin/bash", ("/bin/sh",)),
        (b"", ("/bin/sh",)),
    ],
)
def test_the_first_line_is_read_as_the_kernel_does(script: bytes, argv: tuple[str, ...]) -> None:
    assert interpreter(script) == argv


@pytest.mark.parametrize(
    ("given", "why"),
    [(None, "needs a patch or script"), ("", "needs a patch"), ("fix.patch", "is not absolute"), ("/no/x", "no file")],
)
def test_a_solution_that_is_not_there_is_refused_at_intake(spec: AttemptSpec, given: str | None, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        check(replace(spec, agent_command=given))


def test_a_folder_is_no_solution(spec: AttemptSpec, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        check(replace(spec, agent_command=str(tmp_path)))


def test_an_enormous_solution_is_refused(work: Callable[..., Any], tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match="larger than"):
        work(OracleAgent(), agent_command=str(tmp_path / "big"))
