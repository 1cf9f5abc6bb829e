import stat
import webbrowser
from pathlib import Path

import pytest

from orchestration.adapters.review import browser

URL = 'http://opencode:s3cret&x@127.0.0.1:1234/L3d/session/ses_1?a=1&b="2"'


def test_the_file_sends_on_to_the_page_and_is_its_user_s_alone(tmp_path: Path) -> None:
    with browser.private_folder({"XDG_RUNTIME_DIR": str(tmp_path)}) as folder:
        assert folder.parent == tmp_path
        file = browser.redirect(folder, URL)
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, file)]
        content = file.read_text(encoding="utf-8")
    assert modes == [0o700, 0o600]
    assert 'content="0;url=http://opencode:s3cret&amp;x@127.0.0.1:1234/' in content
    assert "&quot;2&quot;" in content
    assert not folder.exists()


@pytest.mark.parametrize("given", [{}, {"XDG_RUNTIME_DIR": "relative"}, {"XDG_RUNTIME_DIR": "/nowhere/at/all"}])
def test_without_a_runtime_folder_there_is_a_private_one_all_the_same(given: dict[str, str]) -> None:
    with browser.private_folder(given) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("environment", "platform", "expected"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "darwin", True),
        ({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, "linux", False),
        ({"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, "darwin", False),
    ],
)
def test_a_browser_is_opened_where_its_window_would_be_seen(
    environment: dict[str, str], platform: str, *, expected: bool
) -> None:
    assert browser.has_display(environment, platform=platform) is expected


def test_the_browser_is_told_of_the_file_and_never_of_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(webbrowser, "open", told.append)
    browser.show(browser.redirect(tmp_path, URL))
    assert told == [(tmp_path / "open.html").as_uri()]
