#!/usr/bin/env python3
"""``uv.lock`` as a requirements file for pip, with hashes, so that both ways to install have one truth.

Responsible for: the project's own dependencies and one of its groups.
Not responsible for: markers of parents. What only an excluded package needs is listed all the same.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
Key = tuple[str, str]


def main(arguments: list[str] | None = None) -> int:
    """Write the requirements to a file or to stdout."""
    parser = argparse.ArgumentParser(description="Print uv.lock as requirements with hashes.")
    parser.add_argument("--lock", type=Path, default=CHECKOUT / "uv.lock")
    parser.add_argument("--group", default="dev", help="the group of dependencies; default: %(default)s")
    parser.add_argument("--output", type=Path, help="the file to write; default: stdout")
    options = parser.parse_args(arguments)
    text = requirements(options.lock.read_text(encoding="utf-8"), options.group)
    if options.output is None:
        sys.stdout.write(text)
    else:
        options.output.write_text(text, encoding="utf-8")
    return 0


def requirements(lock: str, group: str = "dev") -> str:
    """Return the requirements that the text of a lock file has for the project and *group*, sorted by name."""
    import tomllib  # noqa: PLC0415 - bootstrap.py tells older Pythons why they cannot, before this is reached

    packages: list[dict[str, Any]] = tomllib.loads(lock)["package"]
    by_key = {(package["name"], package["version"]): package for package in packages if "registry" in package["source"]}
    [project] = [package for package in packages if package["source"] == {"editable": "."}]
    markers = reachable(project, by_key, group)
    return "".join(entry(by_key[key], markers[key]) for key in sorted(markers))


def reachable(project: dict[str, Any], packages: dict[Key, dict[str, Any]], group: str) -> dict[Key, set[str]]:
    """Return what *project* needs with *group*, and the markers under which it does; no marker is always."""
    versions: dict[str, list[str]] = {}
    for name, version in packages:
        versions.setdefault(name, []).append(version)
    markers: dict[Key, set[str]] = {}
    always: set[Key] = set()
    seen: set[tuple[Key, str]] = set()
    waiting = deque([*project.get("dependencies", ()), *project.get("dev-dependencies", {}).get(group, ())])
    while waiting:
        edge = waiting.popleft()
        key = (edge["name"], edge.get("version") or versions[edge["name"]][0])
        markers.setdefault(key, set())
        if "marker" in edge:
            markers[key].add(edge["marker"])
        else:
            always.add(key)
        for extra in ("", *edge.get("extra", ())):
            if (key, extra) not in seen:
                seen.add((key, extra))
                package = packages[key]
                needs = (
                    package.get("optional-dependencies", {}).get(extra, ()) if extra else package.get("dependencies")
                )
                waiting.extend(needs or ())
    return {key: set() if key in always else found for key, found in markers.items()}


def entry(package: dict[str, Any], markers: set[str]) -> str:
    """Return one requirement with all the hashes under which it may come."""
    condition = " or ".join(f"({marker})" for marker in sorted(markers))
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
    hashes = "".join(f" \\\n    --hash={file['hash']}" for file in files)
    return f"{package['name']}=={package['version']}{f' ; {condition}' if condition else ''}{hashes}\n"


if __name__ == "__main__":
    sys.exit(main())
