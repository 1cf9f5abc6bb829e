"""A prepared attempt with a canary; and the world of the git adapter's own tests."""

import pytest

from tests.adapters.git.conftest import World, git, template, world
from tests.hostile.scene import Scene

__all__ = ["git", "template", "world"]  # fixtures


@pytest.fixture
def scene(world: World) -> Scene:
    canary, program = world.folder / "canary", world.folder / "program"
    program.write_text(f'#!/bin/sh\n[ -n "$TASKQ_SANDBOX" ] || echo "$0 $*" >>{canary}\nexit 0\n')
    program.chmod(0o755)
    spec = world.spec()
    folders = world.prepare(spec)
    (folders.workspace / "work.txt").write_text("honest work\n")
    return Scene(world=world, spec=spec, folders=folders, program=program, canary=canary)
