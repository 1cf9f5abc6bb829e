"""What --json prints is what docs/reference/json-schema.json says."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestration.adapters.sandbox.docker.images import BuiltImage
from tests.cli.conftest import Cli
from tests.journeys.shell import Repo

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/reference/json-schema.json").read_text(encoding="utf-8"))


def check(value: Any, name: str) -> None:
    """Fail unless *value* is what the schema calls *name*."""
    schema = {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(value)


@pytest.fixture
def worked(cli: Cli, repo: Repo) -> Cli:
    """A queue with tasks in review (two), failed and waiting."""
    common = ("--repo", str(repo.path), "--task", "Work", "--agent-command")
    for identifier in ("A", "B"):
        cli("add", "--id", identifier, *common, f"echo said; echo {identifier} > {identifier}")
    cli("add", "--id", "F", *common, "exit 3", "--label", "x", "--not-before", "2020-01-01")
    cli("add", "--id", "W", *common, "true", "--after", "A")
    return cli


def test_every_command_keeps_to_the_schema(worked: Cli) -> None:
    check(worked("status", "--json").json, "tasks")
    events = [json.loads(line) for line in worked("run", "--json").out.splitlines()]
    for event in events:
        check(event, "run_event")
    kinds = {event["event"] for event in events}
    stages = {"stage_started", "stage_ended"}
    assert kinds == stages | {"task_claimed", "sandbox_opened", "output", "task_settled", "run_ended"}
    check(worked("status", "--json").json, "tasks")
    check(worked("review", "--json").json, "tasks")
    check(worked("review", "A", "--json").json, "brief")
    check(worked("diff", "A", "--json").json, "revision")
    check(worked("show", "F", "--json").json, "task")
    check(worked("logs", "F", "--json").json, "logs")
    check(worked("init", "elsewhere", "--json").json, "init")
    check(worked("collect", "A", "--json").json, "collected")
    check(worked("approve", "A", "--land", "ff", "--json").json, "task")
    check(worked("approve", "B", "--json").json, "task")
    check(worked("retry", "F", "--json").json, "task")
    check(worked("cancel", "F", "--json").json, "task")
    check(worked("cleanup", "--json").json, "cleanup")
    check(worked("remove", "W", "--json").json, "removed")
    check(worked("fsck", "--json").json, "fsck")
    check(worked("doctor", "--json").json, "doctor")
    check(worked("config", "--json").json, "config")
    check(worked("secret", "list", "--json").json, "secrets")
    check(json.loads(worked("show", "nobody", "--json").err), "error")


def test_the_schema_names_all_that_is_known_of_a_built_image() -> None:
    known = {field.name for field in dataclasses.fields(BuiltImage)}
    assert set(SCHEMA["$defs"]["built_image"]["properties"]) == known
    check({"id": "sha256:0", "tags": ["taskq/opencode:latest"], "seconds": 0.5}, "built_image")


def test_the_schema_refuses_what_it_does_not_name(worked: Cli) -> None:
    task = worked("show", "A", "--json").json
    with pytest.raises(jsonschema.ValidationError):
        check({**task, "surprise": 1}, "task")


def test_the_schema_itself_is_sound() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["$defs"]) >= {"task", "run_event", "error"}
