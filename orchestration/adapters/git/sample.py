"""A git repository made of given files: for demonstrations and examples."""

from collections.abc import Mapping
from pathlib import Path

from orchestration.adapters.git.command import HostGit, Place


def make_repository(folder: Path, files: Mapping[str, str], *, git: HostGit) -> None:
    """Make a repository in the new *folder* with *files* in one commit on ``main``."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    place = Place(git_dir=folder / ".git", work_tree=folder)
    git.run(place, "init", "--quiet", "--initial-branch=main", "--template=", str(folder))
    git.run(place, "add", "--all")
    git.run(place, "commit", "--quiet", "--message=Start")
