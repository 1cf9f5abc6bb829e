from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.core import naming
from orchestration.core.errors import UsageError

TEXTS = st.text("aZ09._-/\\ lock", max_size=80) | st.text(st.characters(), max_size=80)
"""Near an id, and anything; `characters` because the plain alphabet takes seconds to find out about UTF-8."""


@pytest.mark.parametrize("text", ["a", "T-1", "0123", "my-task.v2", "A" * 64, "x_y.z"])
def test_good_ids_pass_as_they_are(text: str) -> None:
    assert naming.task_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "a..b",
        "-x",
        ".x",
        "a/b",
        "a.lock",
        "a.",
        "a b",
        "a\n",
        "a\x00",
        "ä",
        "A" * 65,
        "A" * 300,
        "%2e%2e",
        "a\u202e",
    ],
)
def test_bad_ids_are_refused_in_one_line_that_names_the_rule(text: str) -> None:
    with pytest.raises(UsageError, match="is no task id") as caught:
        naming.task_id(text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 300


@given(TEXTS)
def test_an_accepted_id_stays_inside_of_any_root(text: str) -> None:
    try:
        identifier = naming.task_id(text)
    except UsageError:
        return
    root = Path("/root/of/all")
    assert (root / identifier).resolve().parent == root


@pytest.mark.parametrize(
    ("stem", "identifier"),
    [
        ("my task.v2", "my-task.v2"),
        ("  spaced  ", "spaced"),
        ("..hidden", "hidden"),
        ("a..b", "a-b"),
        ("ends.lock", "ends"),
        ("trailing---", "trailing"),
        ("Übung 7", "bung-7"),
        ("---", ""),
        ("x" * 100, "x" * 64),
    ],
)
def test_a_stem_becomes_an_id_by_the_stated_rule(stem: str, identifier: str) -> None:
    assert naming.id_from_stem(stem) == identifier


@given(TEXTS)
def test_what_a_stem_becomes_is_an_id_or_nothing(stem: str) -> None:
    identifier = naming.id_from_stem(stem)
    assert identifier == "" or naming.task_id(identifier) == identifier


@pytest.mark.parametrize("name", ["main", "task/t-1", "feature/a.b", "ümlaut"])
def test_good_branches_pass(name: str) -> None:
    assert naming.check_branch(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "-x", "--upload-pack=x", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "/a", "a/", "a//b", "@",
     "HEAD", "a@{1}", "a.lock", "a/.b", "b.lock/c", "a.", "a\x7f", "a\n", "x" * 201],
)  # fmt: skip
def test_bad_branches_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no branch name"):
        naming.check_branch(name)


def test_the_container_name_holds_the_attempt() -> None:
    created = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert naming.container_name(naming.task_id("T-1"), created, 2) == "task-T-1-20260304050607-a2"


def test_two_repositories_of_one_name_get_two_worktrees() -> None:
    paths = {
        naming.worktree_path(
            Path("/w"), repository=Path(where), common_dir=Path(where, ".git"), identifier=naming.task_id("t")
        )
        for where in ("/a/shop", "/b/shop")
    }
    assert len(paths) == 2


def test_refs_name_queue_task_attempt_and_collection() -> None:
    identifier = naming.task_id("T-1")
    assert naming.attempt_ref("q", identifier, 2, 1) == "refs/taskq/q/attempt/T-1/2.1"
    assert naming.base_ref("q", identifier, 2) == "refs/taskq/q/base/T-1/2.0"
    assert naming.keep_ref("q", identifier, 2, 3) == "refs/taskq/q/keep/T-1/2.3"
