"""What an agent can plant in its workspace and git dir never runs on the host, whatever taskq does next.

Each planting is shown to fire under plain git first; the canary is silent inside the sandbox, so that it
tells the host's runs from the agent's own.
"""

from collections.abc import Callable

import pytest

from tests.adapters.git.conftest import NOW
from tests.hostile.plantings import PLANTINGS, plant_filter, plant_hooks, plant_nested
from tests.hostile.scene import Scene

QUICK = {plant_hooks, plant_filter, plant_nested}
"""One of each kind for every run; the others are for the long one."""


@pytest.mark.parametrize(
    "plant", [plant if plant in QUICK else pytest.param(plant, marks=pytest.mark.full) for plant in PLANTINGS]
)
def test_a_planting_fires_under_plain_git_and_never_under_taskq(
    scene: Scene, plant: Callable[[Scene], tuple[tuple[str, ...], ...]]
) -> None:
    triggers = plant(scene)
    scene.canary.unlink(missing_ok=True)
    assert scene.fires(*triggers), "the planting must be a real one"

    world, spec, folders = scene.world, scene.spec, scene.folders
    revision = world.take(spec, folders)
    assert revision is not None
    revision = world.repository.publish(world.task(), revision)
    task = world.task(revision=revision)
    assert revision.published
    assert b"".join(world.repository.diff(revision, world.repo))
    assert b"".join(world.repository.diff(revision, world.repo, stat=True))
    (world.worktree() / "by hand.txt").write_text("by hand\n")
    kept = world.repository.preserve(task)
    again = world.spec(attempt=2, start_commit=kept)
    next_folders = world.prepare(again)
    (next_folders.workspace / "more.txt").write_text("more\n")
    second = world.repository.publish(task, world.take(again, next_folders))
    assert second.published
    world.repository.land(task, second, at=NOW)
    assert world.disposal.remove_worktree(task)
    assert world.disposal.remove_branch(task)
    world.prepare(spec)

    assert not scene.canary.exists(), scene.canary.read_text()
    assert (world.repo / "more.txt").exists()


def test_drivers_in_an_index_of_the_operator_do_not_run_when_a_worktree_is_looked_at(
    scene: Scene, git: Callable[..., str]
) -> None:
    """A person ran the agent's build in the worktree, and it planted a nested repository and a monitor there."""
    world = scene.world
    task, _ = world.publish()
    tree = world.worktree()
    git(world.repo, "config", "filter.x.clean", str(scene.program))
    git(world.repo, "config", "filter.x.smudge", str(scene.program))
    (tree / ".gitattributes").write_text("* filter=x\n")
    git(tree, "status")
    assert scene.canary.exists(), "the planting must be a real one"
    scene.canary.unlink()

    kept = world.repository.preserve(task)
    assert kept is not None
    assert world.disposal.remove_worktree(task)
    assert not scene.canary.exists()
