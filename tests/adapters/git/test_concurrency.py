"""Several processes and people on one repository at once."""

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.adapters.git import layout, locks, refs
from orchestration.core.errors import BusyError
from tests.adapters.git.conftest import World

HOLDER = """
import sys
from pathlib import Path
from orchestration.adapters.git import locks
with locks.hold(Path(sys.argv[1]), what="x"):
    print("held", flush=True)
    sys.stdin.read()
"""
CLONE = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.adapters.git.conftest import World
world = World(folder=Path(sys.argv[1]), repo=Path(sys.argv[2]))
_, revision = world.publish(sys.argv[3], {sys.argv[3]: "x"})
world.work(sys.argv[3], {sys.argv[3]: "y"}, attempt=2)
print(revision.published)
"""
ROOT = Path(__file__).parents[3]


def test_a_lock_that_another_process_holds_is_waited_for_and_then_named(tmp_path: Path) -> None:
    lock = tmp_path / "locks" / "x.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(BusyError, match="another taskq works on shop") as caught,
            locks.hold(lock, what="shop", patience=timedelta(milliseconds=50)),
        ):
            raise AssertionError
        holder.communicate()
    assert caught.value.code == "repository_locked"
    with locks.hold(lock, what="shop", patience=timedelta(milliseconds=50)):
        assert lock.exists()


def test_a_ref_that_somebody_moved_meanwhile_is_not_moved(world: World, git: Callable[..., str]) -> None:
    old, new = world.commit_of("main~1"), world.commit_of("main")
    git(world.repo, "branch", "side", "main")
    repository = layout.find(world.repo).common_dir

    with pytest.raises(BusyError) as caught:
        refs.move(world.host.git, repository, "refs/heads/side", to=old, expected=refs.ABSENT, message="x")
    assert caught.value.code == "ref_moved"
    assert world.commit_of("side") == new


@pytest.mark.full
def test_processes_share_a_repository(world: World) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", CLONE, str(world.folder), str(world.repo), f"t-{number}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        for number in range(3)
    ]
    assert [process.communicate()[0] for process in running] == [b"True\n"] * 3
    assert len([ref for ref in world.refs() if "/attempt/" in ref]) == 6
