import fcntl
import os
import signal
from pathlib import Path

import pytest

from orchestration.adapters.git.quick import OUTPUT_LIMIT, Question

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def sh(script: str) -> Question:
    return Question(["/bin/sh", "-c", script], environment=ENVIRONMENT)


def test_an_answer_is_code_and_both_outputs() -> None:
    with sh("echo out; echo err >&2; exit 3") as question:
        assert question.answer(seconds=10) == (3, b"out\n", b"err\n")


def test_a_signal_is_a_negative_code() -> None:
    with sh("kill -TERM $$") as question:
        assert question.answer(seconds=10)[0] == -signal.SIGTERM


def test_there_is_no_input_and_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "seen")
    with sh('cat; echo "[$CANARY]"') as question:
        assert question.answer(seconds=10)[1] == b"[]\n"


def test_no_descriptor_that_we_opened_is_inherited() -> None:
    ours = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 200)
    control = fcntl.fcntl(0, fcntl.F_DUPFD, 300)
    try:
        with sh(
            f"[ -e /proc/self/fd/{ours} ] && echo ours; [ -e /proc/self/fd/{control} ] && echo control"
        ) as question:
            assert question.answer(seconds=10)[1] == b"control\n"
    finally:
        os.close(ours)
        os.close(control)


def test_output_is_bounded() -> None:
    with sh(f"head -c {2 * OUTPUT_LIMIT} /dev/zero") as question:
        code, stdout, _ = question.answer(seconds=30)
    assert (code, len(stdout)) == (0, OUTPUT_LIMIT)


def test_what_takes_too_long_is_ended() -> None:
    with Question(["/bin/sleep", "1000"], environment=ENVIRONMENT) as question:
        pid = question._pid
        with pytest.raises(TimeoutError):
            question.answer(seconds=0.05)
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_question_that_nobody_waits_for_leaves_no_process() -> None:
    with Question(["/bin/sleep", "1000"], environment=ENVIRONMENT) as question:
        pid = question._pid
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_program_that_is_not_there_leaks_no_descriptor() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        Question(["/nowhere/git"], environment=ENVIRONMENT)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
