"""A bundle is hostile input: only one that is whole, ours in shape, and safe in content gets through."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.adapters.git import bundle
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.errors import WorkFailedError
from tests.adapters.git.conftest import World

Git = Callable[..., str]
A, B = b"a" * 40, b"b" * 40
PACK = b"PACK" + struct.pack(">II", 2, 1) + b"x" * 40


def read(path: Path, content: bytes, *, limit: int = 10_000, most: int = 100) -> bundle.Bundle | bundle.Nothing:
    path.write_bytes(content)
    return bundle.read(path, limit=limit, most_objects=most)


def test_a_well_formed_head_says_tip_prerequisites_and_where_the_pack_is(tmp_path: Path) -> None:
    head = b"# v2 git bundle\n-" + A + b" a subject\n" + B + b" HEAD\n\n"
    found = read(tmp_path / "b", head + PACK)
    assert found == bundle.Bundle(tip=B.decode(), prerequisites=(A.decode(),), pack_at=len(head), objects=1)


def test_the_third_version_may_say_sha1_and_nothing_else(tmp_path: Path) -> None:
    head = b"# v3 git bundle\n@object-format=sha1\n" + B + b" HEAD\n\n"
    assert isinstance(read(tmp_path / "b", head + PACK), bundle.Bundle)
    for capability in (b"@filter=blob:none", b"@object-format=sha256", b"@x"):
        with pytest.raises(WorkFailedError):
            read(tmp_path / "b", b"# v3 git bundle\n" + capability + b"\n" + B + b" HEAD\n\n" + PACK)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        b"nothing\n",
        b"nothing " + A,
        b"nothing " + A + b"\nmore",
        b"# v4 git bundle\n" + B + b" HEAD\n\n" + PACK,
        b"# v2 git bundle\n" + B + b" HEAD\n",
        b"# v2 git bundle\n" + B + b" HEAD",
        b"# v2 git bundle\n\n" + PACK,
        b"# v2 git bundle\n" + B + b" HEAD\n" + A + b" HEAD\n\n" + PACK,
        b"# v2 git bundle\n" + B + b" refs/heads/main\n\n" + PACK,
        b"# v2 git bundle\n" + B + b" HEAD\n" + A + b" refs/taskq/q1/attempt/x/1.1\n\n" + PACK,
        b"# v2 git bundle\n" + B + b" HEAD\n-" + A + b" \n\n" + PACK,
        b"# v2 git bundle\n" + B.upper() + b" HEAD\n\n" + PACK,
        b"# v2 git bundle\n" + B + b" HEAD\n\n",
        b"# v2 git bundle\n" + B + b" HEAD\n\nPACK",
        b"# v2 git bundle\n" + B + b" HEAD\n\nPACK" + struct.pack(">II", 3, 1) + b"x" * 40,
        b"# v2 git bundle\n" + B + b" HEAD\n\nPACK" + struct.pack(">II", 2, 4_000_000_000) + b"x" * 40,
        b"# v2 git bundle\n-" + A + b" " + b"x" * 2_000_000 + b"\n" + B + b" HEAD\n\n" + PACK,
    ],
)
def test_any_other_head_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(WorkFailedError, match="the bundle from the sandbox was refused") as caught:
        read(tmp_path / "b", content, limit=10_000_000)
    assert caught.value.code == "bad_bundle"


@settings(max_examples=300, deadline=None)
@given(junk=st.binary(max_size=200))
def test_no_bytes_make_the_parser_do_anything_but_answer_or_refuse(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "junk"
    assert {answer(path, junk), answer(path, b"# v2 git bundle\n" + junk)} <= {"read", "bad_bundle"}


def answer(path: Path, content: bytes) -> str | None:
    try:
        read(path, content)
    except WorkFailedError as error:
        return error.code
    return "read"


def refused(world: World, spec: AttemptSpec, folders: AttemptFolders, content: bytes) -> WorkFailedError:
    """Assert that *content* is refused and that nothing of it is in the operator's repository."""
    before = (world.objects(), {ref for ref in world.refs() if "/attempt/" in ref})
    path = folders.inbox / "work.bundle"
    path.write_bytes(content)
    with pytest.raises(WorkFailedError) as caught:
        world.workspace.accept_bundle(spec, folders, path)
    assert (world.objects(), {ref for ref in world.refs() if "/attempt/" in ref}) == before
    assert not (folders.inbox / "quarantine.git").exists()
    return caught.value


@pytest.fixture
def attempt(world: World) -> tuple[AttemptSpec, AttemptFolders, bytes]:
    """Return an attempt and its honest bundle."""
    spec = world.spec()
    folders = world.prepare(spec)
    (folders.workspace / "a.txt").write_text("a\n" * 100)
    assert world.collect(spec, folders).returncode == 0
    return spec, folders, (folders.out / "work.bundle").read_bytes()


Attempt = tuple[AttemptSpec, AttemptFolders, bytes]


def test_a_bundle_that_was_cut_or_changed_is_refused(world: World, attempt: Attempt) -> None:
    spec, folders, honest = attempt
    flipped = bytearray(honest)
    flipped[-30] ^= 0xFF
    for content in (honest[:-5], honest[: len(honest) // 2], bytes(flipped), honest + b"junk"):
        assert refused(world, spec, folders, content).code == "bad_bundle"


def test_a_bundle_over_its_limit_is_refused_before_it_is_read(world: World, attempt: Attempt) -> None:
    spec, folders, honest = attempt
    path = folders.inbox / "work.bundle"
    path.write_bytes(honest)
    os.truncate(path, spec.limits.bundle + 1)
    with pytest.raises(WorkFailedError, match="are allowed"):
        world.workspace.accept_bundle(spec, folders, path)


def test_a_bundle_on_commits_that_are_not_the_bases_is_refused(world: World, attempt: Attempt) -> None:
    spec, folders, honest = attempt
    tip = world.agent(folders, "rev-parse", "HEAD")
    (folders.workspace / "b.txt").write_text("b")
    world.agent(folders, "add", "b.txt")
    world.agent(folders, "commit", "-q", "-m", "more")
    world.agent(folders, "bundle", "create", "-q", str(folders.out / "x"), "HEAD", f"^{tip}")

    error = refused(world, spec, folders, (folders.out / "x").read_bytes())
    assert "not in the base's history" in str(error)
    assert honest


@pytest.mark.full
def test_a_bundle_whose_prerequisites_are_hidden_lacks_objects(world: World, attempt: Attempt) -> None:
    spec, folders, _ = attempt
    tip = world.agent(folders, "rev-parse", "HEAD")
    (folders.workspace / "b.txt").write_text("b")
    world.agent(folders, "add", "b.txt")
    world.agent(folders, "commit", "-q", "-m", "more")
    world.agent(folders, "bundle", "create", "-q", str(folders.out / "x"), "HEAD", f"^{tip}")
    content = (folders.out / "x").read_bytes().split(b"\n")
    hidden = b"\n".join(line for line in content if not line.startswith(b"-"))

    assert refused(world, spec, folders, hidden).code == "bad_bundle"


@pytest.mark.full
def test_a_head_that_is_no_commit_is_refused(world: World, attempt: Attempt) -> None:
    spec, folders, honest = attempt
    head, pack = honest.split(b"\n\n", 1)
    tip = world.agent(folders, "rev-parse", "HEAD")
    tree = world.agent(folders, "rev-parse", "HEAD^{tree}")
    assert "no commit" in str(refused(world, spec, folders, head.replace(tip.encode(), tree.encode()) + b"\n\n" + pack))


def test_the_word_that_nothing_changed_is_checked(world: World, attempt: Attempt) -> None:
    spec, folders, _ = attempt
    path = folders.inbox / "work.bundle"
    path.write_bytes(f"nothing {spec.base_commit}\n".encode())
    assert world.workspace.accept_bundle(spec, folders, path) is None
    refused(world, spec, folders, b"nothing " + A + b"\n")
