"""A sandbox of every kind: a shared one with empty folders, and one that a test may spoil."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestration.core.ports import SandboxProvider
from tests.contracts.sandboxes import PROVIDERS, Kind, Opened, opened


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.full if kind.is_slow else ()) for name, kind in PROVIDERS.items()],
)
def kind(request: pytest.FixtureRequest, capability: Callable[[str], None]) -> Kind:
    found = PROVIDERS[request.param]
    if found.needs is not None:
        capability(found.needs)
    return found


@pytest.fixture(scope="module")
def provider(kind: Kind) -> Iterator[SandboxProvider]:
    yield kind.make()
    kind.close()


@pytest.fixture(scope="module")
def shared_box(kind: Kind, provider: SandboxProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    with opened(kind, provider, tmp_path_factory.mktemp("shared"), attempt=1) as box:
        yield box


@pytest.fixture
def box(shared_box: Opened) -> Opened:
    """Return a sandbox with empty folders; it was used before."""
    folders = shared_box.folders
    for folder in (folders.workspace, folders.git, folders.config, folders.out):
        for entry in folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    return shared_box


@pytest.fixture
def own_box(kind: Kind, provider: SandboxProvider, tmp_path: Path) -> Iterator[Opened]:
    """Return a sandbox that a test may spoil."""
    with opened(kind, provider, tmp_path, attempt=3) as box:
        yield box
