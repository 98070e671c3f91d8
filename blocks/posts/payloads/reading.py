"""Reading values out of JSON that anybody may have changed: nothing here raises, and falsy values survive.

A path is written `owner.edge_followed_by.count`; a number steps into a list, and `users.[id=author_id]` to the item
of a list whose `id` is what stands at the node's `author_id`. Every reader takes any JSON value and gives a value
that can be stored, or None where the value is not what it should be.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, TypeVar

T = TypeVar("T")

MISSING: Final = object()

LARGEST_COUNT = 2**63 - 1
"""What a 64-bit column holds; no count of any platform comes near it, so a larger one is no count."""
LARGEST_SIZE = 2**31 - 1
_LONGEST_ID = 200

_WHOLE = re.compile(r"[+-]?[0-9]{1,19}\Z")
_DECIMAL = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?\Z")
_CLOCK = re.compile(r"(?:([0-9]{1,4}):)?([0-9]{1,4}):([0-9]{2}(?:\.[0-9]{1,6})?)\Z")
_ISO_DURATION = re.compile(
    r"P(?=.)(?:([0-9]{1,4})D)?"
    r"(?:T(?=.)(?:([0-9]{1,4})H)?(?:([0-9]{1,4})M)?(?:([0-9]{1,5}(?:\.[0-9]{1,6})?)S)?)?\Z"
)
_FRACTION = re.compile(r"[0-9]{9,13}\.[0-9]{1,9}\Z")
_STEP = re.compile(r"\[([^\]=]+)=([^\]]+)\]|([^.]+)")
_DATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_COMPACT = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:T?([0-9]{2})([0-9]{2})([0-9]{2})Z?)?\Z")
_TWEETED = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) \+0000 ([0-9]{4})\Z")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MOMENT = datetime(2004, 1, 1, tzinfo=UTC)
"""None of the platforms is older: an earlier time is a number that was misread."""
_LAST_MOMENT = datetime(2100, 1, 1, tzinfo=UTC)
"""Far beyond any post: whoever knows when a payload was measured has a nearer bound."""
_MILLISECONDS_FROM = 100_000_000_000
"""In seconds this would be the year 5138: numbers from here on are milliseconds, then micro- and nanoseconds."""


@lru_cache(maxsize=8192)
def _steps(path: str) -> tuple[str | int | tuple[str, str], ...]:
    steps = (match.groups() for match in _STEP.finditer(path))
    return tuple(
        (key, same) if plain is None else int(plain) if plain.isdigit() else plain for key, same, plain in steps
    )


def dig(node: Any, path: str) -> Any:
    """The value at the path (null included), or MISSING; the empty path is the node itself."""
    root = node
    for step in _steps(path):
        if isinstance(step, str):
            if not isinstance(node, dict) or step not in node:
                return MISSING
            node = node[step]
        elif not isinstance(node, list):
            return MISSING
        elif isinstance(step, int):
            if step >= len(node):
                return MISSING
            node = node[step]
        else:
            wanted = ident(dig(root, step[1]))
            same = (item for item in node if wanted is not None and ident(dig(item, step[0])) == wanted)
            node = next(same, MISSING)
    return node


@lru_cache(maxsize=8192)
def _with_first_keys(paths: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((path.partition(".")[0], path) for path in paths)


def begun(node: Any, paths: tuple[str, ...]) -> list[str]:
    """The paths, in order, whose first key stands in the node: a table names a hundred, and a node has a few."""
    if not isinstance(node, dict):
        return list(paths)
    return [path for key, path in _with_first_keys(paths) if not key or key in node]


def first(node: Any, paths: tuple[str, ...], read: Callable[[Any], T | None]) -> T | None:
    """The first path's value that can be read; only None is passed over, so that 0 and False stay."""
    for path in begun(node, paths):
        value = read(dig(node, path))
        if value is not None:
            return value
    return None


def storable(text: str) -> str:
    """The text as every database takes it: NUL (which Postgres refuses) and lone surrogates become U+FFFD."""
    if not text.isascii():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def text(value: Any) -> str | None:
    """A text that is not empty."""
    return storable(value) if isinstance(value, str) and value else None


def name(value: Any) -> str | None:
    """A user name without the `@` before it, also from a profile's address (`/@name`); another address names nobody."""
    found = text(value)
    if found is None:
        return None
    found = found.strip()
    if found.startswith(("/", "http://", "https://")):
        found = found.partition("/@")[2].partition("/")[0].partition("?")[0]
    return text(found.removeprefix("@"))


def ident(value: Any) -> str | None:
    """An id as text, whether it came as text or as a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if -LARGEST_COUNT <= value <= 2 * LARGEST_COUNT else None
    found = text(value)
    return found if found is not None and len(found) <= _LONGEST_ID else None


def flag(value: Any) -> bool | None:
    """True or False, also from 1 and 0, "true" and "false"."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, int) and value in (0, 1) else None


def whole(value: Any) -> int | None:
    """A whole number, negative ones included; from text only if it is nothing but digits (no "1.2M")."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        value = int(value) if math.isfinite(value) and value.is_integer() else None
    elif isinstance(value, str):
        value = int(value.strip()) if _WHOLE.match(value.strip()) and value.isascii() else None
    return value if isinstance(value, int) and abs(value) <= LARGEST_COUNT else None


def count(value: Any) -> int | None:
    """A count; a negative one means that nobody may know it."""
    found = whole(value)
    return found if found is not None and found >= 0 else None


def pixels(value: Any) -> int | None:
    found = whole(value)
    return found if found is not None and 0 < found <= LARGEST_SIZE else None


def seconds(value: Any) -> float | None:
    """A duration: a number, its text, `1:02:03`, or ISO 8601 (`PT1M2S`, `P1DT2H`)."""
    if isinstance(value, str):
        value = value.strip()
        if match := _CLOCK.match(value):
            hours, minutes, rest = match.groups()
            return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest or 0)
        if match := _ISO_DURATION.match(value):
            days, hours, minutes, rest = match.groups()
            return int(days or 0) * 86400 + int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest or 0)
        return float(value) if _DECIMAL.match(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 10**9 else None


def milliseconds(value: Any) -> float | None:
    """A duration given in milliseconds, as seconds."""
    found = seconds(value)
    return None if found is None else found / 1000


def moment(value: Any) -> datetime | None:
    """A time in UTC from seconds, milliseconds or finer since 1970 (number or text), ISO 8601, or X's own form.

    A time of day without a zone is taken for UTC, a date alone for its first moment. Text of eight digits is a date
    (YYYYMMDD), of fourteen a date with its time of day. What would be before 2004 or after 2099 is no time.
    """
    found = _moment(value)
    return found if found is not None and _FIRST_MOMENT <= found < _LAST_MOMENT else None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str) and (match := _COMPACT.match(value.strip())):
        value = "{}-{}-{} {}:{}:{}".format(*match.groups("00"))
    number: float | None = whole(value)
    if number is None and isinstance(value, float) and math.isfinite(value):
        number = value
    if number is None and isinstance(value, str) and _FRACTION.match(value.strip()):
        number = float(value)
    if number is not None:
        steps = sum(number >= _MILLISECONDS_FROM * 1000**finer for finer in range(3))
        spent = number / 1000**steps
        return _EPOCH + timedelta(seconds=spent) if 0 < spent < 250_000_000_000 else None
    if not isinstance(value, str):
        return None
    value = value.strip()
    try:
        if match := _TWEETED.match(value):
            month, day, hour, minute, second, year = match.groups()
            if month not in _MONTHS:
                return None
            date = (int(year), _MONTHS.index(month) + 1, int(day))
            return datetime(*date, int(hour), int(minute), int(second), tzinfo=UTC)
        if not _DATED.match(value):
            return None
        found = datetime.fromisoformat(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def stamp(value: Any) -> str | None:
    """A time as text, ISO 8601 in UTC with `Z`."""
    found = moment(value)
    return None if found is None else found.isoformat().replace("+00:00", "Z")


def plain(value: Any) -> str | int | float | bool | None:
    """A single value for `extra`: text, flag or number; numbers that JSON writers refuse are left out."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= LARGEST_COUNT else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def texts(node: Any, list_path: str, item_paths: Iterable[str], read: Callable[[Any], str | None]) -> list[str] | None:
    """The readable texts of a list, each once; None where there is no list at the path."""
    items = dig(node, list_path)
    if not isinstance(items, list):
        return None
    paths = tuple(item_paths)
    found = (first(item, paths, read) for item in items)
    return list(dict.fromkeys(one for one in found if one is not None))
