import time
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.core.errors import ConfigError
from orchestration.core.toolchain import Toolchain
from orchestration.support.toolchain import TOOLCHAIN_LIMIT, parse_toolchain

WHERE = ".taskq.toml of main"
FULL = b"""
image = "registry.example:5000/team/python:3.12"
setup = '''
pip install -e .
'''
allow = ["pypi", "files.example:8443", "pypi"]
secrets = ["NPM_TOKEN", "_X1"]

[env]
PATH = "/usr/local/go/bin:/usr/bin:/bin"
lower_case = ""
"""
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
SECRETS = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
WORDS = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1).filter(str.isprintable)


def parse(content: bytes) -> Toolchain:
    return parse_toolchain(content, where=WHERE)


def test_every_key_reaches_the_toolchain() -> None:
    assert parse(FULL) == Toolchain(
        image="registry.example:5000/team/python:3.12",
        setup="pip install -e .\n",
        env={"PATH": "/usr/local/go/bin:/usr/bin:/bin", "lower_case": ""},
        allow=("pypi", "files.example:8443"),
        secrets=("NPM_TOKEN", "_X1"),
    )


def test_a_file_that_says_nothing_is_a_toolchain_of_nothing() -> None:
    assert parse(b"") == parse(b"# a comment\n") == parse(b"allow = []\nsecrets = []\n[env]\n") == Toolchain()


def test_a_dockerfile_is_a_path_in_the_repository() -> None:
    assert parse(b'dockerfile = "./ci/Dockerfile"').dockerfile == "ci/Dockerfile"


BAD = [
    (b"imge = 'x'", "unknown key 'imge'; did you mean 'image'"),
    (b"[[checks]]\nrun = 'x'", "unknown key 'checks'"),
    (b"'a\\u001b[2J' = 1", "unknown key"),
    (b"image = ''", "image: must be a word"),
    (b"image = 3", "image: must be a word"),
    (b"image = 'a b'", "image: must be a word without spaces"),
    (b"image = '-v'", "image: must name an image"),
    (b'image = "x\\ny"', "image: must be a word"),
    ("image = 'ä'".encode(), "image: must name"),
    (b"image = 'a'\ndockerfile = 'b'", "image and dockerfile are both given"),
    (b"dockerfile = '../x'", "dockerfile: must be the path"),
    (b"dockerfile = 'a/../../x'", "dockerfile: must be the path"),
    (b"dockerfile = '/etc/passwd'", "dockerfile: must be the path"),
    (b"dockerfile = '.'", "dockerfile: must be the path"),
    (b"dockerfile = ''", "dockerfile: must be a text"),
    (b'dockerfile = "a\\nb"', "dockerfile: must be the path"),
    (b"setup = ' '", "setup: must be a text that is not empty"),
    (b"setup = ['a']", "setup: must be a text"),
    (b'setup = "a\\u0000"', "setup: holds a NUL"),
    (b"env = 'x'", "env: must be a table"),
    (b"[env]\nA = 1", "env: A must be a text"),
    (b'[env]\nA = "\\u0000"', "env: A must be a text"),
    (b"[env]\n'a-b' = ''", "env: 'a-b' is no variable's name"),
    (b"[env]\n'' = ''", "no variable's name"),
    (b"[env]\nTASKQ_OUT = 'x'", "env: TASKQ_OUT is set by taskq itself"),
    (b"[env]\nGIT_DIR = 'x'", "env: GIT_DIR is set by taskq itself"),
    (b"[env]\nhttps_proxy = 'x'", "env: https_proxy is set by taskq itself"),
    (b"[env]\nNO_PROXY = 'x'", "env: NO_PROXY is set by taskq itself"),
    (b"[env]\nHOME = 'x'", "env: HOME is set by taskq itself"),
    (b"allow = 'pypi'", "allow: must be a list"),
    (b"allow = ['a b']", "allow: must be a word"),
    (b"allow = [1]", "allow: must be a word"),
    (b"secrets = ['token']", "secrets: 'token' is no name of a secret"),
    (b"secrets = ['../TOKEN']", "is no name of a secret"),
    (b"image = \n", "(at line 1"),
    (b"a = 1\na = 2\n", "line 2"),
    (b"image = 'x'\n\xff", "line 2 is no UTF-8"),
    (b"a = " + b"[" * 30_000, "nested too deep"),
    (b"a = " + b"9" * 30_000, "a"),
    (b"#" * (TOOLCHAIN_LIMIT + 1), "more than 64 KiB"),
]


@pytest.mark.parametrize(("content", "why"), BAD, ids=[str(content[:24]) for content, _ in BAD])
def test_what_is_wrong_is_told_with_where_it_was_said(content: bytes, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(content)
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert why in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_toolchain_or_an_error_that_says_where(content: bytes) -> None:
    assert is_answered(content)


VALUES = st.recursive(
    st.one_of(TEXT, st.integers(), st.booleans(), st.floats(), st.dates()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES | SECRETS, inner, max_size=3)),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["image", "dockerfile", "setup", "env", "allow", "secrets"]), VALUES))
def test_any_values_under_the_keys_are_a_toolchain_or_an_error_that_says_where(table: dict[str, Any]) -> None:
    content = "".join(f"{key} = {spelled(value)}\n" for key, value in table.items())
    assert is_answered(content.encode())


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "setup": TEXT.filter(str.strip),
            "env": st.dictionaries(NAMES, TEXT, max_size=4),
            "allow": st.lists(WORDS, max_size=4, unique=True),
            "secrets": st.lists(SECRETS, max_size=4, unique=True),
        },
    )
)
def test_what_is_well_said_is_kept_to_the_letter(table: dict[str, Any]) -> None:
    content = "".join(f"{key} = {spelled(value)}\n" for key, value in table.items())
    lists = {key: tuple(value) for key, value in table.items() if isinstance(value, list)}
    assert parse(content.encode()) == Toolchain(**{**table, **lists})


@pytest.mark.parametrize("piece", [b"a.", b"[a]\n", b"{a=", b"'", b"a={b=1}\n", b"[[a]]\n", b"\\u"])
def test_a_file_made_to_be_slow_is_not(piece: bytes) -> None:
    started = time.process_time()
    with pytest.raises(ConfigError):
        parse((piece * TOOLCHAIN_LIMIT)[:TOOLCHAIN_LIMIT])
    assert time.process_time() - started < 5


def is_answered(content: bytes) -> bool:
    """Return whether the answer is a toolchain, or an error that says where."""
    try:
        return isinstance(parse(content), Toolchain)
    except ConfigError as error:
        return str(error).startswith(f"{WHERE}: ")


def spelled(value: Any) -> str:
    """Return *value* as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {spelled(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(spelled, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(character):08x}" for character in value) + '"'
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, date) else str(value)
