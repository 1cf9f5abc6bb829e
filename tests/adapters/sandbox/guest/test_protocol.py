"""The protocol as bytes: what is sent is what arrives, in portions of any size; what is malformed is refused."""

import os
import struct
from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.adapters.sandbox.guest.protocol import (
    CHUNK_LIMIT,
    REQUEST_LIMIT,
    Decoder,
    Ended,
    Failed,
    Hello,
    MalformedFrameError,
    Message,
    Taken,
    UnrunnableError,
    Written,
    encode_end,
    encode_resize,
    encode_run,
    encode_stdin,
)

NUMBERS = st.integers(0, 255)
TIMES = st.integers(0, 2**50).map(lambda number: timedelta(microseconds=number))
ASCII = st.text(st.characters(max_codepoint=127), min_size=1, max_size=128)
STRINGS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
NAMES = STRINGS.filter(lambda name: name and "=" not in name)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, NUMBERS),
    st.builds(Written, st.sampled_from(("stdout", "stderr")), st.binary(min_size=1, max_size=300)),
    st.builds(Taken, st.booleans()),
    st.builds(
        lambda code, flags, time: Ended(code=code, signal=None, timed_out=flags == 1, stopped=flags == 2, elapsed=time),
        NUMBERS,
        st.integers(0, 2),
        TIMES,
    ),
    st.builds(
        lambda signal, time: Ended(code=None, signal=signal, timed_out=False, stopped=False, elapsed=time),
        NUMBERS,
        TIMES,
    ),
    st.builds(
        Failed,
        tried=st.sampled_from(("cwd", "program", "process")),
        number=st.integers(0, 2**32 - 1),
        why=ASCII,
        elapsed=TIMES,
    ),
)


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    return kind + struct.pack(">I", len(payload)) + payload


def as_a_guest_says(message: Message) -> bytes:
    match message:
        case Hello():
            return frame(b"h", bytes([message.version]))
        case Written():
            return frame(b"o" if message.stream == "stdout" else b"e", message.content)
        case Taken():
            return frame(b"a", bytes([message.is_open]))
        case Ended():
            flags = message.timed_out + 2 * message.stopped
            value = message.signal if message.signal is not None else message.code
            took = message.elapsed // timedelta(microseconds=1)
            return frame(b"x", struct.pack(">BBBQ", flags, message.signal is not None, value, took))
        case Failed():
            took = message.elapsed // timedelta(microseconds=1)
            letter = {"cwd": b"c", "program": b"p", "process": b"s"}[message.tried]
            return frame(b"f", struct.pack(">cIQ", letter, message.number, took) + message.why.encode("ascii"))


def decoded(portions: Iterable[bytes]) -> list[Message]:
    decoder, found = Decoder(), []
    for portion in portions:
        decoder.feed(portion)
        while (message := decoder.next()) is not None:
            found.append(message)
    return found


@given(st.lists(MESSAGES, max_size=8), st.data())
def test_messages_arrive_whole_and_in_order_in_portions_of_any_size(
    messages: list[Message], data: st.DataObject
) -> None:
    sent = b"".join(map(as_a_guest_says, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=10)))
    bounds = [0, *cuts, len(sent)]
    assert decoded(sent[start:end] for start, end in pairwise(bounds)) == messages


@given(st.lists(MESSAGES, min_size=1, max_size=3), st.integers(1, 100))
def test_a_message_that_is_not_whole_is_waited_for(messages: list[Message], missing: int) -> None:
    sent = b"".join(map(as_a_guest_says, messages))
    assert len(decoded([sent[: max(0, len(sent) - missing)]])) < len(messages)


@given(st.binary(max_size=200))
def test_random_bytes_are_messages_or_malformed_and_nothing_else(noise: bytes) -> None:
    try:
        found = decoded([noise])
    except MalformedFrameError:
        return
    assert noise.startswith(b"".join(map(as_a_guest_says, found)))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(frame(b"R"), id="a-frame-of-the-host"),
        pytest.param(b"\0\0\0\0\0", id="an-unknown-type"),
        pytest.param(frame(b"h"), id="a-hello-without-version"),
        pytest.param(frame(b"o"), id="output-of-nothing"),
        pytest.param(b"o" + struct.pack(">I", CHUNK_LIMIT + 1), id="too-much-output-before-it-has-come"),
        pytest.param(b"e\xff\xff\xff\xff", id="much-too-much-output"),
        pytest.param(frame(b"a", b"\2"), id="neither-open-nor-closed"),
        pytest.param(frame(b"x", struct.pack(">BBBQ", 3, 0, 0, 0)), id="ended-by-two"),
        pytest.param(frame(b"x", struct.pack(">BBBQ", 0, 2, 0, 0)), id="neither-code-nor-signal"),
        pytest.param(frame(b"x", b"short"), id="ended-in-short"),
        pytest.param(frame(b"f", struct.pack(">cIQ", b"z", 2, 0) + b"why"), id="failed-at-something-unknown"),
        pytest.param(frame(b"f", struct.pack(">cIQ", b"p", 2, 0)), id="failed-without-words"),
        pytest.param(frame(b"f", struct.pack(">cIQ", b"p", 2, 0) + b"\xff"), id="failed-in-no-words"),
        pytest.param(frame(b"f", struct.pack(">cIQ", b"p", 2, 0) + b"x" * 129), id="failed-in-too-many-words"),
    ],
)
def test_what_the_protocol_does_not_know_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedFrameError):
        decoded([content])


@given(st.lists(STRINGS, min_size=1, max_size=5), st.dictionaries(NAMES, STRINGS, max_size=5), STRINGS, TIMES)
def test_a_request_says_all_of_a_command(
    argv: list[str], environment: dict[str, str], cwd: str, time: timedelta
) -> None:
    request = encode_run(argv, environment, cwd, time)
    kind, size, limit, arguments, variables = struct.unpack_from(">cIQII", request)
    *strings, rest = request[21:].decode().split("\0")
    assert (kind, size, rest) == (b"R", len(request) - 5, "")
    assert timedelta(milliseconds=limit) <= time < timedelta(milliseconds=limit + 1)
    assert (arguments, variables) == (len(argv), len(environment))
    assert strings == [cwd, *argv, *(f"{name}={value}" for name, value in environment.items())]


def test_a_request_for_a_terminal_says_its_size_first() -> None:
    plain = encode_run(["a"], {"B": "C"}, "/", timedelta(seconds=1))
    on_terminal = encode_run(["a"], {"B": "C"}, "/", timedelta(seconds=1), terminal=os.terminal_size((132, 43)))
    assert on_terminal == frame(b"T", struct.pack(">HH", 43, 132) + plain[5:])


@pytest.mark.parametrize(
    ("argv", "environment", "cwd", "why"),
    [
        ((), {}, "/", "no name"),
        (("a\0b",), {}, "/", "NUL"),
        (("a",), {"A": "\0"}, "/", "NUL"),
        (("a",), {}, "/\0", "NUL"),
        (("a",), {"A=B": "C"}, "/", "name that none can have"),
        (("a",), {"": "C"}, "/", "name that none can have"),
        (("\ud800",), {}, "/", "no text"),
        (("a" * REQUEST_LIMIT,), {}, "/", "Argument list too long"),
    ],
)
def test_what_no_system_could_execute_is_not_asked_for(
    argv: tuple[str, ...], environment: dict[str, str], cwd: str, why: str
) -> None:
    with pytest.raises(UnrunnableError, match=why):
        encode_run(argv, environment, cwd, timedelta(seconds=1))


def test_a_time_limit_before_now_is_now() -> None:
    assert encode_run(["a"], {}, "/", timedelta(seconds=-5)) == encode_run(["a"], {}, "/", timedelta(0))


def test_stdin_a_size_and_the_end_are_frames_of_their_own() -> None:
    assert encode_stdin(b"abc") == b"I\0\0\0\3abc"
    assert encode_stdin(b"") == b"I\0\0\0\0"
    assert encode_end() == b"E\0\0\0\0"
    assert encode_resize(os.terminal_size((80, 24))) == b"W\0\0\0\4\0\x18\0\x50"
    with pytest.raises(ValueError, match="65537"):
        encode_stdin(b"x" * (CHUNK_LIMIT + 1))
