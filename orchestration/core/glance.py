"""What lists show of a task, whatever it was read as."""

from collections.abc import Sequence
from typing import Protocol

from orchestration.core.status import Status


class Glance(Protocol):
    """A task, or what was read of one of very many at speed."""

    @property
    def id(self) -> str:
        """The task's id."""
        ...

    @property
    def status(self) -> Status:
        """Where it is."""
        ...

    @property
    def reason(self) -> str | None:
        """Why it is there."""
        ...

    @property
    def title(self) -> str | None:
        """What is wanted, in a line."""
        ...

    @property
    def attempt(self) -> int:
        """The number of the last attempt."""
        ...

    @property
    def labels(self) -> Sequence[str]:
        """Words to find it by."""
        ...
