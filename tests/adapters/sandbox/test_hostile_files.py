"""Taking files out of folders that somebody changes while we look."""

import contextlib
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.adapters.sandbox.archive import is_git_name, write_archive
from orchestration.adapters.sandbox.hostile_files import components, fetch_file
from orchestration.core.errors import WorkFailedError

LARGE = 1 << 30


@contextlib.contextmanager
def meanwhile(deed: Callable[[], None]) -> Iterator[None]:
    """Repeat *deed* in another thread for as long as the block lasts."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            deed()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return an attempt with an out folder and a workspace, beside a secret."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text("canary", encoding="utf-8")
    (tmp_path / "attempt/out/sub").mkdir(parents=True)
    (tmp_path / "attempt/out/sub/file").write_text("honest", encoding="utf-8")
    return tmp_path / "attempt"


SWAPPER = """
import os, sys
honest, link = sys.argv[1:]
print("swapping", flush=True)
while True:
    os.rename(honest, honest + ".aside")
    os.rename(link, honest)
    os.rename(honest, link)
    os.rename(honest + ".aside", honest)
"""


@contextlib.contextmanager
def swapped_all_the_time(honest: Path, link: Path) -> Iterator[None]:
    """Have another process put *link* in place of *honest* and back, for as long as the block lasts."""
    arguments = [sys.executable, "-S", "-c", SWAPPER, str(honest), str(link)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as swapper:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        try:
            yield
        finally:
            swapper.kill()


@pytest.mark.parametrize("swapped", ["sub", "sub/file"])
def test_swapping_a_component_for_a_link_never_leads_out(root: Path, tmp_path: Path, swapped: str) -> None:
    honest = root / "out" / swapped
    link = honest.with_name("link")
    link.symlink_to(tmp_path / "secret" / ("file" if honest.is_file() else ""))
    seen = set()
    followed = set()
    with swapped_all_the_time(honest, link):
        for number in range(3000):
            with contextlib.suppress(OSError):
                followed.add((root / "out/sub/file").read_text(encoding="utf-8"))
            with contextlib.suppress(WorkFailedError):
                fetch_file(root, ("out", "sub", "file"), tmp_path / f"to{number}", limit=100)
                seen.add((tmp_path / f"to{number}").read_text(encoding="utf-8"))
    assert seen == {"honest"}
    assert "canary" in followed, "the control: reading by path was led out"


def test_swapping_a_folder_for_a_link_never_leads_the_archive_out(root: Path, tmp_path: Path) -> None:
    link = root / "out/link"
    link.symlink_to(tmp_path / "secret")
    contents = set()
    with swapped_all_the_time(root / "out/sub", link):
        for number in range(100):
            with contextlib.suppress(WorkFailedError):
                write_archive(root, "out", tmp_path / f"{number}.tar", limit=LARGE, files=100)
                with tarfile.open(tmp_path / f"{number}.tar") as archive:
                    contents |= {archive.extractfile(each).read() for each in archive if each.isfile()}  # type: ignore[union-attr]  # a file
    assert contents == {b"honest"}


def test_a_file_that_grows_while_it_is_read_stays_below_the_limit(root: Path, tmp_path: Path) -> None:
    growing = root / "out/growing"
    growing.write_bytes(b"x" * 900_000)
    to = tmp_path / "to"

    def fetch_again_and_again() -> None:
        while True:
            fetch_file(root, ("out", "growing"), to, limit=1_000_000)
            assert to.stat().st_size <= 1_000_000
            to.unlink()

    with (
        growing.open("ab", buffering=0) as file,
        meanwhile(lambda: os.ftruncate(file.fileno(), os.fstat(file.fileno()).st_size + 500)),
        pytest.raises(WorkFailedError, match="larger than 1000000 bytes"),
    ):
        fetch_again_and_again()
    assert not to.exists()


def test_a_file_that_shrinks_while_it_is_archived_is_a_failure_not_a_broken_tar(root: Path, tmp_path: Path) -> None:
    shrinking = root / "out/sub/file"

    def breathe() -> None:
        os.truncate(shrinking, 1_000_000)
        os.truncate(shrinking, 10)

    with meanwhile(breathe):
        for number in range(200):
            with contextlib.suppress(WorkFailedError):
                write_archive(root, "out", tmp_path / f"{number}.tar", limit=LARGE, files=100)
    for whole in tmp_path.glob("*.tar"):
        with tarfile.open(whole) as archive:
            assert archive.getnames() == ["sub/file"]


def test_a_folder_that_is_itself_a_link_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "out").rename(root / "old")
    (root / "out").symlink_to(tmp_path / "secret")
    with pytest.raises(WorkFailedError, match="behind a link"):
        fetch_file(root, ("out", "file"), tmp_path / "to", limit=100)
    with pytest.raises(WorkFailedError, match="behind a link") as caught:
        write_archive(root, "out", tmp_path / "tar", limit=100, files=100)
    assert caught.value.code == "archive_failed"


def test_names_that_are_no_text_survive_the_archive(root: Path, tmp_path: Path) -> None:
    name = b"caf\xe9\n\x1b[31m"
    (root / "out" / os.fsdecode(name)).write_text("x", encoding="utf-8")
    write_archive(root, "out", tmp_path / "tar", limit=100, files=100)
    with tarfile.open(tmp_path / "tar", encoding="utf-8", errors="surrogateescape") as archive:
        assert [os.fsencode(each) for each in archive.getnames()] == [name, b"sub/file"]


def test_a_tree_deeper_than_any_path_is_refused(root: Path, tmp_path: Path) -> None:
    folder = os.open(root / "out", os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=folder)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    with pytest.raises(WorkFailedError, match="over 4000 bytes"):
        write_archive(root, "out", tmp_path / "tar", limit=100, files=1000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_named(root: Path, tmp_path: Path) -> None:
    (root / "out/sub/file").chmod(0)
    with pytest.raises(WorkFailedError, match="Permission denied"):
        write_archive(root, "out", tmp_path / "tar", limit=100, files=100)


def test_a_disk_that_takes_no_more_is_a_storage_error_and_leaves_nothing(root: Path, tmp_path: Path) -> None:
    (root / "out/large").write_bytes(b"x" * 100_000)
    script = """
import resource, sys
from pathlib import Path
from orchestration.adapters.sandbox.archive import write_archive
from orchestration.adapters.sandbox.hostile_files import fetch_file
from orchestration.core.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
root, to = Path(sys.argv[1]), Path(sys.argv[2])
for take in (
    lambda: fetch_file(root, ("out", "large"), to, limit=1_000_000),
    lambda: write_archive(root, "out", to, limit=1_000_000, files=10),
):
    try:
        take()
    except StorageError as error:
        print(error, to.exists())
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(root), str(tmp_path / "to")],
        env={"PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        check=True,
        timeout=60,
        text=True,
    )
    assert done.stdout == f"cannot write {tmp_path}/to: File too large False\n" * 2


@given(st.text(alphabet="abc./\0 ", max_size=12))
def test_components_never_lead_up_or_out(name: str) -> None:
    try:
        parts = components(name)
    except ValueError:
        return
    assert os.path.normpath("/root/" + "/".join(parts)) == "/root/" + name
    assert "\0" not in name


@pytest.mark.parametrize(
    "name",
    [".git", ".GIT", ".Git", ".git ", ".git.", ".git . ", "git~1", "GIT~1", ".g\u200cit", ".git::$INDEX_ALLOCATION"],
)
def test_every_spelling_of_git_is_known(name: str) -> None:
    assert is_git_name(name)


@pytest.mark.parametrize("name", [".gitignore", ".gitmodules", "git", "a.git", ".github", "git~10", "x.git"])
def test_other_names_are_let_through(name: str) -> None:
    assert not is_git_name(name)
