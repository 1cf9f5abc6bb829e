"""The system's clock, as the port in ``core.ports`` asks for it."""

import time
from datetime import UTC, datetime


class SystemClock:
    """Wall time for showing and ordering by people; monotonic time for waiting."""

    def now(self) -> datetime:
        """Return the wall clock's time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never jumps."""
        return time.monotonic()
