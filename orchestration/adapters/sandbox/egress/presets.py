"""Names for the hosts of well-known package registries: what downloading from them takes, and no more.

Not responsible for: what a registry accepts. Where it takes uploads on the host that it is read from, it is a way out.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

PRESETS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "alpine": ("dl-cdn.alpinelinux.org",),
        "crates": ("index.crates.io", "static.crates.io"),
        "debian": ("deb.debian.org", "security.debian.org"),
        "github": (
            "github.com",
            "api.github.com",
            "codeload.github.com",
            "objects.githubusercontent.com",
            "raw.githubusercontent.com",
            "release-assets.githubusercontent.com",
        ),
        "go": ("proxy.golang.org", "sum.golang.org"),
        "maven": ("repo.maven.apache.org", "repo1.maven.org"),
        "npm": ("registry.npmjs.org",),
        "packagist": ("packagist.org", "repo.packagist.org"),
        "pypi": ("pypi.org", "files.pythonhosted.org"),
        "rubygems": ("rubygems.org", "index.rubygems.org"),
        "ubuntu": ("archive.ubuntu.com", "security.ubuntu.com", "ports.ubuntu.com"),
        "yarn": ("registry.yarnpkg.com",),
    }
)
"""The hosts behind each name, on ports 80 and 443."""
