"""Who runs inside and who owns the folders, for each kind of engine and of operator."""

import pytest

from orchestration.adapters.sandbox.docker.engine import Facts
from orchestration.adapters.sandbox.docker.users import Users, users_for
from orchestration.core.errors import SandboxError


def an_engine(*, is_rootless: bool = False, remap: tuple[int, int] | None = None) -> Facts:
    return Facts(version="1", security=(), root="/var/lib/docker", is_rootless=is_rootless, remap=remap)


def test_a_root_operator_has_the_agent_run_as_1000_and_gives_it_the_folders() -> None:
    assert users_for(an_engine(), (0, 0)) == Users(inside=(1000, 1000), owner=(1000, 1000))


def test_any_other_operator_has_the_agent_run_as_himself() -> None:
    assert users_for(an_engine(), (1234, 100)) == Users(inside=(1234, 100), owner=None)


@pytest.mark.parametrize("uid", [0, 1234])
def test_a_rootless_engine_shows_the_operator_as_root(uid: int) -> None:
    assert users_for(an_engine(is_rootless=True), (uid, uid)) == Users(inside=(0, 0), owner=None)


def test_a_remapped_engine_gets_the_folders_under_its_own_ids() -> None:
    engine = an_engine(remap=(100_000, 200_000))
    assert users_for(engine, (0, 0)) == Users(inside=(1000, 1000), owner=(101_000, 201_000))


def test_a_remapped_engine_cannot_serve_an_operator_who_cannot_give_files_away() -> None:
    with pytest.raises(SandboxError, match="rootless engine") as caught:
        users_for(an_engine(remap=(100_000, 100_000)), (1234, 1234))
    assert caught.value.code == "users_remapped"
