"""The library's client, with a shorter way to an engine on a local socket.

An attempt makes six calls, and the library's way through each (cookies, redirects, netrc, proxies, a new connection for
every address of the API) took half of the processor time that taskq needs for a small task. What is asked for and what
the answer means stays the library's; only the carrying is the standard library's plain ``http.client``.
Not responsible for: engines that are not local, uploads and builds; they are talked to as the library does.
"""

import json as codec
import select
import socket
from http.client import (
    CONTINUE,
    NO_CONTENT,
    NOT_MODIFIED,
    SWITCHING_PROTOCOLS,
    HTTPConnection,
    HTTPException,
    HTTPMessage,
    HTTPResponse,
)
from typing import Any, Final
from urllib.parse import urlencode

import docker
import requests
from docker.transport import UnixHTTPAdapter
from requests.structures import CaseInsensitiveDict

_LOCAL: Final = "http+docker://"
_LONGEST_HEADERS: Final = 1 << 16
_WITHOUT_BODY: Final = frozenset({SWITCHING_PROTOCOLS, NO_CONTENT, NOT_MODIFIED})


class _Response(HTTPResponse):
    """An answer whose headers are read as lines: to read them as a mail took longer than the rest of a small answer."""

    headers: Any

    def begin(self) -> None:
        """Read what is before the body. Raises: OSError, HTTPException."""
        if self.headers is not None:
            return
        version, status, reason = self._read_status()  # type: ignore[attr-defined]
        while status == CONTINUE:
            self._read_headers()
            version, status, reason = self._read_status()  # type: ignore[attr-defined]
        self.code = self.status = status
        self.reason = reason.strip()
        self.version = 11 if version == "HTTP/1.1" else 10
        self.headers = self.msg = self._read_headers()
        self.chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
        self.chunk_left = None
        self.will_close = self._check_close()  # type: ignore[attr-defined]
        length = self.headers.get("Content-Length", "")
        self.length = int(length) if length.isdecimal() and not self.chunked else None
        if status in _WITHOUT_BODY:
            self.length = 0
        if self.length is None and not self.chunked:
            self.will_close = True

    def _read_headers(self) -> HTTPMessage:
        found = HTTPMessage()
        size = 0
        while (line := self.fp.readline(_LONGEST_HEADERS)).strip():
            size += len(line)
            if size > _LONGEST_HEADERS:
                raise HTTPException("the engine's headers are too long")
            name, _, value = line.decode("iso-8859-1").partition(":")
            found[name.strip()] = value.strip()
        return found


class _Connection(HTTPConnection):
    """A connection to a socket in the file system."""

    response_class = _Response

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect. Raises: OSError."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.connect(self._path)
        except OSError:
            made.close()
            raise
        self.sock = made

    @property
    def is_fresh(self) -> bool:
        """Whether the other side has neither closed the connection nor said something unasked."""
        if self.sock is None:
            return False
        asked = select.poll()
        asked.register(self.sock, select.POLLIN)
        return not asked.poll(0)


class _Raw:
    """What the library looks for in an answer: `read`, and where the connection is when it is handed over."""

    def __init__(self, answer: HTTPResponse) -> None:
        self._fp = answer

    def read(self, size: int | None = None) -> bytes:
        """Return *size* bytes of the body, or all."""
        return self._fp.read(size)

    def close(self) -> None:
        """Give the answer back."""
        self._fp.close()


class Client(docker.APIClient):
    """One thread's client. Raises what the library raises, and OSError and HTTPException of ``http.client``."""

    _path: str | None = None
    _idle: _Connection | None = None

    def __init__(self, base_url: str, **settings: Any) -> None:
        super().__init__(base_url, **settings)  # asks for the version already
        found = self.adapters.get(_LOCAL)
        if isinstance(found, UnixHTTPAdapter):
            self._path = found.socket_path
            self.trust_env = False  # a socket has no proxy, and looking costs

    def close(self) -> None:
        """Close all connections."""
        if self._idle is not None:
            self._idle.close()
            self._idle = None
        super().close()

    def request(  # type: ignore[override]  # of the many parameters only what the library's calls use
        self,
        method: str,
        url: str,
        *,
        params: Any = None,
        data: Any = None,
        json: Any = None,
        headers: Any = None,
        stream: bool = False,
        timeout: Any = None,
        **others: Any,
    ) -> requests.Response:
        """Send a request, and return the answer; see ``requests.Session.request``."""
        if self._path is None or others or self.hooks.get("response") or not isinstance(data, str | bytes | None):
            told = {"params": params, "data": data, "json": json, "headers": headers, "stream": stream}
            return super().request(method, url, timeout=timeout, **told, **others)
        said = {"User-Agent": str(self.headers["User-Agent"]), **(headers or {})}
        if json is not None:
            data = codec.dumps(json)
            said["Content-Type"] = "application/json"
        wanted = {name: value for name, value in (params or {}).items() if value is not None}
        target = url.removeprefix(str(self.base_url)) + (f"?{urlencode(wanted, doseq=True)}" if wanted else "")
        connection, self._idle = self._idle, None
        if connection is None or not connection.is_fresh:
            connection = _Connection(self._path)
            connection.connect()
        connection.sock.settimeout(timeout)
        connection.request(method, target, body=data, headers=said)
        found = connection.getresponse()
        answer = _answer(found, url)
        if not stream:
            answer.content  # noqa: B018 -- reads it all, which frees the connection
            self._idle = connection
        return answer


def _answer(found: HTTPResponse, url: str) -> requests.Response:
    answer = requests.Response()
    answer.status_code = found.status
    answer.reason = found.reason
    answer.headers = CaseInsensitiveDict(found.getheaders())
    answer.encoding = "utf-8"
    answer.raw = _Raw(found)
    answer.url = url
    return answer
