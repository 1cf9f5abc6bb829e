from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from orchestration.core.attempts import AttemptSpec
from orchestration.core.errors import CorruptStateError, NewerVersionError, TaskqError
from orchestration.core.facts import (
    Failure,
    FileChange,
    Landed,
    RefusedHost,
    Revision,
    Run,
    Runner,
    SandboxFacts,
    Usage,
)
from orchestration.core.models import Limits, Task
from orchestration.core.naming import TaskId
from orchestration.core.toolchain import Toolchain
from orchestration.store import attempt_codec, codec, fact_codec
from orchestration.store.values import decode_moment, encode_moment

START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
SPEC = AttemptSpec(
    version=1,
    queue="abcdefghijkl",
    task=TaskId("a"),
    attempt=1,
    token=3,
    text="do it",
    repo="/srv/repo",
    base="main",
    base_commit="1" * 40,
    branch="task/a",
    worktree_path=None,
    agent="command",
    agent_command=None,
    model=None,
    sandbox="local",
    limits=Limits(build=timedelta(seconds=1.5)),
    allow_empty=False,
    created_at=START,
    start_commit="1" * 40,
    previous_tip=None,
    collect=1,
    network="allowlist",
    allow=("pypi", "git.example:8443"),
    allow_private=("10.0.0.7",),
    toolchain=Toolchain(image="i", setup="make", env={"A": "b"}, allow=("npm",), secrets=("TOKEN",)),
    image="sha256:" + "3" * 64,
)
SANDBOX = SandboxFacts(
    kind="docker",
    id="4" * 64,
    name="task-a-20261121-a1",
    image="sha256:" + "3" * 64,
    network="allowlist",
    refused=(RefusedHost(host="evil.example", port=443, reason="not allowed", count=3),),
    waivers=("the network is open",),
)


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (Task, codec.TASK),
        (Limits, codec.LIMITS),
        (Run, fact_codec.RUN),
        (Runner, fact_codec.RUNNER),
        (Revision, fact_codec.REVISION),
        (FileChange, fact_codec.FILE_CHANGE),
        (Usage, fact_codec.USAGE),
        (Landed, fact_codec.LANDED),
        (Failure, fact_codec.FAILURE),
        (AttemptSpec, attempt_codec.SPEC),
        (Toolchain, attempt_codec.TOOLCHAIN),
        (SandboxFacts, fact_codec.SANDBOX),
        (RefusedHost, fact_codec.REFUSED_HOST),
    ],
)
def test_every_field_of_the_model_has_a_place_in_the_file(kind: type, table: Mapping[str, object]) -> None:
    names = kind._fields if hasattr(kind, "_fields") else [field.name for field in fields(kind)]
    assert set(names) == set(table)


def test_a_spec_comes_back_as_it_was() -> None:
    assert attempt_codec.spec_from_json(attempt_codec.spec_to_json(SPEC)) == SPEC


def test_a_spec_from_before_there_were_networks_and_toolchains_has_their_defaults() -> None:
    newer = {"network", "allow", "allow_private", "toolchain", "image"}
    record = {name: value for name, value in attempt_codec.spec_to_json(SPEC).items() if name not in newer}
    record["limits"] = {"build": 1.5, "files": 7}
    spec = attempt_codec.spec_from_json(record)
    assert (spec.network, spec.allow, spec.allow_private, spec.toolchain, spec.image) == (
        None,
        (),
        (),
        Toolchain(),
        None,
    )
    assert spec.limits == Limits(build=timedelta(seconds=1.5), files=7)


def test_a_spec_holds_names_of_secrets_as_texts_and_variables_as_texts() -> None:
    record = attempt_codec.spec_to_json(SPEC)
    breaks: list[dict[str, object]] = [{"env": {"A": 1}}, {"env": []}, {"secrets": [1]}]
    for broken in breaks:
        with pytest.raises(CorruptStateError, match="toolchain"):
            attempt_codec.spec_from_json({**record, "toolchain": {**record["toolchain"], **broken}})


def test_what_was_observed_of_a_sandbox_comes_back_as_it_was(a_task: Callable[..., Task]) -> None:
    runner = Runner(host="h", pid=1, started="s", boot="b")
    run = Run(attempt=1, token=2, sandbox="docker", folder="/a", runner=runner, started_at=START, observed=SANDBOX)
    assert codec.decode_task(codec.encode_task(a_task("a", run=run))).run == run
    assert attempt_codec.sandbox_from_json(attempt_codec.sandbox_to_json(SANDBOX)) == SANDBOX


def test_a_run_from_before_sandboxes_were_observed_has_nothing_observed(a_task: Callable[..., Task]) -> None:
    runner = Runner(host="h", pid=1, started="s", boot="b")
    run = Run(attempt=1, token=2, sandbox="docker", folder="/a", runner=runner, started_at=START)
    record = codec.encode_task(a_task("a", run=run))
    del record["run"]["observed"]
    assert codec.decode_task(record).run == run


def test_a_host_that_no_file_could_hold_is_stored_spelled_out() -> None:
    facts = replace(SANDBOX, refused=(RefusedHost(host="a\udcff", port=None, reason="b\ud800"),))
    kept = attempt_codec.sandbox_from_json(attempt_codec.sandbox_to_json(facts))
    assert (kept.refused[0].host, kept.refused[0].reason) == ("a\\udcff", "b\\ud800")


def test_a_spec_of_a_newer_taskq_is_refused() -> None:
    with pytest.raises(NewerVersionError, match="version 2"):
        attempt_codec.spec_from_json({**attempt_codec.spec_to_json(SPEC), "version": 2})


def test_a_spec_with_a_field_missing_is_damage() -> None:
    with pytest.raises(CorruptStateError, match="base_commit missing"):
        attempt_codec.spec_from_json({**attempt_codec.spec_to_json(SPEC), "base_commit": None})


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("title", 7, "no text"),
        ("priority", "7", "no integer"),
        ("priority", True, "no integer"),
        ("allow_empty", "yes", "neither true nor false"),
        ("labels", "x", "no list"),
        ("labels", [1], "no text"),
        ("status", "lost", "no status"),
        ("not_before", "tomorrow", "Invalid isoformat"),
        ("limits", [], "no object"),
        ("limits", {"build": "1h"}, "no number"),
        ("limits", {"build": 1e300}, "no duration"),
        ("verification", [], "no object"),
        ("run", {"attempt": 1}, "missing"),
        ("usage", {"cost_usd": "1"}, "no number"),
        ("repo", None, "repo missing"),
    ],
)
def test_a_value_of_the_wrong_type_is_damage_that_names_task_and_field(
    field: str, value: object, why: str, a_task: Callable[..., Task]
) -> None:
    with pytest.raises(CorruptStateError, match=rf"task 'a' .*{field}.*{why}|task 'a' .*{why}"):
        codec.decode_task({**codec.encode_task(a_task("a")), field: value})


def test_a_task_of_a_newer_taskq_is_refused(a_task: Callable[..., Task]) -> None:
    with pytest.raises(NewerVersionError, match="upgrade taskq"):
        codec.decode_task({**codec.encode_task(a_task("a")), "v": 2})


def test_members_that_are_missing_are_the_fields_defaults(a_task: Callable[..., Task]) -> None:
    names = {"id", "repo", "base", "status", "text", "created_at", "updated_at"}
    record = {name: value for name, value in codec.encode_task(a_task("a")).items() if name in names}
    assert codec.decode_task(record) == a_task("a")


def test_there_is_one_format_of_times() -> None:
    berlin = timezone(timedelta(hours=1))
    assert encode_moment(datetime(2026, 11, 21, 4, 0, tzinfo=berlin)) == "2026-11-21T03:00:00.000000Z"
    for text in ("2026-11-21T03:00:00.000000Z", "2026-11-21T03:00:00", "2026-11-21T04:00:00+01:00"):
        assert decode_moment(text) == START


def test_a_time_without_a_zone_is_our_bug(a_task: Callable[..., Task]) -> None:
    with pytest.raises(TaskqError, match="no zone"):
        codec.encode_task(a_task("a")._replace(not_before=datetime(2026, 1, 1)))  # noqa: DTZ001  # the point


def test_revisions_and_failures_stand_alone_too() -> None:
    revision = Revision(
        commit="2" * 40,
        base_commit="1" * 40,
        ref="refs/x",
        attempt=1,
        collect=1,
        collected_at=START,
        source="archive",
        files=(FileChange(path="a\udcff", status="A", added=None, removed=None),),
    )
    failure = Failure(stage="build", code="exit", message="m", exit_code=1)
    kept = attempt_codec.revision_from_json(attempt_codec.revision_to_json(revision))
    assert kept.files[0].path == "a\\udcff"
    assert replace(kept, files=revision.files) == revision
    assert attempt_codec.failure_from_json(attempt_codec.failure_to_json(failure)) == failure
    with pytest.raises(CorruptStateError, match="the failure cannot be read"):
        attempt_codec.failure_from_json({})
    with pytest.raises(CorruptStateError, match="the revision cannot be read"):
        attempt_codec.revision_from_json({})
