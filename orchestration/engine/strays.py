"""What is there of no task any more: attempts in the state folder, refs in repositories. Nothing is taken away here."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from orchestration.core.errors import TaskqError
from orchestration.core.models import Task

Find = Callable[[str], Task | None]


def stray_attempts(attempts: Path, find: Find) -> Iterator[str]:
    """Yield the folders below *attempts* that no task has, or whose task never came so far."""
    for folder in sorted(attempts.iterdir()) if attempts.is_dir() else ():
        inner = sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
        task = find(folder.name)  # after its folders were seen: a claim is in the journal before they are made
        if task is None:
            if inner:  # an empty one is what cleanup leaves
                yield f"{folder}: there is no task {folder.name}"
            continue
        for attempt in inner:
            if not (attempt.name.isdecimal() and 1 <= int(attempt.name) <= task.attempt):
                yield f"{attempt}: task {task.id} is at attempt {task.attempt}"


def stray_refs(
    repositories: Iterable[str], refs_of: Callable[[Path], Mapping[str, int]], is_known: Callable[[str], bool]
) -> Iterator[tuple[str, bool]]:
    """Yield the refs of tasks that are not known; with True instead what could not be looked at.

    *refs_of* says how many refs of each task a repository has.
    """
    for repository in repositories:
        try:
            found = refs_of(Path(repository))
        except TaskqError as error:
            yield f"refs were not looked at: {error}", True
            continue
        for identifier, count in sorted(found.items()):
            if not is_known(identifier):
                yield f"{repository}: {count} ref{'' if count == 1 else 's'} of {identifier}, which is no task", False
