"""Which names, links and modes of a commit may reach the operator: pure rules over hostile bytes.

Refused is what could write outside of the tree, into a git dir, or cannot be shown truthfully anywhere; flagged is what
is legal and a reviewer must see.
"""

import re
import unicodedata
from typing import Final

LONGEST_PATH: Final = 4096
LONGEST_LINK: Final = 4096
REGULAR: Final = frozenset({"100644", "100755"})
LINK: Final = "120000"
GITLINK: Final = "160000"

_HFS_IGNORES: Final = frozenset(
    chr(point) for point in (*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF)
)
_UNSEEN: Final = re.compile("[\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_SHORT_NAME: Final = re.compile(r"git~\d+", re.ASCII)
_SPECIAL_SHORT_NAME: Final = re.compile(r"(gitmod|gitatt|gitign|gi7eba|gi7d29|gi250a)~\d+", re.ASCII)
_SPECIALS: Final = frozenset({".gitmodules", ".gitattributes", ".gitignore"})
_MERGES: Final = frozenset({"text", "binary", "union"})
_DIFFS: Final = frozenset(
    (
        *("ada", "bash", "bibtex", "cpp", "csharp", "css", "dts", "elixir", "fortran", "fountain", "golang", "html"),
        *("ini", "java", "kotlin", "markdown", "matlab", "objc", "pascal", "perl", "php", "python", "ruby", "rust"),
        *("scheme", "tex"),
    )
)


def path_problem(path: bytes) -> str | None:
    """Return why no tree may have *path*, or None."""
    if _CONTROL.search(path.decode("utf-8", "surrogateescape")):
        return "has a control character"
    return place_problem(path)


def place_problem(path: bytes) -> str | None:
    """Return why nothing may be written at *path*, or None."""
    if len(path) > LONGEST_PATH:
        return "is too long"
    components = path.decode("utf-8", "surrogateescape").split("/")
    return next((why for why in map(_component_problem, components) if why is not None), None)


def mode_problem(mode: str) -> str | None:
    """Return why an entry may not have *mode*, or None."""
    return None if mode in REGULAR or mode in {LINK, GITLINK} else f"has the unknown mode {mode}"


def link_problem(path: bytes, target: bytes) -> str | None:
    """Return why *path* may not be a symbolic link to *target*, or None.

    ``..`` counts only at the start: behind a name that is itself a link it would mean something else than it says.
    """
    if is_special(path):
        return "must not be a symbolic link"
    text = target.decode("utf-8", "surrogateescape")
    if not text or len(target) > LONGEST_LINK or _CONTROL.search(text):
        return "is a symbolic link to nothing that can be a path"
    if text.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", text):
        return "is a symbolic link with an absolute target"
    parts = [part for part in re.split(r"[\\/]", text) if part not in {"", "."}]
    climbs = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    if climbs > path.count(b"/") or ".." in parts[climbs:]:
        return "is a symbolic link that leaves the tree"
    if any(_is_git_dir(part) for part in parts):
        return "is a symbolic link into a git dir"
    return None


def path_flag(path: bytes) -> str | None:
    """Return what a reviewer must know of *path*'s spelling, or None."""
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        return "has a name that is not UTF-8"
    return "has invisible or direction-changing characters in its name" if _UNSEEN.search(text) else None


def is_attributes(path: bytes) -> bool:
    """Whether git (of any system) would read *path* as attributes."""
    return _seen_by_systems(path.rsplit(b"/", 1)[-1].decode("utf-8", "surrogateescape")) == ".gitattributes"


def is_special(path: bytes) -> bool:
    """Whether *path* is one of the files that steer git itself."""
    seen = _seen_by_systems(path.rsplit(b"/", 1)[-1].decode("utf-8", "surrogateescape"))
    return seen in _SPECIALS or _SPECIAL_SHORT_NAME.fullmatch(seen) is not None


def drivers(attributes: bytes) -> frozenset[str]:
    """Return the drivers that a ``.gitattributes`` names and that could run a program, as ``filter=lfs``."""
    words = {
        word.partition("=")[::2]
        for line in attributes.decode("utf-8", "surrogateescape").split("\n")
        if not line.lstrip().startswith("#")
        for word in line.split()[1:]
    }
    harmless = {"merge": _MERGES, "diff": _DIFFS, "filter": frozenset[str]()}
    return frozenset(f"{kind}={name}" for kind, name in words if name and name not in harmless.get(kind, {name}))


def is_git_component(text: str) -> bool:
    """Whether some file system would take *text*, one component of a path, for ``.git``."""
    return any(_is_git_dir(part) for part in re.split(r"[\\/]", text))


def _component_problem(component: str) -> str | None:
    if component in {"", ".", ".."}:
        return f"has the component {component!r}"
    return "has a component that is '.git' to some system" if is_git_component(component) else None


def _is_git_dir(component: str) -> bool:
    seen = _seen_by_systems(component)
    return seen == ".git" or _SHORT_NAME.fullmatch(seen) is not None


def _seen_by_systems(component: str) -> str:
    """Return the name as the laxest file systems see it: HFS+ ignores characters, NTFS ends, streams and case."""
    kept = "".join(character for character in component if character not in _HFS_IGNORES)
    return unicodedata.normalize("NFKC", kept).split(":", 1)[0].rstrip(" .").casefold()
