"""What a table of paths consists of: one `Shape` says where each column stands in one form of payload."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from blocks.posts.payloads.reading import MISSING, begun, dig
from blocks.posts.record import MediaType, Platform

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

HOLDERS: Final = (
    "", "metrics", "statistics", "stats", "public_metrics", "publicMetrics", "engagement", "counts", "counters",
    "engagement_metrics", "engagementMetrics", "interaction", "interactions",
)  # fmt: skip
"""Keys under which services gather a post's counts; "" is the node itself."""


def counts(*keys: str) -> Paths:
    """Paths of a count that stands under one of these keys, in the node itself or in what holds its counts."""
    return tuple(f"{holder}.{key}" if holder else key for holder in HOLDERS for key in keys)


@dataclass(frozen=True, slots=True)
class ListTable:
    """Where a list stands, and where in each of its items the text is (`""`: the item itself)."""

    lists: Paths
    items: Paths


ADDRESSES: Final = (
    *("url", "webVideoUrl", "twitterUrl", "postPage", "permalink", "permalink_url", "link", "share_url", "shareUrl"),
    *("share_info.share_url", "shareInfo.shareUrl", "webUrl", "web_url", "webpage_url", "canonicalUrl"),
    *("canonical_url", "instagramUrl", "watchUrl", "watch_url", "href"),
)
"""Keys under which an item tells its own address; what is no post's address (a file's, a user's) says nothing."""

POST_ADDRESSES: Final = (
    *(
        "postUrl",
        "post_url",
        "postLink",
        "post_link",
        "tweetUrl",
        "tweetURL",
        "tweet_url",
        "tweet_link",
        "videoUrl",
        "video_url",
    ),
    *("reelUrl", "reel_url", "videoWebUrl", "mediaUrl", "media_url"),
)
"""Keys of a post's address in the post itself and in its comments: they confirm an item that has no id of its own."""

ECHOES: Final = (
    *("inputUrl", "input_url", "input", "input.url", "inputSource", "requestUrl", "request_url", "requestedUrl"),
    *("searchUrl", "queryUrl", "query", "query.url", "startUrl", "sourceUrl", "source_url", "fromUrl", "submittedUrl"),
    *("submittedVideoUrl", "originalUrl", "original_url", "targetUrl"),
)
"""Keys under which a service repeats the question: they can tell that the item answers another one, never more."""


REFERENCES: Final = (
    *("media_id", "mediaId", "video_id", "videoId", "post_id", "postId", "tweet_id", "tweetId", "tweetID", "item_id"),
    *("aweme_id", "statistics.aweme_id", "id.videoId"),
)
"""Keys under which a comment, too, names the post that it stands under."""

OWN_IDS: Final = ("id", "pk", "id_str", "rest_id")
"""Keys of a thing's own id, whatever it is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """One form of payload, all of it: where things stand, what tells whose they are, units, and what means nothing.

    `marks` are paths that tell the form from others, a point for each that is there; `signs` are cases that
    few other forms have, with the points they add.
    `caption` has one group of paths for each part (parts are joined by a blank line); null, "" or [] at any of
    them tells that there is no caption. `media` and `flags` are decided by the first case that holds.
    """

    name: str
    platform: Platform
    marks: Paths
    signs: tuple[Case, ...] = ()

    ids: Paths
    """Where the post's id stands."""
    codes: Paths = ()
    """Where Instagram's shortcode stands."""
    addresses: Paths = ADDRESSES
    post_addresses: Paths = POST_ADDRESSES
    echoes: Paths = ECHOES
    may_lack_identity: bool = False
    """This form is known to come without an id or address: alone in its answer it is taken for what was asked."""

    columns: Mapping[str, Paths]
    milliseconds: frozenset[str] = frozenset()
    """Paths at which a duration is in milliseconds; at all others it is in seconds."""
    longest_seconds: float = math.inf
    """No post of the platform lasts longer: what says so is in another unit."""
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
    """Columns that mean nothing unless the post is a video: a 0 there is none for an image or a carousel."""
    never_for_images: frozenset[str] = frozenset()
    """Columns that are dropped for an image whatever the payload says."""
    filler_zeros: Mapping[str, str] = field(default_factory=dict)
    """Column → another one: a 0 beside a number above 0 in the other is what the service fills in, not a count."""

    key_prefix: str | None = None
    """An expression for what stands before some keys' names (`1ltaken_at`)."""
    beside: Paths = ()
    """Keys that stand beside the node or above it and belong to it; they are read as the node's own."""

    def score(self, node: dict[str, Any]) -> int:
        """How much the node looks like this form; 0: not at all."""
        marks = sum(dig(node, mark) is not MISSING for mark in begun(node, self.marks))
        return marks + sum(int(sign.then) for sign in self.signs if sign.holds(node))


def decide(node: Any, cases: tuple[Case, ...]) -> Any:
    """The result of the first case that holds, or None."""
    return next((one.then for one in cases if one.holds(node)), None)


def media_of(node: Any, cases: tuple[Case, ...]) -> MediaType | None:
    found: MediaType | None = decide(node, cases)
    return found


def with_alternatives(tables: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """A platform's tables, each followed by what the others know.

    A table decides the order, not the closed list: where its own paths hold nothing, those of the others are
    looked up. So a service that mixes two forms loses nothing.
    """
    return tuple(_followed(one, [two for two in tables if two is not one]) for one in tables)


def _followed(own: Shape, others: list[Shape]) -> Shape:
    mine = _durations(own)
    theirs = frozenset(path for one in others for path in one.milliseconds) - mine
    # What one table has in seconds and another in milliseconds is no number for a third.
    unclear = theirs & {path for one in others for path in _durations(one) - one.milliseconds}
    others = [
        replace(one, columns=_without(one.columns, unclear), child=_without(one.child, unclear)) for one in others
    ]
    parts = max(len(one.caption) for one in (own, *others))
    return replace(
        own,
        ids=_each_once([own.ids, *(one.ids for one in others)]),
        codes=_each_once([own.codes, *(one.codes for one in others)]),
        columns=_paths(own.columns, [one.columns for one in others]),
        milliseconds=own.milliseconds | theirs,
        caption=tuple(
            _each_once([one.caption[part] for one in (own, *others) if part < len(one.caption)])
            for part in range(parts)
        ),
        lists=_lists(own.lists, [one.lists for one in others]),
        media=(*own.media, *(one for other in others for one in other.media)),
        flags={
            column: tuple(one for table in (own, *others) for one in table.flags.get(column, ()))
            for column in {**own.flags, **{name: () for other in others for name in other.flags}}
        },
        hidden=_paths(own.hidden, [one.hidden for one in others]),
        children=_each_once([own.children, *(one.children for one in others)]),
        child=_paths(own.child, [one.child for one in others]),
        child_media=(*own.child_media, *(one for other in others for one in other.child_media)),
        extra=_paths(own.extra, [one.extra for one in others]),
        extra_times=_paths(own.extra_times, [one.extra_times for one in others]),
        extra_lists=_lists(own.extra_lists, [one.extra_lists for one in others]),
        key_prefix=own.key_prefix or next((one.key_prefix for one in others if one.key_prefix), None),
        beside=_each_once([own.beside, *(one.beside for one in others)]),
    )


def _durations(one: Shape) -> frozenset[str]:
    return frozenset((*one.columns.get("duration_seconds", ()), *one.child.get("duration_seconds", ())))


def _without(columns: Mapping[str, Paths], unclear: frozenset[str]) -> dict[str, Paths]:
    durations = tuple(path for path in columns.get("duration_seconds", ()) if path not in unclear)
    return {**columns, "duration_seconds": durations}


def _each_once(paths: Iterable[Paths]) -> Paths:
    return tuple(dict.fromkeys(path for one in paths for path in one))


def _paths(own: Mapping[str, Paths], others: list[Mapping[str, Paths]]) -> dict[str, Paths]:
    names = dict.fromkeys(name for one in (own, *others) for name in one)
    return {name: _each_once([one.get(name, ()) for one in (own, *others)]) for name in names}


def _lists(own: Mapping[str, ListTable], others: list[Mapping[str, ListTable]]) -> dict[str, ListTable]:
    names = dict.fromkeys(name for one in (own, *others) for name in one)
    found = {name: [one[name] for one in (own, *others) if name in one] for name in names}
    return {
        name: ListTable(_each_once([one.lists for one in tables]), _each_once([one.items for one in tables]))
        for name, tables in found.items()
    }
