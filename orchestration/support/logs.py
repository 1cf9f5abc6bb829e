"""Events for operators who read logs: on stderr, for people or as JSON, through structlog.

Guarantees: stdout stays clean; structlog, a good part of what `taskq run` takes to start, is loaded with the first
event that is to be told. Unless `configure` says otherwise, only warnings and worse are.
Not responsible for: what is worth an event.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any

_least = logging.WARNING
_prepare: Callable[[], None] | None = None


class Logger:
    """Tells events: a name with dots, and facts about it."""

    def info(self, event: str, **facts: Any) -> None:
        """Tell what happened as it should."""
        _tell("info", logging.INFO, event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        """Tell what an operator may want to look at."""
        _tell("warning", logging.WARNING, event, facts)

    def error(self, event: str, **facts: Any) -> None:
        """Tell what was given up."""
        _tell("error", logging.ERROR, event, facts)

    def exception(self, event: str, **facts: Any) -> None:
        """Tell of the exception that is being handled, with its traceback."""
        _tell("exception", logging.ERROR, event, facts)


def get_logger() -> Logger:
    """Return what tells events."""
    return Logger()


def configure(*, json: bool, verbose: bool) -> None:
    """Send events of level info (when *verbose*) or warning and above to stderr."""
    global _least, _prepare  # noqa: PLW0603 -- one process has one log
    _least = logging.INFO if verbose else logging.WARNING

    def prepare() -> None:
        _configure_structlog(json=json, verbose=verbose)

    _prepare = prepare


def _tell(method: str, level: int, event: str, facts: dict[str, Any]) -> None:
    global _prepare
    if level < _least:
        return
    import structlog  # noqa: PLC0415 -- loaded with the first event; see above

    prepare, _prepare = _prepare, None
    if prepare is not None:
        prepare()
    getattr(structlog.get_logger(), method)(event, **facts)


def _configure_structlog(*, json: bool, verbose: bool) -> None:
    import structlog  # noqa: PLC0415 -- loaded with the first event; see above

    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO if verbose else logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
