"""Containers and images that exist for one test only."""

import contextlib
import time
from collections.abc import Callable, Iterator
from secrets import token_hex

from orchestration.adapters.sandbox.docker.engine import Engine


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def containers(engine: Engine, token: str) -> list[str]:
    """Return the containers, running or not, that carry the label *token*."""
    return [one["Id"] for one in engine.api.containers(all=True, filters={"label": token})]


def in_container(engine: Engine, image: str, script: str) -> str:
    """Return what a shell script writes in a container of *image*, which has no network and is gone afterwards."""
    settings = engine.api.create_host_config(network_mode="none", init=True)
    made = engine.api.create_container(
        image, entrypoint=["/bin/sh", "-c"], command=[script], labels={"taskq.test": ""}, host_config=settings
    )
    try:
        engine.api.start(made)
        ended = engine.api.wait(made)
        said = engine.api.logs(made).decode()
    finally:
        engine.api.remove_container(made, force=True)
    assert ended["StatusCode"] == 0, said
    return said


@contextlib.contextmanager
def labelled(engine: Engine) -> Iterator[str]:
    """Yield a label; the images that carry it in the end are removed."""
    token = f"taskq.test={token_hex(8)}"
    try:
        yield token
    finally:
        wait_until(lambda: not containers(engine, token))
        for image in engine.api.images(filters={"label": token}):
            for reference in image["RepoTags"] or [image["Id"]]:
                engine.api.remove_image(image["Id"] if reference == "<none>:<none>" else reference)
