from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.core.errors import StorageError
from orchestration.core.ports import Stream
from orchestration.pipeline.log import TAIL, StageLog

STREAMS: st.SearchStrategy[Stream] = st.sampled_from(["stdout", "stderr"])
CHUNKS = st.lists(st.tuples(STREAMS, st.binary(max_size=200)), max_size=20)


def unseen(_stream: Stream, _chunk: bytes) -> None:
    """Watch nothing."""


def write(path: Path, chunks: list[tuple[Stream, bytes]], *, limit: int) -> tuple[StageLog, bytes, bytes]:
    """Return the log, what is in its file, and what was shown."""
    shown: list[bytes] = []
    with StageLog(path, limit=limit, watch=lambda _stream, chunk: shown.append(chunk)) as log:
        for stream, chunk in chunks:
            log.write(stream, chunk)
    return log, path.read_bytes(), b"".join(shown)


@settings(deadline=None)
@given(CHUNKS, st.integers(0, 1000))
def test_what_is_in_the_file_and_what_was_dropped_is_all_that_was_written(
    chunks: list[tuple[Stream, bytes]], limit: int
) -> None:
    everything = b"".join(chunk for _, chunk in chunks)
    with TemporaryDirectory() as folder:
        _, content, shown = write(Path(folder) / "log", chunks, limit=limit)
    kept, dropped = everything[:limit], max(len(everything) - limit, 0)
    assert shown == kept
    note = b"\n[taskq: %d bytes above the output limit were dropped]\n" % dropped if dropped else b""
    assert content == kept + note


@settings(deadline=None)
@given(CHUNKS, st.integers(0, 1000))
def test_the_tail_is_the_end_of_each_stream_also_above_the_limit(
    chunks: list[tuple[Stream, bytes]], limit: int
) -> None:
    with TemporaryDirectory() as folder:
        log, _, _ = write(Path(folder) / "log", chunks, limit=limit)
    for wanted in ("stdout", "stderr"):
        everything = b"".join(chunk for stream, chunk in chunks if stream == wanted)
        assert log.tail(wanted) == everything[-TAIL:].decode("utf-8", "backslashreplace")


TOKEN = b"ghs_16C7e42F292c6912E7"


def test_no_value_of_a_secret_reaches_file_tail_or_watcher_however_it_is_cut(tmp_path: Path) -> None:
    shown: list[bytes] = []
    chunks = [b"it is ", *(bytes([byte]) for byte in TOKEN), b", hex ", TOKEN.hex().encode(), b" end"]
    with StageLog(
        tmp_path / "log", limit=1000, watch=lambda _stream, chunk: shown.append(chunk), secrets=[("TOKEN", TOKEN)]
    ) as log:
        for chunk in chunks:
            log.write("stdout", chunk)
            log.write("stderr", b".")
        assert log.tail("stdout") == "it is [secret TOKEN], hex [secret TOKEN] end"
    content = (tmp_path / "log").read_bytes()
    assert content.replace(b".", b"") == b"it is [secret TOKEN], hex [secret TOKEN] end"
    assert b"".join(shown) == content


def test_without_the_secret_the_same_output_is_logged_as_it_is(tmp_path: Path) -> None:
    log, content, shown = write(tmp_path / "log", [("stdout", b"it is " + TOKEN)], limit=1000)
    assert content == shown == log.tail("stdout").encode() == b"it is " + TOKEN


def test_what_is_held_back_is_logged_at_the_end(tmp_path: Path) -> None:
    shown: list[bytes] = []
    with StageLog(
        tmp_path / "log", limit=1000, watch=lambda _stream, chunk: shown.append(chunk), secrets=[("TOKEN", TOKEN)]
    ) as log:
        log.write("stderr", b"ghs")
        assert shown == []
    assert (tmp_path / "log").read_bytes() == b"".join(shown) == b"ghs"
    assert log.tail("stderr") == "ghs"


def test_the_limit_counts_what_is_shown_in_place_of_a_secret(tmp_path: Path) -> None:
    with StageLog(tmp_path / "log", limit=10, watch=unseen, secrets=[("TOKEN", TOKEN)]) as log:
        log.write("stdout", TOKEN + TOKEN)
    kept, note = (tmp_path / "log").read_bytes().split(b"\n", 1)
    assert kept == b"[secret TO"
    assert b"18 bytes above the output limit" in note


def test_a_tail_is_no_longer_than_a_report_shows(tmp_path: Path) -> None:
    log, _, _ = write(tmp_path / "log", [("stdout", b"x" * 10_000), ("stdout", b"end")], limit=10)
    assert len(log.tail("stdout")) == TAIL
    assert log.tail("stdout").endswith("xend")


def test_every_chunk_is_in_the_file_as_soon_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "build.log"
    with StageLog(path, limit=100, watch=unseen) as log:
        log.write("stdout", b"one")
        assert path.read_bytes() == b"one"


def test_a_second_stage_of_the_same_name_goes_on_in_the_same_file(tmp_path: Path) -> None:
    write(tmp_path / "log", [("stdout", b"one ")], limit=10)
    assert write(tmp_path / "log", [("stdout", b"two")], limit=10)[1] == b"one two"


def test_a_log_that_cannot_be_made_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with (
        pytest.raises(StorageError, match=str(tmp_path / "logs")),
        StageLog(tmp_path / "logs" / "build.log", limit=1, watch=unseen),
    ):
        pass


def test_a_disk_that_takes_no_more_ends_the_log_and_not_the_work(
    tmp_path: Path,
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "log").symlink_to(full)
    shown: list[bytes] = []
    with StageLog(tmp_path / "log", limit=100, watch=lambda _stream, chunk: shown.append(chunk)) as log:
        log.write("stdout", b"one")
        log.write("stderr", b"two")
    assert shown == [b"one", b"two"]
    assert (log.tail("stdout"), log.tail("stderr"), log._dropped) == ("one", "two", 6)
