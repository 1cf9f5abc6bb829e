"""What bubblewrap adds; each refusal has its control: without bubblewrap the same succeeds."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestration.adapters.sandbox.local import bubblewrap
from orchestration.adapters.sandbox.local.provider import LocalSandboxProvider
from orchestration.core.errors import SandboxError


@pytest.fixture(autouse=True)
def _bubblewrap(capability: Callable[[str], None]) -> None:
    capability("bwrap")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    for name in (".ssh/id", ".aws/credentials", ".netrc", ".config/gh/hosts.yml", ".config/other/plain", "bin/tool"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\necho canary\n", encoding="utf-8")
        path.chmod(0o755)
    return folder


@pytest.fixture
def both(make_attempt: Callable[..., Any], shell: Callable[..., Any], home: Path) -> Callable[..., tuple[str, str]]:
    """Return a function that runs a script inside bubblewrap and without, and returns what each wrote."""

    def run(script: str, **options: Any) -> tuple[str, str]:
        wrote = []
        for number, use in enumerate((True, False)):
            attempt = make_attempt(f"T-{number}")
            provider = LocalSandboxProvider(use_bubblewrap=use, home=home, **options)
            with provider.open(attempt.spec, attempt.folders, lease=attempt.lease) as sandbox:
                wrote.append(shell(sandbox, script)[1])
        return wrote[0], wrote[1]

    return run


@pytest.fixture
def outside() -> Iterator[Path]:
    """Yield a folder that is neither the attempt's nor in a temporary folder."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


def test_nothing_outside_of_the_attempt_can_be_written(both: Callable[..., tuple[str, str]], outside: Path) -> None:
    inside, control = both(f"touch {outside}/x && rm {outside}/x && echo written || echo refused")
    assert inside.endswith("Read-only file system\nrefused\n")
    assert control == "written\n"


def test_the_config_folder_cannot_be_written(both: Callable[..., tuple[str, str]]) -> None:
    inside, control = both('touch "$TASKQ_CONFIG/x" && echo written || echo refused')
    assert inside.endswith("refused\n")
    assert control == "written\n"


def test_secrets_in_the_home_are_hidden(both: Callable[..., tuple[str, str]], home: Path) -> None:
    inside, control = both(f"cd {home}; cat .ssh/* .aws/* .netrc .config/gh/* 2>/dev/null | grep -c canary")
    assert (inside, control) == ("0\n", "4\n")


def test_what_is_no_secret_and_tools_in_the_home_stay(both: Callable[..., tuple[str, str]], home: Path) -> None:
    inside, _ = both("tool; grep -c canary ~-/x 2>/dev/null; true", path=f"{home}/bin:{os.environ['PATH']}")
    assert inside == "canary\n"


def test_a_secret_behind_a_link_is_hidden_where_it_is(
    both: Callable[..., tuple[str, str]], home: Path, outside: Path
) -> None:
    (home / ".gnupg").symlink_to(outside)
    (outside / "key").write_text("canary", encoding="utf-8")
    inside, control = both(f"cat {outside}/key {home}/.gnupg/key 2>/dev/null")
    assert (inside, control) == ("", "canarycanary")


def test_temporary_files_of_others_are_hidden(both: Callable[..., tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "other").write_text("canary", encoding="utf-8")
    inside, control = both(f"cat {tmp_path}/other 2>/dev/null; true")
    assert (inside, control) == ("", "canary")


def test_readable_folders_stay_readable_but_not_writable(both: Callable[..., tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/object").write_text("canary\n", encoding="utf-8")
    script = f"cat {tmp_path}/cache/object; touch {tmp_path}/cache/x 2>/dev/null && echo written"
    inside, control = both(script, readable=[tmp_path / "cache"])
    assert (inside, control) == ("canary\n", "canary\nwritten\n")


def test_programs_on_path_in_a_temporary_folder_stay(both: Callable[..., tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/taskq-test-tool").symlink_to("/bin/echo")
    inside, _ = both("taskq-test-tool found", path=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert inside == "found\n"


def test_processes_of_the_host_are_hidden(both: Callable[..., tuple[str, str]]) -> None:
    inside, control = both(f"kill -0 {os.getpid()}")
    assert "No such process" in inside
    assert "No such process" not in control


def test_the_supervisor_cannot_be_killed_from_inside(
    make_attempt: Callable[..., Any], shell: Callable[..., Any]
) -> None:
    attempt = make_attempt()
    with LocalSandboxProvider(use_bubblewrap=True).open(attempt.spec, attempt.folders, lease=attempt.lease) as sandbox:
        # Only ever in here: the guard ends the script unless PID 1 is our supervisor, in a namespace of its own.
        guard = "grep -qz TASKQ_SANDBOX=local /proc/1/cmdline || exit 9"
        assert shell(sandbox, f"{guard}; kill -9 1; echo alive")[1].endswith("alive\n")
        assert shell(sandbox, "true")[0].succeeded


def test_no_capability_is_left(both: Callable[..., tuple[str, str]]) -> None:
    inside, _ = both("grep -E 'Cap(Eff|Prm)|NoNewPrivs' /proc/self/status")
    assert [line.split()[1].strip("0") for line in inside.splitlines()] == ["", "", "1"]


def test_names_are_resolved_as_on_the_host(both: Callable[..., tuple[str, str]]) -> None:
    inside, control = both("cat /etc/resolv.conf | cksum")
    assert inside == control


def test_an_attempt_below_a_hidden_place_is_still_writable(
    make_attempt: Callable[..., Any], shell: Callable[..., Any], home: Path
) -> None:
    attempt = make_attempt(root=home / ".config/taskq/attempt")
    provider = LocalSandboxProvider(use_bubblewrap=True, home=home)
    with provider.open(attempt.spec, attempt.folders, lease=attempt.lease) as sandbox:
        assert shell(sandbox, "touch x ../git/x && cat ../../../gh/hosts.yml")[0].code == 1
    assert (attempt.folders.git / "x").exists()


def test_where_bubblewrap_is_missing_it_is_neither_used_nor_required(
    make_attempt: Callable[..., Any], shell: Callable[..., Any], no_bubblewrap: None
) -> None:
    attempt = make_attempt()
    provider = LocalSandboxProvider()
    with provider.open(attempt.spec, attempt.folders, lease=attempt.lease) as sandbox:
        assert shell(sandbox, f"kill -0 {os.getpid()}")[0].succeeded
    assert provider.check().usable
    assert "without bubblewrap" in provider.check().detail


def test_where_it_is_demanded_and_missing_nothing_is_opened(
    make_attempt: Callable[..., Any], no_bubblewrap: None
) -> None:
    attempt = make_attempt()
    provider = LocalSandboxProvider(use_bubblewrap=True)
    with (
        pytest.raises(SandboxError, match="install bubblewrap"),
        provider.open(attempt.spec, attempt.folders, lease=attempt.lease),
    ):
        pass
    assert not provider.check().usable
    assert "bubblewrap" in (provider.check().remedy or "")


def test_a_bubblewrap_that_cannot_isolate_counts_as_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_bubblewrap: None
) -> None:
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert bubblewrap.find_working() is None


@pytest.fixture
def no_bubblewrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Have a PATH without bubblewrap, and forget that there is one elsewhere."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(folder))
    bubblewrap.find_working.cache_clear()
    yield
    bubblewrap.find_working.cache_clear()
