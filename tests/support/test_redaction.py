import base64
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.support.redaction import Redactor

TOKEN = b"ghs_16C7e42F+292c/6912E7?"
SPOKEN = 'pass "word"\n/ grün'.encode()
FEW = st.text("xyz", min_size=4, max_size=9).map(str.encode)
"""Values of few letters, so that they overlap each other and themselves."""


def redacted(chunks: list[bytes], *secrets: tuple[str, bytes]) -> bytes:
    redactor = Redactor(secrets)
    return b"".join([*map(redactor.feed, chunks), redactor.flush()])


def cut(content: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(content) + 1) for place in places})
    return [content[start:end] for start, end in zip([0, *ends], [*ends, len(content)], strict=True)]


@pytest.mark.parametrize(
    "spelled",
    [
        TOKEN,
        TOKEN.hex().encode(),
        TOKEN.hex().upper().encode(),
        base64.b64encode(TOKEN),
        base64.urlsafe_b64encode(TOKEN),
        base64.b64encode(b"a" + TOKEN + b"b"),
        base64.urlsafe_b64encode(b"ab" + TOKEN),
        base64.b64encode(b"user:" + TOKEN),
        quote(TOKEN).encode(),
        quote(TOKEN, safe="").encode(),
        quote(TOKEN, safe="").lower().replace("ghs_16c7e42f", "ghs_16C7e42F").replace("912e7", "912E7").encode(),
    ],
)
def test_a_value_is_found_however_programs_usually_spell_it(spelled: bytes) -> None:
    shown = redacted([b"before " + spelled + b" after"], ("TOKEN", TOKEN))
    assert shown.startswith(b"before ")
    assert shown.endswith(b" after")
    assert b"[secret TOKEN]" in shown
    assert len(shown) < len(b"before [secret TOKEN] after") + 8  # base64 characters that the neighbours share


@pytest.mark.parametrize(
    "spelled",
    [
        SPOKEN,
        json.dumps(SPOKEN.decode()).encode(),
        json.dumps(SPOKEN.decode(), ensure_ascii=False).encode(),
        json.dumps(SPOKEN.decode()).replace("/", "\\/").encode(),
        quote_plus(SPOKEN).encode(),
    ],
)
def test_a_value_with_spaces_quotes_and_letters_of_other_alphabets_is_found(spelled: bytes) -> None:
    shown = redacted([spelled], ("P", SPOKEN))
    assert b"[secret P]" in shown
    assert not any(part in shown for part in (b"pass", b"word", b"gr"))


def test_without_its_value_nothing_is_taken_out_of_the_same_output() -> None:
    for spelled in (TOKEN, TOKEN.hex().encode(), base64.b64encode(TOKEN)):
        assert redacted([spelled], ("TOKEN", TOKEN[::-1])) == spelled


@given(
    st.lists(FEW, min_size=1, max_size=3, unique=True),
    st.text("xyz-", max_size=80),
    st.lists(st.integers(0, 80)),
    st.data(),
)
def test_no_part_of_the_output_is_a_value_wherever_the_input_is_cut(
    values: list[bytes], text: str, places: list[int], data: st.DataObject
) -> None:
    content = text.encode() + data.draw(st.sampled_from(values)) + text[::-1].encode()
    secrets = [(f"S{number}", value) for number, value in enumerate(values)]
    shown = redacted(cut(content, places), *secrets)
    assert b"[secret S" in shown
    assert not any(value in shown for value in values)


@given(
    st.lists(FEW, max_size=3, unique=True), st.text("xyz-", max_size=80).map(str.encode), st.lists(st.integers(0, 80))
)
def test_where_the_input_is_cut_makes_no_difference(values: list[bytes], content: bytes, places: list[int]) -> None:
    secrets = [(f"S{number}", value) for number, value in enumerate(values)]
    assert redacted(cut(content, places), *secrets) == redacted([content], *secrets)


@given(st.lists(st.text(".,;\n", max_size=30).map(str.encode)), st.text("xyz", min_size=6).map(str.encode))
def test_output_that_has_nothing_of_a_value_is_shown_at_once_as_it_is(chunks: list[bytes], value: bytes) -> None:
    redactor = Redactor([("S", value)])
    assert [redactor.feed(chunk) for chunk in chunks] == chunks
    assert redactor.flush() == b""


@given(st.lists(st.text("xy", max_size=30).map(str.encode)), FEW)
def test_no_more_is_held_back_than_the_longest_spelling_less_one(chunks: list[bytes], value: bytes) -> None:
    redactor = Redactor([("S", value)])
    longest = max(len(value), 2 * len(value) if len(value) >= 6 else 0)
    for chunk in chunks:
        redactor.feed(chunk)
        assert len(redactor._held) < longest


def test_what_cannot_become_a_value_is_shown_at_once() -> None:
    redactor = Redactor([("S", b"hunter22")])
    assert redactor.feed(b"a line\n") == b"a line\n"
    assert redactor.feed(b"a hunt") == b"a "
    assert redactor.feed(b"ing dog") == b"hunting dog"


def test_a_value_that_the_end_cuts_short_is_not_shown_either() -> None:
    assert redacted([b"it is " + TOKEN[:-1]], ("TOKEN", TOKEN)) == b"it is [secret TOKEN]"
    assert redacted([b"it is " + TOKEN[:5]], ("TOKEN", TOKEN)) == b"it is " + TOKEN[:5]


def test_of_a_short_value_only_the_bytes_are_found_and_of_a_shorter_one_nothing() -> None:
    assert redacted([b"1234 31323334"], ("PIN", b"1234")) == b"[secret PIN] 31323334"
    assert redacted([b"a 123"], ("PIN", b"123")) == b"a 123"


def test_white_space_around_a_value_does_not_hide_it() -> None:
    assert redacted([b"<hunter22>"], ("S", b" hunter22\n")) == b"<[secret S]>"


def test_of_two_values_the_longer_one_is_found() -> None:
    assert redacted([b"hunter22-extended"], ("A", b"hunter22"), ("B", b"hunter22-extended")) == b"[secret B]"


def test_a_content_is_searched_without_a_look_at_the_stream() -> None:
    redactor = Redactor([("A", TOKEN), ("B", b"hunter22")])
    redactor.feed(b"hunter")
    assert redactor.find(b"22, or nothing") is None
    assert redactor.find(b"\0hunter22\0") == "B"
    assert redactor.find(b"x" * 10**6 + base64.b64encode(b"?" + TOKEN)) == "A"
    assert Redactor([]).find(b"hunter22") is None


def test_without_secrets_nothing_is_held_back_or_changed() -> None:
    redactor = Redactor([])
    assert redactor.feed(b"anything") == b"anything"
    assert redactor.flush() == b""


@pytest.mark.parametrize(
    "output",
    [b"a" * 65535 + b"b", b"a" * 2**20, (b"a" * 65534 + b"b") * 16],
    ids=["nearly", "nothing but the value", "nearly, often"],
)
def test_a_value_made_to_be_slow_is_not(output: bytes) -> None:
    redactor = Redactor([("SLOW", b"a" * 65536)])
    started = time.process_time()
    for start in range(0, len(output), 2**16):
        redactor.feed(output[start : start + 2**16])
    redactor.flush()
    assert time.process_time() - started < 5
