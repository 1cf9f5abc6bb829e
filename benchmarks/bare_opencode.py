"""OpenCode by hand in an open container: its server by one exec of the engine's, and HTTP by one exec for each call.

Not responsible for: limits, what the agent tells (only its end is looked for), errors (one stops the run). The settings
are those that taskq was seen to give; what taskq asks besides, to refuse a task early, is left out.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from orchestration.adapters.sandbox.docker.container import GUEST, INSIDE
from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.adapters.sandbox.docker.transport import EngineStream

PORT: Final = 4096
_SERVE: Final = r"""
set -eu; umask 077
place=$TASKQ_SECRETS/opencode; own=$XDG_CONFIG_HOME/opencode
mkdir -p "$place" "$own/node_modules" "$XDG_DATA_HOME/opencode"
printf '%s' '{"packages":{"":{"dependencies":{"@opencode-ai/plugin":"*"}}}}' >"$own/package-lock.json"
printf '{}' >"$own/package.json"; printf '*\n' >"$own/.gitignore"
head -c "$1" >"$place/opencode.json"; printf '%s' $$ >"$place/pid"
export OPENCODE_CONFIG="$place/opencode.json"
exec opencode serve --hostname 127.0.0.1 --port "$2"
"""
_END: Final = 'kill "$(cat "$TASKQ_SECRETS/opencode/pid")"; rm -rf "$TASKQ_SECRETS/opencode"'
_SESSION: Final = re.compile(rb'"id":"(ses_\w+)"')
_BUSY: Final = b'"status":{"type":"busy"}'
_IDLE: Final = b'"status":{"type":"idle"}'


@dataclass(kw_only=True)
class ByHand:
    """OpenCode in *container*, as *user* and with *environment*; *config* is its ``opencode.json``."""

    engine: Engine
    container: str
    user: str
    environment: Mapping[str, str]
    config: bytes
    _server: EngineStream | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the server, and wait until it says that it listens."""
        self._server = self._execute(["/bin/sh", "-c", _SERVE, "sh", str(len(self.config)), str(PORT)])
        self._server.send(self.config)
        self._await(self._server, b"listening on")

    def session(self) -> str:
        """Return the id of a new session."""
        found = _SESSION.search(self._ask("POST", "/session", {"title": "by hand"}))
        if found is None:
            raise RuntimeError("the server gave no session")
        return found[1].decode()

    def prompt(self, session: str, *, agent: str, model: str, text: str) -> None:
        """Ask *agent*, and wait until the session is idle again."""
        provider, _, name = model.partition("/")
        chosen = {"providerID": provider, "modelID": name}
        events = self._request("GET", "/event", None)
        said = self._await(events, b"data:")
        self._ask(
            "POST",
            f"/session/{session}/prompt_async",
            {"agent": agent, "model": chosen, "parts": [{"type": "text", "text": text}]},
        )
        self._await(events, _IDLE, said=self._await(events, _BUSY, said=said))
        events.close()

    def end(self) -> None:
        """End the server, and wait until it is gone."""
        if self._server is not None:
            self._drain(self._execute(["/bin/sh", "-c", _END]))
            self._drain(self._server)

    def _ask(self, method: str, path: str, content: object) -> bytes:
        answer = self._drain(self._request(method, path, content))
        if not answer.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"{method} {path}: {answer[:200]!r}")
        return answer

    def _request(self, method: str, path: str, content: object) -> EngineStream:
        body = b"" if content is None else json.dumps(content).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        stream = self._execute([GUEST, "dial", str(PORT)])
        stream.send((head + kind).encode() + body)
        return stream

    def _execute(self, argv: list[str]) -> EngineStream:
        api = self.engine.api
        made = api.exec_create(
            self.container,
            argv,
            user=self.user,
            stdin=True,
            workdir=str(INSIDE.workspace),
            environment=dict(self.environment),
        )
        return EngineStream(api.exec_start(made["Id"], socket=True))

    def _await(self, stream: EngineStream, sign: bytes, *, said: bytes = b"") -> bytes:
        """Return what came after *sign*."""
        while sign not in said:
            piece = stream.receive()
            if not piece:
                raise RuntimeError(f"ended before {sign!r}: {said[-300:]!r} {stream.complaints!r}")
            said += piece
        return said.partition(sign)[2]

    def _drain(self, stream: EngineStream) -> bytes:
        said = b""
        while piece := stream.receive():
            said += piece
        stream.close()
        return said
