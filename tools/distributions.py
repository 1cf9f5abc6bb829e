#!/usr/bin/env python3
"""What must be, and what must not be, in the sdist and the wheel.

Responsible for: reading ``dist/``, comparing both with the checkout's package, and saying every difference.
"""

import argparse
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = "orchestration"
DOCKERFILE: Final = "orchestration/adapters/sandbox/docker/image/Dockerfile"
"""Where the wheel has the Dockerfile, which is at the top of a checkout and of the sdist."""
SDIST_ALSO: Final = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "Dockerfile")
SDIST_FOLDERS: Final = (PACKAGE, "docs")
SDIST_FILES: Final = (*SDIST_ALSO, "PKG-INFO", ".gitignore")


def main(arguments: list[str] | None = None) -> int:
    """Inspect both archives; 1 when something is missing or does not belong there."""
    parser = argparse.ArgumentParser(description="Inspect the sdist and the wheel.")
    parser.add_argument("--folder", type=Path, default=CHECKOUT / "dist")
    folder: Path = parser.parse_args(arguments).folder
    try:
        [sdist], [wheel] = folder.glob("*.tar.gz"), folder.glob("*.whl")
    except ValueError:
        sys.stdout.write(f"{folder} must hold exactly one sdist and one wheel\n")
        return 1
    package = files_of_package(CHECKOUT)
    faults = [*faults_of_sdist(names_in_sdist(sdist), package), *faults_of_wheel(names_in_wheel(wheel), package)]
    for fault in faults:
        sys.stdout.write(f"{fault}\n")
    if not faults:
        sys.stdout.write(f"{sdist.name} and {wheel.name} hold the {len(package)} files of the package, and no others\n")
    return 1 if faults else 0


def files_of_package(checkout: Path) -> frozenset[str]:
    """Return every file of the package, code and data, relative to the checkout."""
    found = (path for path in (checkout / PACKAGE).rglob("*") if path.is_file())
    return frozenset(
        path.relative_to(checkout).as_posix()
        for path in found
        if "__pycache__" not in path.parts and path.suffix != ".pyc"
    )


def names_in_sdist(sdist: Path) -> frozenset[str]:
    """Return the sdist's files without its one top folder."""
    with tarfile.open(sdist) as archive:
        members = [PurePosixPath(member.name) for member in archive.getmembers() if member.isfile()]
    return frozenset(str(PurePosixPath(*member.parts[1:])) for member in members)


def names_in_wheel(wheel: Path) -> frozenset[str]:
    """Return the wheel's files."""
    with zipfile.ZipFile(wheel) as archive:
        return frozenset(name for name in archive.namelist() if not name.endswith("/"))


def faults_of_sdist(names: frozenset[str], package: frozenset[str]) -> Iterable[str]:
    """Yield what is wrong with an sdist that holds *names*."""
    for name in sorted({*package, *SDIST_ALSO} - names):
        yield f"sdist: {name} is missing"
    for name in sorted(names):
        top = PurePosixPath(name).parts[0]
        if name not in SDIST_FILES and (top not in SDIST_FOLDERS or (top == PACKAGE and name not in package)):
            yield f"sdist: {name} does not belong there"


def faults_of_wheel(names: frozenset[str], package: frozenset[str]) -> Iterable[str]:
    """Yield what is wrong with a wheel that holds *names*."""
    metadata = frozenset(name for name in names if PurePosixPath(name).parts[0].endswith(".dist-info"))
    for name in sorted({*package, DOCKERFILE} - names):
        yield f"wheel: {name} is missing"
    for name in sorted(names - metadata - package - {DOCKERFILE}):
        yield f"wheel: {name} does not belong there"
    for wanted in ("entry_points.txt", "licenses/LICENSE"):
        if not any(name.endswith(f".dist-info/{wanted}") for name in metadata):
            yield f"wheel: no {wanted} in its metadata"


if __name__ == "__main__":
    sys.exit(main())
