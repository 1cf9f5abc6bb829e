"""What commits change, entry by entry, read from a repository of ours."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from orchestration.adapters.git.command import HostGit, Place
from orchestration.core.errors import GitError
from orchestration.core.facts import FileChange

_DELETED: Final = "000000"
_RAW: Final = ("-r", "-z", "--raw", "--no-renames", "--no-abbrev", "--no-ext-diff", "--no-textconv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One path as some commit has it. *mode* as git spells it, such as ``100644``."""

    path: bytes
    mode: str
    oid: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What an object is, as its store says."""

    kind: str
    bytes: int


def introduced(git: HostGit, place: Place, base: str, tip: str) -> Iterator[Entry]:
    """Yield every entry that a commit of *tip* and not of *base* has otherwise than one of its parents."""
    commits = git.run(place, "rev-list", "--end-of-options", tip, f"^{base}").stdout
    arguments = ("diff-tree", "--stdin", "-m", "--root", "--no-commit-id", *_RAW)
    fields = _fields(git.stream(place, *arguments, stdin=commits))
    for head in fields:
        entry = _entry(head, fields)
        if entry.mode != _DELETED:
            yield entry


def between(git: HostGit, place: Place, base: str, tip: str, *, config: tuple[str, ...] = ()) -> tuple[FileChange, ...]:
    """Return what *tip* changes against *base*, renames shown as a deletion and an addition."""
    arguments = ("diff-tree", "--numstat", *_RAW, "--end-of-options", base, tip)
    fields = _fields(git.stream(place, *arguments, config=config))
    statuses: dict[bytes, str] = {}
    changed: list[FileChange] = []
    for field in fields:
        if field.startswith(b":"):
            entry = _entry(field, fields)
            statuses[entry.path] = entry.status
            continue
        added, removed, path = field.split(b"\t", 2)
        changed.append(
            FileChange(
                path=path.decode("utf-8", "backslashreplace"),
                status=statuses[path],
                added=None if added == b"-" else int(added),
                removed=None if removed == b"-" else int(removed),
            )
        )
    return tuple(changed)


def paths(git: HostGit, place: Place, old: str, new: str) -> Mapping[str, str]:
    """Return every path that differs between two trees, and how: ``A``, ``D``, ``M`` or ``T``."""
    output = git.run(place, "diff-tree", "-r", "-z", "--name-status", "--no-renames", "--end-of-options", old, new)
    fields = output.stdout.decode("utf-8", "surrogateescape").split("\0")
    return dict(zip(fields[1::2], fields[0::2], strict=False))


def sizes(git: HostGit, place: Place, oids: Iterable[str]) -> Mapping[str, Size]:
    """Return kind and size of each object; one that is not there has kind ``missing``."""
    asked = "".join(f"{oid}\n" for oid in oids).encode("ascii")
    if not asked:
        return {}
    answer = git.run(place, "cat-file", "--batch-check", stdin=asked)
    found: dict[str, Size] = {}
    for line in answer.text.split("\n"):
        oid, _, rest = line.partition(" ")
        kind, _, size = rest.partition(" ")
        found[oid] = Size(kind=kind, bytes=int(size) if size else 0)
    return found


def contents(git: HostGit, place: Place, oids: Iterable[str]) -> Mapping[str, bytes]:
    """Return the bytes of each blob; the caller has looked at their sizes."""
    asked = "".join(f"{oid}\n" for oid in oids).encode("ascii")
    if not asked:
        return {}
    output = git.run(place, "cat-file", "--batch", stdin=asked).stdout
    found: dict[str, bytes] = {}
    at = 0
    while at < len(output):
        end = output.index(b"\n", at)
        oid, _, size = output[at:end].decode("ascii").split(" ")
        found[oid] = output[end + 1 : end + 1 + int(size)]
        at = end + 1 + int(size) + 1
    return found


def has_entry(git: HostGit, place: Place, commit: str, entry: Entry) -> bool:
    """Whether *commit* has exactly this entry at this path."""
    path = entry.path.decode("utf-8", "surrogateescape")
    output = git.run(place, "ls-tree", "-z", "--full-tree", commit, "--", path).stdout
    head, _, found = output.removesuffix(b"\0").partition(b"\t")
    mode, _, rest = head.decode("ascii").partition(" ")
    return found == entry.path and mode == entry.mode and rest.endswith(entry.oid)


def _entry(head: bytes, fields: Iterator[bytes]) -> Entry:
    _, mode, _, oid, status = head.decode("ascii").split(" ")
    path = next(fields, None)
    if path is None:
        raise GitError("git diff-tree was cut off")
    return Entry(path=path, mode=mode, oid=oid, status=status[:1])


def _fields(chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole
    if rest:
        raise GitError("git diff-tree was cut off")
