"""What taskq adds to a task in a container: `taskq run` with docker against the same calls by a bare loop.

Needs an engine and the image (`taskq build-image`). The tasks do nothing, so all of their time is overhead: of taskq,
the engine and git. A round has both sides, right after each other. What `taskq run` takes to start is on taskq's side.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.bare_docker import Bare
from benchmarks.harness import Row, Work, main
from benchmarks.startup import TASKQ, repository, surroundings
from orchestration.adapters.sandbox.docker import images
from orchestration.adapters.sandbox.docker.engine import Engine

TASKS: Final = 12
WORKERS: Final = (1, 2, 4)
AT_MOST: Final = 1.10
CPU_AT_MOST: Final = 10.0
"""Milliseconds of taskq's own processor time per task, without the processes that it starts."""
CPU_TASKS: Final = (4, 24)


def rows(folder: Path) -> tuple[Row, ...]:
    """Return a row of each side for each number of workers; all that they make is in *folder*."""
    environ = surroundings(folder)
    repo = repository(folder / "repo", environ)
    engine = Engine(os.environ)
    bare = Bare(folder=folder, repo=repo, image=images.resolve(engine, images.DEFAULT_DOCKER_IMAGE), engine=engine)
    bare.make_cache()
    return tuple(row for workers in WORKERS for row in _pair(bare, workers, environ=environ))


def _pair(bare: Bare, workers: int, *, environ: dict[str, str]) -> tuple[Row, Row]:
    def loop(number: int) -> Work:
        return lambda: bare.run(TASKS, workers=workers, number=number * 10 + workers)

    def run(number: int) -> Work:
        start = queue(bare.folder, f"{workers}-{number}", bare.repo, environ, tasks=TASKS)
        return lambda: _succeed(start(workers))

    base = f"bare loop, {TASKS} tasks, {workers} at a time"
    name = f"taskq run, {TASKS} tasks, {workers} at a time"
    return Row(name=base, prepare=loop), Row(name=name, prepare=run, against=base, at_most=AT_MOST)


def queue(
    folder: Path, name: str, repo: Path, environ: dict[str, str], *, tasks: int
) -> Callable[[int], "subprocess.Popen[bytes]"]:
    """Make a queue of *tasks* tasks that do nothing; return what starts its run."""
    own = {**environ, "TASKQ_QUEUE": str(folder / f"queue-{name}"), "HOME": str(folder / f"home-{name}")}
    Path(own["HOME"]).mkdir()
    task = {"repo": str(repo), "base": "main", "text": "nothing", "agent_command": "true", "allow_empty": True}
    lines = "".join(json.dumps({"id": f"{name}-{each}", **task, "network": "none"}) + "\n" for each in range(tasks))
    subprocess.run([TASKQ, "add", "--from", "-"], input=lines.encode(), env=own, check=True, stdout=subprocess.DEVNULL)
    return lambda workers: subprocess.Popen(
        [TASKQ, "run", "--max-parallel", str(workers)], env=own, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )


def _succeed(process: "subprocess.Popen[bytes]") -> None:
    said, _ = process.communicate()
    if process.returncode != 0 or f"{TASKS} review".encode() not in said:
        raise RuntimeError(f"taskq run: exit {process.returncode}: {said.decode(errors='replace')[-500:]}")


def own_cpu(folder: Path, repo: Path, environ: dict[str, str], *, rounds: int) -> float:
    """Return the milliseconds of processor time that taskq itself uses for one more task, two at a time."""
    used: dict[int, float] = dict.fromkeys(CPU_TASKS, 0.0)
    for number in range(rounds):
        for tasks in CPU_TASKS:
            process = queue(folder, f"cpu-{number}-{tasks}", repo, environ, tasks=tasks)(2)
            used[tasks] += _cpu_of(process)
    few, many = CPU_TASKS
    return (used[many] - used[few]) / rounds / (many - few) * 1000


def _cpu_of(process: "subprocess.Popen[bytes]") -> float:
    """Return the seconds that the process itself used, read while it is dead and not yet waited for (see proc(5))."""
    if process.stdout is not None:
        process.stdout.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    if process.wait() != 0:
        raise RuntimeError(f"taskq run: exit {process.returncode}")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        missed = main("A task in a container: taskq against a bare loop", rows(Path(scratch)))
    with tempfile.TemporaryDirectory() as scratch:
        surrounding = surroundings(Path(scratch))
        made = repository(Path(scratch) / "repo", surrounding)
        cpu = own_cpu(Path(scratch), made, surrounding, rounds=5)
    verdict = "met" if cpu <= CPU_AT_MOST else "missed"
    print(f"\ntaskq's own processor time: {cpu:.1f} ms a task, at most {CPU_AT_MOST:g}: {verdict}")
    sys.exit(missed or int(cpu > CPU_AT_MOST))
