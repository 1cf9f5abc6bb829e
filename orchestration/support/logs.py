"""structlog for long-running commands: events on stderr, for people or as JSON.

Guarantees: stdout stays clean. Not responsible for: what is worth an event.
"""

import logging
import sys

import structlog


def configure(*, json: bool, verbose: bool) -> None:
    """Send events of level info (when *verbose*) or warning and above to stderr."""
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
