"""What is put onto images: the generated Dockerfiles, and the keys under which their results are kept. Pure.

Guarantees: the same key means the same result, as far as taskq can know it: what is on the network may have changed.
"""

import hashlib
import json
import shlex
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final

from orchestration.core.toolchain import TOOLCHAIN_FILE, Toolchain

ADOPT: Final = "adopt.sh"
"""The script that a layer's context holds beside its Dockerfile."""
NOTHING_INSTALLS: Final = 97
"""The exit code by which the script says that git is missing and cannot be had."""
SETUP: Final = "setup.sh"
TREE: Final = "tree.tar"
MANIFESTS: Final = (
    TOOLCHAIN_FILE,
    ".node-version",
    ".nvmrc",
    ".python-version",
    ".ruby-version",
    ".tool-versions",
    "build.gradle",
    "build.gradle.kts",
    "bun.lock",
    "bun.lockb",
    "Cargo.lock",
    "Cargo.toml",
    "composer.json",
    "composer.lock",
    "constraints*.txt",
    "environment.yml",
    "Gemfile",
    "Gemfile.lock",
    "go.mod",
    "go.sum",
    "Makefile",
    "mix.exs",
    "mix.lock",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "package.json",
    "pdm.lock",
    "Pipfile",
    "Pipfile.lock",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    "poetry.lock",
    "pom.xml",
    "pyproject.toml",
    "requirements*.txt",
    "rust-toolchain",
    "rust-toolchain.toml",
    "setup.cfg",
    "setup.py",
    "uv.lock",
    "yarn.lock",
)
"""Files, in any folder, that say what a repository needs: `setup` runs again when one of them changes."""
_KEY_DIGITS: Final = 24
_HOME: Final = "/usr/local/lib/taskq"
_PLACE: Final = "/taskq/setup"


def layer_key(image: str, default_image: str, adopt: bytes) -> str:
    """Return the key of taskq's part, as *default_image* has it, on *image*."""
    return _key("layer", adopt.decode(), layer_dockerfile(image, default_image))


def dockerfile_key(path: str, blobs: Mapping[str, str], default_image: str, adopt: bytes) -> str:
    """Return the key of a repository's own build: any file of it may be used there."""
    return _key("dockerfile", default_image, adopt.decode(), path, sorted(blobs.items()))


def setup_key(image: str, toolchain: Toolchain, blobs: Mapping[str, str]) -> str:
    """Return the key of a repository's `setup` on *image*."""
    return _key("setup", setup_dockerfile(image), setup_script(toolchain).decode(), sorted(manifests(blobs).items()))


def manifests(blobs: Mapping[str, str]) -> dict[str, str]:
    """Return those of *blobs* that say what the repository needs."""
    return {path: blob for path, blob in blobs.items() if _is_manifest(PurePosixPath(path).name)}


def layer_dockerfile(image: str, default_image: str) -> str:
    """Return what puts taskq's part of *default_image* onto *image*; what *image* would start by itself is dropped."""
    return f"""\
FROM {image}
USER root
COPY {ADOPT} {_HOME}/bin/{ADOPT}
RUN ["/bin/sh", "{_HOME}/bin/{ADOPT}", "tools"]
COPY --from={default_image} {_HOME} {_HOME}
RUN ["/bin/sh", "{_HOME}/bin/{ADOPT}", "finish"]
ENV NODE_EXTRA_CA_CERTS={_HOME}/certificates/bundle.crt
ENV OPENCODE_DISABLE_AUTOUPDATE=1 OPENCODE_DISABLE_LSP_DOWNLOAD=1 OPENCODE_DISABLE_MODELS_FETCH=1
HEALTHCHECK NONE
ENTRYPOINT []
CMD []
WORKDIR /
"""


def setup_dockerfile(image: str) -> str:
    """Return what runs `setup` on *image*, as root, in the repository's files, which are gone afterwards."""
    return f"""\
FROM {image}
USER root
WORKDIR {_PLACE}/tree
ADD {TREE} {_PLACE}/tree/
COPY {SETUP} {_PLACE}/{SETUP}
RUN ["/bin/sh", "-ec", "/bin/sh -e ../{SETUP}; cd /; rm -rf {_PLACE}"]
WORKDIR /
"""


def setup_script(toolchain: Toolchain) -> bytes:
    """Return the `setup` script with the repository's `env` before it; the image's own settings stay free of it."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(toolchain.env.items()))
    return f"{exports}{toolchain.setup}\n".encode()


def _is_manifest(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in MANIFESTS)


def _key(*parts: object) -> str:
    spelled = json.dumps(parts, ensure_ascii=True)
    return hashlib.sha256(spelled.encode("ascii")).hexdigest()[:_KEY_DIGITS]
