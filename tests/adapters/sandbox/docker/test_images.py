"""The default image: what goes into its build, what is in it, and how references are looked up."""

import json
import re
import shutil
import ssl
import subprocess
import tarfile
from pathlib import Path

import docker.utils
import pytest

from orchestration.adapters.sandbox.docker import images
from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.core.errors import SandboxError, UsageError
from tests.adapters.sandbox.docker.throwaway import in_container

ROOT = Path(__file__).resolve().parents[4]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
CANARIES = (
    "queue/tasks.jsonl",
    ".env",
    ".git/config",
    "key.pem",
    "certs/private.key",
    "certs/site.pem",
    ".venv/bin/python",
    ".ssh/id_ed25519",
    "orchestration/adapters/sandbox/guest/.env",
    "orchestration/secret.py",
)
NEEDED = {"Dockerfile", "certs/site.crt", "orchestration/adapters/sandbox/guest/taskq-guest.c"}


def sent(checkout: Path) -> set[str]:
    """Return the files that `docker build .` would send, by the rules of its ``.dockerignore``."""
    rules = (checkout / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    packed = docker.utils.tar(str(checkout), exclude=rules, dockerfile=("Dockerfile", None))
    with packed, tarfile.open(fileobj=packed) as archive:
        return {member.name for member in archive if member.isfile()} - {".dockerignore"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what a build needs, and with what must never get into one."""
    for name in (*NEEDED, *CANARIES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("canary", encoding="utf-8")
    shutil.copy(ROOT / ".dockerignore", tmp_path)
    return tmp_path


def test_a_build_by_hand_sends_what_the_dockerfile_copies_and_no_secret(checkout: Path) -> None:
    assert sent(checkout) == NEEDED


def test_without_the_rules_a_build_by_hand_would_send_everything(checkout: Path) -> None:
    (checkout / ".dockerignore").write_text("", encoding="utf-8")
    assert sent(checkout) == NEEDED | set(CANARIES)


def test_the_pinned_opencode_is_the_one_in_the_dockerfile() -> None:
    assert re.findall(r"^ARG OPENCODE_VERSION=(.+)$", DOCKERFILE, re.MULTILINE) == [images.OPENCODE_VERSION]


def test_the_dockerfile_asks_for_nothing_that_only_one_builder_has() -> None:
    assert "# syntax" not in DOCKERFILE
    assert "--mount" not in DOCKERFILE
    assert "<<" not in DOCKERFILE


def test_the_dockerfile_that_is_built_is_the_one_at_the_top_of_the_checkout() -> None:
    assert images.dockerfile().decode() == DOCKERFILE


def test_of_a_certificate_file_only_certificates_are_taken(tmp_path: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=site", "-days", "2"]
    subprocess.run([*command, "-keyout", "key", "-out", "one"], cwd=tmp_path, capture_output=True, check=True)
    key, one = ((tmp_path / name).read_bytes() for name in ("key", "one"))
    both = tmp_path / "both.pem"
    both.write_bytes(b"# ours\n" + one + key + one)
    taken = images._certificates([both])
    assert [ssl.PEM_cert_to_DER_cert(each.decode()) for each in taken] == [ssl.PEM_cert_to_DER_cert(one.decode())] * 2
    assert b"PRIVATE" not in b"".join(taken)
    with pytest.raises(UsageError, match="holds no certificate"):
        images._certificates([tmp_path / "key"])
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        images._certificates([tmp_path / "absent"])


def test_an_image_that_is_not_here_is_not_pulled_but_told_how_to_get(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SandboxError, match="get it with: docker pull taskq/nowhere:1") as caught:
        images.resolve(engine, "taskq/nowhere:1")
    assert caught.value.code == "image_missing"
    monkeypatch.setattr(images, "DEFAULT_DOCKER_IMAGE", "taskq/nowhere:1")
    with pytest.raises(SandboxError, match="get it with: taskq build-image"):
        images.resolve(engine, "taskq/nowhere:1")


def test_a_reference_becomes_an_id_and_nothing_is_found_for_a_stranger(engine: Engine) -> None:
    identifier = images.resolve(engine, images.DEFAULT_DOCKER_IMAGE)
    assert identifier.startswith("sha256:")
    assert images.resolve(engine, identifier) == identifier
    assert images.find(engine, "taskq/nowhere:1") is None


def test_a_name_cannot_lead_to_what_is_no_image(engine: Engine) -> None:
    made = engine.api.create_container(images.DEFAULT_DOCKER_IMAGE, ["true"], labels={"taskq.test": ""})["Id"]
    try:
        assert engine.api.inspect_image(f"x/../../containers/{made}")["Id"] == made, "the client does not look"
        for name in (f"../containers/{made}", f"x/../../containers/{made}", "", "a b", "a?b=c", "-a"):
            assert images.find(engine, name) is None
    finally:
        engine.api.remove_container(made)


def test_a_base_that_is_not_here_and_may_not_be_pulled_is_refused_at_once(engine: Engine) -> None:
    with pytest.raises(SandboxError, match="docker pull taskq/nowhere:1") as caught:
        images.build_image(engine, base="taskq/nowhere:1", rebuild=False, pull=False, ca_files=(), output=print)
    assert caught.value.code == "image_missing"


def test_a_base_that_cannot_be_pulled_is_told_with_the_way_to_name_another(engine: Engine) -> None:
    nowhere = "127.0.0.1:9/none:latest"
    with pytest.raises(SandboxError, match="--base IMAGE") as caught:
        images.build_image(engine, base=nowhere, rebuild=False, pull=True, ca_files=(), output=print)
    assert caught.value.code == "image_missing"


def test_the_default_image_is_marked_as_ours_and_runs_as_nobody_special(engine: Engine) -> None:
    made = engine.api.inspect_image(images.DEFAULT_DOCKER_IMAGE)
    said = made["Config"]
    assert said["User"] == "agent"
    assert said["Entrypoint"] == ["/usr/bin/tini", "--"]
    assert said["Labels"]["taskq.image"] == "1"
    assert said["Labels"]["org.opencontainers.image.version"] == images.OPENCODE_VERSION
    assert "OPENCODE_DISABLE_AUTOUPDATE=1" in said["Env"]
    assert f"taskq/opencode:{images.OPENCODE_VERSION}" in made["RepoTags"]


LOOK = """
id -u
for each in git node rg less ps bash tini; do command -v $each >/dev/null || echo no $each; done
opencode --version
/usr/local/lib/taskq/bin/taskq-guest --version
ls /usr/local/lib/taskq/certificates/bundle.crt /usr/local/lib/taskq/bin
"""


@pytest.mark.full
def test_the_default_image_has_the_tools_and_the_pinned_opencode(engine: Engine) -> None:
    seen = in_container(engine, images.DEFAULT_DOCKER_IMAGE, LOOK).splitlines()
    guest = [
        "taskq-guest 2",
        "/usr/local/lib/taskq/certificates/bundle.crt",
        "",
        "/usr/local/lib/taskq/bin:",
        "opencode",
        "taskq-guest",
    ]
    assert seen == ["1000", images.OPENCODE_VERSION, *guest]


@pytest.mark.full
def test_a_second_build_of_the_default_image_takes_everything_from_the_first(engine: Engine, tmp_path: Path) -> None:
    before = engine.api.inspect_image(images.DEFAULT_DOCKER_IMAGE)
    base = images.find(engine, "taskq-base:bookworm")
    layers = engine.api.inspect_image(base)["RootFS"]["Layers"] if base is not None else ["none"]
    if before["RootFS"]["Layers"][: len(layers)] != layers:
        pytest.skip("the default image was not built on taskq-base:bookworm, and a test takes nobody's image away")
    listed = "for each in /usr/local/lib/taskq/certificates/site/*.crt; do [ ! -e $each ] || cat $each; done"
    site = tmp_path / "site.pem"
    site.write_text(in_container(engine, images.DEFAULT_DOCKER_IMAGE, listed), encoding="utf-8")
    said: list[str] = []
    built = images.build_image(
        engine,
        base="taskq-base:bookworm",
        rebuild=False,
        pull=True,
        ca_files=[site] if site.stat().st_size else [],
        output=said.append,
    )
    assert built.id == before["Id"]
    assert built.tags == (f"taskq/opencode:{images.OPENCODE_VERSION}", images.DEFAULT_DOCKER_IMAGE)
    assert not [line for line in said if "Running in" in line], json.dumps(said)
