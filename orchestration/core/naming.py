"""Pure rules for names: ids, branches, refs, labels and folders.

Guarantees: a name that passes here is safe as a file name, a ref component and an argument.
"""

import re
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NewType

from orchestration.core.errors import UsageError

TaskId = NewType("TaskId", str)

ID_LENGTH: Final = 64
LABEL_LENGTH: Final = 64
BRANCH_BYTES: Final = 200
"""Refs are files: this leaves room below the 255 bytes of a file name for the lock that git puts beside them."""
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_REF_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")


def task_id(text: str) -> TaskId:
    """Return *text* as an id.

    Raises: UsageError when it breaks the grammar, which the message tells.
    """
    if not _ID.fullmatch(text) or ".." in text or text.endswith((".", ".lock")):
        shown = ascii(text if len(text) <= ID_LENGTH else text[:ID_LENGTH] + "...")
        msg = (
            f"{shown} is no task id: use 1 to {ID_LENGTH} of A-Z a-z 0-9 . _ -, starting with a letter or digit, "
            "without '..' and not ending in '.' or '.lock'"
        )
        raise UsageError(msg, code="bad_id")
    return TaskId(text)


def id_key(identifier: str) -> str:
    """Return what two ids share when they are the same but for case."""
    return identifier.lower()


def id_from_stem(stem: str) -> str:
    """Return the id that a file name's stem stands for; "" when nothing is left.

    Every run of characters outside ``A-Z a-z 0-9 . _ -``, and every run of two or more dots, becomes one ``-``;
    what is no letter or digit at the start goes; the rest is cut to 64; ``-``, ``.`` and ``.lock`` at the end go.
    ``my task.v2`` gives ``my-task.v2``.
    """
    dashed = re.sub(r"[^A-Za-z0-9._-]+", "-", stem)
    single_dots = re.sub(r"\.{2,}", "-", dashed)
    trimmed = re.sub(r"^[^A-Za-z0-9]+", "", single_dots)[:ID_LENGTH]
    while trimmed.endswith(("-", ".", ".lock")):
        trimmed = trimmed.removesuffix(".lock").rstrip("-.")
    return trimmed


def check_branch(name: str) -> str:
    """Return *name* when it is a legal branch name by the rules of ``git check-ref-format --branch``.

    Raises: UsageError.
    """
    parts = name.split("/")
    illegal = (
        not name
        or name == "@"
        or name == "HEAD"
        or name.startswith("-")
        or name.endswith(("/", "."))
        or not name.isprintable()
        or len(name.encode("utf-8", "surrogatepass")) > BRANCH_BYTES
        or _REF_FORBIDDEN.search(name) is not None
        or any(part.startswith(".") or part.endswith(".lock") or not part for part in parts)
    )
    if illegal:
        raise UsageError(f"{name[:80]!a} is no branch name; use letters, digits, '.', '_', '-' and '/'")
    return name


def check_label(word: str) -> str:
    """Return *word* when it can be a label. Raises: UsageError."""
    if not word.strip() or len(word) > LABEL_LENGTH or not word.isprintable():
        raise UsageError(f"{word[:40]!a} is no label; use 1 to {LABEL_LENGTH} printable characters", code="bad_label")
    return word


def branch_for(identifier: TaskId) -> str:
    """Return the branch that carries a task's collected work."""
    return f"task/{identifier.lower()}"


def container_name(identifier: TaskId, created_at: datetime, attempt: int) -> str:
    """Return the name of an attempt's container: for people; taskq finds it by label."""
    return f"task-{identifier}-{created_at.astimezone(UTC):%Y%m%d%H%M%S}-a{attempt}"


def repository_key(common_dir: Path) -> str:
    """Return a short stable hash of where a repository is, for what must never be shared by two of them."""
    import hashlib  # noqa: PLC0415 -- loads OpenSSL, which `taskq add` can do without

    return hashlib.sha256(str(common_dir).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def worktree_path(root: Path, *, repository: Path, common_dir: Path, identifier: TaskId) -> Path:
    """Return where a task's worktree goes unless the task says otherwise.

    The checksum in its name is for people's convenience: should two repositories ever share it, the second worktree
    finds its place taken, and says so.
    """
    checksum = zlib.crc32(str(common_dir).encode("utf-8", "surrogateescape"))
    return root / f"{repository.name}-{checksum:08x}" / identifier


def base_ref(queue: str, identifier: TaskId, attempt: int) -> str:
    """Return the ref that pins the commit an attempt starts from."""
    return f"refs/taskq/{queue}/base/{identifier}/{attempt}.0"


def attempt_ref(queue: str, identifier: TaskId, attempt: int, collect: int) -> str:
    """Return the ref under which the *collect*-th collection of an attempt is kept; *collect* counts from 1."""
    return f"refs/taskq/{queue}/attempt/{identifier}/{attempt}.{collect}"


def keep_ref(queue: str, identifier: TaskId, attempt: int, collect: int) -> str:
    """Return a ref for something preserved before it would be destroyed."""
    return f"refs/taskq/{queue}/keep/{identifier}/{attempt}.{collect}"
