"""What a path is on, by texts that real machines have and by file systems that a real kernel mounts."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestration.core.errors import StorageError
from orchestration.engine.doctor import file_system
from orchestration.support.mounts import Mount, file_system_of, find_mount, mount_of, refuse_network

FUSE = Path(__file__).with_name("fuse.py")

LAPTOP = rb"""22 1 0:20 / / rw,relatime shared:1 - btrfs /dev/nvme0n1p2 rw,ssd,subvolid=256,subvol=/@
23 22 0:21 / /proc rw,nosuid shared:12 - proc proc rw
40 22 0:20 /@home /home rw,relatime shared:30 - btrfs /dev/nvme0n1p2 rw,subvolid=257,subvol=/@home
41 22 8:1 / /mnt/USB\040stick rw,nosuid shared:31 - ext4 /dev/sda1 rw
42 40 0:51 / /home/ann/net rw,relatime shared:32 - nfs4 nas:/export/ann rw,vers=4.2,proto=tcp,sec=sys
43 40 0:52 / /home/ann/old rw,relatime shared:33 master:4 - nfs nas:/old rw,vers=3,proto=tcp
44 40 0:51 /part /srv/part rw,relatime - nfs4 nas:/export/ann/part rw,vers=4.2
45 40 0:53 / /home/ann/remote rw,nosuid - fuse.sshfs ann@host:/home/ann rw,user_id=1000
46 40 0:54 / /home/ann/vault rw,nosuid - fuse.gocryptfs /home/ann/.vault rw,user_id=1000
47 40 0:55 / /home/ann/dav rw,nosuid - fuse https://cloud.example/dav rw,user_id=1000
48 22 0:56 / /mnt/win rw - cifs //nas/share rw,vers=3.1.1
49 22 0:57 / /mnt/c rw,noatime - 9p C:\134 rw,dirsync,aname=drvfs
"""
CONTAINER = rb"""900 800 0:100 / / rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
901 900 0:101 / /dev rw,nosuid - tmpfs tmpfs rw
902 900 254:1 /var/lib/docker/volumes/q/_data /queue rw,relatime - ext4 /dev/vda1 rw
"""


@pytest.mark.parametrize(
    ("text", "device", "path", "kind"),
    [
        (CONTAINER, "0:100", "/tmp/queue", "overlay"),
        (CONTAINER, "254:1", "/queue", "ext4"),
        (LAPTOP, "8:1", "/mnt/USB stick/queue", "ext4"),
        (LAPTOP, "0:51", "/home/ann/net/queue", "nfs4"),
        (LAPTOP, "0:51", "/srv/part/queue", "nfs4"),
        (LAPTOP, "0:52", "/home/ann/old", "nfs"),
        (LAPTOP, "0:99", "/home/ann/queue", "btrfs"),
        (LAPTOP, "0:99", "/mnt/USB stick/queue", "ext4"),
        (LAPTOP, "0:99", "/home/annex", "btrfs"),
        (LAPTOP, "0:99", "/home/ann/network", "btrfs"),
    ],
    ids=[
        "overlay",
        "bind of a volume",
        "blank",
        "nfs 4",
        "bind of nfs",
        "nfs 3",
        "subvolume",
        "by path",
        "prefix",
        "beside",
    ],
)
def test_the_device_tells_the_file_system_and_the_deepest_mount_where_it_is_not_listed(
    text: bytes, device: str, path: str, kind: str
) -> None:
    found = find_mount(text, device, path)
    assert found is not None
    assert found.kind == kind


def test_blanks_and_backslashes_that_the_kernel_spells_in_octal_are_read() -> None:
    assert find_mount(LAPTOP, "8:1", "/x") == Mount(kind="ext4", source="/dev/sda1", point="/mnt/USB stick")
    assert find_mount(LAPTOP, "0:57", "/x") == Mount(kind="9p", source="C:\\", point="/mnt/c")


@pytest.mark.parametrize(
    ("device", "is_network"),
    [
        ("0:51", True), ("0:52", True), ("0:53", True), ("0:55", True), ("0:56", True), ("0:57", True),
        ("0:20", False), ("8:1", False), ("0:54", False),
    ],
)  # fmt: skip
def test_network_file_systems_are_told_from_local_ones(device: str, is_network: bool) -> None:  # noqa: FBT001 -- a table's column
    found = find_mount(LAPTOP, device, "/x")
    assert found is not None
    assert found.is_network is is_network


def test_of_mounts_at_one_place_the_last_covers_the_others() -> None:
    text = b"1 0 0:1 / /m rw - ext4 /dev/a rw\n2 0 0:2 / /m rw - nfs4 nas:/ rw\n"
    found = find_mount(text, "9:9", "/m/queue")
    assert found is not None
    assert found.kind == "nfs4"


@pytest.mark.parametrize("text", [b"", b"\n\n", b"1 2 3\n", b"1 0 0:1 / / rw\n", b"1 0 0:1 / / rw - \n"])
def test_a_text_that_says_nothing_gives_no_answer(text: bytes) -> None:
    assert find_mount(text, "0:1", "/x") is None


def test_a_device_that_stands_in_another_field_is_not_taken_for_the_device() -> None:
    text = b"1 0 0:1 / /a rw - ext4 0:2 rw\n2 0 0:2 / /b rw - xfs /dev/b rw\n"
    found = find_mount(text, "0:2", "/b")
    assert found is not None
    assert found.kind == "xfs"


def test_this_machine_says_what_stat_says_of_every_mount_that_it_lists(tmp_path: Path) -> None:
    if not Path("/proc/self/mountinfo").exists():
        pytest.skip("there is no /proc/self/mountinfo; get it with: run on Linux")
    told = subprocess.run(
        ["stat", "--file-system", "--format=%T", tmp_path], capture_output=True, text=True, check=True
    )
    family = {"ext2/ext3": {"ext2", "ext3", "ext4"}, "overlayfs": {"overlay"}}.get(told.stdout.strip())
    assert file_system_of(tmp_path) in (family or {told.stdout.strip()})
    assert file_system_of(tmp_path / "not" / "there") == file_system_of(tmp_path)
    refuse_network(tmp_path)


@contextmanager
def mounted(kind: str, folder: Path) -> Iterator[None]:
    """Mount a FUSE file system of this kind, which a process of ours serves."""
    folder.mkdir()
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("FUSE cannot be mounted; get it with: run as root where /dev/fuse is there")
    command = [sys.executable, str(FUSE), kind, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            if said.startswith("refused"):
                pytest.skip(
                    f"FUSE cannot be mounted ({said.strip()}); get it with: run as root where mounting is allowed"
                )
            assert said == "mounted\n"
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)
            server.kill()


def test_a_queue_on_a_mounted_network_file_system_is_refused_with_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "far"
    with mounted("fuse.sshfs", folder):
        assert mount_of(folder) == Mount(kind="fuse.sshfs", source="ann@host:/far", point=str(folder))
        with pytest.raises(
            StorageError, match=r"far/queue is on a network file system, fuse\.sshfs from ann@host:/far"
        ):
            refuse_network(folder / "queue")
        assert not file_system(folder).usable


def test_a_queue_on_a_mounted_local_fuse_is_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "near"
    with mounted("fuse.gocryptfs", folder):
        refuse_network(folder)
        assert file_system_of(folder) == "fuse.gocryptfs"
        assert file_system(folder).usable
