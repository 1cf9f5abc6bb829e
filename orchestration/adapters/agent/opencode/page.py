"""Where OpenCode's own web page shows a session."""

import base64


def page_of(directory: str, session: str) -> str:
    """Return the page's path. OpenCode names a folder by its base64, in the form for URLs, without padding."""
    folder = base64.urlsafe_b64encode(directory.encode("utf-8", "surrogateescape")).rstrip(b"=").decode("ascii")
    return f"/{folder}/session/{session}"
