"""Which names, links and drivers pass, are flagged or are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.adapters.git import tree_check


@pytest.mark.parametrize(
    "path",
    [
        b"a",
        b"src/cart.py",
        b".gitignore",
        b"sub/.gitattributes",
        b".github/x",
        b"git",
        b"a b/\xc3\xa4",
        b"..a",
        b"a..",
        b"~1",
    ],
)
def test_ordinary_paths_pass(path: bytes) -> None:
    assert tree_check.path_problem(path) is None


@pytest.mark.parametrize(
    "path",
    [
        b".git",
        b"a/.git/config",
        b".GIT",
        b".Git",
        b"git~1",
        b"GIT~1",
        b".git.",
        b".git ",
        b".git . .",
        b".git::$INDEX_ALLOCATION",
        b".g\xe2\x80\x8cit",
        b"\xef\xbb\xbf.git",
        b"a\\.git\\hooks",
        b"..",
        b"a/../b",
        b".",
        b"./a",
        b"/etc/passwd",
        b"a//b",
        b"",
        b"a\nb",
        b"a\rb",
        b"a\x1b[2Jb",
        b"a\x7f",
        b"a\xc2\x9bb",
        b"x" * 5000,
    ],
)
def test_paths_that_reach_out_or_cannot_be_shown_are_refused(path: bytes) -> None:
    assert tree_check.path_problem(path) is not None


@pytest.mark.parametrize(
    ("path", "target"), [(b"a", b"b"), (b"d/a", b"../b/c"), (b"a", b"./b"), (b"a", b"b/"), (b"a/b/c", b"../../x")]
)
def test_links_inside_the_tree_pass(path: bytes, target: bytes) -> None:
    assert tree_check.link_problem(path, target) is None


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"a", b"/etc/passwd"),
        (b"a", b".."),
        (b"a", b"../x"),
        (b"d/a", b"../../x"),
        (b"a", b"b/../../x"),
        (b"a", b"b/.."),
        (b"a", b".git/hooks"),
        (b"d/a", b"../.GIT"),
        (b"a", b""),
        (b"a", b"x\ny"),
        (b"a", b"x" * 5000),
        (b"a", b"C:\\x"),
        (b"a", b"\\\\server\\x"),
        (b"a", b"..\\..\\x"),
        (b".gitmodules", b"x"),
        (b".GITATTRIBUTES", b"x"),
        (b"d/.gitignore", b"x"),
        (b"gitmod~1", b"x"),
    ],
)
def test_links_that_leave_the_tree_or_enter_a_git_dir_are_refused(path: bytes, target: bytes) -> None:
    assert tree_check.link_problem(path, target) is not None


@pytest.mark.parametrize(("mode", "passes"), [("100644", True), ("120000", True), ("160000", True), ("100777", False)])
def test_only_the_modes_of_git_pass(mode: str, passes: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert (tree_check.mode_problem(mode) is None) is passes


def test_names_that_deceive_are_flagged() -> None:
    assert tree_check.path_flag("cart\u202e.py".encode()) is not None
    assert tree_check.path_flag("car\u200bt.py".encode()) is not None
    assert tree_check.path_flag(b"caf\xe9.txt") == "has a name that is not UTF-8"
    assert tree_check.path_flag("café.txt".encode()) is None


def test_drivers_that_could_run_a_program_are_found_and_git_own_ones_are_not() -> None:
    text = b"# *.x filter=no\n*.psd filter=lfs diff=lfs merge=lfs -text\n*.py diff=python\n*.md merge=union text=auto\n"
    assert tree_check.drivers(text) == {"filter=lfs", "diff=lfs", "merge=lfs"}
    assert tree_check.drivers(b"[attr]evil filter=x\n") == {"filter=x"}


@pytest.mark.parametrize("path", [b".gitattributes", b"a/.GitAttributes", b".gitattributes."])
def test_attributes_are_known_by_every_spelling(path: bytes) -> None:
    assert tree_check.is_attributes(path)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_no_bytes_make_the_rules_fail(path: bytes, target: bytes) -> None:
    results = (tree_check.path_problem(path), tree_check.link_problem(path, target), tree_check.path_flag(path))
    assert all(result is None or isinstance(result, str) for result in results)


@given(st.lists(st.sampled_from(["..", ".", "a", "b", ".git", ""]), min_size=1, max_size=6))
def test_a_link_that_passes_never_resolves_outside_of_the_tree(parts: list[str]) -> None:
    target = "/".join(parts)
    if tree_check.link_problem(b"d/e/link", target.encode()) is None:
        depth = 2
        for part in (part for part in parts if part not in {"", "."}):
            depth += -1 if part == ".." else 1
            assert depth >= 0
