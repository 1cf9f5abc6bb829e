"""Trees and bundles that git itself would not make are refused, and nothing of them reaches the operator."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestration.core.attempts import Limits
from orchestration.core.errors import WorkFailedError
from tests.hostile.scene import Scene


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
