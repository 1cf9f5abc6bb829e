"""A prepared attempt, and a program that must not run on the host."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from orchestration.core.attempts import AttemptFolders, AttemptSpec
from tests.adapters.git.conftest import World


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
