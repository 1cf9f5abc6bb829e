"""What decides whether something is built again, and the recipes themselves: pure."""

import pytest

from orchestration.adapters.sandbox.docker import layers
from orchestration.core.toolchain import Toolchain

IMAGE = "sha256:1"
SETUP = Toolchain(setup="make tools", env={"A": "1"})


@pytest.mark.parametrize(
    "path",
    ["pyproject.toml", "sub/folder/package-lock.json", "requirements-dev.txt", ".taskq.toml", "go.sum", "Makefile"],
)
def test_a_changed_manifest_asks_for_a_new_setup(path: str) -> None:
    assert layers.setup_key(IMAGE, SETUP, {path: "a"}) != layers.setup_key(IMAGE, SETUP, {path: "b"})
    assert layers.setup_key(IMAGE, SETUP, {path: "a"}) != layers.setup_key(IMAGE, SETUP, {})


@pytest.mark.parametrize("path", ["src/main.py", "README.md", "pyproject.toml.orig", "docs/requirements.md"])
def test_a_changed_source_file_does_not(path: str) -> None:
    assert layers.setup_key(IMAGE, SETUP, {path: "a"}) == layers.setup_key(IMAGE, SETUP, {path: "b"})


@pytest.mark.parametrize(
    ("image", "toolchain"),
    [
        ("sha256:2", SETUP),
        (IMAGE, Toolchain(setup="make more", env={"A": "1"})),
        (IMAGE, Toolchain(setup="make tools", env={"A": "2"})),
    ],
    ids=["image", "script", "env"],
)
def test_another_image_script_or_env_asks_for_a_new_setup(image: str, toolchain: Toolchain) -> None:
    assert layers.setup_key(image, toolchain, {}) != layers.setup_key(IMAGE, SETUP, {})


def test_the_order_in_which_files_are_named_changes_nothing() -> None:
    forth, back = {"go.mod": "1", "go.sum": "2"}, {"go.sum": "2", "go.mod": "1"}
    assert layers.setup_key(IMAGE, SETUP, forth) == layers.setup_key(IMAGE, SETUP, back)
    assert layers.dockerfile_key("D", forth, IMAGE, b"") == layers.dockerfile_key("D", back, IMAGE, b"")


def test_any_changed_file_asks_for_a_new_build_of_a_dockerfile() -> None:
    keys = {layers.dockerfile_key("D", {"src/main.py": blob}, IMAGE, b"") for blob in "ab"}
    assert len(keys) == 2


def test_parts_of_a_key_cannot_flow_into_each_other() -> None:
    one = Toolchain(setup="b", env={"A": "1\nexport B=2"})
    other = Toolchain(setup="b", env={"A": "1", "B": "2"})
    assert layers.setup_key(IMAGE, one, {}) != layers.setup_key(IMAGE, other, {})


def test_env_reaches_the_setup_quoted_and_not_the_recipe() -> None:
    toolchain = Toolchain(setup="true", env={"A": "it's $HOME"})
    assert layers.setup_script(toolchain) == b"export A='it'\"'\"'s $HOME'\ntrue\n"
    assert "HOME" not in layers.setup_dockerfile(IMAGE)
