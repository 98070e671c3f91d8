"""What a table of paths consists of: one `Shape` says where each column stands in one form of payload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from blocks.memories.posts.reading import MISSING, dig
from blocks.memories.posts.record import MediaType, Platform

FILLED: Final = "something is there"
SEVERAL: Final = "a list of two or more is there"
WRITTEN: Final = "a text is there"
ALWAYS: Final = "in any case"
Test = Literal["something is there", "a list of two or more is there", "a text is there", "in any case"]


@dataclass(frozen=True, slots=True)
class Case:
    """If the value at `path` is `equals` (same type, same value) or passes the test, the result is `then`."""

    path: str
    equals: str | int | bool | None
    then: Any
    test: Test | None = None

    def holds(self, node: Any) -> bool:
        value = dig(node, self.path)
        if self.test == FILLED:
            return value is not MISSING and value not in (None, "", False) and value != [] and value != {}
        if self.test == SEVERAL:
            return isinstance(value, list) and len(value) >= 2
        if self.test == WRITTEN:
            return isinstance(value, str)
        return self.test == ALWAYS or (type(value) is type(self.equals) and value == self.equals)


def case(path: str, equals: str | int | bool, then: Any) -> Case:
    return Case(path, equals, then)


def filled(path: str, then: Any) -> Case:
    return Case(path, None, then, FILLED)


def several(path: str, then: Any) -> Case:
    return Case(path, None, then, SEVERAL)


def written(path: str, then: Any) -> Case:
    return Case(path, None, then, WRITTEN)


def always(then: Any) -> Case:
    return Case("", None, then, ALWAYS)


Paths = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListTable:
    """Where a list stands, and where in each of its items the text is (`""`: the item itself)."""

    lists: Paths
    items: Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One form of payload.

    `marks` are paths that tell the form from others, a point for each that is there; `signs` are cases that
    few other forms have, with the points they add. `ids` hold the post's id, `codes` Instagram's shortcode.
    `caption` has one group of paths for each part (parts are joined by a blank line); null, "" or [] at any of
    them tells that there is no caption. `media` and `flags` are
    decided by the first case that holds. `video_only` names the columns that mean nothing unless the post is
    a video; `never_for_images` those that are dropped for an image whatever the payload says.
    """

    name: str
    platform: Platform
    marks: Paths
    signs: tuple[Case, ...] = ()
    ids: Paths
    codes: Paths = ()
    columns: Mapping[str, Paths]
    caption: tuple[Paths, ...]
    lists: Mapping[str, ListTable] = field(default_factory=dict)
    media: tuple[Case, ...]
    flags: Mapping[str, tuple[Case, ...]] = field(default_factory=dict)
    hidden: Mapping[str, Paths] = field(default_factory=dict)
    """Column → paths of flags that say that the owner hides it."""
    children: Paths = ()
    child: Mapping[str, Paths] = field(default_factory=dict)
    child_media: tuple[Case, ...] = ()
    extra: Mapping[str, Paths] = field(default_factory=dict)
    extra_times: Mapping[str, Paths] = field(default_factory=dict)
    extra_lists: Mapping[str, ListTable] = field(default_factory=dict)
    video_only: frozenset[str] = frozenset({"duration_seconds", "has_audio"})
    never_for_images: frozenset[str] = frozenset()

    def score(self, node: dict[str, Any]) -> int:
        """How much the node looks like this form; 0: not at all."""
        marks = sum(dig(node, mark) is not MISSING for mark in self.marks)
        return marks + sum(int(sign.then) for sign in self.signs if sign.holds(node))


def decide(node: Any, cases: tuple[Case, ...]) -> Any:
    """The result of the first case that holds, or None."""
    return next((one.then for one in cases if one.holds(node)), None)


def media_of(node: Any, cases: tuple[Case, ...]) -> MediaType | None:
    found: MediaType | None = decide(node, cases)
    return found
