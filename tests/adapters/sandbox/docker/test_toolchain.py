"""The image of an attempt, made by a real engine from what a repository says."""

import io
import tarfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha1
from pathlib import Path

import pytest

from orchestration.adapters.sandbox.docker import images
from orchestration.adapters.sandbox.docker.build import Build, context, run
from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.adapters.sandbox.docker.images import DEFAULT_DOCKER_IMAGE
from orchestration.adapters.sandbox.docker.toolchain import prepare
from orchestration.core.errors import SandboxError, WorkFailedError
from orchestration.core.toolchain import Toolchain
from tests.adapters.sandbox.docker.throwaway import in_container, labelled

pytestmark = pytest.mark.full
PLAIN_BASE = "taskq-base:bookworm"
"""An image without git, as `.ci/run` makes it."""


@dataclass(frozen=True)
class Files:
    """The port `BaseTree`, over files that a test writes down."""

    files: Mapping[str, bytes] = field(default_factory=dict)

    def read(self, path: str, *, limit: int) -> bytes | None:
        return self.files.get(path, b"")[:limit] if path in self.files else None

    def blobs(self) -> Mapping[str, str]:
        return {path: sha1(content, usedforsecurity=False).hexdigest() for path, content in self.files.items()}

    def export(self, to: Path) -> None:
        with tarfile.open(to, "x") as archive:
            for path, content in self.files.items():
                member = tarfile.TarInfo(path)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


@dataclass(frozen=True)
class Shop:
    """Where a test gets its images: an engine, a label for all of them, and what was said while they were built."""

    engine: Engine
    token: str
    cache: Path
    said: list[str] = field(default_factory=list)

    def image(self, *lines: str, base: str = DEFAULT_DOCKER_IMAGE) -> str:
        """Return the name of an image that the operator has."""
        recipe = "\n".join((f"FROM {base}", f"LABEL {self.token}", *lines)).encode()
        with context({"Dockerfile": recipe}) as packed:
            made = run(self.engine, Build(what="the operator's image", context=packed), self.said.append)
        name = f"taskq-test/{self.token.partition('=')[2]}:{made[7:19]}"
        images.tag(self.engine, made, name)
        return name

    def prepare(self, toolchain: Toolchain, tree: Mapping[str, bytes] | None = None, *, seconds: float = 300) -> str:
        return prepare(
            self.engine,
            toolchain,
            Files(tree or {}),
            default_image=DEFAULT_DOCKER_IMAGE,
            cache=self.cache,
            output=self.said.append,
            timeout=timedelta(seconds=seconds),
        )

    def shell(self, image: str, script: str) -> list[str]:
        return in_container(self.engine, image, script).splitlines()

    @property
    def steps(self) -> int:
        """How many commands were run by builds so far."""
        return sum("Running in" in line for line in self.said)


@pytest.fixture
def shop(engine: Engine, tmp_path: Path) -> Iterator[Shop]:
    with labelled(engine) as token:
        yield Shop(engine, token, tmp_path / "cache")


def test_a_repository_that_says_nothing_gets_the_default_image(engine: Engine, shop: Shop) -> None:
    assert shop.prepare(Toolchain()) == images.resolve(engine, DEFAULT_DOCKER_IMAGE)
    assert shop.said == []


def test_a_named_image_gets_our_part_and_keeps_its_own(engine: Engine, shop: Shop) -> None:
    name = shop.image(
        "USER root",
        "RUN rm -r /usr/local/lib/taskq /usr/local/bin/opencode && echo theirs >/usr/local/tool",
        "USER agent",
        "ENV THEIRS=1",
        'ENTRYPOINT ["/bin/false"]',
        "HEALTHCHECK CMD true",
    )
    made = shop.prepare(Toolchain(image=name))
    look = (
        "cat /usr/local/tool; opencode --version; /usr/local/lib/taskq/bin/taskq-guest --version; id -u; echo $THEIRS"
    )
    assert shop.shell(made, look) == ["theirs", images.OPENCODE_VERSION, "taskq-guest 2", "0", "1"]
    said = engine.api.inspect_image(made)["Config"]
    assert said["Entrypoint"] in (None, [])
    assert said["Healthcheck"] == {"Test": ["NONE"]}
    assert "OPENCODE_DISABLE_AUTOUPDATE=1" in said["Env"]


def test_a_second_attempt_builds_nothing(shop: Shop) -> None:
    name = shop.image()
    first = shop.prepare(Toolchain(image=name))
    shop.said.clear()
    assert shop.prepare(Toolchain(image=name)) == first
    assert shop.said == []


def test_an_image_without_git_gets_it(engine: Engine, shop: Shop) -> None:
    if images.find(engine, PLAIN_BASE) is None:
        pytest.skip(f"docker has no image {PLAIN_BASE}; get it with: python -m tools.docker_base")
    name = shop.image(base=PLAIN_BASE)
    with pytest.raises(AssertionError):
        shop.shell(name, "git --version")
    made = shop.prepare(Toolchain(image=name))
    assert shop.shell(made, "git --version; test -s /etc/ssl/certs/ca-certificates.crt && echo trusts")[1:] == [
        "trusts"
    ]


def test_an_image_without_git_and_without_a_way_to_it_is_refused_by_name(shop: Shop) -> None:
    name = shop.image("USER root", "RUN rm /usr/bin/git /usr/bin/apt-get")
    with pytest.raises(WorkFailedError, match=f"{name} has no git, and no package manager that taskq knows") as caught:
        shop.prepare(Toolchain(image=name))
    assert caught.value.code == "no_git"


def test_a_named_image_that_is_not_here_is_never_pulled(shop: Shop) -> None:
    with pytest.raises(SandboxError, match="docker pull taskq/nowhere:1") as caught:
        shop.prepare(Toolchain(image="taskq/nowhere:1"))
    assert caught.value.code == "image_missing"


def a_dockerfile(shop: Shop, *lines: str) -> bytes:
    return "\n".join((f"FROM {DEFAULT_DOCKER_IMAGE}", f"LABEL {shop.token}", "USER root", *lines)).encode()


def test_a_dockerfile_is_built_from_the_files_of_the_base_commit(shop: Shop) -> None:
    tree = {"ci/Dockerfile": a_dockerfile(shop, "COPY tool /usr/local/tool"), "tool": b"from the tree\n"}
    made = shop.prepare(Toolchain(dockerfile="ci/Dockerfile"), tree)
    assert shop.shell(made, "cat /usr/local/tool") == ["from the tree"]
    shop.said.clear()
    assert shop.prepare(Toolchain(dockerfile="ci/Dockerfile"), tree) == made
    assert shop.said == []
    changed = shop.prepare(Toolchain(dockerfile="ci/Dockerfile"), {**tree, "tool": b"changed\n"})
    assert shop.shell(changed, "cat /usr/local/tool") == ["changed"]


def test_a_dockerfile_that_fails_is_the_repositorys_failure(shop: Shop) -> None:
    tree = {"Dockerfile": a_dockerfile(shop, "RUN echo no such compiler; exit 1")}
    with pytest.raises(WorkFailedError, match="no such compiler") as caught:
        shop.prepare(Toolchain(dockerfile="Dockerfile"), tree)
    assert caught.value.code == "build_failed"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "sub/../../x", "absent", "sub", "."])
def test_a_dockerfile_outside_of_the_base_commit_is_refused(shop: Shop, path: str) -> None:
    with pytest.raises(WorkFailedError, match="no file of the base commit") as caught:
        shop.prepare(Toolchain(dockerfile=path), {"sub/file": b"FROM scratch"})
    assert caught.value.code == "bad_dockerfile"
    assert shop.said == []


def test_setup_runs_once_for_the_same_manifests_and_again_when_one_changes(shop: Shop) -> None:
    name = shop.image()
    toolchain = Toolchain(
        image=name,
        setup='test -f src/main.py; echo "$GREETING $(cat go.mod)" >>/usr/local/tool',
        env={"GREETING": "hi"},
    )
    tree = {"go.mod": b"one\n", "src/main.py": b"1"}
    first = shop.prepare(toolchain, tree)
    assert shop.shell(first, "cat /usr/local/tool; ls /taskq") == ["hi one"]
    shop.said.clear()
    assert shop.prepare(toolchain, {**tree, "src/main.py": b"2"}) == first
    assert shop.said == []
    second = shop.prepare(toolchain, {**tree, "go.mod": b"two\n"})
    assert shop.shell(second, "cat /usr/local/tool") == ["hi two"]


def test_what_setup_was_given_as_env_is_no_setting_of_the_image(engine: Engine, shop: Shop) -> None:
    made = shop.prepare(Toolchain(image=shop.image(), setup="true", env={"NAME": "a-telling-value"}))
    history = engine.api.history(made)
    assert "a-telling-value" not in str(engine.api.inspect_image(made)) + str(history)


def test_setup_reads_no_input_and_stops_at_the_first_failure(shop: Shop) -> None:
    toolchain = Toolchain(image=shop.image(), setup="cat\necho first\nfalse\necho second")
    with pytest.raises(WorkFailedError, match="first") as caught:
        shop.prepare(toolchain)
    assert caught.value.code == "setup_failed"
    assert "second" not in shop.said
    shop.said.clear()
    with pytest.raises(WorkFailedError):
        shop.prepare(toolchain)
    assert "first" in shop.said, "what failed is tried again"


def test_a_setup_without_end_is_ended(shop: Shop) -> None:
    name = shop.image()
    shop.prepare(Toolchain(image=name))
    with pytest.raises(WorkFailedError, match="not done after 0:00:03") as caught:
        shop.prepare(Toolchain(image=name, setup="sleep 600"), seconds=3)
    assert caught.value.code == "setup_failed"


def test_of_two_that_want_the_same_one_builds_and_the_other_waits(shop: Shop) -> None:
    toolchain = Toolchain(image=shop.image(), setup="echo building; sleep 1")
    made: list[str] = []
    shop.said.clear()
    both = [threading.Thread(target=lambda: made.append(shop.prepare(toolchain))) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert len(made) == 2
    assert len(set(made)) == 1
    assert shop.said.count("building") == 1
