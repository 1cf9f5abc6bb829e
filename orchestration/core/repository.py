"""What intake learns of a repository: a named tuple, because `taskq add` loads it."""

from pathlib import Path
from typing import NamedTuple


class RepositoryFacts(NamedTuple):
    """What intake learns of a repository. *root* is the checkout's top, or the folder of a bare repository."""

    root: Path
    common_dir: Path
    base_commit: str
    warnings: tuple[str, ...] = ()
    """What an operator should know before an agent works here, such as submodules."""
