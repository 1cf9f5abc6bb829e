import tarfile
import zipfile
from pathlib import Path

import pytest

from tools import distributions

PACKAGE = frozenset({"orchestration/__init__.py", "orchestration/templates/Dockerfile"})
GOOD_SDIST = PACKAGE | {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "Dockerfile", "PKG-INFO", "docs/x.md"}
GOOD_WHEEL = (
    PACKAGE
    | {distributions.DOCKERFILE}
    | {f"t-1.dist-info/{name}" for name in ("METADATA", "entry_points.txt", "licenses/LICENSE")}
)


def test_good_archives_have_no_faults() -> None:
    assert list(distributions.faults_of_sdist(GOOD_SDIST, PACKAGE)) == []
    assert list(distributions.faults_of_wheel(GOOD_WHEEL, PACKAGE)) == []


@pytest.mark.parametrize(
    "stray", ["tests/store/test_journal.py", "queue/tasks.jsonl", "orchestration/notes.txt", "uv.lock", ".ci/run"]
)
def test_what_is_not_the_package_does_not_belong_into_an_archive(stray: str) -> None:
    assert list(distributions.faults_of_sdist(GOOD_SDIST | {stray}, PACKAGE)) == [
        f"sdist: {stray} does not belong there"
    ]
    assert list(distributions.faults_of_wheel(GOOD_WHEEL | {stray}, PACKAGE)) == [
        f"wheel: {stray} does not belong there"
    ]


@pytest.mark.parametrize("lost", sorted(PACKAGE))
def test_a_file_of_the_package_that_is_not_in_an_archive_is_a_fault(lost: str) -> None:
    assert list(distributions.faults_of_sdist(GOOD_SDIST - {lost}, PACKAGE)) == [f"sdist: {lost} is missing"]
    assert list(distributions.faults_of_wheel(GOOD_WHEEL - {lost}, PACKAGE)) == [f"wheel: {lost} is missing"]


def test_a_wheel_without_the_command_is_a_fault() -> None:
    names = GOOD_WHEEL - {"t-1.dist-info/entry_points.txt"}
    assert list(distributions.faults_of_wheel(names, PACKAGE)) == ["wheel: no entry_points.txt in its metadata"]


def test_an_archive_without_the_dockerfile_is_a_fault() -> None:
    faults = [
        *distributions.faults_of_sdist(GOOD_SDIST - {"Dockerfile"}, PACKAGE),
        *distributions.faults_of_wheel(GOOD_WHEEL - {distributions.DOCKERFILE}, PACKAGE),
    ]
    assert faults == ["sdist: Dockerfile is missing", f"wheel: {distributions.DOCKERFILE} is missing"]


def test_data_files_of_the_package_count_and_compiled_files_do_not(tmp_path: Path) -> None:
    for name in ("orchestration/a.py", "orchestration/templates/Dockerfile", "orchestration/__pycache__/a.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert distributions.files_of_package(tmp_path) == {"orchestration/a.py", "orchestration/templates/Dockerfile"}


def test_real_archives_are_read(tmp_path: Path) -> None:
    inside = tmp_path / "x.py"
    inside.touch()
    with tarfile.open(tmp_path / "t-1.tar.gz", "w:gz") as sdist:
        sdist.add(inside, arcname="t-1/tests/x.py")
    with zipfile.ZipFile(tmp_path / "t-1.whl", "w") as wheel:
        wheel.write(inside, arcname="tests/x.py")
    assert distributions.names_in_sdist(tmp_path / "t-1.tar.gz") == {"tests/x.py"}
    assert distributions.names_in_wheel(tmp_path / "t-1.whl") == {"tests/x.py"}
    assert distributions.main(["--folder", str(tmp_path)]) == 1


def test_a_folder_without_archives_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert distributions.main(["--folder", str(tmp_path)]) == 1
    assert "exactly one sdist and one wheel" in capsys.readouterr().out
