"""The agent's side of git: a private clone made before any agent ran, and what comes out of it.

Guarantees: after `prepare`, no git process of the host reads the workspace or its git dir; work comes back as a bundle
or an archive, is judged in quarantine, and only then is in the operator's repository, under our ref.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orchestration.adapters.git import archive as archives
from orchestration.adapters.git import bundle as bundles
from orchestration.adapters.git import cache, changes, collect, layout, quarantine, refs
from orchestration.adapters.git.base_tree import GitBaseTree
from orchestration.adapters.git.checkout import gitlinks
from orchestration.adapters.git.command import Place
from orchestration.adapters.git.escape import shown
from orchestration.adapters.git.host import Host, erase, write_bare
from orchestration.adapters.git.layout import Layout
from orchestration.core import naming
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.errors import GitError, RepositoryError, UsageError, WorkFailedError
from orchestration.core.facts import Revision
from orchestration.core.ports import Clock, Leaks

BORROWED: Final = Path("../../base")
"""Where a workspace's git dir finds the base's objects: beside itself, on the host and in every sandbox."""
_ABBREVIATED: Final = re.compile(r"[0-9a-f]{7,40}", re.ASCII)
_ARCHIVED: Final = "state of the workspace, taken as an archive because its git was broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class GitWorkspace:
    """The port `Workspace`."""

    host: Host
    clock: Clock
    _known: dict[str, Layout] = field(default_factory=dict, init=False, compare=False)

    def prepare(self, spec: AttemptSpec, folders: AttemptFolders) -> None:
        """Pin the base, bring the cache up to date and make the workspace, afresh."""
        found = layout.find(Path(spec.repo))
        self._known[spec.repo] = found
        naming.check_branch(spec.branch)
        with self.host.lock(found):
            base_ref = self._pin(found, naming.base_ref(spec.queue, spec.task, spec.attempt), spec.base_commit)
            kept = cache.refresh(self.host, found, ref=base_ref, commit=spec.base_commit)
            if spec.start_commit != spec.base_commit:
                self._pin(found, refs.start_ref(spec), spec.start_commit)
        erase(folders.workspace)
        erase(folders.git)
        self._clone(spec, folders, found, kept)

    def base(self, spec: AttemptSpec) -> GitBaseTree:
        """Return the files of the base commit, once it is pinned."""
        kept = self.host.cache(self._find(spec))
        return GitBaseTree(host=self.host, repository=kept, commit=spec.base_commit)

    def collect_command(self, spec: AttemptSpec) -> tuple[str, ...]:
        """Return what to run in the sandbox, in the workspace."""
        return collect.command(spec, name=self.host.identity_name, email=self.host.identity_email)

    def accept_bundle(
        self, spec: AttemptSpec, folders: AttemptFolders, bundle: Path, *, leaks: Leaks | None = None
    ) -> Revision | None:
        """Judge a fetched bundle and put its HEAD under our ref; None when nothing was changed."""
        found = self._find(spec)
        head = bundles.read(bundle, limit=spec.limits.bundle, most_objects=quarantine.most_objects(spec.limits))
        if head == bundles.Nothing(commit=spec.base_commit):
            return None
        with quarantine.opened(self.host, folders, self.host.cache(found) / "objects") as place:
            if isinstance(head, bundles.Nothing):
                self._believe_nothing(place, spec, head.commit)
                return None
            quarantine.unbundle(self.host.git, place, spec, bundle, head)
            return self._accept(spec, found, place, head.tip, leaks, source="bundle")

    def accept_archive(
        self, spec: AttemptSpec, folders: AttemptFolders, archive: Path, *, leaks: Leaks | None = None
    ) -> Revision | None:
        """Judge a tar of the workspace and put it, as one commit on the attempt's start, under our ref."""
        found = self._find(spec)
        stores = [self.host.cache(found) / "objects"]
        if spec.start_commit != spec.base_commit:
            stores.append(found.objects)
        tree = folders.inbox / "archive"
        with quarantine.opened(self.host, folders, *stores) as place:
            erase(tree)
            try:
                limits = spec.limits
                archives.unpack(archive, tree, limit=limits.bundle + limits.files * 1024, most=10 * limits.files)
                tip = self._commit_tree(place, spec, tree)
            finally:
                erase(tree)
            return self._accept(spec, found, place, tip, leaks, source="archive")

    def _find(self, spec: AttemptSpec) -> Layout:
        """Return the repository, as `prepare` has just found it where it was this one that prepared."""
        return self._known.get(spec.repo) or layout.find(Path(spec.repo))

    def _pin(self, found: Layout, ref: str, commit: str) -> str:
        git = self.host.git
        if refs.create(git, found.common_dir, ref, to=commit, message="taskq: pin"):
            return ref
        pinned = refs.resolve(git, found.common_dir, ref)
        if pinned != commit:
            if refs.resolve(git, found.common_dir, commit) != commit:
                message = f"commit {shown(commit)} is not in {shown(str(found.root))}; was its history rewritten?"
                raise RepositoryError(message, code="no_base")
            refs.move(git, found.common_dir, ref, to=commit, expected=pinned or refs.ABSENT, message="taskq: pin")
        return ref

    def _clone(self, spec: AttemptSpec, folders: AttemptFolders, found: Layout, kept: Path) -> None:
        git, host = self.host.git, self.host
        folders.base.unlink(missing_ok=True)
        folders.base.symlink_to(kept / "objects")
        folders.git.mkdir(mode=0o700)
        write_bare(folders.git, BORROWED, branch=spec.branch)
        branch = f"refs/heads/{spec.branch}"
        if spec.start_commit != spec.base_commit:
            cache.fetch(host, found, into=folders.git, ref=refs.start_ref(spec), to=branch)
        _write_refs(folders.git, {branch: spec.start_commit, **dict(_origin(spec))})
        config = _config(host.identity_name, host.identity_email)
        (folders.git / "config").write_text(config, encoding="utf-8")
        folders.workspace.mkdir(mode=0o700, parents=True)
        tree = Place(git_dir=folders.git, work_tree=folders.workspace)
        git.run(tree, "read-tree", "-m", "-u", "HEAD")
        (folders.workspace / ".git").write_text("gitdir: ../git\n", encoding="utf-8")

    def _believe_nothing(self, place: Place, spec: AttemptSpec, commit: str) -> None:
        git = self.host.git
        known = changes.sizes(git, place, [commit])[commit].kind == "commit"
        if not known or not refs.is_ancestor(git, place.git_dir, commit, spec.base_commit):
            message = f"the sandbox says that {commit} changes nothing, and it is not in the base's history"
            raise WorkFailedError(message, code="bad_bundle")

    def _commit_tree(self, place: Place, spec: AttemptSpec, tree: Path) -> str:
        git = self.host.git
        with_tree = Place(git_dir=place.git_dir, work_tree=tree, index=place.git_dir / "index")
        git.run(with_tree, "read-tree", spec.start_commit)
        for gitlink in gitlinks(git.run(with_tree, "ls-files", "--stage", "-z").stdout):
            (tree / gitlink).mkdir(parents=True, exist_ok=True)
        try:
            git.run(with_tree, "add", "--all", "--", ".")
        except GitError as error:
            raise WorkFailedError(f"the archive of the workspace was refused: {error}", code="bad_archive") from error
        written = git.run(with_tree, "write-tree").text
        message = f"{spec.task}: {_ARCHIVED}"
        return git.run(place, "commit-tree", "-p", spec.start_commit, "-m", message, written).text

    def _accept(
        self, spec: AttemptSpec, found: Layout, place: Place, tip: str, leaks: Leaks | None, *, source: str
    ) -> Revision | None:
        verdict = quarantine.judge(self.host.git, place, spec, tip, leaks=leaks)
        if verdict is None:
            return None
        ref, number = quarantine.deliver(self.host, found, spec, place, tip)
        return Revision(
            commit=tip,
            base_commit=spec.base_commit,
            ref=ref,
            attempt=spec.attempt,
            collect=number,
            collected_at=self.clock.now(),
            source=source,
            files=verdict.files,
            flags=verdict.flags,
        )


def _config(name: str, email: str) -> str:
    """Return the configuration of a fresh workspace; it is the agent's from then on."""
    quoted = {key: value.replace("\\", "\\\\").replace('"', '\\"') for key, value in (("name", name), ("email", email))}
    core = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n"
    return f'{core}[user]\n\tname = "{quoted["name"]}"\n\temail = "{quoted["email"]}"\n'


def _origin(spec: AttemptSpec) -> Iterator[tuple[str, str]]:
    """Yield the ref that lets an agent say ``git diff origin/main``, where the base is the name of a branch."""
    try:
        name = naming.check_branch(spec.base).removeprefix("origin/")
    except UsageError:
        return
    if not _ABBREVIATED.fullmatch(name):
        yield f"refs/remotes/origin/{name}", spec.base_commit


def _write_refs(git_dir: Path, commits: Mapping[str, str]) -> None:
    """Write the refs of a repository that nobody has seen yet, all in one file; see git-pack-refs(1)."""
    lines = "".join(f"{commit} {ref}\n" for ref, commit in sorted(commits.items()))
    (git_dir / "packed-refs").write_text(f"# pack-refs with: sorted \n{lines}", encoding="utf-8")
