"""The fake model as a program: ``python -m tests.model --config FILE`` writes an ``opencode.json`` that names it.

Prints its address and runs until it is ended. ``--fail`` answers everything with one kind of failure.
"""

import argparse
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.model import replies
from tests.model.replies import Hang, Reply, Say
from tests.model.server import FakeModel, config

FAILURES: Final[Mapping[str, Reply]] = {
    "401": replies.UNAUTHORIZED,
    "429": replies.limited(seconds=3 * 3600),
    "500": replies.BROKEN,
    "too-long": replies.TOO_LONG,
    "hang": Hang(),
    "cut": Say(text="half of a sentence", cut=True),
    "flood": Say(flood=50 * 1024**2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake model on loopback, for trying an agent without a network.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--config", type=Path, help="write an opencode.json here")
    parser.add_argument("--fail", choices=FAILURES)
    options = parser.parse_args()
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    answer = replies.do_as_told if options.fail is None else lambda _asked: FAILURES[options.fail]
    with FakeModel(answer, port=options.port) as model:
        if options.config is not None:
            options.config.parent.mkdir(parents=True, exist_ok=True)
            options.config.write_text(json.dumps(config(model.url), indent=2), encoding="utf-8")
        sys.stdout.write(f"{model.url}\n")
        sys.stdout.flush()
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
