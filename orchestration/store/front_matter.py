"""The front matter of task files: YAML in which every scalar stays the text that was written.

Guarantees: no aliases, no tags, no duplicate keys, bounded size and nesting; every value knows its line in the file.
Not responsible for: which keys there are and what they mean (``store.task_files``).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import frontmatter
import yaml
from frontmatter.default_handlers import BaseHandler

from orchestration.core.errors import TaskFileError

FENCE: Final = "---"
FRONT_MATTER_CHARACTERS: Final = 64 * 1024
NESTING: Final = 8

_PLAIN_TAGS: Final = frozenset({"tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"})


class Given(NamedTuple):
    """A value as it was written, and where: text, a list, or a mapping of such."""

    value: "str | int | bool | list[Given] | dict[str, Given]"
    line: int


def split_document(name: str, text: str, *, line: int = 1) -> tuple[dict[str, Given], str]:
    """Return the front matter and the body of *text*, which starts at *line* of the file *name*.

    Front matter is there when the first line that is not blank is ``---``; it ends at the next such line.
    Raises: TaskFileError.
    """
    if not opens(text):
        return {}, text
    blank = len(text) - len(text.lstrip())
    start = line + text.count("\n", 0, blank)
    metadata, body = frontmatter.parse(text, handler=_TextHandler(name, start))
    return {key: value for key, value in metadata.items() if isinstance(value, Given)}, body


def opens(text: str) -> bool:
    """Return whether the first line of *text* that is not blank opens front matter."""
    return is_fence(next((line for line in text.split("\n") if line.strip()), ""))


def is_fence(line: str) -> bool:
    """Return whether *line* is one that opens or closes front matter."""
    return line.rstrip() == FENCE


class _TextHandler(BaseHandler):
    """Splits and reads one document; *line* is where its opening fence stands."""

    def __init__(self, name: str, line: int) -> None:
        self._name = name
        self._line = line

    def split(self, text: str) -> tuple[str, str]:
        """Return what stands between the fences and what comes after."""
        lines = text.split("\n")
        for place, content in enumerate(lines[1:], start=1):
            if is_fence(content):
                return "\n".join(lines[1:place]), "\n".join(lines[place + 1 :])
        msg = f"{self._name}:{self._line}: the front matter that opens here has no end; close it with a line '---'"
        raise TaskFileError(msg)

    def load(self, fm: str) -> dict[str, object]:
        """Return the keys with their values, each as it was written."""
        if len(fm) > FRONT_MATTER_CHARACTERS:
            limit = FRONT_MATTER_CHARACTERS
            raise self._error(1, f"the front matter has {len(fm)} characters of {limit}; move text to the body")
        try:
            node = _Loader(fm).get_single_node()
            if node is None:
                return {}
            given = self._given(node, fm, depth=0)
        except _RefusedError as error:
            raise self._error(_line_of(fm, error.index), str(error)) from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            at = _line_of(fm, mark.index) if mark else 1
            raise self._error(at, f"this is no front matter: {error.problem or error.context}") from error
        except yaml.reader.ReaderError as error:
            raise self._error(_line_of(fm, error.position), "a character that no text file has") from error
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise self._error(1, f"this is no front matter: {error}") from error
        if not isinstance(given.value, dict):
            raise self._error(1, "front matter is made of lines such as 'title: Fix the typo'")
        return dict(given.value)

    def _given(self, node: yaml.Node, text: str, *, depth: int) -> Given:
        line = _line_of(text, node.start_mark.index)
        if depth > NESTING:
            raise self._error(line, f"values nested more than {NESTING} deep")
        if node.tag not in _PLAIN_TAGS:
            raise self._error(line, f"the tag {node.tag!a:.60} is not understood; leave it out")
        if isinstance(node, yaml.MappingNode):
            return Given(self._mapping(node, text, depth=depth), self._line + line)
        if isinstance(node, yaml.SequenceNode):
            return Given([self._given(item, text, depth=depth + 1) for item in node.value], self._line + line)
        return Given(str(node.value), self._line + line)

    def _mapping(self, node: yaml.MappingNode, text: str, *, depth: int) -> dict[str, Given]:
        members: dict[str, Given] = {}
        for key_node, value_node in node.value:
            line = _line_of(text, key_node.start_mark.index)
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(line, "a key must be a plain word")
            key = str(key_node.value)
            if key in members:
                raise self._error(line, f"the key {key!a:.60} is given twice; keep one")
            given = self._given(value_node, text, depth=depth + 1)
            members[key] = Given(given.value, self._line + line)
        return members

    def _error(self, line: int, problem: str) -> TaskFileError:
        return TaskFileError(f"{self._name}:{self._line + line}: {problem}")


class _RefusedError(ValueError):
    """The YAML has something that task files do not need; *index* is where."""

    def __init__(self, problem: str, event: yaml.Event) -> None:
        super().__init__(problem)
        self.index = event.start_mark.index if event.start_mark is not None else 0


class _Loader(yaml.BaseLoader):
    """Composes nodes and refuses what could grow while it is read."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node, or refuse an alias or one that lies too deep."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it untyped
        if isinstance(event, yaml.AliasEvent):
            raise _RefusedError(f"the alias *{event.anchor} is not allowed; write the value out", event)
        if self._depth > NESTING + 1:
            raise _RefusedError(f"values nested more than {NESTING} deep", event)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _line_of(text: str, index: int) -> int:
    """Return the line, from 1, of a place in *text*; YAML's own count breaks lines at more characters than files do."""
    return text.count("\n", 0, index) + 1


Keys = Mapping[str, Given]
"""The front matter of one document."""
