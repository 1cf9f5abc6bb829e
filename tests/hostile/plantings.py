"""What an agent can plant in its workspace and git dir, and the commands that set it off under plain git."""

import shutil
from collections.abc import Callable

from tests.hostile.scene import Scene


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
