"""What an agent says of itself, cut down to what the journal can hold: an agent may say anything."""

import re
from dataclasses import asdict
from typing import Any, Final

from orchestration.core.facts import Usage

_MOST: Final = 10**15
"""No attempt uses more tokens, or dollars; a journal holds integers of 64 bits."""
_SESSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", re.ASCII)


def usage(said: Usage | None) -> Usage | None:
    """Return *said* with every number that cannot be as unknown."""
    if said is None:
        return None
    return Usage(**{name: value if _is_possible(value) else None for name, value in asdict(said).items()})


def session(said: str | None) -> str | None:
    """Return *said* where it can be a session's id."""
    return said if said is not None and _SESSION.fullmatch(said) else None


def _is_possible(value: Any) -> bool:
    return value is not None and 0 <= value <= _MOST
