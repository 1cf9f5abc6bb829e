"""Where foreign objects are judged: a bare repository in the attempt's inbox, gone when the judgement is over.

Guarantees: an object reaches the operator's repository only after git's own strict check and ours have passed, and
through a fetch that checks it once more.
"""

from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestration.adapters.git import changes, refs, tree_check
from orchestration.adapters.git.bundle import Bundle
from orchestration.adapters.git.changes import Entry, Size
from orchestration.adapters.git.command import HostGit, Place
from orchestration.adapters.git.escape import shown
from orchestration.adapters.git.host import Host, erase
from orchestration.adapters.git.layout import Layout
from orchestration.core import naming
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.errors import CorruptStateError, GitError, WorkFailedError
from orchestration.core.facts import FileChange
from orchestration.core.models import Limits
from orchestration.core.ports import Leaks

INCOMING: Final = "refs/incoming/tip"
_MEMORY: Final = 6 * 1024**3
_ATTRIBUTES_LIMIT: Final = 1024**2
_MOST_FLAGS: Final = 50
_AT_ONCE: Final = 32 * 1024**2
_STREAM_ABOVE: Final = ("core.bigFileThreshold=16m",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found in a tip that may pass."""

    files: tuple[FileChange, ...]
    flags: tuple[str, ...]


def most_objects(limits: Limits) -> int:
    """Return how many objects a bundle may claim: every file has its folders and some history."""
    return 10 * limits.files + 10_000


@contextmanager
def opened(host: Host, folders: AttemptFolders, *borrowed: Path) -> Generator[Place, None, None]:
    """Give the quarantine, fresh; it sees the object stores *borrowed* and nothing else."""
    repository = folders.inbox / "quarantine.git"
    folders.inbox.mkdir(mode=0o700, parents=True, exist_ok=True)
    erase(repository)
    try:
        host.make_bare(repository, *borrowed)
        yield Place(git_dir=repository)
    finally:
        erase(repository)


def unbundle(git: HostGit, place: Place, spec: AttemptSpec, file: Path, head: Bundle) -> None:
    """Take the pack of a bundle in, checked as strictly as git can.

    Raises: WorkFailedError (``bad_bundle``, ``unsafe_tree``).
    """
    known = changes.sizes(git, place, dict.fromkeys(head.prerequisites))
    if any(size.kind != "commit" for size in known.values()):
        raise _bad("it builds on a commit that is not in the base's history")
    try:
        _index(git, place, file, head, spec.limits, "--strict")
    except GitError as strict:
        try:
            _index(git, place, file, head, spec.limits)
        except GitError as error:
            raise _bad(str(error)) from error
        _find_unsafe(git, place, spec, head.tip)
        raise _unsafe(f"git's own check found: {strict}") from strict
    if changes.sizes(git, place, [head.tip])[head.tip].kind != "commit":
        raise _bad("its HEAD is no commit")
    try:
        git.run(place, "rev-list", "--objects", "--quiet", "--end-of-options", head.tip, f"^{spec.base_commit}")
    except GitError as error:
        raise _bad("it lacks objects that its commits need") from error


def judge(git: HostGit, place: Place, spec: AttemptSpec, tip: str, *, leaks: Leaks | None = None) -> Verdict | None:
    """Return what *tip* changes and what a reviewer must see; None when it has the base's tree.

    *leaks* looks into every new file and commit of the history that is taken over.
    Raises: WorkFailedError (``unsafe_tree``, ``secret_in_work``).
    """
    base = spec.base_commit
    if refs.tree_of(git, place.git_dir, tip) == refs.tree_of(git, place.git_dir, base):
        return None
    flags = _check(git, place, spec, tip, leaks)
    if not refs.is_ancestor(git, place.git_dir, base, tip):
        flags.append("does not build on the base commit")
    return Verdict(files=changes.between(git, place, base, tip, config=_STREAM_ABOVE), flags=tuple(flags))


def deliver(host: Host, layout: Layout, spec: AttemptSpec, place: Place, tip: str) -> tuple[str, int]:
    """Fetch *tip* from the quarantine into the operator's repository; return our ref there and its collect number.

    A ref that is there already with another commit is kept, and the next number is taken.
    """
    git = host.git
    git.run(place, "update-ref", INCOMING, tip)
    collect = spec.collect
    with host.lock(layout):
        while True:
            ref = naming.attempt_ref(spec.queue, spec.task, spec.attempt, collect)
            found = refs.resolve(git, layout.common_dir, ref)
            if found == tip:
                return ref, collect
            if found is None:
                break
            collect += 1
        fetch(git, layout, place.git_dir, INCOMING, ref, checked=True)
    kept = refs.resolve(git, layout.common_dir, ref)
    if kept != tip:
        raise CorruptStateError(f"{ref} names {kept} and not the collected commit {tip}", code="not_preserved")
    return ref, collect


def fetch(git: HostGit, layout: Layout, source: Path, ref: str, to: str, *, checked: bool) -> None:
    """Fetch *ref* of our repository *source* into the operator's as the new ref *to*."""
    check = ("transfer.fsckObjects=true", "fetch.fsckObjects=true") if checked else ()
    arguments = (
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--no-auto-maintenance",
        "--upload-pack=git-upload-pack",
        "--refmap=",
        "--",
        source.as_uri(),
        f"{ref}:{to}",
    )
    git.run(Place(git_dir=layout.common_dir), *arguments, config=(*refs.DURABLE, *check))


def _index(git: HostGit, place: Place, file: Path, head: Bundle, bounds: Limits, *options: str) -> None:
    arguments = ("index-pack", "--stdin", "--fix-thin", f"--max-input-size={bounds.bundle}", *options)
    with file.open("rb", buffering=0) as stream:
        stream.seek(head.pack_at)
        git.run(place, *arguments, stdin=stream, config=_STREAM_ABOVE, memory=_MEMORY)


def _find_unsafe(git: HostGit, place: Place, spec: AttemptSpec, tip: str) -> None:
    """Name the path that git's check refused, when it is one that ours refuses too."""
    try:
        _check(git, place, spec, tip, None)
    except GitError:
        return


def _check(git: HostGit, place: Place, spec: AttemptSpec, tip: str, leaks: Leaks | None) -> list[str]:
    bounds = spec.limits
    entries: dict[tuple[bytes, str, str], Entry] = {}
    for entry in changes.introduced(git, place, spec.base_commit, tip):
        entries[entry.path, entry.mode, entry.oid] = entry
        if len(entries) > bounds.files:
            raise _unsafe(f"it changes more than {bounds.files} files")
    sizes = changes.sizes(git, place, {entry.oid for entry in entries.values() if entry.mode != tree_check.GITLINK})
    links = {entry.oid for entry in entries.values() if entry.mode == tree_check.LINK}
    readable = {oid for oid in links if sizes[oid].bytes <= tree_check.LONGEST_LINK}
    targets = changes.contents(git, place, readable)
    total = sum(size.bytes for size in sizes.values())
    for entry in entries.values():
        problem = _problem(entry, sizes, targets, bounds)
        if problem is not None and not changes.has_entry(git, place, spec.base_commit, entry):
            raise _unsafe(f"'{shown(entry.path)}' {problem}")
    if total > 4 * bounds.bundle:
        raise _unsafe(f"its files have {total} bytes and {4 * bounds.bundle} are allowed")
    if leaks is not None:
        _refuse_leaks(git, place, (tip, f"^{spec.base_commit}"), entries.values(), sizes, leaks=leaks)
    return _flags(git, place, entries.values(), sizes)


def _refuse_leaks(
    git: HostGit,
    place: Place,
    history: tuple[str, str],
    entries: Collection[Entry],
    sizes: Mapping[str, Size],
    *,
    leaks: Leaks,
) -> None:
    """Refuse a file, a name or a message that holds a secret of the attempt. Raises: WorkFailedError."""
    messages = git.run(place, "log", "--format=%an%n%ae%n%B", "--end-of-options", *history).stdout
    name = leaks(messages) or leaks(b"\n".join(entry.path for entry in entries))
    if name is not None:
        raise _leaked("a commit message or a file name", name)
    paths = {entry.oid: entry.path for entry in entries if entry.mode != tree_check.GITLINK}
    for batch in _batches(paths, sizes):
        for oid, content in changes.contents(git, place, batch).items():
            name = leaks(content)
            if name is not None:
                raise _leaked(f"'{shown(paths[oid])}'", name)


def _batches(oids: Iterable[str], sizes: Mapping[str, Size]) -> Generator[list[str], None, None]:
    """Yield the objects a few at a time, so that not all of them are in memory at once."""
    batch: list[str] = []
    held = 0
    for oid in oids:
        if batch and held + sizes[oid].bytes > _AT_ONCE:
            yield batch
            batch, held = [], 0
        batch.append(oid)
        held += sizes[oid].bytes
    if batch:
        yield batch


def _problem(entry: Entry, sizes: Mapping[str, Size], targets: Mapping[str, bytes], bounds: Limits) -> str | None:
    problem = tree_check.path_problem(entry.path) or tree_check.mode_problem(entry.mode)
    if problem is not None or entry.mode == tree_check.GITLINK:
        return problem
    size = sizes[entry.oid]
    if size.kind != "blob":
        return f"is a {size.kind} and should be a file"
    if entry.mode == tree_check.LINK:
        return tree_check.link_problem(entry.path, targets.get(entry.oid, b""))
    return f"has {size.bytes} bytes and {bounds.file} are allowed" if size.bytes > bounds.file else None


def _flags(git: HostGit, place: Place, entries: Collection[Entry], sizes: Mapping[str, Size]) -> list[str]:
    flags = [f"'{shown(entry.path)}' {why}" for entry in entries if (why := tree_check.path_flag(entry.path))]
    flags += [
        f"'{shown(e.path)}' is a submodule, whose content is not here" for e in entries if e.mode == tree_check.GITLINK
    ]
    attributes = [
        entry for entry in entries if entry.mode in tree_check.REGULAR and tree_check.is_attributes(entry.path)
    ]
    small = {entry.oid for entry in attributes if sizes[entry.oid].bytes <= _ATTRIBUTES_LIMIT}
    texts = changes.contents(git, place, small)
    for entry in attributes:
        named = tree_check.drivers(texts[entry.oid]) if entry.oid in texts else frozenset({"too large to read"})
        flags += [f"'{shown(entry.path)}' names the driver {shown(driver)}" for driver in sorted(named)]
    distinct = sorted(set(flags))
    more = len(distinct) - _MOST_FLAGS
    return distinct[:_MOST_FLAGS] + ([f"{more} more findings of this kind"] if more > 0 else [])


def _leaked(where: str, name: str) -> WorkFailedError:
    message = (
        f"the work was refused: {where} holds the secret {name}; nothing of it is in the repository, "
        "the agent's workspace is kept"
    )
    return WorkFailedError(message, code="secret_in_work")


def _bad(why: str) -> WorkFailedError:
    return WorkFailedError(f"the bundle from the sandbox was refused: {why}", code="bad_bundle")


def _unsafe(why: str) -> WorkFailedError:
    return WorkFailedError(f"the work was refused: {why}; nothing of it is in the repository", code="unsafe_tree")
