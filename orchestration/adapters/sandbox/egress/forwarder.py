"""The forwarder: a process of its own that carries one sandbox's requests to the hosts that it may reach.

Responsible for: HTTP and CONNECT on the listening socket that it inherits, one request per connection, and the record
of what was refused.
Guarantees: a name that is refused is not resolved; at most 64 connections at once, each of bounded memory; it ends when
its standard input does, however its starter died.

Run as ``python -I -m ...forwarder LISTENER RECORD``, two descriptors, with the allow-list as a line of JSON on standard
input, which then stays open. It writes nothing but the record, and what is wrong with itself to standard error.
"""

import contextlib
import json
import os
import resource
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import Final, NoReturn

import h11

from orchestration.adapters.sandbox.egress import policy, record, request, upstream
from orchestration.adapters.sandbox.egress.exchange import Exchange
from orchestration.adapters.sandbox.egress.policy import OPERATORS_MACHINE, WEB_PORTS, Policy, Refusal
from orchestration.adapters.sandbox.egress.relay import Way, as_it_is, relay
from orchestration.adapters.sandbox.egress.request import MalformedRequestError, Request

_STACK: Final = 1 << 20
_ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_PHRASES: Final = {
    400: "Bad Request",
    403: "Forbidden",
    408: "Request Timeout",
    431: "Header Too Large",
    502: "Bad Gateway",
}
_LAST_WORDS: Final = 1 << 20
_SENTENCE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one sandbox may take of the host; times in seconds."""

    connections: int = 64
    head: float = 10
    connect: float = 10
    idle: float = 300
    farewell: float = 2


class Forwarder:
    """Serves one sandbox's connections, each in a thread."""

    def __init__(
        self,
        allowed: Policy,
        kept: record.Record,
        *,
        bounds: Bounds,
        resolve: upstream.Resolve = upstream.resolve,
    ) -> None:
        self._policy = allowed
        self._record = kept
        self._bounds = bounds
        self._resolve = resolve
        self._free = threading.BoundedSemaphore(bounds.connections)

    def serve(self, listener: socket.socket) -> NoReturn:
        """Accept for ever; what is over the limit waits in the socket's queue, not here. Raises: OSError."""
        while True:
            self._free.acquire()
            client, _ = listener.accept()
            threading.Thread(target=self._attend, args=(client,), daemon=True).start()

    def _attend(self, client: socket.socket) -> None:
        try:
            self.converse(client)
        finally:
            self._free.release()

    def converse(self, client: socket.socket) -> None:
        """Answer the one request of a connection, and close it. A client that leaves is nobody's error."""
        with client, contextlib.suppress(ConnectionError, TimeoutError):
            try:
                asked = request.read(client, seconds=self._bounds.head)
            except MalformedRequestError as error:
                self._record.add(error.host or "(unknown)", None, f"{Refusal.MALFORMED}: {error}")
                self._say(client, error.status, f"the request is refused: {error}")
            else:
                if asked is not None:
                    self._answer(client, asked)
            part(client, seconds=self._bounds.farewell)

    def _answer(self, client: socket.socket, asked: Request) -> None:
        verdict = self._policy.judge(asked.host, asked.port)
        if isinstance(verdict, Refusal):
            self._refuse(client, asked, verdict)
            return
        try:
            server = upstream.connect(verdict, asked.port, seconds=self._bounds.connect, resolve=self._resolve)
        except upstream.RefusedAddressError as error:
            self._refuse(client, asked, error.refusal)
        except upstream.UnreachableError as error:
            self._say(client, 502, str(error))
        else:
            with server:
                self._carry(client, server, asked)

    def _carry(self, client: socket.socket, server: socket.socket, asked: Request) -> None:
        """Carry until the end; a connection that is lost on the way is cut for both."""
        with contextlib.suppress(OSError):
            if asked.path is None:
                self._tunnel(client, server, asked.rest)
            else:
                self._exchange(client, server, asked)

    def _tunnel(self, client: socket.socket, server: socket.socket, rest: bytes) -> None:
        client.sendall(_ESTABLISHED)
        forward = Way(client, server, as_it_is, closes_sink=True)
        forward.take((rest, False))
        back = Way(server, client, as_it_is, closes_sink=True)
        relay(forward, back, until_reply=False, idle=self._bounds.idle)

    def _exchange(self, client: socket.socket, server: socket.socket, asked: Request) -> None:
        exchange = Exchange(asked)
        forward = Way(client, server, exchange.forward, closes_sink=False)
        back = Way(server, client, exchange.back, closes_sink=False)
        try:
            client.sendall(exchange.greeting())
            forward.take(exchange.start())
            relay(forward, back, until_reply=True, idle=self._bounds.idle)
        except h11.ProtocolError as error:
            client.settimeout(self._bounds.head)
            client.sendall(exchange.failure(f"taskq: the exchange with {asked.host} failed: {error}\n".encode()))

    def _refuse(self, client: socket.socket, asked: Request, refusal: Refusal) -> None:
        self._record.add(asked.host, asked.port, refusal)
        self._say(client, 403, f"{asked.host}:{asked.port} is refused: {refusal}; {remedy(asked, refusal)}")

    def _say(self, client: socket.socket, status: int, text: str) -> None:
        body = f"taskq: {record.printable(text, limit=_SENTENCE)}\n".encode("ascii")
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        client.settimeout(self._bounds.head)
        client.sendall(head.encode("ascii") + body)


def part(client: socket.socket, *, seconds: float) -> None:
    """Let the client read what was said to it: closing on what it still sends would reset the connection."""
    deadline = time.monotonic() + seconds
    left = _LAST_WORDS
    with contextlib.suppress(OSError):  # then it has left already
        client.shutdown(socket.SHUT_WR)
        while left > 0 and (wait := deadline - time.monotonic()) > 0:
            client.settimeout(wait)
            chunk = client.recv(1 << 16)
            if not chunk:
                return
            left -= len(chunk)


def remedy(asked: Request, refusal: Refusal) -> str:
    """Return how the host is opened, in the words of the configuration."""
    entry = asked.host if asked.port in WEB_PORTS else f"{asked.host}:{asked.port}"
    match refusal:
        case Refusal.NOT_LISTED | Refusal.PORT_NOT_LISTED if asked.host != OPERATORS_MACHINE:
            return f'to open it: allow = ["{entry}"] in .taskq.toml or config.toml'
        case Refusal.PRIVATE | Refusal.NOT_LISTED | Refusal.PORT_NOT_LISTED:
            return f'an operator opens it with: allow_private = ["{entry}"] in config.toml'
        case _:
            return "an operator can open single addresses with allow_private in config.toml"


def main(arguments: list[str]) -> NoReturn:
    """Become the forwarder of the sandbox whose socket is inherited."""
    listener, kept = (int(argument) for argument in arguments)
    for descriptor in (listener, kept):
        os.set_inheritable(descriptor, False)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.stack_size(_STACK)
    wanted = json.loads(sys.stdin.buffer.readline())
    allowed = policy.parse(wanted["allow"], private=wanted["allow_private"])
    log = record.Record(kept)
    threading.Thread(target=end_with_starter, args=(log,), daemon=True).start()
    Forwarder(allowed, log, bounds=Bounds()).serve(socket.socket(fileno=listener))


def end_with_starter(kept: record.Record) -> NoReturn:
    """Wait until standard input ends, then end this process and all its threads."""
    sys.stdin.buffer.read()
    try:
        kept.close()
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
