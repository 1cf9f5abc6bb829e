"""What both sides of the way out call it by; light, as every container's settings need it."""

from typing import Final

PROXY_SOCKET: Final = "proxy"
"""The socket's name in its folder."""
