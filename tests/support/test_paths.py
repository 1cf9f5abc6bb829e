from pathlib import Path

from orchestration.support import paths


def a_queue(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / ".taskq").touch()
    return folder


def test_a_given_queue_wins_over_the_variable(tmp_path: Path) -> None:
    found = paths.find_queue("mine", environment={"TASKQ_QUEUE": "/other", "HOME": "/h"}, cwd=tmp_path)
    assert found == tmp_path / "mine"


def test_the_variable_wins_over_a_marked_folder(tmp_path: Path) -> None:
    a_queue(tmp_path / "queue")
    assert paths.find_queue(None, environment={"TASKQ_QUEUE": "/other"}, cwd=tmp_path) == Path("/other")


def test_the_nearest_marked_folder_above_is_found(tmp_path: Path) -> None:
    queue = a_queue(tmp_path / "queue")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert paths.find_queue(None, environment={"HOME": "/h"}, cwd=below) == queue


def test_an_unmarked_folder_is_no_queue(tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    found = paths.find_queue(None, environment={"HOME": str(tmp_path / "home")}, cwd=tmp_path)
    assert found == tmp_path / "home" / ".local" / "share" / "taskq" / "queue"


def test_a_relative_xdg_folder_is_ignored() -> None:
    assert paths.state_folder({"HOME": "/h", "XDG_STATE_HOME": "relative"}) == Path("/h/.local/state/taskq")


def test_secrets_are_beside_the_operator_s_configuration() -> None:
    assert paths.secrets_folder({"XDG_CONFIG_HOME": "/c", "HOME": "/h"}) == Path("/c/taskq/secrets")
    assert paths.secrets_folder({"HOME": "/h"}) == Path("/h/.config/taskq/secrets")
