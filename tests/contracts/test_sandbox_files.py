"""What goes into a sandbox as files and what comes out, in every sandbox: nothing but what was asked for."""

import os
import stat
import tarfile
from pathlib import Path

import pytest

from orchestration.core.errors import StorageError, WorkFailedError
from tests.contracts.sandboxes import Opened


def test_a_sent_file_is_read_inside_under_the_returned_path(box: Opened) -> None:
    path = box.sandbox.send("task.md", b"first")
    assert box.sandbox.send("task.md", b"second") == path
    _, seen = box.run("cat", path)
    assert seen.stdout == b"second"


def test_a_sent_file_is_for_its_owner_to_read(box: Opened) -> None:
    _, seen = box.run("stat", "-c", "%a", box.sandbox.send("secret", b"x"))
    assert seen.stdout == b"400\n"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/x", ".hidden", "a\0b"])
def test_only_a_plain_name_can_be_sent(box: Opened, name: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        box.sandbox.send(name, b"")


def test_a_file_that_cannot_be_kept_is_a_storage_error(box: Opened) -> None:
    (box.folders.config / "taken").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        box.sandbox.send("taken", b"")
    assert [entry.name for entry in box.folders.config.iterdir()] == ["taken"]


def fetch_code(box: Opened, name: str, to: Path, *, limit: int = 1000) -> str:
    """Return the code with which fetching is refused; nothing may be left of it."""
    with pytest.raises(WorkFailedError) as caught:
        box.sandbox.fetch(name, to, limit=limit)
    assert not to.exists()
    assert not str(caught.value).endswith(".")
    return caught.value.code


def test_a_regular_file_is_fetched(box: Opened, tmp_path: Path) -> None:
    box.shell('mkdir "$TASKQ_OUT/sub" && printf 0123456789 > "$TASKQ_OUT/sub/result"')
    box.sandbox.fetch("sub/result", tmp_path / "to", limit=10)
    assert (tmp_path / "to").read_bytes() == b"0123456789"


def test_a_missing_file_is_refused(box: Opened, tmp_path: Path) -> None:
    assert fetch_code(box, "nothing", tmp_path / "to") == "missing_output"


@pytest.mark.parametrize(
    "make",
    [
        'ln -s /etc/passwd "$TASKQ_OUT/result"',
        'echo x > "$TASKQ_OUT/other"; ln -s other "$TASKQ_OUT/result"',
        'mkfifo "$TASKQ_OUT/result"',
        'mkdir "$TASKQ_OUT/result"',
        'echo x > "$TASKQ_OUT/other"; ln "$TASKQ_OUT/other" "$TASKQ_OUT/result"',
        """cd "$TASKQ_OUT" && perl -MSocket -e 'socket S,AF_UNIX,SOCK_STREAM,0; bind S,pack_sockaddr_un("result")'""",
    ],
    ids=["link-out", "link-inside", "fifo", "folder", "hard-link", "socket"],
)
def test_what_is_no_plain_file_is_refused(box: Opened, tmp_path: Path, make: str) -> None:
    exit_, seen = box.shell(make)
    assert exit_.succeeded, seen.stderr
    assert fetch_code(box, "result", tmp_path / "to") == "unsafe_output"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_a_device_is_refused(box: Opened, tmp_path: Path) -> None:
    os.mknod(box.folders.out / "result", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    assert fetch_code(box, "result", tmp_path / "to") == "unsafe_output"


def test_a_link_on_the_way_is_refused(box: Opened, tmp_path: Path) -> None:
    box.shell('ln -s /etc "$TASKQ_OUT/sub"')
    assert fetch_code(box, "sub/passwd", tmp_path / "to") == "unsafe_output"


@pytest.mark.parametrize("name", ["../lease", "/etc/passwd", "a/../../b", "", "a//b"])
def test_a_path_that_leads_out_is_our_own_mistake(box: Opened, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no path below"):
        box.sandbox.fetch(name, tmp_path / "to", limit=1000)


def test_a_file_above_the_limit_is_refused_however_sparse(box: Opened, tmp_path: Path) -> None:
    assert box.shell('truncate -s 1T "$TASKQ_OUT/sparse" || truncate -s 1G "$TASKQ_OUT/sparse"')[0].succeeded
    assert fetch_code(box, "sparse", tmp_path / "to") == "output_limit"


def test_nothing_on_the_host_is_overwritten(box: Opened, tmp_path: Path) -> None:
    (tmp_path / "to").write_text("mine", encoding="utf-8")
    box.shell('echo x > "$TASKQ_OUT/result"')
    with pytest.raises(StorageError, match="cannot make"):
        box.sandbox.fetch("result", tmp_path / "to", limit=1000)
    assert (tmp_path / "to").read_text(encoding="utf-8") == "mine"


def test_the_archive_holds_files_and_links_as_links_and_no_git(box: Opened, tmp_path: Path) -> None:
    script = """
        mkdir -p a/b .git A/.GIT 'c/.git ' 'd/git~1' empty
        echo 1 > a/b/file; echo 2 > run; chmod 700 run; ln -s /etc/passwd link; ln run second; mkfifo fifo
        touch .git/config A/.GIT/config 'c/.git /config' 'd/git~1/config' .gitignore
    """
    exit_, seen = box.shell(script)
    assert exit_.succeeded, seen.stderr
    box.sandbox.archive(tmp_path / "tar", limit=1000, files=20)
    with tarfile.open(tmp_path / "tar") as archive:
        members = {
            each.name: (each.linkname if each.issym() else archive.extractfile(each).read(), each.mode)  # type: ignore[union-attr]  # a file
            for each in archive
        }
    assert members == {
        ".gitignore": (b"", 0o644),
        "a/b/file": (b"1\n", 0o644),
        "link": ("/etc/passwd", 0o644),
        "run": (b"2\n", 0o755),
        "second": (b"2\n", 0o755),
    }


def test_the_same_tree_gives_the_same_archive(box: Opened, tmp_path: Path) -> None:
    box.shell("for n in 3 1 2; do mkdir $n; echo $n > $n/file; echo $n > $n.txt; done")
    box.sandbox.archive(tmp_path / "one", limit=1000, files=20)
    box.shell("touch -d 2001-01-01 1/file; rm 2.txt; echo 2 > 2.txt")
    box.sandbox.archive(tmp_path / "two", limit=1000, files=20)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    ("make", "why"),
    [("truncate -s 1001 big", "larger than 1000 bytes"), ("for n in 1 2 3 4 5 6; do mkdir $n; done", "more than 5")],
)
def test_an_archive_stays_below_its_limits(box: Opened, tmp_path: Path, make: str, why: str) -> None:
    box.shell(make)
    with pytest.raises(WorkFailedError, match=why) as caught:
        box.sandbox.archive(tmp_path / "tar", limit=1000, files=5)
    assert caught.value.code == "archive_limit"
    assert not (tmp_path / "tar").exists()
