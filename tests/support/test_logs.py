"""Events on stderr: what is told, in which form, and what it costs when nothing is."""

import json
import subprocess
import sys


def run(program: str) -> "subprocess.CompletedProcess[str]":
    start = "import sys\nfrom orchestration.support import logs\nlog = logs.get_logger()\n"
    command = [sys.executable, "-c", start + program]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)


def test_an_event_below_the_level_is_not_told_and_loads_nothing() -> None:
    done = run("log.info('task.claimed', task='T-1'); print('structlog' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_warning_is_told_also_where_nobody_is_verbose() -> None:
    done = run("logs.configure(json=True, verbose=False); log.info('no'); log.warning('log.cut', path='/x')")
    event = json.loads(done.stderr)
    assert (event["event"], event["level"], event["path"], done.stdout) == ("log.cut", "warning", "/x", "")


def test_a_verbose_operator_is_told_all_of_it_one_event_a_line() -> None:
    done = run("logs.configure(json=True, verbose=True); log.info('a\\nb', fact='c\\nd'); log.error('gone')")
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["a\nb", "gone"]


def test_an_exception_is_told_with_its_traceback() -> None:
    done = run("logs.configure(json=True, verbose=False)\ntry: 1 / 0\nexcept ArithmeticError: log.exception('broke')")
    assert "ZeroDivisionError" in json.loads(done.stderr)["exception"]
