"""Single values to plain JSON and back, strictly typed: the pieces that ``store.codec`` builds tables of.

Guarantees: times are UTC with microseconds and a Z, durations are seconds; what was observed of a hostile program
is made storable (a lone surrogate becomes its escape), everything else is kept as it is.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeVar

from orchestration.core.errors import TaskqError
from orchestration.core.naming import task_id
from orchestration.core.status import Status

T = TypeVar("T")


class MismatchError(ValueError):
    """A value is not of the type that its field has."""


class Codec(NamedTuple):
    """How one field is written and read; *optional* when null is a value of it."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    optional: bool = False


def encode_object(value: Any, table: Mapping[str, Codec]) -> dict[str, Any]:
    """Return the fields of *value* that *table* names; an absent one is null."""
    return {
        name: None if member is None else encode(member)
        for (name, (encode, _, _)), member in zip(table.items(), _members(table)(value), strict=True)
    }


_MEMBERS: Final[dict[int, Callable[[Any], tuple[Any, ...]]]] = {}


def _members(table: Mapping[str, Codec]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what gives all members that *table* names at once; tables live as long as the process."""
    getter = _MEMBERS.get(id(table))
    if getter is None:
        first, *others = table
        getter = _MEMBERS[id(table)] = attrgetter(first, *others) if others else lambda value: (getattr(value, first),)
    return getter


def decode_object(kind: type[T], table: Mapping[str, Codec], record: Mapping[str, Any]) -> T:
    """Return the *kind* that *record* holds. Raises: MismatchError naming the field."""
    if not isinstance(record, Mapping):
        raise MismatchError(f"{record!a:.40} is no object")
    members = {}
    for name, codec in table.items():
        value = record.get(name)
        if value is not None:
            try:
                members[name] = codec.decode(value)
            except ValueError as error:
                raise MismatchError(f"{name}: {error}") from error
        elif codec.optional:
            members[name] = None
    try:
        return kind(**members)
    except TypeError as error:
        missing = ", ".join(sorted(_required(kind) - set(members)))
        raise MismatchError(f"{missing} missing") from error


def _required(kind: type[Any]) -> set[str]:
    from dataclasses import MISSING, fields, is_dataclass  # noqa: PLC0415 -- only for an error

    if not is_dataclass(kind):  # a named tuple
        return set(vars(kind)["_fields"]) - set(vars(kind)["_field_defaults"])
    return {item.name for item in fields(kind) if item.default is MISSING and item.default_factory is MISSING}


def _storable(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _same(value: Any) -> Any:
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise MismatchError(f"{value!a:.40} is no text")
    return value


def _integer(value: object) -> int:
    if type(value) is not int:
        raise MismatchError(f"{value!a:.40} is no integer")
    return value


def _number(value: object) -> float:
    if type(value) not in {int, float}:
        raise MismatchError(f"{value!a:.40} is no number")
    return float(value)  # type: ignore[arg-type]  # narrowed above by exact type, which mypy does not follow


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise MismatchError(f"{value!a:.40} is neither true nor false")
    return value


def sequence(value: object) -> list[Any]:
    """Return *value*, a list. Raises: MismatchError."""
    if not isinstance(value, list):
        raise MismatchError(f"{value!a:.40} is no list")
    return value


def _texts_by_name(value: object) -> dict[str, str]:
    return {name: _text(member) for name, member in _object(value).items()}


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_text(item) for item in sequence(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(member) for key, member in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MismatchError(f"{value!a:.40} is no object")
    return value


def _encode_duration(value: timedelta) -> int | float:
    seconds = value.total_seconds()
    return int(seconds) if seconds == int(seconds) else seconds


def _decode_duration(value: object) -> timedelta:
    try:
        return timedelta(seconds=_number(value))
    except OverflowError as error:
        raise MismatchError(f"{value!a:.40} seconds is no duration") from error


def _status(value: object) -> Status:
    try:
        return Status(_text(value))
    except ValueError:
        raise MismatchError(f"{value!a:.40} is no status") from None


def _identifier(value: object) -> str:
    try:
        return task_id(_text(value))
    except TaskqError as error:
        raise MismatchError(str(error)) from error


def nested(kind: type[Any], table: Mapping[str, Codec], *, optional: bool = True) -> Codec:
    """Return the codec of a field that holds a whole *kind*."""
    return Codec(lambda value: encode_object(value, table), lambda value: decode_object(kind, table, value), optional)


@lru_cache(maxsize=64)
def encode_moment(value: datetime) -> str:
    """Return an aware time in the one format of every file."""
    if value.tzinfo is UTC:  # as it is nearly always
        return value.isoformat(timespec="microseconds")[:-6] + "Z"
    if value.tzinfo is None:
        raise TaskqError(f"the time {value} has no zone; times inside of taskq are aware")
    return value.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def decode_moment(value: object) -> datetime:
    """Return the time that *value* names; without an offset it is UTC. Raises: ValueError."""
    parsed = datetime.fromisoformat(_text(value))
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


TEXT: Final = Codec(str, _text)
INTEGER: Final = Codec(int, _integer)
NUMBER: Final = Codec(_same, _number)
FLAG: Final = Codec(bool, _flag)
MOMENT: Final = Codec(encode_moment, decode_moment)
TEXTS: Final = Codec(list, _texts)
TEXTS_BY_NAME: Final = Codec(dict, _texts_by_name)
STATUS: Final = Codec(str, _status)
ID: Final = Codec(str, _identifier)
TEXT_OR_NULL: Final = Codec(str, _text, optional=True)
INTEGER_OR_NULL: Final = Codec(int, _integer, optional=True)
NUMBER_OR_NULL: Final = Codec(_same, _number, optional=True)
MOMENT_OR_NULL: Final = Codec(encode_moment, decode_moment, optional=True)
DURATION: Final = Codec(_encode_duration, _decode_duration)
OBJECT_OR_NULL: Final = Codec(_plain, _object, optional=True)
OBSERVED: Final = Codec(_storable, _text)
OBSERVED_OR_NULL: Final = Codec(_storable, _text, optional=True)
OBSERVED_TEXTS: Final = Codec(lambda texts: [_storable(text) for text in texts], _texts)
