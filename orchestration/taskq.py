"""The console script: hands over to the command line."""

from orchestration.cli.main import main

__all__ = ["main"]
