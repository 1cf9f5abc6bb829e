import sys
from pathlib import Path

import pytest

from tools import capabilities


def test_python_is_found_by_version_and_a_stand_in_of_that_name_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impostor = tmp_path / "bin" / "python3.99"
    impostor.parent.mkdir()
    impostor.write_text("#!/bin/sh\necho 3.0\n", encoding="utf-8")
    impostor.chmod(0o755)
    monkeypatch.setenv("PATH", str(impostor.parent))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert capabilities.find_python("3.99") is None
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    installed = tmp_path / "versions" / f"{version}.1" / "bin" / f"python{version}"
    installed.parent.mkdir(parents=True)
    installed.symlink_to(sys.executable)
    assert capabilities.find_python(version) == installed


def test_a_broken_program_is_missing_with_its_own_complaint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "strace"
    broken.write_text("#!/bin/sh\necho 'ptrace: Operation not permitted' >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert capabilities.CAPABILITIES["strace"].look() == "strace does not work: ptrace: Operation not permitted"


def test_a_required_capability_that_is_missing_fails_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    forget = capabilities._look.cache_clear
    forget()
    code = capabilities.main(["--require", "tmux", "pypi"])
    forget()
    assert code == 1
    assert capsys.readouterr().out.endswith("promised, but not here: tmux, pypi\n")
