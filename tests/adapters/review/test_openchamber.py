"""OpenChamber's command, against a stand-in on the PATH that writes down how it was started."""

import json
import os
import shutil
import stat
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestration.adapters.review import openchamber
from orchestration.adapters.review.openchamber import OpenChamber
from orchestration.core.attempts import AttemptFolders
from orchestration.core.errors import ExternalError
from orchestration.core.ports import AgentServer, Command
from tests.adapters.review.test_kept import is_alive
from tests.journeys.waiting import wait_until

STAND_IN = """#!{python}
import json, os, pathlib, socket, sys, time
port = int(sys.argv[sys.argv.index("--port") + 1])
folder = pathlib.Path(os.environ["OPENCHAMBER_DATA_DIR"])
seen = {{"argv": sys.argv[1:], "env": dict(os.environ), "pid": os.getpid(), "cwd": os.getcwd()}}
seen["settings"] = json.loads((folder / "settings.json").read_text())
pathlib.Path({seen!r}).write_text(json.dumps(seen))
with socket.create_server(("127.0.0.1", port)) as server:
    while True:
        server.accept()[0].close()
"""
SERVER = AgentServer(
    port=4096,
    user="opencode",
    password="the-server's",
    page="/L3dvcms/session/ses_1",
    attach=Command(argv=("attach",), timeout=timedelta(minutes=1)),
)


def install(folder: Path, name: str, content: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content, encoding="utf-8")
    (folder / name).chmod(0o755)


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """A PATH with the stand-in and an OpenCode, and a variable that is nobody else's business."""
    install(tmp_path / "bin", "openchamber", STAND_IN.format(python=sys.executable, seen=str(tmp_path / "seen.json")))
    install(tmp_path / "bin", "opencode", "#!/bin/sh\n")
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "MY_TOKEN": "hidden"}


@pytest.fixture
def installed(environment: Mapping[str, str]) -> OpenChamber:
    found = openchamber.find(environment)
    assert found is not None
    return found


def opened(installed: OpenChamber, tmp_path: Path) -> Any:
    scratch = tmp_path / "scratch"
    scratch.mkdir(mode=0o700)
    folders = AttemptFolders(root=tmp_path / "attempt")
    return installed.opened(SERVER, port=1234, folders=folders, worktree=tmp_path / "worktree", scratch=scratch)


def seen(tmp_path: Path) -> Any:
    return json.loads((tmp_path / "seen.json").read_text(encoding="utf-8"))


def test_it_is_told_of_the_server_the_attempt_s_folders_and_our_worktree(
    installed: OpenChamber, tmp_path: Path
) -> None:
    with opened(installed, tmp_path) as page:
        told = seen(tmp_path)
    env, attempt = told["env"], tmp_path / "attempt"
    assert told["argv"] == ["serve", "--port", told["argv"][2], "--host", "127.0.0.1", "--foreground"]
    assert page.url == f"http://127.0.0.1:{told['argv'][2]}/?session=ses_1"
    assert env["OPENCODE_HOST"] == "http://127.0.0.1:1234"
    assert env["OPENCODE_SKIP_START"] == "true"
    assert env["OPENCODE_BINARY"] == str(tmp_path / "bin/opencode")
    assert (env["XDG_CONFIG_HOME"], env["XDG_DATA_HOME"]) == (
        str(attempt / "config"), str(attempt / "data/home/.local/share"),
    )  # fmt: skip
    assert env["OPENCHAMBER_DATA_DIR"] == str(tmp_path / "scratch/openchamber")
    assert told["settings"]["lastDirectory"] == str(tmp_path / "worktree")
    assert [project["path"] for project in told["settings"]["projects"]] == [str(tmp_path / "worktree")]
    assert str(attempt / "workspace") not in json.dumps(told)
    assert told["cwd"] == "/"
    assert "MY_TOKEN" not in env


def test_its_passwords_are_in_no_argument_and_its_folder_is_private(installed: OpenChamber, tmp_path: Path) -> None:
    with opened(installed, tmp_path) as page:
        told = seen(tmp_path)
        mode = stat.S_IMODE((tmp_path / "scratch/openchamber").stat().st_mode)
        arguments = b"".join(file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline"))
    assert (told["env"]["OPENCODE_SERVER_PASSWORD"], mode) == (SERVER.password, 0o700)
    assert page.password is not None
    assert told["env"]["OPENCHAMBER_UI_PASSWORD"] == page.password
    assert len(page.password) >= 32
    assert page.password not in page.url
    assert page.password.encode() not in arguments
    assert SERVER.password.encode() not in arguments
    assert b"openchamber" in arguments, "the control: it was seen while it ran"


def test_it_ends_with_the_block(installed: OpenChamber, tmp_path: Path) -> None:
    with opened(installed, tmp_path):
        pid = seen(tmp_path)["pid"]
        assert is_alive(pid)
    wait_until(lambda: not is_alive(pid), what="it has ended")


def test_one_that_does_not_start_is_told_with_its_last_words(environment: Mapping[str, str], tmp_path: Path) -> None:
    install(tmp_path / "bin", "openchamber", "#!/bin/sh\necho no such luck >&2\nexit 1\n")
    found = openchamber.find(environment)
    assert found is not None
    with pytest.raises(ExternalError, match="no such luck"), opened(found, tmp_path):
        pytest.fail("it did not start")


@pytest.mark.parametrize("missing", ["openchamber", "opencode"])
def test_without_it_or_the_opencode_that_it_asks_for_there_is_none(
    environment: Mapping[str, str], tmp_path: Path, missing: str
) -> None:
    (tmp_path / "bin" / missing).unlink()
    assert openchamber.find(environment) is None


@pytest.mark.skipif(
    shutil.which("openchamber") is None, reason="openchamber is not on PATH, and no registry here has it"
)
def test_the_real_one_starts(tmp_path: Path) -> None:
    found = openchamber.find(os.environ)
    assert found is not None
    with opened(found, tmp_path) as page:
        assert page.url
