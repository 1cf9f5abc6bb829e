import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.core.errors import StorageError, UsageError
from orchestration.support.secrets import VALUE_LIMIT, SecretStore, check_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "config" / "taskq" / "secrets"


@pytest.fixture
def store(folder: Path) -> SecretStore:
    return SecretStore(folder)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("value", [b"hunter22", b"\0\xff binary \n", b"x" * VALUE_LIMIT])
def test_a_value_comes_back_as_it_was(store: SecretStore, value: bytes) -> None:
    store.set("TOKEN", value)
    assert store.read("TOKEN") == value


def test_only_the_operator_can_read_what_is_kept_whatever_the_umask(store: SecretStore, folder: Path) -> None:
    before = os.umask(0)
    try:
        store.set("TOKEN", b"hunter22")
    finally:
        os.umask(before)
    assert (mode(folder), mode(folder / "TOKEN")) == (0o700, 0o600)


def test_names_are_sorted_and_files_of_others_are_no_secrets(store: SecretStore, folder: Path) -> None:
    assert store.names() == ()
    for name in ("B_2", "A", "_C"):
        store.set(name, b"hunter22")
    (folder / "notes.txt").touch()
    assert store.names() == ("A", "B_2", "_C")


def test_a_new_value_takes_the_place_of_the_old_one(store: SecretStore) -> None:
    store.set("TOKEN", b"hunter22")
    store.set("TOKEN", b"hunter23")
    assert store.read("TOKEN") == b"hunter23"
    assert store.names() == ("TOKEN",)


def test_a_removed_secret_is_gone_with_what_a_crash_left_of_it(store: SecretStore, folder: Path) -> None:
    store.set("TOKEN", b"hunter22")
    store.set("TOKEN_2", b"hunter22")
    (folder / ".TOKEN.0123.tmp").write_bytes(b"hunter22")
    store.remove("TOKEN")
    assert [path.name for path in folder.iterdir()] == ["TOKEN_2"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_secret_that_is_not_there_is_told_with_how_to_set_it(store: SecretStore, *, is_there: bool) -> None:
    if is_there:
        store.set("OTHER", b"hunter22")
    for use in (store.read, store.remove):
        with pytest.raises(UsageError, match="taskq secret set TOKEN") as caught:
            use("TOKEN")
        assert caught.value.code == "no_secret"


@pytest.mark.parametrize("name", ["", "token", "A-B", "A B", "../A", "A/B", ".", "1A", "A\n", "Ä", "A" * 65])
def test_a_bad_name_is_refused_before_a_file_is_touched(store: SecretStore, folder: Path, name: str) -> None:
    for use in (lambda: store.set(name, b"hunter22"), lambda: store.read(name), lambda: store.remove(name)):
        with pytest.raises(UsageError, match="no name of a secret"):
            use()
    assert not folder.exists()


@given(st.text(max_size=8))
def test_a_name_that_is_accepted_is_a_plain_file_name(name: str) -> None:
    try:
        check_name(name)
    except ValueError:
        return
    assert name.isascii()
    assert name.isidentifier()


@pytest.mark.parametrize(
    ("value", "why"), [(b"", "too few"), (b"abc", "too few"), (b" abc \n\n", "too few"), (b"x" * 65537, "64 KiB")]
)
def test_a_value_that_could_not_be_redacted_or_is_too_large_is_refused(
    store: SecretStore, value: bytes, why: str
) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        store.set("TOKEN", value)
    assert "abc" not in str(caught.value)
    assert store.names() == ()


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o677])
def test_a_value_that_others_can_reach_is_not_used_and_how_to_close_it_is_told(
    store: SecretStore, folder: Path, bits: int
) -> None:
    store.set("TOKEN", b"hunter22")
    (folder / "TOKEN").chmod(bits)
    with pytest.raises(StorageError, match=rf"open to others \(mode {bits:04o}\).*chmod 600") as caught:
        store.read("TOKEN")
    assert caught.value.code == "unsafe_secret"
    (folder / "TOKEN").chmod(0o600)
    assert store.read("TOKEN") == b"hunter22"


def test_a_folder_that_others_can_enter_is_not_used(store: SecretStore, folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    with pytest.raises(StorageError, match="chmod 700"):
        store.set("TOKEN", b"hunter22")
    assert list(folder.iterdir()) == []
    with pytest.raises(StorageError, match="chmod 700"):
        store.names()


def test_a_link_in_the_place_of_a_value_is_not_followed(store: SecretStore, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"theirs, and long enough")
    target.chmod(0o600)
    store.set("OTHER", b"hunter22")
    (folder / "TOKEN").symlink_to(target)
    with pytest.raises(StorageError, match="symbolic link"):
        store.read("TOKEN")
    store.set("TOKEN", b"hunter22")
    assert target.read_bytes() == b"theirs, and long enough"
    assert store.read("TOKEN") == b"hunter22"
    (folder / "TOKEN").unlink()
    (folder / "TOKEN").symlink_to(target)
    store.remove("TOKEN")
    assert target.exists()


def test_a_link_in_the_place_of_the_folder_is_not_followed(store: SecretStore, folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    folder.parent.mkdir(parents=True)
    folder.symlink_to(elsewhere)
    with pytest.raises(StorageError):
        store.set("TOKEN", b"hunter22")
    assert list(elsewhere.iterdir()) == []


def test_what_is_no_regular_file_holds_nobody_up(store: SecretStore, folder: Path) -> None:
    store.set("OTHER", b"hunter22")
    os.mkfifo(folder / "TOKEN", 0o600)
    with pytest.raises(StorageError, match="no regular file"):
        store.read("TOKEN")


def test_a_file_that_grew_too_large_is_refused(store: SecretStore, folder: Path) -> None:
    store.set("TOKEN", b"hunter22")
    (folder / "TOKEN").write_bytes(b"x" * (VALUE_LIMIT + 1))
    with pytest.raises(StorageError, match="more than 64 KiB"):
        store.read("TOKEN")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_value_of_another_user_is_not_used(store: SecretStore, folder: Path) -> None:
    store.set("TOKEN", b"hunter22")
    os.chown(folder / "TOKEN", 12345, 12345)
    with pytest.raises(StorageError, match="another user"):
        store.read("TOKEN")
