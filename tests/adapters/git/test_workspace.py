"""The agent's clone, what it can do in it, and what comes out."""

import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestration.core.errors import RepositoryError, WorkFailedError
from orchestration.core.models import Limits
from tests.adapters.git.conftest import World


def test_commits_and_leftovers_come_back_as_one_revision_under_our_ref(world: World) -> None:
    spec = world.spec()
    folders = world.prepare(spec)
    (folders.workspace / "a.txt").write_text("a\n")
    world.agent(folders, "add", "a.txt")
    world.agent(folders, "commit", "-q", "-m", "mine")
    (folders.workspace / "left over.txt").write_text("b\n")
    (folders.workspace / "build.log").write_text("noise\n")
    (folders.workspace / "README.md").unlink()

    revision = world.take(spec, folders)

    changed = {(change.path, change.status, change.added, change.removed) for change in revision.files}
    assert changed == {("a.txt", "A", 1, 0), ("left over.txt", "A", 1, 0), ("README.md", "D", 0, 1)}
    assert world.commit_of("refs/taskq/q1/attempt/t-1/1.1") == revision.commit
    assert (revision.base_commit, revision.source, revision.flags) == (world.commit_of("main"), "bundle", ())


def test_the_operators_checkout_index_and_branches_stay_as_they_are(world: World) -> None:
    (world.repo / "README.md").write_text("in the middle of something\n")
    (world.repo / "new.txt").write_text("untracked\n")
    heads = {ref: at for ref, at in world.refs().items() if not ref.startswith("refs/taskq/")}
    index = (world.repo / ".git" / "index").read_bytes()

    world.work()

    assert {ref: at for ref, at in world.refs().items() if not ref.startswith("refs/taskq/")} == heads
    assert (world.repo / ".git" / "index").read_bytes() == index
    assert (world.repo / "README.md").read_text() == "in the middle of something\n"
    assert not (world.repo / ".git" / "FETCH_HEAD").exists()


def test_a_fresh_workspace_is_clean_for_the_agent_and_shows_the_base_as_origin(world: World) -> None:
    folders = world.prepare(world.spec())

    assert world.agent(folders, "status", "--porcelain", "--branch") == "## task/t-1"
    assert world.agent(folders, "diff", "origin/main") == ""
    assert world.agent(folders, "config", "user.email") == "agent@taskq.invalid"
    assert (folders.workspace / ".git").read_text() == "gitdir: ../git\n"


def test_the_workspace_borrows_the_caches_objects_and_has_none_of_its_own(world: World) -> None:
    folders = world.prepare(world.spec())
    alternates = folders.git / "objects" / "info" / "alternates"

    assert [path for path in (folders.git / "objects").rglob("*") if path.is_file()] == [alternates]
    assert alternates.read_text() == "../../base\n"
    assert folders.base.readlink() == world.workspace.base(world.spec()).repository / "objects"


@pytest.mark.full
def test_preparing_again_starts_afresh_even_where_the_agent_took_permissions_away(world: World) -> None:
    spec = world.spec()
    folders = world.prepare(spec)
    (folders.workspace / "junk").mkdir()
    (folders.workspace / "junk" / "x").write_text("x")
    (folders.workspace / "junk").chmod(0)

    world.prepare(spec)

    assert not (folders.workspace / "junk").exists()
    assert world.agent(folders, "status", "--porcelain") == ""


def test_the_cache_holds_base_histories_and_nothing_that_an_agent_made(world: World) -> None:
    revision = world.work()
    (cache,) = (world.folder / "cache" / "repos").glob("*.git")

    assert world.commit_of("main") in world.refs(cache).values()
    has_work = subprocess.run(
        ["git", "--git-dir", cache, "cat-file", "-e", revision.commit], check=False, capture_output=True
    )
    assert has_work.returncode != 0


@pytest.mark.full
def test_an_emptied_cache_is_filled_again(world: World) -> None:
    world.work("t-1")
    shutil.rmtree(world.folder / "cache")

    assert world.work("t-2").commit


@pytest.mark.full
def test_a_new_commit_on_the_base_reaches_the_next_workspace(world: World, git: Callable[..., str]) -> None:
    world.work("t-1")
    git(world.repo, "commit", "-q", "--allow-empty", "-m", "three")

    folders = world.prepare(world.spec("t-2"))

    assert world.agent(folders, "rev-parse", "HEAD") == world.commit_of("main")


def test_an_agent_that_changed_nothing_brings_no_revision(world: World) -> None:
    spec = world.spec()
    assert world.take(spec, world.prepare(spec)) is None


@pytest.mark.full
def test_commits_whose_tree_is_the_bases_are_no_change(world: World) -> None:
    spec = world.spec()
    folders = world.prepare(spec)
    world.agent(folders, "commit", "-q", "--allow-empty", "-m", "nothing")
    assert world.take(spec, folders) is None


def test_a_dirty_run_starts_from_a_commit_that_only_the_operators_repository_has(world: World) -> None:
    first = world.work("t-1", {"one.txt": "1\n"})
    spec = world.spec("t-1", attempt=2, start_commit=first.commit)
    folders = world.prepare(spec)
    assert (folders.workspace / "one.txt").read_text() == "1\n"
    (folders.workspace / "two.txt").write_text("2\n")

    second = world.take(spec, folders)

    assert {change.path for change in second.files} == {"one.txt", "two.txt"}
    assert world.commit_of(f"{second.commit}^") == first.commit


@pytest.mark.full
def test_a_dirty_run_that_adds_nothing_still_is_what_it_started_from(world: World) -> None:
    first = world.work("t-1", {"one.txt": "1\n"})
    spec = world.spec("t-1", attempt=2, start_commit=first.commit)

    assert world.take(spec, world.prepare(spec)).commit == first.commit


@pytest.mark.full
def test_a_second_collection_under_the_same_number_keeps_the_first(world: World) -> None:
    spec = world.spec()
    folders = world.prepare(spec)
    (folders.workspace / "one.txt").write_text("1\n")
    first = world.take(spec, folders)
    (folders.workspace / "two.txt").write_text("2\n")
    second = world.take(spec, folders)

    assert (first.collect, second.collect) == (1, 2)
    assert world.commit_of(first.ref) == first.commit


def test_collecting_the_same_state_again_is_the_same_revision(world: World) -> None:
    spec = world.spec()
    folders = world.prepare(spec)
    (folders.workspace / "one.txt").write_text("1\n")
    assert world.take(spec, folders) == world.take(spec, folders)


@pytest.mark.full
def test_an_unfinished_merge_is_collected(world: World) -> None:
    spec = world.spec()
    folders = world.prepare(spec)
    world.agent(folders, "checkout", "-q", "-b", "side")
    (folders.workspace / "README.md").write_text("side\n")
    world.agent(folders, "commit", "-q", "-a", "-m", "side")
    world.agent(folders, "checkout", "-q", "task/t-1")
    (folders.workspace / "README.md").write_text("here\n")
    world.agent(folders, "commit", "-q", "-a", "-m", "here")
    with pytest.raises(AssertionError, match="merge"):
        world.agent(folders, "merge", "side")

    assert [change.path for change in world.take(spec, folders).files] == ["README.md"]


@pytest.mark.full
def test_a_lock_left_in_the_index_does_not_stop_the_collection(world: World) -> None:
    spec = world.spec()
    folders = world.prepare(spec)
    (folders.git / "index.lock").write_text("")
    (folders.workspace / "a").write_text("a")
    assert world.take(spec, folders) is not None


def test_a_damaged_index_does_not_stop_the_collection(world: World) -> None:
    spec = world.spec()
    folders = world.prepare(spec)
    (folders.git / "index").write_bytes(b"DIRCjunk")
    (folders.workspace / "a").write_text("a")

    assert [change.path for change in world.take(spec, folders).files] == ["a"]


@pytest.mark.full
def test_a_repository_that_the_agent_made_over_its_workspace_is_seen_through(world: World) -> None:
    spec = world.spec()
    folders = world.prepare(spec)
    (folders.workspace / ".git").unlink()
    world.agent(folders, "init", "-q")
    (folders.workspace / "a").write_text("a")
    world.agent(folders, "add", "-A")

    assert [change.path for change in world.take(spec, folders).files] == ["a"]


def test_embedded_repositories_do_not_stop_the_collection_and_are_flagged(world: World) -> None:
    spec = world.spec()
    folders = world.prepare(spec)
    for name in ("empty", "full"):
        (folders.workspace / name).mkdir()
        world.agent(folders, "init", "-q", name)
    (folders.workspace / "full" / "x").write_text("x")
    world.agent(folders, "-C", "full", "add", "x")
    world.agent(folders, "-C", "full", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x")
    (folders.workspace / "a").write_text("a")

    revision = world.take(spec, folders)

    assert {change.path for change in revision.files} == {"a", "full"}
    assert revision.flags == ("'full' is a submodule, whose content is not here",)


@pytest.mark.full
def test_work_that_left_its_base_behind_is_kept_and_flagged(world: World) -> None:
    spec = world.spec()
    folders = world.prepare(spec)
    world.agent(folders, "checkout", "-q", "--orphan", "new")
    world.agent(folders, "commit", "-q", "-m", "from scratch")
    (folders.workspace / "a").write_text("a")

    assert "does not build on the base commit" in world.take(spec, folders).flags


def test_a_workspace_without_git_is_told_apart_by_its_exit_code(world: World) -> None:
    spec = world.spec()
    folders = world.prepare(spec)
    shutil.rmtree(folders.git)
    assert world.collect(spec, folders).returncode == 20


def test_a_workspace_whose_objects_are_gone_makes_no_bundle(world: World) -> None:
    spec = world.spec()
    folders = world.prepare(spec)
    (folders.git / "objects" / "info" / "alternates").unlink()
    assert world.collect(spec, folders).returncode != 0
    assert not (folders.out / "work.bundle").exists()


def test_a_stale_bundle_is_not_taken_for_a_new_one(world: World) -> None:
    spec = world.spec()
    folders = world.prepare(spec)
    (folders.out / "work.bundle").write_bytes(b"old")
    shutil.rmtree(folders.git)
    world.collect(spec, folders)
    assert not (folders.out / "work.bundle").exists()


def test_a_base_that_is_gone_is_a_clear_error(world: World) -> None:
    gone = "1" * 40
    with pytest.raises(RepositoryError, match="is not in") as caught:
        world.prepare(world.spec(base_commit=gone, start_commit=gone))
    assert caught.value.code == "no_base"


def test_a_base_with_odd_entries_does_not_make_an_honest_collection_fail(world: World, git: Callable[..., str]) -> None:
    (world.repo / "abs").symlink_to("/etc/hostname")
    (world.repo / ".gitattributes").write_text("*.psd filter=lfs\n")
    git(world.repo, "add", "-A")
    git(world.repo, "commit", "-q", "-m", "odd")

    assert world.work("t-1", {"a": "a"}).flags == ()


@pytest.mark.full
def test_merging_a_base_with_odd_entries_again_is_no_finding(world: World, git: Callable[..., str]) -> None:
    (world.repo / "abs").symlink_to("/etc/hostname")
    git(world.repo, "add", "-A")
    git(world.repo, "commit", "-q", "-m", "odd")
    spec = world.spec()
    folders = world.prepare(spec)
    world.agent(folders, "checkout", "-q", "-b", "older", "HEAD~1")
    (folders.workspace / "a").write_text("a")
    world.agent(folders, "add", "a")
    world.agent(folders, "commit", "-q", "-m", "on the older")
    world.agent(folders, "merge", "-q", "--no-edit", "task/t-1")

    assert [change.path for change in world.take(spec, folders).files] == ["a"]


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(file=100), "has 200 bytes and 100 are allowed"),
        (Limits(files=2), "changes more than 2 files"),
        (Limits(bundle=40), "bytes and 40 are allowed"),
    ],
)
def test_work_beyond_the_limits_is_refused(world: World, limits: Limits, why: str) -> None:
    with pytest.raises(WorkFailedError, match=why):
        world.work("t-1", {"big": "x" * 200, "a": "a", "b": "b"}, limits=limits)


def test_four_attempts_on_one_repository_at_once_all_come_through(world: World) -> None:
    names = [f"t-{number}" for number in range(4)]

    def whole(name: str) -> bool:
        return bool(world.repository.publish(world.task(name), world.work(name, {f"{name}.txt": name})).published)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(whole, names)) == [True] * 4
    assert {path.name for path in (world.folder / "worktrees").glob("*/*")} == set(names)


@pytest.mark.full
def test_a_collected_commit_survives_the_operators_garbage_collection(world: World, git: Callable[..., str]) -> None:
    revision = world.work()
    git(world.repo, "gc", "--quiet", "--prune=now")
    assert world.commit_of(revision.ref) == revision.commit
    git(world.repo, "fsck", "--full", "--strict")
