"""One process of a crowd: ``python -m benchmarks.bare_worker ROLE PLACE NAME TIMES TEMPLATE``.

It says ``ready``, waits for a line, plays its role TIMES times, says ``done`` and then what it did, one thing a line.
Guarantees: what a process does only once (a role that warms does one thing before it is ready) is nobody's time.
"""

import gc
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple


class Given(NamedTuple):
    """*place* is what all share, *name* tells this process from the others, *template* is a queue of one real task."""

    place: Path
    name: str
    times: int
    template: Path


Act = Callable[[int], str | None]
"""Does one thing, which has a number, and returns how it is called."""


class Role(NamedTuple):
    """*target* is the module and the function that makes the act."""

    target: str
    warms: bool = False


ROLES: Final[Mapping[str, Role]] = MappingProxyType(
    {
        "raw-add": Role("benchmarks.bare_writers:raw_add", warms=True),
        "raw-claim": Role("benchmarks.bare_writers:raw_claim", warms=True),
        "sqlite-add": Role("benchmarks.bare_writers:sqlite_add", warms=True),
        "taskq-add": Role("benchmarks.bare_ours:add", warms=True),
        "taskq-claim": Role("benchmarks.bare_ours:claim", warms=True),
        "taskq-claim-anew": Role("benchmarks.bare_ours:claim_anew", warms=True),
        "taskq-counts-anew": Role("benchmarks.bare_ours:counts_anew", warms=True),
        "taskq-rebuild": Role("benchmarks.bare_ours:rebuild"),
        "scan": Role("benchmarks.bare_load:scan_of"),
        "huey-add": Role("benchmarks.bare_peers:huey_add", warms=True),
        "huey-claim": Role("benchmarks.bare_peers:huey_claim", warms=True),
        "persist-queue-add": Role("benchmarks.bare_peers:persist_queue_add", warms=True),
        "persist-queue-claim": Role("benchmarks.bare_peers:persist_queue_claim", warms=True),
        "litequeue-add": Role("benchmarks.bare_peers:litequeue_add", warms=True),
        "litequeue-claim": Role("benchmarks.bare_peers:litequeue_claim", warms=True),
    }
)
"""Each is loaded when it is played, so that nobody waits for another one's library."""


def main(arguments: list[str]) -> None:
    """Play the role that *arguments* name; without anybody who says go, do nothing."""
    name, place, own, times, template = arguments
    role = ROLES[name]
    module, _, function = role.target.partition(":")
    given = Given(Path(place), own, int(times), Path(template))
    act: Act = getattr(import_module(module), function)(given)
    did = [act(given.times)] if role.warms else []
    gc.collect()
    gc.freeze()
    _say("ready\n")
    if sys.stdin.readline():
        did += [act(number) for number in range(given.times)]
        _say("done\n")
        _say("".join(f"{each}\n" for each in did if each is not None))


def _say(words: str) -> None:
    sys.stdout.write(words)
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
    os._exit(0)
