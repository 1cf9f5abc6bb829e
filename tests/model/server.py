"""A fake model for tests: a small OpenAI-compatible server on loopback, which answers what it is told to.

Guarantees: leaving the block ends every answer, also one that hangs; what was asked is recorded in order.
"""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.model.replies import Answer, Asked, Hang, Refuse, Reply, Say, do_as_told

MODEL = "fake/fake-1"
"""As agents name it; `provider` says where it is."""
KEY = "sk-fake-0123456789abcdef"


class FakeModel:
    """A server that runs inside the block. *answer* may be replaced at any time."""

    def __init__(self, answer: Answer = do_as_told, *, port: int = 0) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.model = self
        self._thread = threading.Thread(target=self._server.serve_forever, name="model", daemon=True)

    @property
    def port(self) -> int:
        """The port that the kernel chose."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The base of its API."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, path: str, content: Mapping[str, Any], authorization: str) -> Reply:
        """Record a request and return what to answer."""
        with self._lock:
            asked = Asked(
                path=path,
                model=str(content.get("model")),
                messages=tuple(content.get("messages", ())),
                tools=tuple(tool["function"]["name"] for tool in content.get("tools", ())),
                authorization=authorization,
                number=len(self.asked) + 1,
            )
            self.asked.append(asked)
            return self.answer(asked)


def config(url: str, *, key: str = KEY, **more: Any) -> dict[str, Any]:
    """Return an ``opencode.json`` whose one provider is the fake model at *url*."""
    return {
        "$schema": "https://opencode.ai/config.json",
        "model": MODEL,
        "small_model": MODEL,
        "provider": {
            "fake": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Fake",
                "options": {"baseURL": url, "apiKey": key},
                "models": {
                    "fake-1": {
                        "name": "Fake 1",
                        "tool_call": True,
                        "cost": {"input": 1, "output": 2},
                        "limit": {"context": 128000, "output": 8192},
                    }
                },
            }
        },
        **more,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    model: FakeModel


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["content-length"])))
        reply = self.server.model.take(self.path, content, self.headers.get("authorization", ""))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            match reply:
                case Hang():
                    self.server.model.ended.wait()
                case Refuse():
                    self._refuse(reply)
                case Say():
                    self._say(reply)

    def _refuse(self, reply: Refuse) -> None:
        error = {"message": reply.message, "type": "fake", "code": reply.code}
        body = json.dumps({"error": error}).encode()
        self.send_response(reply.status)
        for name, value in {"content-type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _say(self, reply: Say) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        for part in self._parts(reply):
            event = {"id": "r1", "object": "chat.completion.chunk", "created": 1, "model": "fake-1", **part}
            self.wfile.write(b"data: %b\n\n" % json.dumps(event).encode())
            self.wfile.flush()
        if reply.cut:
            self.connection.close()
            return
        self.wfile.write(b"data: [DONE]\n\n")

    def _parts(self, reply: Say) -> Iterator[Mapping[str, Any]]:
        yield _choice({"role": "assistant", "content": ""})
        for start in range(0, len(reply.text), 20):
            yield _choice({"content": reply.text[start : start + 20]})
        for start in range(0, reply.flood, 1 << 16):
            yield _choice({"content": "x" * min(1 << 16, reply.flood - start)})
        if reply.cut:
            return
        for index, call in enumerate(reply.calls):
            function = {"name": call.tool, "arguments": json.dumps(dict(call.arguments))}
            name = f"call_{self.server.model.asked[-1].number}_{index}"
            yield _choice({"tool_calls": [{"index": index, "id": name, "type": "function", "function": function}]})
        self.server.model.ended.wait(reply.pause)
        yield _choice({}, finish="tool_calls" if reply.calls else "stop")
        taken, given = reply.tokens
        usage = {"prompt_tokens": taken, "completion_tokens": given, "total_tokens": taken + given}
        yield {"choices": [], "usage": usage}


def _choice(delta: Mapping[str, Any], *, finish: str | None = None) -> Mapping[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
