"""What an agent can plant in its workspace and git dir never runs on the host, whatever taskq does next.

Each planting is shown to fire under plain git first; the canary is silent inside the sandbox, so that it
tells the host's runs from the agent's own.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestration.core.attempts import AttemptFolders, AttemptSpec, Limits
from orchestration.core.errors import WorkFailedError
from tests.adapters.git.conftest import NOW, World, git, template, world

__all__ = ["git", "template", "world"]  # fixtures


@dataclass
class Scene:
    """A prepared attempt, and the program that must not run on the host."""

    world: World
    spec: AttemptSpec
    folders: AttemptFolders
    program: Path
    canary: Path

    def config(self, text: str, git_dir: Path | None = None) -> None:
        with ((git_dir or self.folders.git) / "config").open("a", encoding="utf-8") as file:
            file.write(text)

    def write(self, name: str, text: str) -> None:
        path = self.folders.workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def agent(self, *arguments: str) -> str:
        return self.world.agent(self.folders, *arguments)

    def fires(self, *commands: tuple[str, ...]) -> bool:
        """Whether plain git on the host, in a copy of the planted attempt, runs the program."""
        copy = self.world.folder / "copy"
        shutil.copytree(self.folders.root, copy, symlinks=True)
        for command in commands:
            subprocess.run(
                ["git", *command],
                cwd=copy / "workspace",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=60,
            )
        fired = self.canary.exists()
        self.canary.unlink(missing_ok=True)
        return fired


@pytest.fixture
def scene(world: World) -> Scene:
    canary, program = world.folder / "canary", world.folder / "program"
    program.write_text(f'#!/bin/sh\n[ -n "$TASKQ_SANDBOX" ] || echo "$0 $*" >>{canary}\nexit 0\n')
    program.chmod(0o755)
    spec = world.spec()
    folders = world.prepare(spec)
    (folders.workspace / "work.txt").write_text("honest work\n")
    return Scene(world=world, spec=spec, folders=folders, program=program, canary=canary)


def plant_hooks(scene: Scene) -> tuple[tuple[str, ...], ...]:
    hooks = scene.folders.git / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("pre-commit", "post-commit", "post-checkout", "reference-transaction", "post-index-change"):
        shutil.copy(scene.program, hooks / name)
    return (("commit", "--allow-empty", "-m", "x"),)


def plant_hooks_path(scene: Scene) -> tuple[tuple[str, ...], ...]:
    scene.write("hooks/pre-commit", scene.program.read_text())
    (scene.folders.workspace / "hooks" / "pre-commit").chmod(0o755)
    scene.config("[core]\n\thooksPath = hooks\n")
    return (("commit", "--allow-empty", "-m", "x"),)


def plant_fsmonitor(scene: Scene) -> tuple[tuple[str, ...], ...]:
    scene.config(f"[core]\n\tfsmonitor = {scene.program}\n")
    return (("status",),)


def plant_include(scene: Scene) -> tuple[tuple[str, ...], ...]:
    scene.write("evil.cfg", f"[core]\n\tfsmonitor = {scene.program}\n")
    scene.config("[include]\n\tpath = ../workspace/evil.cfg\n")
    return (("status",),)


def plant_filter(scene: Scene) -> tuple[tuple[str, ...], ...]:
    scene.config(f'[filter "x"]\n\tclean = {scene.program}\n\tsmudge = {scene.program}\n')
    scene.write(".gitattributes", "*.txt filter=x\n")
    return (("add", "-A"),)


def plant_merge_driver(scene: Scene) -> tuple[tuple[str, ...], ...]:
    scene.config(f'[merge "x"]\n\tdriver = {scene.program} %O %A %B\n')
    scene.write(".gitattributes", "* merge=x\n")
    scene.agent("add", "-A")
    scene.agent("commit", "-q", "-m", "attributes")
    scene.agent("checkout", "-q", "-b", "side")
    scene.write("work.txt", "side\n")
    scene.agent("commit", "-q", "-a", "-m", "side")
    scene.agent("checkout", "-q", "task/t-1")
    scene.write("work.txt", "here\n")
    scene.agent("commit", "-q", "-a", "-m", "here")
    return (("merge", "side"),)


def plant_diff(scene: Scene) -> tuple[tuple[str, ...], ...]:
    scene.config(f'[diff]\n\texternal = {scene.program}\n[diff "x"]\n\ttextconv = {scene.program}\n')
    scene.write(".gitattributes", "* diff=x\n")
    scene.write("README.md", "changed\n")
    return (("diff",), ("diff", "--no-ext-diff"))


def plant_upload_pack(scene: Scene) -> tuple[tuple[str, ...], ...]:
    scene.config(f'[remote "origin"]\n\turl = {scene.world.repo}\n\tuploadpack = {scene.program}\n')
    return (("fetch", "origin"),)


def plant_ext(scene: Scene) -> tuple[tuple[str, ...], ...]:
    scene.config(f'[protocol "ext"]\n\tallow = always\n[remote "origin"]\n\turl = ext::{scene.program}\n')
    return (("fetch", "origin"),)


def plant_instead_of(scene: Scene) -> tuple[tuple[str, ...], ...]:
    scene.config(f'[protocol "ext"]\n\tallow = always\n[url "ext::{scene.program} "]\n\tinsteadOf = file://\n')
    return (("fetch", scene.world.repo.as_uri()),)


def plant_alias(scene: Scene) -> tuple[tuple[str, ...], ...]:
    scene.config(f"[alias]\n\tst = !{scene.program}\n\tstatus = !{scene.program}\n")
    return (("st",),)


def plant_ssh(scene: Scene) -> tuple[tuple[str, ...], ...]:
    scene.config(f'[core]\n\tsshCommand = {scene.program}\n[remote "origin"]\n\turl = ssh://host.invalid/x\n')
    return (("fetch", "origin"),)


def plant_gpg(scene: Scene) -> tuple[tuple[str, ...], ...]:
    scene.config(f"[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = {scene.program}\n")
    return (("commit", "--allow-empty", "-m", "x"),)


def plant_git_folder(scene: Scene) -> tuple[tuple[str, ...], ...]:
    (scene.folders.workspace / ".git").unlink()
    scene.agent("init", "-q")
    scene.config(f"[core]\n\tfsmonitor = {scene.program}\n", scene.folders.workspace / ".git")
    return (("status",),)


def plant_git_pointer(scene: Scene) -> tuple[tuple[str, ...], ...]:
    scene.agent("init", "-q", "--bare", "elsewhere")
    scene.config(f"[core]\n\tbare = false\n\tfsmonitor = {scene.program}\n", scene.folders.workspace / "elsewhere")
    (scene.folders.workspace / ".git").write_text("gitdir: elsewhere\n")
    return (("status",),)


def plant_nested(scene: Scene) -> tuple[tuple[str, ...], ...]:
    scene.agent("init", "-q", "inner")
    scene.write("inner/x", "x")
    scene.agent("-C", "inner", "add", "x")
    scene.agent("-C", "inner", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x")
    scene.agent("add", "inner")
    scene.config(f"[core]\n\tfsmonitor = {scene.program}\n", scene.folders.workspace / "inner" / ".git")
    return (("status",),)


def plant_work_tree(scene: Scene) -> tuple[tuple[str, ...], ...]:
    scene.config(f"[core]\n\tworktree = {scene.world.repo}\n\tfsmonitor = {scene.program}\n")
    return (("status",),)


PLANTINGS: tuple[Callable[[Scene], tuple[tuple[str, ...], ...]], ...] = (
    plant_hooks,
    plant_hooks_path,
    plant_fsmonitor,
    plant_include,
    plant_filter,
    plant_merge_driver,
    plant_diff,
    plant_upload_pack,
    plant_ext,
    plant_instead_of,
    plant_alias,
    plant_ssh,
    plant_gpg,
    plant_git_folder,
    plant_git_pointer,
    plant_nested,
    plant_work_tree,
)


QUICK = {plant_hooks, plant_filter, plant_git_folder, plant_nested}
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


# --- malformed and unsafe trees -------------------------------------------------------------------------------------


def entry(mode: str, name: bytes, oid: str) -> bytes:
    return mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid)


@dataclass
class Smith:
    """Forges trees that git itself would not write, in the agent's own repository."""

    scene: Scene

    def blob(self, content: bytes) -> str:
        return self._object("blob", content)

    def tree(self, *entries: bytes) -> str:
        return self._object("tree", b"".join(entries))

    def bundle(self, tree: str) -> Path:
        """Return a bundle of a commit with *tree* on the base, in the inbox."""
        folders, spec = self.scene.folders, self.scene.spec
        commit = self.scene.agent("commit-tree", "-p", spec.base_commit, "-m", "forged", tree)
        self.scene.agent("update-ref", "HEAD", commit)
        bundle = folders.inbox / "work.bundle"
        self.scene.agent("bundle", "create", "-q", str(bundle), "HEAD", f"^{spec.base_commit}")
        return bundle

    def _object(self, kind: str, content: bytes) -> str:
        arguments = ("hash-object", "-t", kind, "-w", "--stdin", "--literally")
        return self.scene.world.agent(self.scene.folders, *arguments, stdin=content)


@pytest.fixture
def smith(scene: Scene) -> Smith:
    return Smith(scene)


Forge = Callable[[Smith], str]


def named(name: bytes) -> Forge:
    return lambda smith: smith.tree(entry("100644", name, smith.blob(b"x")))


def folder_named(name: bytes) -> Forge:
    return lambda smith: smith.tree(entry("40000", name, smith.tree(entry("100644", b"hooks", smith.blob(b"x")))))


def linked(name: bytes, target: bytes) -> Forge:
    return lambda smith: smith.tree(entry("120000", name, smith.blob(target)))


def twice(smith: Smith) -> str:
    return smith.tree(entry("100644", b"a", smith.blob(b"x")), entry("100644", b"a", smith.blob(b"y")))


def link_and_folder(smith: Smith) -> str:
    inner = smith.tree(entry("100644", b"x", smith.blob(b"x")))
    return smith.tree(entry("120000", b"a", smith.blob(b"/tmp")), entry("40000", b"a", inner))


def unsorted(smith: Smith) -> str:
    return smith.tree(entry("100644", b"b", smith.blob(b"x")), entry("100644", b"a", smith.blob(b"y")))


def padded_mode(smith: Smith) -> str:
    return smith.tree(entry("040000", b"a", smith.tree(entry("100644", b"x", smith.blob(b"x")))))


def evil_submodule(smith: Smith) -> str:
    text = b'[submodule "x"]\n\tpath = x\n\turl = --upload-pack=touch /tmp/x\n'
    gitlink = entry("160000", b"x", smith.scene.spec.base_commit)
    return smith.tree(entry("100644", b".gitmodules", smith.blob(text)), gitlink)


FORGED: dict[str, Forge] = {
    "dot-git": folder_named(b".git"),
    "upper-case-dot-git": folder_named(b".GIT"),
    "short-name-of-dot-git": folder_named(b"git~1"),
    "dot-git-with-ignored-character": folder_named(b".g\xe2\x80\x8cit"),
    "dot-git-as-a-file": named(b".git"),
    "parent": folder_named(b".."),
    "here": folder_named(b"."),
    "slash": named(b"a/b"),
    "slash-out": named(b"../out"),
    "newline": named(b"a\nb"),
    "escape-sequence": named(b"a\x1b]0;x\x07"),
    "twice": twice,
    "link-and-folder": link_and_folder,
    "unsorted": unsorted,
    "padded-mode": padded_mode,
    "gitmodules-link": linked(b".gitmodules", b"x"),
    "gitattributes-link": linked(b".gitattributes", b"x"),
    "absolute-link": linked(b"passwd", b"/etc/passwd"),
    "link-out": linked(b"up", b"../../secret"),
    "link-into-git": linked(b"hooks", b".git/hooks"),
    "evil-submodule": evil_submodule,
}


def test_forged_trees_are_refused_and_nothing_of_them_reaches_the_operator(
    smith: Smith, git: Callable[..., str]
) -> None:
    world, spec, folders = smith.scene.world, smith.scene.spec, smith.scene.folders
    git(world.folder, "clone", "-q", "--bare", "--shared", str(world.repo), "plain.git")
    before = (world.objects(), world.refs())
    answers = {}
    for name, forge in FORGED.items():
        bundle = smith.bundle(forge(smith))
        git(world.folder / "plain.git", "fetch", "-q", str(bundle), "HEAD")  # plain git takes it
        with pytest.raises(WorkFailedError) as caught:
            world.workspace.accept_bundle(spec, folders, bundle)
        answers[name] = caught.value.code
        assert str(caught.value).isprintable()

    assert answers == dict.fromkeys(FORGED, "unsafe_tree")
    assert (world.objects(), world.refs()) == before
    assert not (folders.inbox / "quarantine.git").exists()


def test_a_forged_tree_in_the_middle_of_a_history_is_refused_though_the_tip_is_clean(smith: Smith) -> None:
    scene = smith.scene
    bad = scene.agent("commit-tree", "-p", scene.spec.base_commit, "-m", "bad", linked(b"p", b"/etc/passwd")(smith))
    clean = smith.tree(entry("100644", b"a", smith.blob(b"x")))
    tip = scene.agent("commit-tree", "-p", bad, "-m", "clean", clean)
    scene.agent("update-ref", "HEAD", tip)
    bundle = scene.folders.inbox / "work.bundle"
    scene.agent("bundle", "create", "-q", str(bundle), "HEAD", f"^{scene.spec.base_commit}")

    with pytest.raises(WorkFailedError, match="absolute target"):
        scene.world.workspace.accept_bundle(scene.spec, scene.folders, bundle)


def test_an_object_that_the_agent_only_knows_by_name_does_not_come_with_its_work(
    smith: Smith, git: Callable[..., str]
) -> None:
    """A tree may name a blob of another branch of the operator's; the quarantine must not find it."""
    scene, world = smith.scene, smith.scene.world
    secret = git(world.repo, "hash-object", "-w", "--stdin", stdin=b"secret of another branch\n")
    tree = smith.tree(entry("100644", b"stolen", secret))
    commit = scene.agent("commit-tree", "-p", scene.spec.base_commit, "-m", "theft", tree)
    pack = subprocess.run(
        ["git", "pack-objects", "--stdout", "-q"],
        cwd=scene.folders.workspace,
        input=f"{commit}\n{tree}\n".encode(),
        capture_output=True,
        check=True,
    ).stdout
    head = f"# v2 git bundle\n-{scene.spec.base_commit} \n{commit} HEAD\n\n".encode()
    bundle = scene.folders.inbox / "work.bundle"
    bundle.write_bytes(head + pack)

    with pytest.raises(WorkFailedError):
        world.workspace.accept_bundle(scene.spec, scene.folders, bundle)
    assert commit not in world.objects()


def test_what_is_legal_and_worth_a_look_is_flagged_and_passes(smith: Smith) -> None:
    scene = smith.scene
    tree = smith.tree(
        entry("100644", b".gitattributes", smith.blob(b"*.psd filter=lfs\n")),
        entry("100644", b"caf\xe9.txt", smith.blob(b"x")),
        entry("100644", "car\u202et.py".encode(), smith.blob(b"x")),
        entry("160000", b"module", scene.spec.base_commit),
    )

    revision = scene.world.workspace.accept_bundle(scene.spec, scene.folders, smith.bundle(tree))

    assert revision is not None
    assert len(revision.flags) == 4
    assert all(flag.isprintable() for flag in revision.flags)


def test_a_bundle_that_unpacks_to_far_more_than_its_size_is_refused(scene: Scene) -> None:
    spec = replace(scene.spec, limits=Limits(file=2**20, bundle=2**20))
    path = scene.folders.workspace / "bomb"
    path.touch()
    os.truncate(path, 2**24)
    with pytest.raises(WorkFailedError, match="are allowed") as caught:
        scene.world.take(spec, scene.folders)
    assert (scene.folders.out / "work.bundle").stat().st_size < 2**20
    assert caught.value.code == "unsafe_tree"
