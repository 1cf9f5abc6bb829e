"""Bugs that are planted into a copy of the shipped code, one at a time; each must be found by the rung named here.

Responsible for: that the rungs see what they are for. A patch that no longer applies is a failure: make it anew.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

ROOT = Path(__file__).resolve().parents[3]
BUGS = Path(__file__).with_name("bugs")
NEEDED = ("orchestration", "tests/store", "tests/conftest.py", "tools", "pyproject.toml")
SMOKE = "tests/store/test_journal.py::test_a_change_writes_only_what_changed"
"""Passes with every bug: none of them shows until something goes wrong."""

PROOF = "tests/store/proof"
CALLS = "tests/store/proof/test_every_call.py"
BYTES = "tests/store/proof/test_every_byte.py"
LIVES = "tests/store/proof/test_lives_and_deaths.py"
WORST = "tests/store/proof/test_worst_power_cut.py"
POWER = "tests/store/proof/test_power_cut.py"
COMMANDS = "tests/store/proof/test_real_commands.py"
WHENEVER = f"{WORST}::test_whenever_the_power_fails_what_was_acknowledged_is_there_and_what_was_not_is_whole_or_absent"
WHATEVER = f"{CALLS}::test_whatever_call_goes_wrong_what_was_said_is_there_and_what_raised_is_not_or_in_doubt"
DOUBT = f"{PROOF}/test_index_trust.py::test_an_index_that_may_be_wrong_is_not_believed"

FOUND_BY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "lock-on-a-file-made-anew": (
            f"{LIVES}::test_four_processes_live_on_one_queue_two_are_killed_and_the_history_is_whole[150]"
        ),
        "lock-without-a-look-at-its-inode": (
            f"{PROOF}/test_replaced_lock.py::test_who_waited_for_the_old_file_waits_again_for_the_one_in_its_place"
        ),
        "poison-not-looked-at": f"{WHATEVER}[EIO-1]",
        "poison-cleared-by-the-next-writer": f"{WHATEVER}[EIO-1]",
        "wrong-checksum-accepted": (
            f"{BYTES}::test_bent_at_any_byte_the_state_is_true_or_the_damage_is_told[a bit-nothing-60]"
        ),
        "blob-already-there-not-synced": (
            f"{WORST}::test_a_blob_whose_writer_died_before_its_name_was_durable_survives_once_a_task_names_it"
        ),
        "blob-written-in-place": WHENEVER,
        "file-renamed-before-it-is-synced": WHENEVER,
        "folder-not-synced-after-a-rename": WHENEVER,
        "sync-that-does-nothing": (
            f"{POWER}::test_every_task_that_was_acknowledged_is_there_after_the_power_was_cut[60]"
        ),
        "failed-sync-tried-again": (
            f"{COMMANDS}::test_whatever_call_of_a_command_is_hurt_its_exit_code_tells_the_truth[an add-EIO]"
        ),
        "failed-sync-not-looked-at": (
            f"{COMMANDS}::test_whatever_call_of_a_command_is_hurt_its_exit_code_tells_the_truth[a cancel-EIO]"
        ),
        "journal-not-synced": WHENEVER,
        "new-journal-without-its-folder": WHENEVER,
        "acknowledged-before-its-sync": WHENEVER,
        "answer-about-bytes-not-synced": (
            f"{WORST}::test_what_is_answered_about_another_writers_change_survives_the_power_cut_after_the_answer"
        ),
        "no-poison-after-a-failed-sync": f"{WHATEVER}[EIO-1]",
        "failed-journal-sync-tried-again": f"{WHATEVER}[EIO-1]",
        "short-write-taken-for-whole": f"{WHATEVER}[short-1]",
        "short-write-not-cut-off": "tests/store/test_faults.py::test_a_short_write_is_cut_off_at_every_length",
        "torn-tail-not-cut": "tests/store/test_torn_tail.py::test_a_writer_sets_a_torn_tail_aside_and_goes_on",
        "batch-seen-in-part": (
            f"{BYTES}::test_cut_at_any_byte_exactly_the_whole_changes_before_it_are_there[nothing-60]"
        ),
        "lines-split-as-text": (
            f"{PROOF}/test_foreign_lines.py::test_a_record_with_a_raw_separator_in_it_is_one_record[line separator]"
        ),
        "index-of-another-file-believed": f"{DOUBT}[of_another_file_with_the_same_end]",
        "index-of-other-bytes-believed": f"{DOUBT}[of_a_file_whose_end_was_edited]",
        "index-left-unclean-believed": f"{DOUBT}[unclean]",
        "index-from-before-the-boot-believed": f"{DOUBT}[from_before_the_machine_started]",
        "reader-that-sees-only-growth": (
            "tests/store/test_journal.py::test_a_reader_notices_a_file_that_was_rewritten_in_place"
        ),
        "torn-tail-not-kept": (
            f"{BYTES}::test_bent_at_any_byte_a_writer_refuses_or_loses_nothing_and_repair_keeps_every_byte[200]"
        ),
    }
)
"""Each planted bug, which is the patch of that name in ``bugs/``, and the test that fails with it."""
NEEDS: Final[Mapping[str, str]] = MappingProxyType({POWER: "loop-ext4", COMMANDS: "strace"})

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]


def copy_of_the_code(folder: Path) -> Path:
    """Return a folder with what the rungs need, byte code included, so that it starts quickly."""
    for name in NEEDED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)
    return folder


def climb(folder: Path, *rungs: str) -> subprocess.CompletedProcess[str]:
    """Run the smoke test and *rungs* on the code in *folder*, up to the first failure."""
    pytest_ = (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short")
    own_folder = f"--basetemp={folder.with_name('tmp')}"
    return subprocess.run(
        [*pytest_, own_folder, SMOKE, *rungs], cwd=folder, capture_output=True, text=True, check=False
    )


def require(capability: Callable[[str], None], rung: str) -> None:
    for path, name in NEEDS.items():
        if rung.startswith(path):
            capability(name)


def test_every_patch_has_its_rung_and_there_are_at_least_twelve() -> None:
    assert sorted(path.stem for path in BUGS.glob("*.patch")) == sorted(FOUND_BY)
    assert len(FOUND_BY) >= 12


def test_without_a_bug_every_rung_holds(tmp_path: Path, capability: Callable[[str], None]) -> None:
    """The control."""
    for rung in FOUND_BY.values():
        require(capability, rung)
    done = climb(copy_of_the_code(tmp_path / "code"), *dict.fromkeys(FOUND_BY.values()))
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.parametrize("bug", FOUND_BY)
def test_a_planted_bug_is_found(bug: str, tmp_path: Path, capability: Callable[[str], None]) -> None:
    rung = FOUND_BY[bug]
    require(capability, rung)
    code = copy_of_the_code(tmp_path / "code")
    applied = subprocess.run(
        ["git", "apply", "--verbose", str(BUGS / f"{bug}.patch")], cwd=code, capture_output=True, text=True, check=False
    )
    assert applied.returncode == 0, f"make {bug}.patch anew: {applied.stderr}"
    done = climb(code, rung)
    failed = re.findall(r"^FAILED (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    assert done.returncode == 1, f"{bug} was not found:\n{done.stdout}{done.stderr}"
    assert failed == [rung], done.stdout
