from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.core.errors import ConfigError
from orchestration.support import config


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def test_without_files_everything_is_at_its_default(tmp_path: Path) -> None:
    settings, origins = config.load(tmp_path / "none.toml", environment={})
    assert settings.max_parallel == 3
    assert settings.limits.build == timedelta(hours=1)
    assert (settings.limits.memory, settings.limits.cpus, settings.limits.pids) == (1024**3, 2.0, 512)
    assert (settings.sandbox, settings.image, settings.network) == ("docker", None, None)
    assert settings.allow == settings.allow_private == ()
    assert origins == {}


def test_the_later_source_wins_and_is_named(tmp_path: Path) -> None:
    first = write(tmp_path / "a.toml", 'sandbox = "local"\nmodel = "one"\n[limits]\nbuild = "5m"\noutput = "1MB"\n')
    second = write(tmp_path / "b.toml", 'model = "two"\n[limits]\nbuild = "7m"\n')
    settings, origins = config.load(first, second, environment={"TASKQ_DEFAULT_MAX_PARALLEL": "8"})
    assert (settings.sandbox, settings.model, settings.max_parallel) == ("local", "two", 8)
    assert (settings.limits.build, settings.limits.output) == (timedelta(minutes=7), 2**20)
    assert origins["model"] == str(second)
    assert origins["limits.output"] == str(first)
    assert origins["max_parallel"] == "TASKQ_DEFAULT_MAX_PARALLEL"


def test_what_a_sandbox_starts_from_and_reaches_can_be_said(tmp_path: Path) -> None:
    path = write(
        tmp_path / "config.toml",
        'image = "registry.example:5000/tools/agent:2"\nnetwork = "none"\nallow = ["pypi", "git.example:8443"]\n'
        'allow_private = ["10.0.0.7"]\n[limits]\nmemory = "2G"\ncpus = 0.5\npids = 64\n',
    )
    settings, origins = config.load(path, environment={})
    assert (settings.image, settings.network) == ("registry.example:5000/tools/agent:2", "none")
    assert (settings.allow, settings.allow_private) == (("pypi", "git.example:8443"), ("10.0.0.7",))
    assert (settings.limits.memory, settings.limits.cpus, settings.limits.pids) == (2 * 1024**3, 0.5, 64)
    assert origins["limits.cpus"] == origins["allow"] == str(path)


@pytest.mark.parametrize(
    ("text", "words"), [("pypi, .example.org,pypi", ("pypi", ".example.org")), ("pypi", ("pypi",)), ("", ()), (" ", ())]
)
def test_a_list_in_a_variable_has_commas_and_replaces_the_one_of_a_file(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    path = write(tmp_path / "config.toml", 'allow = ["npm"]')
    assert config.load(path, environment={"TASKQ_DEFAULT_ALLOW": text})[0].allow == words


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sandbx = 'local'", "unknown key 'sandbx'; did you mean 'sandbox'"),
        ("max_parallel = 0", "max_parallel: must be at least 1"),
        ("max_parallel = 'x'", "max_parallel: must be a whole number"),
        ("allow_empty = 'perhaps'", "allow_empty: must be true or false"),
        ("worktree_root = 'relative'", "worktree_root: must be an absolute path"),
        ("model = ''", "model: must be a text"),
        ("image = 'a b'", "image: must be a word"),
        ("image = '--rm'", "image: must name an image"),
        ("network = 'opne'", "network: must be one of allowlist, none, open"),
        ("network = 1", "network: must be one of allowlist, none, open"),
        ("allow = 3", "allow: must be a list of words"),
        ("allow = ['a', '']", "allow: must be a word"),
        ("allow = ['a b']", "allow: must be a word"),
        ('allow = ["a\\u001b"]', "allow: must be a word"),
        ("allow_private = [1]", "allow_private: must be a word"),
        ("[limits]\ncpus = 0", "cpus: '0' must be at least 0.01"),
        ("[limits]\nmemory = true", "memory: 'True' is no size"),
        ("[limits]\npids = [1]", "pids: .* is no whole number"),
        ("limits = 3", "unknown key 'limits'"),
        ("[limits]\nbuid = '3m'", r"\[limits\]: unknown key 'buid'; did you mean 'build'"),
        ("[limits]\nbuild = 'soon'", "build: 'soon' is no duration"),
        ("sandbox = ", "Invalid value"),
    ],
)
def test_a_bad_file_is_an_error_that_names_file_and_key(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path / "config.toml", content)
    with pytest.raises(ConfigError, match=message) as caught:
        config.load(path, environment={})
    assert str(caught.value).startswith(str(path))


def test_a_file_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"model = '\xff'")
    with pytest.raises(ConfigError, match="utf-8"):
        config.load(path, environment={})


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path, environment={})


def test_an_unknown_variable_is_refused() -> None:
    with pytest.raises(ConfigError, match="TASKQ_DEFAULT_MODLE: unknown key 'modle'; did you mean 'model'"):
        config.load(environment={"TASKQ_DEFAULT_MODLE": "x"})
