import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.support import text


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb", "a\\x0db"),
        ("a\u202eb", "a\\u202eb"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("windows\r\n", "windows\n"),
    ],
)
def test_unsafe_characters_are_spelled_out(hostile: str, shown: str) -> None:
    assert text.visible(hostile) == shown


@given(st.text(st.characters()))
def test_nothing_unsafe_is_left(hostile: str) -> None:
    shown = text.visible(hostile)
    assert all(character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cs"} for character in shown)
    assert not any(unicodedata.bidirectional(character) in {"RLO", "LRO", "RLE", "LRE", "PDF"} for character in shown)


@given(st.text(st.characters()))
def test_one_line_is_one_line(hostile: str) -> None:
    assert "\n" not in text.visible_line(hostile)


def test_a_line_is_cut_to_its_width() -> None:
    assert text.visible_line("abcdef", width=4) == "abc…"


@given(st.binary())
def test_any_bytes_can_be_shown(content: bytes) -> None:
    assert isinstance(text.decode(content), str)
