"""Setup, collect and teardown, one at a time, and the room that they share."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.core.attempts import AttemptSpec
from orchestration.core.errors import BusyError, ConfigError, RepositoryError, SandboxError, WorkFailedError
from orchestration.core.events import Observer, RunEvent, SandboxOpened
from orchestration.core.facts import Failure, SandboxFacts
from orchestration.core.ports import Command, Exit, Leaks, Output, discard_output
from orchestration.core.toolchain import Toolchain
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt, OpenLog, StopSwitch
from orchestration.pipeline.stages.collect import collect
from orchestration.pipeline.stages.setup import setup
from orchestration.pipeline.stages.teardown import teardown
from orchestration.store.artifacts import AttemptFiles
from tests.engine.fakes import BASE, FakeProvider, FakeRepository, FakeSandbox, FakeTree, FakeWorkspace, a_revision

KEPT = "9" * 40


@pytest.fixture
def workspace() -> FakeWorkspace:
    return FakeWorkspace()


@pytest.fixture
def repository() -> FakeRepository:
    return FakeRepository()


@pytest.fixture
def take(
    workspace: FakeWorkspace, repository: FakeRepository, room: Room, log_of: OpenLog
) -> Callable[[Attempt], Attempt]:
    def run(attempt: Attempt) -> Attempt:
        return collect(
            attempt,
            workspace=workspace,
            repository=repository,
            room=room,
            log_of=log_of,
            leaks_of=lambda spec: _finder(spec.toolchain.secrets),
        )

    return run


def _finder(secrets: tuple[str, ...]) -> Leaks | None:
    """Return what finds a secret by its name, which is its value here."""
    return (lambda content: next((name for name in secrets if name.encode() in content), None)) if secrets else None


@pytest.fixture
def records(tmp_path: Path) -> AttemptFiles:
    return AttemptFiles(attempts=tmp_path / "attempts", reports=tmp_path / "errors")


@pytest.fixture
def prepare(
    workspace: FakeWorkspace, repository: FakeRepository, records: AttemptFiles, room: Room, log_of: OpenLog
) -> Callable[..., Attempt]:
    def run(attempt: Attempt, *, dirty_run: bool = False, observe: Observer = lambda _event: None) -> Attempt:
        return setup(
            replace(attempt, prepared=False, collected=True),
            workspace=workspace,
            repository=repository,
            records=records,
            room=room,
            dirty_run=dirty_run,
            log_of=log_of,
            observe=observe,
        )

    return run


def refuse(code: str) -> Callable[..., None]:
    def accept(*_arguments: object, **_options: object) -> None:
        raise WorkFailedError("it is refused", code=code)

    return accept


def test_work_is_taken_as_a_bundle(attempt: Attempt, room: Room, take: Callable[[Attempt], Attempt]) -> None:
    room.enter(attempt.spec)
    taken = take(attempt)
    assert (taken.collected, taken.revision, taken.failure) == (True, a_revision(), None)


@pytest.mark.parametrize("code", ["bad_bundle", "too_large"])
def test_a_bundle_that_is_refused_is_followed_by_an_archive_in_a_fresh_sandbox(
    attempt: Attempt,
    room: Room,
    take: Callable[[Attempt], Attempt],
    workspace: FakeWorkspace,
    provider: FakeProvider,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    monkeypatch.setattr(workspace, "accept_bundle", refuse(code))
    room.enter(attempt.spec)
    taken = take(attempt)
    assert taken.revision is not None
    assert (taken.revision.source, taken.collected) == ("archive", True)
    assert (len(provider.opened), provider.closed) == (2, 1)


def test_a_workspace_whose_git_makes_no_bundle_is_taken_as_an_archive(
    attempt: Attempt, room: Room, take: Callable[[Attempt], Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(_self: FakeSandbox, _command: Command, output: Output = discard_output) -> Exit:
        output("stderr", b"fatal: not a git repository")
        return Exit(code=20)

    monkeypatch.setattr(FakeSandbox, "run", break_down)
    room.enter(attempt.spec)
    taken = take(attempt)
    assert taken.revision is not None
    assert taken.revision.source == "archive"
    assert b"not a git repository" in (attempt.folders.logs / "collect.log").read_bytes()


@pytest.mark.parametrize("code", ["unsafe_tree", "secret_in_work"])
def test_work_that_an_archive_would_hold_too_is_refused_and_not_asked_for_again(
    attempt: Attempt,
    room: Room,
    take: Callable[[Attempt], Attempt],
    workspace: FakeWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    monkeypatch.setattr(workspace, "accept_bundle", refuse(code))
    archived: list[object] = []
    monkeypatch.setattr(workspace, "accept_archive", lambda *arguments, **_options: archived.append(arguments))
    room.enter(attempt.spec)
    with pytest.raises(WorkFailedError) as caught:
        take(attempt)
    assert (caught.value.code, archived) == (code, [])
    assert (attempt.folders.inbox / "work.bundle").exists() is (code == "unsafe_tree"), "no copy of a secret stays"


def test_a_sandbox_that_is_gone_is_opened_again_to_take_the_work_out(
    attempt: Attempt, room: Room, take: Callable[[Attempt], Attempt], provider: FakeProvider
) -> None:
    room.enter(attempt.spec).stop()
    assert take(attempt).revision == a_revision()
    assert len(provider.opened) == 2


def test_an_agent_that_changed_nothing_has_failed_unless_that_is_allowed_or_it_failed_already(
    attempt: Attempt, room: Room, take: Callable[[Attempt], Attempt], workspace: FakeWorkspace
) -> None:
    workspace.changes = False
    room.enter(attempt.spec)
    strict = take(attempt)
    assert strict.failure is not None
    assert (strict.failure.code, strict.failure.stage, strict.collected) == ("no_changes", "collect", True)
    assert "--allow-empty" in strict.failure.message
    assert take(replace(attempt, spec=replace(attempt.spec, allow_empty=True))).failure is None
    earlier = Failure(stage="build", code="agent_failed", message="it failed")
    assert take(replace(attempt, failure=earlier)).failure == earlier


def test_without_a_workspace_there_is_nothing_to_take(attempt: Attempt, take: Callable[[Attempt], Attempt]) -> None:
    unprepared = replace(attempt, prepared=False)
    assert take(unprepared) is unprepared


def test_what_an_earlier_collection_left_is_not_taken_for_new(
    attempt: Attempt, room: Room, take: Callable[[Attempt], Attempt]
) -> None:
    attempt.folders.inbox.mkdir()
    (attempt.folders.inbox / "work.bundle").write_bytes(b"old")
    room.enter(attempt.spec)
    take(attempt)
    assert (attempt.folders.inbox / "work.bundle").read_bytes() == b"bundle"


def test_setup_resolves_the_base_opens_the_sandbox_and_says_that_there_may_be_work_now(
    attempt: Attempt, prepare: Callable[..., Attempt], room: Room, records: AttemptFiles
) -> None:
    ready = prepare(attempt)
    assert (ready.prepared, ready.collected, ready.spec.start_commit) == (True, False, BASE)
    assert room.sandbox is not None
    assert records.load_spec("T-1", 1) == ready.spec


def test_a_workspace_that_cannot_be_made_leaves_no_description_and_no_sandbox(
    attempt: Attempt,
    prepare: Callable[..., Attempt],
    workspace: FakeWorkspace,
    provider: FakeProvider,
    records: AttemptFiles,
) -> None:
    def fail(_spec: AttemptSpec) -> None:
        raise RepositoryError("the base is gone")

    workspace.on_prepare = fail
    with pytest.raises(RepositoryError):
        prepare(attempt)
    assert (provider.opened, records.load_spec("T-1", 1)) == ([], None)


@pytest.mark.parametrize(
    ("has_revision", "kept", "dirty_run", "start"),
    [
        (False, None, False, BASE),
        (False, None, True, BASE),
        (True, None, False, BASE),
        (True, None, True, a_revision().commit),
        (True, KEPT, True, KEPT),
    ],
)
def test_an_attempt_starts_from_the_base_or_in_a_dirty_run_from_what_was_made_since(
    attempt: Attempt,
    prepare: Callable[..., Attempt],
    repository: FakeRepository,
    *,
    has_revision: bool,
    kept: str | None,
    dirty_run: bool,
    start: str,
) -> None:
    repository.kept = kept
    task = attempt.task._replace(revision=a_revision() if has_revision else None)
    ready = prepare(replace(attempt, task=task), dirty_run=dirty_run)
    assert (ready.spec.start_commit, ready.spec.base_commit) == (start, BASE)


def test_the_base_commits_file_says_what_the_sandbox_needs_and_its_making_is_logged(
    attempt: Attempt, prepare: Callable[..., Attempt], workspace: FakeWorkspace, records: AttemptFiles
) -> None:
    workspace.tree = FakeTree(files={".taskq.toml": b'setup = "make deps"\n[env]\nMODE = "fast"\n'})
    ready = prepare(attempt)
    assert ready.spec.toolchain == Toolchain(setup="make deps", env={"MODE": "fast"})
    assert (attempt.folders.logs / "setup.log").read_bytes() == b"made\n"
    saved = records.load_spec("T-1", 1)
    assert saved is not None
    assert saved.toolchain == ready.spec.toolchain


def test_a_file_of_the_base_commit_that_is_wrong_fails_setup_with_its_place(
    attempt: Attempt, prepare: Callable[..., Attempt], workspace: FakeWorkspace, provider: FakeProvider
) -> None:
    workspace.tree = FakeTree(files={".taskq.toml": b'imag = "x"\n'})
    with pytest.raises(ConfigError, match=r"\.taskq\.toml of main.*'image'"):
        prepare(attempt)
    assert provider.opened == []


def test_what_is_wider_than_the_defaults_is_told_when_the_sandbox_opens(
    attempt: Attempt, prepare: Callable[..., Attempt], provider: FakeProvider
) -> None:
    provider.facts = SandboxFacts(kind="fake", waivers=("the network is open",))
    events: list[RunEvent] = []
    assert prepare(attempt, observe=events.append).sandbox == provider.facts
    assert events == [SandboxOpened(task=attempt.task, facts=provider.facts)]


def test_what_a_person_changed_is_not_run_over_and_the_way_on_is_told(
    attempt: Attempt, prepare: Callable[..., Attempt], repository: FakeRepository, provider: FakeProvider
) -> None:
    repository.kept = KEPT
    with pytest.raises(BusyError, match=r"taskq run --id T-1 --dirty-run") as caught:
        prepare(replace(attempt, task=attempt.task._replace(revision=a_revision())))
    assert (caught.value.code, provider.opened) == ("dirty_worktree", [])


def test_a_dirty_run_ends_what_earlier_attempts_of_the_task_left_running(
    attempt: Attempt, prepare: Callable[..., Attempt], provider: FakeProvider
) -> None:
    prepare(attempt, dirty_run=True)
    assert [dict(labels) for labels in provider.reaped] == [{"taskq.queue": "q", "taskq.task": "T-1"}]


def test_teardown_closes_the_sandbox_and_may_be_repeated(attempt: Attempt, room: Room, provider: FakeProvider) -> None:
    room.enter(attempt.spec)
    assert teardown(attempt, room=room) is attempt
    assert teardown(attempt, room=room) is attempt
    assert provider.closed == 1
    with pytest.raises(SandboxError, match="no sandbox is open"):
        assert room.sandbox


def test_a_sandbox_that_cannot_be_closed_changes_no_result(
    attempt: Attempt, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_to_end() -> None:
        raise SandboxError("processes do not die")

    room.enter(attempt.spec)
    with monkeypatch.context() as patched:
        patched.setattr(room, "leave", refuse_to_end)
        assert teardown(attempt, room=room) is attempt


def test_the_stop_switch_reaches_the_sandbox_of_the_agent_and_not_the_one_for_taking_work_out(
    attempt: Attempt, room: Room, provider: FakeProvider, switch: StopSwitch
) -> None:
    room.enter(attempt.spec)
    room.enter_again(attempt.spec)
    switch.throw("interrupted")
    first, second = provider.opened
    assert (first.stopped.is_set(), second.stopped.is_set()) == (True, False)
