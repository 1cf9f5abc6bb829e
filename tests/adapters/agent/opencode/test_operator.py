"""The operator's files: what is read, resolved, named and refused."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestration.adapters.agent.opencode.agent import OpenCodeAgent
from orchestration.adapters.agent.opencode.operator import read_operator
from orchestration.adapters.agent.opencode.seeds import ours, settings, used_providers
from orchestration.core.attempts import AttemptFolders
from orchestration.core.errors import UsageError
from orchestration.core.ports import AgentJob, AgentNeeds, discard_output
from tests.builders import a_spec


class Files:
    """An operator's home."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def write(self, name: str, content: Any) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    def config(self, content: Any, *, name: str = "opencode.json") -> Path:
        return self.write(f".config/opencode/{name}", content)

    def auth(self, content: Any) -> Path:
        return self.write(".local/share/opencode/auth.json", content)

    def environment(self, **more: str) -> Mapping[str, str]:
        return {"HOME": str(self.home), **more}

    def needs(self, *, environment: Mapping[str, str] | None = None, **spec: Any) -> AgentNeeds:
        wanted = {"network": "allowlist", **spec}
        return OpenCodeAgent(self.environment(**(environment or {}))).needs(a_spec(agent="opencode", **wanted))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_an_operator_without_files_needs_nothing(files: Files) -> None:
    assert files.needs() == AgentNeeds()


def test_without_a_model_or_a_log_in_it_says_how_to_get_one_before_it_needs_a_sandbox(files: Files) -> None:
    job = AgentJob(spec=a_spec(), folders=AttemptFolders(root=files.home), timeout=timedelta(seconds=1))
    planned = OpenCodeAgent(files.environment()).plan(None, job, discard_output)  # type: ignore[arg-type]  # not asked
    assert planned is not None
    assert planned.code == "no_model"
    assert "opencode auth login" in (planned.problem or "")


def test_files_are_merged_in_opencodes_order_and_may_have_comments(files: Files) -> None:
    files.config(
        {"model": "a/1", "provider": {"a": {"options": {"baseURL": "https://one.example"}}}}, name="config.json"
    )
    files.config('{"model": "b/2", // the better one\n "provider": {"a": {"name": "A",},}, }')
    files.config({"small_model": "c/3"}, name="opencode.jsonc")
    assert read_operator(files.environment()).config == {
        "model": "b/2",
        "small_model": "c/3",
        "provider": {"a": {"options": {"baseURL": "https://one.example"}, "name": "A"}},
    }


def test_xdg_folders_count_when_they_are_absolute(files: Files) -> None:
    files.write("elsewhere/opencode/opencode.json", {"model": "a/1"})
    elsewhere = str(files.home / "elsewhere")
    assert read_operator(files.environment(XDG_CONFIG_HOME=elsewhere)).config == {"model": "a/1"}
    assert read_operator(files.environment(XDG_CONFIG_HOME="elsewhere")).config == {}


def test_variables_and_files_are_resolved_on_the_host(files: Files) -> None:
    files.write("keys/one", 'k"1-with-a-quote\n')
    files.config(
        """{
        // {file:never-read}
        "provider": {"a": {"options": {"apiKey": "{file:~/keys/one}", "headers": {"x-id": "{env:ID}-{env:NONE}"}}}}}"""
    )
    found = read_operator(files.environment(ID="id-12345678"))
    options = found.config["provider"]["a"]["options"]
    assert options == {"apiKey": 'k"1-with-a-quote', "headers": {"x-id": "id-12345678-"}}
    assert {value for _, value in found.secrets} == {b'k"1-with-a-quote', b"id-12345678-"}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("opencode.json", '{"model": ', "no JSON"),
        ("opencode.json", "[" * 100_000, "nested"),
        ("opencode.json", "[]", "no object"),
        ("opencode.json", '{"a": "{file:./gone}"}', "there is no file"),
        ("opencode.json", '{"provider": {"a": {"options": {"baseURL": "ftp://x"}}}, "model": "a/b"}', "baseURL"),
        ("opencode.json", '{"provider": {"a": {"options": {"baseURL": "http://[x"}}}, "model": "a/b"}', "baseURL"),
        ("opencode.json", '{"provider": {"a": {"options": {"baseURL": 7}}}, "model": "a/b"}', "baseURL"),
        ("opencode.json", '{"model": 7}', "'model'"),
    ],
)
def test_what_cannot_be_used_is_refused_before_a_sandbox_is_opened(
    files: Files, name: str, content: str, says: str
) -> None:
    files.config(content, name=name)
    with pytest.raises(UsageError, match=says) as refused:
        files.needs()
    assert refused.value.code == "bad_agent_config"


def test_an_error_tells_nothing_of_a_file_that_holds_credentials(files: Files) -> None:
    files.auth('{"anthropic": {"key": "sk-very-secret" oops')
    with pytest.raises(UsageError) as refused:
        files.needs()
    assert "sk-very" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_every_credential_is_named(files: Files) -> None:
    files.auth(
        {
            "anthropic": {"type": "oauth", "access": "access-1", "refresh": "refresh-1", "expires": 7},
            "openai": {"type": "api", "key": "sk-openai"},
            "https://site.example": {"type": "wellknown", "key": "SITE_TOKEN", "token": "token-1"},
            "tiny": {"type": "api", "key": "abc"},
            "odd": "no object",
        }
    )
    files.config(
        {
            "model": "a/1",
            "provider": {
                "a": {
                    "options": {"apiKey": "sk-config", "headers": {"Authorization": "Bearer in-a-header"}},
                    "models": {"1": {"limit": {"tokens": "8192"}}},
                }
            },
            "keybinds": {"leader_key": "ctrl+x"},
        }
    )
    assert set(files.needs().secrets) == {
        ("opencode:anthropic", b"access-1"),
        ("opencode:anthropic", b"refresh-1"),
        ("opencode:openai", b"sk-openai"),
        ("opencode:https://site.example", b"token-1"),
        ("opencode:provider.a", b"sk-config"),
        ("opencode:provider.a", b"Bearer in-a-header"),
        ("opencode:provider.a", b"in-a-header"),
    }


@pytest.mark.parametrize(
    ("url", "allow", "allow_private"),
    [
        ("https://models.example/v1", ("models.example:443",), ()),
        ("http://models.example:8080", ("models.example:8080",), ()),
        ("http://localhost:11434/v1", (), ("host.docker.internal:11434",)),
        ("http://127.0.0.2:1/v1", (), ("host.docker.internal:1",)),
        ("http://[::1]:8000/v1", (), ("host.docker.internal:8000",)),
        ("http://192.168.1.5:8000/v1", (), ("192.168.1.5:8000",)),
        ("http://[fd00::5]:8000/v1", (), ("[fd00::5]:8000",)),
        ("https://gpu.lan/v1", (), ("gpu.lan:443",)),
        ("https://gpu/v1", (), ("gpu:443",)),
    ],
)
def test_the_hosts_are_those_of_the_model_in_use(
    files: Files, url: str, allow: tuple[str, ...], allow_private: tuple[str, ...]
) -> None:
    others = {"b": {"options": {"baseURL": "https://other.example"}}}
    files.config({"model": "a/1", "provider": {"a": {"options": {"baseURL": url}}, **others}})
    files.auth({"anthropic": {"type": "api", "key": "sk-unused"}})
    needs = files.needs()
    assert (needs.allow, needs.allow_private) == (allow, allow_private)


def test_a_well_known_provider_needs_no_address(files: Files) -> None:
    files.config({"model": "anthropic/claude", "small_model": "groq/x", "agent": {"look": {"model": "xai/y"}}})
    hosts = {"api.anthropic.com:443", "console.anthropic.com:443", "api.groq.com:443", "api.x.ai:443"}
    assert set(files.needs().allow) == hosts


def test_the_tasks_model_is_stronger_than_the_configured_one(files: Files) -> None:
    files.config({"model": "anthropic/claude"})
    assert files.needs(model="mistral/large").allow == ("api.mistral.ai:443",)


def test_without_a_model_every_provider_with_a_log_in_may_be_asked(files: Files) -> None:
    files.auth({"groq": {"type": "api", "key": "gsk-1234"}, "xai": {"type": "api", "key": "xai-1234"}})
    assert files.needs().allow == ("api.groq.com:443", "api.x.ai:443")


def test_a_model_that_is_none_is_refused(files: Files) -> None:
    with pytest.raises(UsageError, match="PROVIDER/MODEL"):
        files.needs(model="claude")


def test_a_sandbox_gets_only_what_its_models_need(files: Files) -> None:
    files.config(
        {
            "model": "a/1",
            "share": "auto",
            "autoupdate": True,
            "mcp": {"tool": {"type": "local", "command": ["x"]}},
            "plugin": ["some-plugin"],
            "agent": {"build": {"temperature": 0.5}},
            "provider": {"a": {"options": {"baseURL": "http://localhost:1"}}, "b": {"options": {"apiKey": "sk-other"}}},
        }
    )
    operator = read_operator(files.environment())
    spec = a_spec(network="allowlist", model=None)
    given = settings(spec, operator, used_providers(spec, operator))
    assert given == {
        "$schema": "https://opencode.ai/config.json",
        "model": "a/1",
        "agent": {"build": {"temperature": 0.5}},
        "provider": {"a": {"options": {"baseURL": "http://host.docker.internal:1"}}},
    }
    assert ours(spec, operator) == {
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": False,
        "share": "disabled",
        "model": "a/1",
        "small_model": "a/1",
    }


def test_where_the_network_is_the_hosts_own_an_address_stays_as_it_is(files: Files) -> None:
    files.config({"model": "a/1", "provider": {"a": {"options": {"baseURL": "http://localhost:1"}}}})
    operator = read_operator(files.environment())
    spec = a_spec(network="open")
    given = settings(spec, operator, used_providers(spec, operator))
    assert given["provider"]["a"]["options"]["baseURL"] == "http://localhost:1"
    assert files.needs(network="open").allow_private == ("localhost:1",)
