"""How a run is to go."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How `App.run` runs. *identifier* is the only task to run; *poll* keeps on looking for work."""

    identifier: str | None = None
    max_parallel: int | None = None
    poll: timedelta | None = None
    cleanup_on_fail: bool = False
    dirty_run: bool = False
