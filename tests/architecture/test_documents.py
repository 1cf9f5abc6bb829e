"""What the documents name exists, paths and links; and what they tell of states and lines is what the code does."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.core.status import TRANSITIONS, Status
from orchestration.store.line import decode_line, encode_line

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "orchestration"
DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if path.is_file() and path.name != "LICENSE.md"
)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
BACKTICKS = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?", re.ASCII)
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"queue", "dist", "build"}
LAYERS = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
ROOT_FILE = re.compile(r"[A-Z][\w.-]*\.md|Makefile|LICENSE|[\w-]+\.(?:toml|lock)", re.ASCII)
THEIRS = {"config.toml", ".taskq.toml"}
"""Files of the operator that the documents speak of."""


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def paths_named(text: str) -> Iterator[str]:
    """Yield what stands in backticks and reads as a path of this repository."""
    for quoted in BACKTICKS.findall(FENCE.sub("", text)):
        if quoted in THEIRS or not PATH.fullmatch(quoted):
            continue
        first, *rest = quoted.rstrip("/").split("/")
        in_a_folder = first in FOLDERS | LAYERS and "/" in quoted
        if in_a_folder or (not rest and ROOT_FILE.fullmatch(quoted)):
            yield quoted


def exists(name: str) -> bool:
    return (ROOT / name).exists() or (PACKAGE / name).exists()


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_every_path_that_a_document_names_exists(document: Path) -> None:
    named = paths_named(document.read_text(encoding="utf-8"))
    assert sorted({name for name in named if not exists(name)}) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    targets = LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8")))
    relative = [target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#")]
    assert [target for target in relative if not (document.parent / target).exists()] == []


def test_every_document_can_be_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    reached: set[Path] = set()
    waiting = [index]
    while waiting:
        document = waiting.pop()
        if document.suffix == ".md" and document.exists() and document not in reached:
            reached.add(document)
            targets = LINK.findall(document.read_text(encoding="utf-8"))
            waiting.extend(
                (document.parent / target.partition("#")[0]).resolve() for target in targets if "://" not in target
            )
    assert {shown(path) for path in (ROOT / "docs").rglob("*.md")} <= {shown(path) for path in reached}


def test_paths_are_told_from_words_and_from_files_of_the_operator() -> None:
    text = "`core/status.py` `docs/` `a/b` `queue/tasks.jsonl` `AGENTS.md` `config.toml` `task/<id>` `tests/nowhere.py`"
    assert list(paths_named(text)) == ["core/status.py", "docs/", "AGENTS.md", "tests/nowhere.py"]
    assert not exists("tests/nowhere.py")


def test_the_example_lines_of_the_journal_are_lines_that_we_would_read_and_write() -> None:
    text = (ROOT / "docs" / "reference" / "journal.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```json\n(.*?\n)```$", text, re.MULTILINE | re.DOTALL)
    assert len(examples) > 1
    assert [encode_line(decode_line(example.encode())) for example in examples] == [each.encode() for each in examples]


def test_the_states_in_the_documents_are_the_table_in_the_code() -> None:
    text = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    words = {status.value for status in Status}
    cells = [
        [set(re.findall(r"`(\w+)`", cell)) for cell in line.split("|")[1:3]]
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    told = {(before, after) for left, right in cells if left | right <= words for before in left for after in right}
    assert told == {(before.value, after.value) for before, row in TRANSITIONS.items() for after in row}
