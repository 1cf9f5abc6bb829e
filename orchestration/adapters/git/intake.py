"""One quick look at a repository, for `taskq add`: one plain git process, nothing heavy loaded.

Responsible for: is it a repository, what commit is the base, is the branch free.
Not responsible for: anything that changes the repository.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestration.adapters.git import layout
from orchestration.adapters.git.environment import operator_environment, walled
from orchestration.adapters.git.escape import last_line, shown
from orchestration.adapters.git.layout import Checkout, Layout
from orchestration.adapters.git.quick import Question
from orchestration.core import naming
from orchestration.core.errors import GitError, RepositoryError
from orchestration.core.repository import RepositoryFacts

_OPERATORS_CHOICE: Final = ("safe.bareRepository=all",)
"""The operator named this folder, so a bare repository in it is no surprise."""
_PATIENCE: Final = 30
_BASE_LENGTH: Final = 250
_ATTRIBUTES: Final = 256 * 1024


def inspect(repo: Path, base: str, branch: str | None) -> RepositoryFacts:
    """Return where the repository is and what commit *base* names.

    Raises: RepositoryError; GitError when git itself cannot run.
    """
    found = layout.find(repo)
    with _ask_for_commit(repo, found, _checked(base)) as question:
        _refuse_unsupported(found)
        if branch is not None:
            _refuse_taken(found, naming.check_branch(branch))
        commit = _commit(question, repo, found, base)
    return RepositoryFacts(
        root=found.root, common_dir=found.common_dir, base_commit=commit, warnings=tuple(_warnings(found.root))
    )


def _warnings(root: Path) -> Iterator[str]:
    """Yield what of the checkout an agent will not find as the operator knows it; plain reads, no process."""
    where = shown(str(root))
    if (root / ".gitmodules").is_file():
        yield f"{where} has submodules; an agent finds their folders empty"
    try:
        with (root / ".gitattributes").open("rb") as stream:
            attributes = stream.read(_ATTRIBUTES)
    except OSError:
        return
    if b"filter=lfs" in attributes:
        yield f"{where} keeps files in Git LFS; an agent finds pointers in their place"


def current_branch(repo: Path) -> str:
    """Return the branch that the checkout at *repo* is on; starts no process.

    Raises: RepositoryError (``no_base``) when it is on none.
    """
    found = layout.find(repo)
    here = [one for one in layout.checkouts(found) if one.folder.resolve() == found.root]
    branch = here[0].branch if here else _head_of_bare(found)
    if branch is None:
        raise RepositoryError(f"{shown(str(found.root))} is on no branch; say --base", code="no_base")
    return branch


def _head_of_bare(found: Layout) -> str | None:
    try:
        head = (found.common_dir / "HEAD").read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError:
        return None
    return head.removeprefix("ref: refs/heads/") if head.startswith("ref: refs/heads/") else None


def _checked(base: str) -> str:
    illegal = (
        not base
        or not base.isprintable()
        or len(base) > _BASE_LENGTH
        or base.startswith(("-", "^", ":"))
        or ".." in base
        or any(character in base for character in " *?[\\")
    )
    if illegal:
        raise RepositoryError(f"'{shown(base)}' names no base; give a branch, tag or commit", code="no_base")
    return base


def _refuse_unsupported(found: Layout) -> None:
    where = shown(str(found.root))
    shallow = found.common_dir / "shallow"
    if shallow.is_file() and shallow.stat().st_size:
        raise RepositoryError(f"{where} is a shallow clone; complete it with: git fetch --unshallow", code="shallow")
    if _has_promised_packs(found.objects / "pack"):
        message = f"{where} is a partial clone; complete it with: git fetch --refetch --no-filter"
        raise RepositoryError(message, code="partial")


def _has_promised_packs(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.endswith(".promisor") for entry in entries)
    except FileNotFoundError:
        return False


def _ask_for_commit(repo: Path, found: Layout, base: str) -> Question:
    name = f"refs/heads/{base}" if layout.has_branch(found, base) else base
    arguments = ("-C", str(repo), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    return Question(walled(arguments, _OPERATORS_CHOICE), environment=operator_environment())


def _commit(question: Question, repo: Path, found: Layout, base: str) -> str:
    try:
        code, stdout, stderr = question.answer(seconds=_PATIENCE)
    except TimeoutError as error:
        message = f"git did not answer about {shown(str(repo))} within {_PATIENCE} s"
        raise GitError(message, code="git_timeout") from error
    commit = stdout.decode("ascii", "replace").strip()
    if code == 0 and _is_sha1(commit):
        return commit
    if code == 0 and commit:
        message = f"{shown(str(found.root))} does not use sha1 object names, and taskq knows no others yet"
        raise RepositoryError(message, code="object_format")
    if b"dubious ownership" in stderr:
        message = (
            f"{shown(str(found.root))} belongs to another user; if you trust it: "
            f"git config --global --add safe.directory {shown(str(found.root))}"
        )
        raise RepositoryError(message, code="foreign_owner")
    if stderr:
        raise RepositoryError(f"git refuses {shown(str(found.root))}: {last_line(stderr)}", code="no_repository")
    import difflib  # noqa: PLC0415 -- only for an error

    near = difflib.get_close_matches(base, layout.branches(found), n=3, cutoff=0.5) or layout.branches(found)[:3]
    hint = f"; branches: {', '.join(shown(branch) for branch in near)}" if near else "; it has no commit yet"
    raise RepositoryError(f"no branch, tag or commit '{shown(base)}' in {shown(str(found.root))}{hint}", code="no_base")


def _refuse_taken(found: Layout, branch: str) -> None:
    if not layout.has_branch(found, branch):
        return  # nobody can be on a branch that is not there
    for checkout in layout.checkouts(found):
        if checkout.branch == branch and not _is_of_own_task(checkout, branch):
            message = f"branch {shown(branch)} is checked out in {shown(str(checkout.folder))}; choose another --branch"
            raise RepositoryError(message, code="branch_taken")


def _is_of_own_task(checkout: Checkout, branch: str) -> bool:
    """Whether this is the worktree that an earlier run of the branch's own task left."""
    mark = checkout.mark
    return mark is not None and f"task/{mark.get('task', '').lower()}" == branch


def _is_sha1(name: str) -> bool:
    return len(name) == 40 and set(name) <= set("0123456789abcdef")
