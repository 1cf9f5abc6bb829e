#!/usr/bin/env python3
"""Make the virtual environment that ``make`` works with, from ``uv.lock``: with uv, or else with venv and pip.

Guarantees: nothing is done when nothing changed; outside the checkout only the package managers' caches are written.
Not responsible for: packages of the operating system; it says which are missing.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
TOOLS = CHECKOUT / ".tools"
STAMP = "taskq-bootstrap"
OLDEST_PYTHON = (3, 11)
OLDEST_UV = (0, 8)
UV_REQUIREMENT = "uv>=0.8,<1"
FILES_THAT_DECIDE = ("uv.lock", "pyproject.toml", "tools/bootstrap.py", "tools/locked_requirements.py")


class SetupError(Exception):
    """The environment cannot be made; the message says what would help."""


def main(arguments: list[str] | None = None) -> int:
    """Make the environment, or print where uv is; 1 when that is not possible."""
    parser = argparse.ArgumentParser(description="Make the virtual environment from uv.lock.")
    parser.add_argument("--environment", type=Path, default=Path(".venv"), help="where; default: %(default)s")
    parser.add_argument("--group", default="dev", help="what goes in besides the project; default: %(default)s")
    parser.add_argument("--print-uv", action="store_true", help="print the path of uv, getting it if need be")
    parser.add_argument("--without-uv", action="store_true", help="use venv and pip even where uv can be had")
    options = parser.parse_args(arguments)
    try:
        check_python(sys.version_info[:2])
        if options.print_uv:
            sys.stdout.write(f"{require_uv()}\n")
        else:
            make_environment(CHECKOUT / options.environment, group=options.group, without_uv=options.without_uv)
    except SetupError as error:
        sys.stderr.write(f"bootstrap: {error}\n")
        return 1
    return 0


def check_python(version: tuple[int, ...]) -> None:
    """Refuse a Python that taskq does not run on."""
    if version < OLDEST_PYTHON:
        found, wanted = (".".join(map(str, each)) for each in (version, OLDEST_PYTHON))
        raise SetupError(
            f"Python {found} is too old, {wanted} or newer is needed; name one: make PYTHON=python3.12 ..."
        )


def make_environment(environment: Path, *, group: str, without_uv: bool) -> None:
    """Bring *environment* to what the lock file says of the project and *group*, unless it is there already."""
    wanted = fingerprint(group)
    stamp = environment / STAMP
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted and (environment / "bin" / "python").exists():
        return
    if environment.exists() and any(environment.iterdir()) and not (environment / "pyvenv.cfg").exists():
        raise SetupError(f"{environment} is no virtual environment; move it away or choose another --environment")
    stamp.unlink(missing_ok=True)
    uv = None if without_uv or machine_has_its_own_index() else find_uv() or fetch_uv()
    if uv is None:
        install_with_pip(environment, group)
    else:
        install_with_uv(uv, environment, group)
    stamp.write_text(wanted, encoding="utf-8")


def fingerprint(group: str) -> str:
    """Return what changes when the environment must be made anew: lock file, interpreter, place of the checkout."""
    digest = hashlib.sha256(f"{CHECKOUT}\0{interpreter()}\0{sys.version}\0{group}\0".encode())
    for name in FILES_THAT_DECIDE:
        digest.update((CHECKOUT / name).read_bytes())
    return digest.hexdigest()


def interpreter() -> str:
    """Return the Python below any virtual environment that we happen to run in."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def machine_has_its_own_index() -> bool:
    """Whether pip is told to use another index than PyPI: uv does not read pip's configuration."""
    if "PIP_INDEX_URL" in os.environ or "PIP_NO_INDEX" in os.environ:
        return True
    if importlib.util.find_spec("pip") is None:
        return False
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    return any(".index-url=" in line or ".no-index=" in line for line in listed.stdout.splitlines())


def find_uv() -> str | None:
    """Return a uv that runs and is new enough, from PATH or from an earlier bootstrap."""
    for candidate in (shutil.which("uv"), str(TOOLS / "bin" / "uv")):
        if candidate is not None and uv_version(candidate) >= OLDEST_UV:
            return candidate
    return None


def uv_version(uv: str) -> tuple[int, ...]:
    """Return the version of *uv*; () when it does not run."""
    try:
        said = subprocess.run([uv, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - found uv
        return tuple(int(part) for part in said.stdout.split()[1].split(".")[:2])
    except (OSError, IndexError, ValueError):
        return ()


def fetch_uv() -> str | None:
    """Install uv from PyPI into ``.tools``; None when it cannot be had."""
    make_virtual_environment(TOOLS)
    say(f"getting {UV_REQUIREMENT} into {TOOLS.name}")
    try:
        run([str(TOOLS / "bin" / "python"), "-m", "pip", "install", "--quiet", UV_REQUIREMENT])
    except SetupError as error:
        say(f"no uv here ({error}); going on with pip")
        return None
    return find_uv()


def require_uv() -> str:
    """Return the path of uv."""
    uv = find_uv() or fetch_uv()
    if uv is None:
        raise SetupError("uv cannot be had; install it, for example with: pipx install uv")
    return uv


def install_with_uv(uv: str, environment: Path, group: str) -> None:
    """Let uv make *environment* exactly as locked."""
    say(f"uv sync into {environment.name}")
    told = {"UV_PROJECT_ENVIRONMENT": str(environment), "UV_PYTHON_DOWNLOADS": "never", "UV_COMPILE_BYTECODE": "1"}
    inherited = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    wanted = ["--no-default-groups", "--group", group]
    run([uv, "sync", "--quiet", "--locked", *wanted, "--python", interpreter()], environ=inherited | told)


def install_with_pip(environment: Path, group: str) -> None:
    """Make *environment* with venv and pip: the locked versions, checked against the locked hashes."""
    say(f"venv and pip into {environment.name}")
    make_virtual_environment(environment)
    python = str(environment / "bin" / "python")
    requirements = environment / "locked-requirements.txt"
    listing = [python, str(CHECKOUT / "tools" / "locked_requirements.py"), "--group", group]
    run([*listing, "--output", str(requirements)])
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run([*pip, "--require-hashes", "--requirement", str(requirements)])
    run([*pip, "--no-deps", "--editable", str(CHECKOUT)])


def make_virtual_environment(folder: Path) -> None:
    """Make an empty virtual environment with pip in it, anew."""
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupError(
            f"{interpreter()} cannot make virtual environments (it has no ensurepip); "
            "install uv, or on Debian and Ubuntu: apt-get install python3-venv"
        )
    run([interpreter(), "-m", "venv", "--clear", str(folder)])


def run(argv: list[str], *, environ: dict[str, str] | None = None) -> None:
    """Run *argv* in the checkout with its output on stderr.

    Raises: SetupError when it fails.
    """
    try:
        ended = subprocess.run(argv, cwd=CHECKOUT, env=environ, stdout=sys.stderr, check=False)  # noqa: S603 - ours
    except OSError as error:
        raise SetupError(f"cannot start {argv[0]}: {error.strerror}") from error
    if ended.returncode != 0:
        raise SetupError(f"exit {ended.returncode} from: {' '.join(argv)}")


def say(what: str) -> None:
    """Tell the person who waits what is going on."""
    sys.stderr.write(f"bootstrap: {what}\n")


if __name__ == "__main__":
    sys.exit(main())
