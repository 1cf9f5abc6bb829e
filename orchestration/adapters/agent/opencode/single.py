"""One prompt without a server, by ``opencode run``, where a sandbox has no services.

Not responsible for: ending a long wait for a provider early. The time limit does, and then says what was waited for.
"""

import re
from datetime import timedelta
from typing import Final

from orchestration.adapters.agent.opencode.conversation import Prompt
from orchestration.adapters.agent.opencode.hearing import Hearing
from orchestration.adapters.agent.opencode.judgement import UNKNOWN_AGENT, Problem
from orchestration.adapters.agent.opencode.lines import Lines
from orchestration.adapters.agent.opencode.operator import BAD_CONFIG
from orchestration.adapters.agent.opencode.refusals import PERMISSION, UNKNOWN_MODEL, classify
from orchestration.adapters.agent.opencode.seeds import Seeds
from orchestration.adapters.agent.opencode.told import Trouble
from orchestration.core.ports import Command, Exit, Output, Sandbox, Stream
from orchestration.support.clock import SystemClock

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_ASKED: Final = re.compile(r"permission requested: ([\w-]{1,40}).*auto-rejecting")
_MODEL: Final = re.compile(r"Model not found: (\S{1,200})")
_STREAM_ERROR: Final = re.compile(r'message="stream error".* error\.error="(.{1,300})')


def run_once(
    sandbox: Sandbox, seeds: Seeds, prompt: Prompt, hearing: Hearing, output: Output, *, title: str, timeout: timedelta
) -> tuple[Exit, Problem | None]:
    """Ask, and hear until the program ends. A problem is one that is not in its events. Raises: SandboxError."""
    complaints = _Complaints()

    def listen(stream: Stream, chunk: bytes) -> None:
        if stream == "stdout":
            hearing.feed(chunk)
        else:
            complaints.feed(chunk)
            output(stream, chunk)

    command = Command(
        argv=arguments(prompt, title=title),
        timeout=timeout,
        stdin=prompt.text.encode("utf-8", "surrogateescape"),
        env=seeds.environment,
    )
    ended = sandbox.run(command, listen)
    hearing.flush()
    return ended, complaints.problem(ended)


def arguments(prompt: Prompt, *, title: str) -> tuple[str, ...]:
    """Return the command line; the text goes by stdin, which has no limit."""
    chosen = [("--agent", prompt.agent), ("--title", title), ("--log-level", "ERROR")]
    chosen += [("--session", prompt.session)] if prompt.session else []
    chosen += [("--model", prompt.model)] if prompt.model is not None else []
    chosen += [("--variant", prompt.variant)] if prompt.variant is not None else []
    spelled = (f"{flag}={value}" for flag, value in chosen)
    return ("opencode", "run", "--format=json", "--auto", "--print-logs", *spelled)


class _Complaints:
    """What of stderr decides: it says there, and nowhere else, that it does not do what it was asked to."""

    def __init__(self) -> None:
        self._lines = Lines(longest=1 << 16)
        self._problem: Problem | None = None
        self._waits_for: str | None = None

    def feed(self, chunk: bytes) -> None:
        for line in self._lines.feed(chunk):
            self._take(_COLOUR.sub("", line.decode("utf-8", "backslashreplace")))

    def problem(self, ended: Exit) -> Problem | None:
        if ended.timed_out and self._waits_for is not None:
            code, text, at = classify(Trouble(name="", message=self._waits_for), now=SystemClock().now())
            return Problem(code=code, text=text, retry_at=at)
        return None if ended.stopped or ended.timed_out else self._problem

    def _take(self, line: str) -> None:
        stream_error = _STREAM_ERROR.search(line)
        if stream_error:
            self._waits_for = stream_error[1]
        elif "Falling back to default agent" in line:
            self._problem = Problem(
                code=UNKNOWN_AGENT, text=f"OpenCode used another agent than it was told: {line:.200}"
            )
        elif asked := _ASKED.search(line):
            self._problem = Problem(
                code=PERMISSION, text=f"OpenCode asked for the permission '{asked[1]}'; nobody gave it"
            )
        elif model := _MODEL.search(line):
            self._problem = Problem(code=UNKNOWN_MODEL, text=f"OpenCode does not know the model {model[1]!a}")
        elif "Configuration is invalid" in line or "is not valid JSON" in line:
            self._problem = Problem(code=BAD_CONFIG, text=f"OpenCode cannot use its configuration: {line:.300}")
