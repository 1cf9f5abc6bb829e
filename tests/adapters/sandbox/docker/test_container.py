"""What the engine says of a real container of ours, flag by flag, and what that means inside."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.core.models import Limits
from orchestration.core.toolchain import Toolchain
from tests.adapters.sandbox.docker.conftest import Box

pytestmark = pytest.mark.full
OpenBox = Callable[..., AbstractContextManager[Box]]


def test_every_flag_of_the_container_is_what_the_documents_promise(open_box: OpenBox) -> None:
    limits = replace_limits(memory=300 * 1024**2, cpus=0.5, pids=99)
    with open_box(limits=limits) as box:
        found = box.inspected
        config, host = found["Config"], found["HostConfig"]
        assert {
            "name": found["Name"],
            "user": config["User"],
            "tty": config["Tty"],
            "labels": {name: value for name, value in config["Labels"].items() if name.startswith("taskq.q")},
            "exposed": config.get("ExposedPorts"),
        } == {
            "name": f"/task-T-1-{box.spec.created_at:%Y%m%d%H%M%S}-a1",
            "user": "65534:65534",
            "tty": False,
            "labels": {"taskq.queue": box.spec.queue},
            "exposed": None,
        }
        assert (config["Labels"]["taskq.task"], config["Labels"]["taskq.attempt"]) == ("T-1", "1")
        assert {
            "privileged": host["Privileged"],
            "cap_add": host["CapAdd"],
            "cap_drop": host["CapDrop"],
            "security": host["SecurityOpt"],
            "read_only": host["ReadonlyRootfs"],
            "init": host["Init"],
            "memory": host["Memory"],
            "swap": host["MemorySwap"],
            "cpus": host["NanoCpus"],
            "pids": host["PidsLimit"],
            "log": (host["LogConfig"]["Type"], host["LogConfig"]["Config"]),
            "network": host["NetworkMode"],
            "ports": host["PortBindings"] or {},
            "publish": host["PublishAllPorts"],
            "binds": host["Binds"],
            "devices": host["Devices"],
            "namespaces": (host["IpcMode"], host["PidMode"], host["UTSMode"], host["UsernsMode"]),
            "restart": host["RestartPolicy"]["Name"],
            "volumes_from": host["VolumesFrom"],
            "core": [(one["Name"], one["Hard"], one["Soft"]) for one in host["Ulimits"]],
        } == {
            "privileged": False,
            "cap_add": None,
            "cap_drop": ["ALL"],
            "security": ["no-new-privileges:true"],
            "read_only": True,
            "init": True,
            "memory": 300 * 1024**2,
            "swap": 300 * 1024**2,
            "cpus": 500_000_000,
            "pids": 99,
            "log": ("json-file", {"max-size": "1m", "max-file": "1"}),
            "network": "none",
            "ports": {},
            "publish": False,
            "binds": None,
            "devices": None,
            "namespaces": ("private", "", "", ""),
            "restart": "no",
            "volumes_from": None,
            "core": [("core", 0, 0)],
        }


def replace_limits(**differences: float) -> Limits:
    return Limits()._replace(**differences)  # type: ignore[arg-type]  # the names are those of Limits


def test_of_the_host_only_the_attempts_own_folders_are_there(box: Box) -> None:
    root = str(box.folders.root)
    shown = {(one["Source"], one["Destination"], one["RW"]) for one in box.inspected["Mounts"]}
    assert shown == {
        (f"{root}/workspace", "/taskq/workspace", True),
        (f"{root}/git", "/taskq/git", True),
        (f"{root}/data", "/taskq/data", True),
        (f"{root}/out", "/taskq/out", True),
        (f"{root}/config", "/taskq/config", False),
    }


def test_what_the_kernel_says_inside_agrees(box: Box) -> None:
    _, status, _ = box.shell("cat /proc/self/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {name: int(facts[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "CapInh": 0,
        "CapPrm": 0,
        "CapEff": 0,
        "CapBnd": 0,
        "CapAmb": 0,
    }
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    expected = 1000 if os.getuid() == 0 else os.getuid()
    assert facts["Uid"].split() == [str(expected)] * 4
    assert facts["Groups"].split() in ([], [str(expected)])


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/usr",
        "/etc",
        "/usr/local/lib/taskq",
        "/taskq",
        "/taskq/config",
        "/sys/fs/cgroup",
        "/proc/sys/kernel/hostname",
    ],
)
def test_nothing_but_the_folders_can_be_written(box: Box, path: str) -> None:
    ended, _, _ = box.shell(f"touch {path}/x 2>/dev/null || echo x >{path}")
    assert not ended.succeeded
    assert box.shell('touch "$TASKQ_OUT/x" /taskq/git/x /taskq/data/x ./x /tmp/x')[0].succeeded, "the control"


def test_there_is_no_socket_of_the_engine_and_no_device_of_the_host(box: Box) -> None:
    _, found, _ = box.shell("find / -xdev -type s 2>/dev/null; ls /dev")
    assert "docker.sock" not in found
    assert not {"kvm", "mem", "sda", "vda", "loop0"} & set(found.split())


def test_a_fork_bomb_is_held_by_the_limit_and_leaves_the_sandbox_usable(open_box: OpenBox) -> None:
    with open_box(limits=replace_limits(pids=64)) as box:
        box.shell("bomb() { bomb | bomb & }; bomb; wait", seconds=3)
        assert box.shell("echo fine")[1] == "fine\n"


def test_memory_above_the_limit_ends_the_command_and_is_said(open_box: OpenBox) -> None:
    with open_box(limits=replace_limits(memory=64 * 1024**2)) as box:
        ended, _, said = box.shell("exec perl -e '$x = \"x\" x 200_000_000; print 1'")
        assert not ended.succeeded
        assert "ran out of its memory" in said
        assert box.shell("echo fine")[1] == "fine\n"


def test_secrets_are_files_in_memory_for_the_agent_alone_and_in_no_setting(open_box: OpenBox) -> None:
    with open_box(toolchain=Toolchain(secrets=("API_KEY",))) as box:
        _, content, _ = box.shell(
            'stat -c "%a %u" "$TASKQ_SECRETS"/API_KEY; cat "$TASKQ_SECRETS"/API_KEY; df -T "$TASKQ_SECRETS"'
        )
        assert content.split()[0] == "400"
        assert "value of API_KEY" in content
        assert "tmpfs" in content
        assert "value of API_KEY" not in str(box.inspected)
        assert "value of API_KEY" not in str(box.engine.api.top(box.sandbox.facts.id))
        assert not [path for path in box.folders.root.rglob("*") if path.is_file() and b"value of" in path.read_bytes()]


def test_the_proxys_variables_are_there_only_where_there_is_a_way_out(open_box: OpenBox) -> None:
    with open_box(network="none") as box:
        assert "PROXY" not in box.shell("env")[1].upper()
    with open_box(network="allowlist") as box:
        variables = dict(line.split("=", 1) for line in box.shell("env")[1].splitlines())
        assert {variables[name] for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")} == {
            "http://127.0.0.1:3128"
        }


def test_an_agent_that_kills_all_it_may_is_a_killed_agent_and_the_next_command_runs(box: Box) -> None:
    ended, _, _ = box.shell("kill -9 -1; sleep 60")
    assert (ended.code, ended.signal) == (None, 9)
    assert box.shell("echo again")[1] == "again\n"


def test_an_agent_cannot_end_the_container(box: Box) -> None:
    identifier = box.sandbox.facts.id
    box.shell("kill -9 1; for each in $(ls /proc | grep -E '^[0-9]+$'); do [ $each = $$ ] || kill -9 $each; done")
    assert box.shell("echo again")[1] == "again\n"
    assert box.sandbox.facts.id == identifier


def test_the_workspace_belongs_to_the_agent_with_all_in_it(engine: Engine, open_box: OpenBox, tmp_path: Path) -> None:
    deep = tmp_path / "T-1-1" / "workspace" / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "file").write_text("from the host", encoding="utf-8")
    (deep / "link").symlink_to("/etc/passwd")
    before = Path("/etc/passwd").stat().st_uid
    with open_box() as box:
        assert box.shell("echo more >> a/b/file && cat a/b/file")[1] == "from the hostmore\n"
    assert Path("/etc/passwd").stat().st_uid == before, "no link was followed"
