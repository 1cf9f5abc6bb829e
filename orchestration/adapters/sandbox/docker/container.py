"""The settings of an attempt's container. Pure: what is asserted flag by flag is read here from top to bottom.

Guarantees: no capability, no new privilege, no root, a read-only root file system, bounded memory, processors,
processes and logs, no engine socket, no namespace of the host, no published port; of the host only the attempt's own
folders, and the objects of the base read-only.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from docker.types import LogConfig, Mount, Ulimit

from orchestration.adapters.sandbox.docker.users import KEEPER
from orchestration.adapters.sandbox.egress.names import PROXY_SOCKET
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.naming import container_name

INSIDE: Final = AttemptFolders(root=Path("/taskq"))
"""Where the attempt's folders are, as commands see them."""
GUEST: Final = "/usr/local/lib/taskq/bin/taskq-guest"
PROXY_PORT: Final = 3128
_TEMPORARY: Final = "256m"
_NETWORKS: Final[Mapping[str | None, str]] = {"allowlist": "none", "none": "none", "open": "bridge"}
"""An allow-list needs no network: its one way out is a relay to a socket of ours."""


def settings(spec: AttemptSpec, *, image: str) -> dict[str, Any]:
    """Return the arguments of ``create_container``, but for ``host_config``, which is `host_settings`."""
    keeper = [GUEST, "hold"]
    if spec.network == "allowlist":
        keeper += [str(PROXY_PORT), str(INSIDE.egress / PROXY_SOCKET)]
    return {
        "image": image,
        "name": container_name(spec.task, spec.created_at, spec.attempt),
        "hostname": "taskq",
        "user": KEEPER,
        "labels": dict(spec.labels),
        "entrypoint": keeper,
        "command": [],
        "working_dir": "/",
        "stdin_open": True,
        "tty": False,
        "stop_signal": "SIGTERM",
    }


def host_settings(spec: AttemptSpec, folders: AttemptFolders) -> dict[str, Any]:
    """Return the arguments of ``create_host_config``."""
    limits = spec.limits
    return {
        "network_mode": _NETWORKS[spec.network],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "privileged": False,
        "read_only": True,
        "init": True,
        "ipc_mode": "private",
        "mem_limit": limits.memory,
        "memswap_limit": limits.memory,
        "nano_cpus": int(limits.cpus * 1_000_000_000),
        "pids_limit": limits.pids,
        "ulimits": [Ulimit(name="core", soft=0, hard=0)],
        "log_config": LogConfig(type=LogConfig.types.JSON, config={"max-size": "1m", "max-file": "1"}),
        "restart_policy": {"Name": "no"},
        "publish_all_ports": False,
        "mounts": mounts(spec, folders),
        "tmpfs": temporary(),
    }


def mounts(spec: AttemptSpec, folders: AttemptFolders) -> list[Mount]:
    """Return what of the host is shown: the attempt's own folders, and what the workspace borrows."""
    shown = [
        (folders.workspace, INSIDE.workspace, False),
        (folders.git, INSIDE.git, False),
        (folders.data, INSIDE.data, False),
        (folders.out, INSIDE.out, False),
        (folders.config, INSIDE.config, True),
    ]
    if folders.base.is_symlink():
        shown.append((folders.base.resolve(strict=True), INSIDE.base, True))
    if spec.network == "allowlist":
        shown.append((folders.egress, INSIDE.egress, True))
    return [
        Mount(type="bind", source=str(source), target=str(target), read_only=read_only, propagation="rprivate")
        for source, target, read_only in shown
    ]


def temporary() -> dict[str, str]:
    """Return the folders that are in memory only, and so are gone with the container.

    Their owner is the container's root, as not every engine lets that be chosen: what is put there protects itself.
    """
    return {
        "/tmp": f"rw,nosuid,nodev,exec,size={_TEMPORARY},mode=1777",  # noqa: S108 - the container's own
        "/var/tmp": f"rw,nosuid,nodev,exec,size={_TEMPORARY},mode=1777",  # noqa: S108 - the container's own
        "/run": "rw,nosuid,nodev,noexec,size=16m,mode=1777",
        str(INSIDE.secrets): "rw,nosuid,nodev,noexec,size=4m,mode=1777",
    }


def proxy_variables(spec: AttemptSpec) -> dict[str, str]:
    """Return the variables by which programs find the way out, in both spellings that are in use."""
    if spec.network != "allowlist":
        return {}
    here, spared = f"http://127.0.0.1:{PROXY_PORT}", "localhost,127.0.0.1,::1"
    said = {"HTTP_PROXY": here, "HTTPS_PROXY": here, "NO_PROXY": spared}
    return said | {name.lower(): value for name, value in said.items()}
