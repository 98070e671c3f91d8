"""What services call a number, so that one under a name that no table reads is no missing one."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

from blocks.posts.payloads.comments import CONTAINERS, REPLIES
from blocks.posts.payloads.reading import moment, seconds, whole
from blocks.posts.payloads.shape import Shape
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import Platform

COUNTS: Final = ("plays", "views", "likes", "comments", "shares", "saves")

_STEMS: Final = {
    "plays": ("play", "videoplay", "igplay", "reelplay", "loop"),
    "views": ("view", "videoview", "watch", "impression", "igview"),
    "likes": ("like", "digg", "heart", "thumbsup", "reaction", "love"),
    "comments": ("comment", "reply", "replie", "discussion"),
    "shares": ("share", "reshare", "retweet", "repost", "forward"),
    "saves": ("save", "saved", "collect", "bookmark"),
    "author_followers": ("follower", "subscriber", "authorfollower", "ownerfollower", "channelfollower", "fan"),
}
_FORMS: Final = (
    *("{}", "{}s", "{}count", "{}scount", "{}counts", "{}num", "{}cnt", "num{}", "num{}s", "numberof{}s", "{}total"),
    *("total{}s", "total{}", "{}stotal", "countof{}s", "{}number", "no{}s", "{}counter", "{}info", "{}countinfo"),
    *("{}text", "{}stext", "{}counttext", "{}scounttext", "{}int", "{}sint", "{}countint", "{}scountint"),
    *("{}formatted", "{}sformatted", "{}countformatted", "formatted{}s", "formatted{}count", "short{}counttext"),
)
NAMES: Final = {
    **{column: frozenset(form.format(stem) for stem in stems for form in _FORMS) for column, stems in _STEMS.items()},
    "posted_at": frozenset(
        {
            "createtime",
            "createdat",
            "created",
            "creationtime",
            "creationdate",
            "publishtime",
            "publishedat",
            "published",
        }
        | {"publishdate", "publisheddate", "takenat", "posttime", "postedat", "postdate", "postedtime", "uploaddate"}
        | {
            "uploadedat",
            "uploadtime",
            "tweetcreatedat",
            "timestamp",
            "date",
            "datetime",
            "datepublished",
            "dateposted",
            "pubdate",
        }
    ),
    "duration_seconds": frozenset(
        {"duration", "videoduration", "durationsec", "durationsecs", "durationseconds", "lengthseconds", "durationms"}
        | {"durationmillis", "durationmilliseconds", "videolength", "length", "videodurationms", "approxdurationms"}
    ),
    "author_username": frozenset(
        {"username", "author", "screenname", "uniqueid", "handle", "userscreenname", "ownerusername", "authorusername"}
        | {"authorhandle", "accountname", "channelhandle", "profileusername", "userhandle"}
    ),
}
"""Column → its names (on all platforms) in lower letters without `_` and `-`; `download_count` is nobody's."""
_FAVORITES = frozenset(form.format(stem) for stem in ("favorite", "favourite", "fav") for form in _FORMS)

_PERSONS: Final = frozenset(
    {"author", "authorMeta", "authorInfo", "authorStats", "authorStatsV2", "author_stats", "owner", "user", "channel"}
    | {"core", "creator", "profile", "account", "uploader", "channelInfo", "channel_info"}
)
_OTHER_THINGS: Final = frozenset(
    {*CONTAINERS, *REPLIES}
    | {"music", "musicMeta", "musicInfo", "music_info", "song", "sound", "clips_metadata", "added_sound_music_info"}
    | {"quoted_status", "quoted_status_result", "quoted_tweet", "quoted", "quote", "quotedTweet", "quoteTweet"}
    | {"retweeted_status", "retweeted_status_result", "retweeted_tweet", "retweetedTweet", "parent", "parent_tweet"}
    | {"challenges", "challengeInfo", "cha_list", "related", "recommended", "location", "previous_counts", "viewer"}
    | {"includes", "poi", "caption", "pagination", "pageInfo", "page_info", "cursor", "log_pb", "extra", "users"}
)
"""Keys of sounds, places, pages and other posts: what is counted there is not the post's."""
_BARE_COUNTS = frozenset({"count", "total", "value", "num", "number", "sum"})

_ROUNDED = re.compile(r"\s*[0-9][0-9.,\u00a0 ]{0,20}\s?[kKmMbB]?(?:\s[a-z]+)?\s*\Z")
_SEAMS = re.compile(r"[_\-\s]+")
_MAX_OBJECTS, _MAX_DEPTH = 300, 6


class Leaf(NamedTuple):
    """A value that is neither list nor object: its path, its key in lower letters without `_`, and itself.

    Under `count` or the like it has the name of what holds it. `of_a_person`: it belongs to the author.
    """

    path: str
    name: str
    value: Any
    of_a_person: bool


def leaves_in(node: dict[str, Any]) -> Iterator[Leaf]:
    """Values of the post and its author, wherever in the node they stand; lists are others' affairs."""
    waiting: deque[tuple[dict[str, Any], str, int, bool]] = deque([(node, "", 0, False)])
    seen = 0
    while waiting and seen < _MAX_OBJECTS:
        holder, above, depth, of_a_person = waiting.popleft()
        seen += 1
        for key, value in holder.items():
            if isinstance(value, list):
                continue
            path = f"{above}.{key}" if above else key
            if isinstance(value, dict):
                if depth < _MAX_DEPTH and key not in _OTHER_THINGS:
                    waiting.append((value, path, depth + 1, of_a_person or key in _PERSONS))
            else:
                called = above.rpartition(".")[2] if key in _BARE_COUNTS and above else key
                yield Leaf(path, _SEAMS.sub("", called).lower(), value, of_a_person)


def is_count(leaf: Leaf) -> bool:
    """Whether a number of the post's stands there, also one that no reader takes ("1.2M")."""
    return not leaf.of_a_person and _is_number(leaf.value)


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= 40 and (whole(value) is not None or _ROUNDED.match(value) is not None)
    return isinstance(value, int | float) and not isinstance(value, bool)


@lru_cache(maxsize=8)
def columns_by_name(platform: Platform) -> dict[str, tuple[str, ...]]:
    """Name → the columns that it can mean on a platform: favourites are likes on X, and saves on TikTok."""
    meant = PLATFORMS[platform].favourites
    names = NAMES if meant is None else {**NAMES, meant: NAMES[meant] | _FAVORITES}
    every = frozenset().union(*names.values())
    return {name: tuple(column for column in names if name in names[column]) for name in every}


def _means(leaf: Leaf, column: str) -> bool:
    """Whether a value that is called like a column can be one of it."""
    if column == "author_followers":
        return _is_number(leaf.value)
    if column == "author_username":
        return isinstance(leaf.value, str) and bool(leaf.value.strip())
    if leaf.of_a_person:
        return False
    if column == "posted_at":
        return moment(leaf.value) is not None
    if column == "duration_seconds":
        return (seconds(leaf.value) or 0) > 0
    return _is_number(leaf.value)


@lru_cache(maxsize=256)
def _read_by(shape: Shape) -> frozenset[str]:
    tables = (*shape.columns.values(), *shape.extra.values(), *shape.extra_times.values())
    return frozenset(path for paths in tables for path in paths)


def unread(node: dict[str, Any], shape: Shape) -> dict[str, list[str]]:
    """Column → paths of values that are called like it, and that no table of the platform reads."""
    read, by_name = _read_by(shape), columns_by_name(shape.platform)
    found: dict[str, list[str]] = {}
    for leaf in leaves_in(node):
        columns = by_name.get(leaf.name, ())
        if not columns or leaf.value is None or leaf.path in read:
            continue
        for column in columns:
            if _means(leaf, column):
                found.setdefault(column, []).append(leaf.path)
    return found


def holds_counts(data: Any, platform: Platform) -> bool:
    """Whether a number that is called like a count stands anywhere in an answer, lists of items included."""
    names = {name for name, columns in columns_by_name(platform).items() if not set(columns).isdisjoint(COUNTS)}
    waiting: deque[Any] = deque([data if isinstance(data, dict) else {"items": data}])
    seen = 0
    while waiting and seen < _MAX_OBJECTS:
        node = waiting.popleft()
        seen += 1
        if isinstance(node, dict):
            if any(leaf.name in names and is_count(leaf) for leaf in leaves_in(node)):
                return True
            waiting.extend(value for key, value in node.items() if isinstance(value, list) and key not in _OTHER_THINGS)
        elif isinstance(node, list):
            waiting.extend(node[:_MAX_OBJECTS])
    return False
