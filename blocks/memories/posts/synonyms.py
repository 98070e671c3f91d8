"""What services call a count, so that a number under a name that no table reads is told apart from a missing one."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from blocks.memories.posts.comments import CONTAINERS, REPLIES
from blocks.memories.posts.reading import whole
from blocks.memories.posts.record import Platform
from blocks.memories.posts.shape import Shape

COUNTS: Final = ("plays", "views", "likes", "comments", "shares", "saves")

_STEMS: Final = {
    "plays": ("play", "videoplay", "igplay", "reelplay", "loop"),
    "views": ("view", "videoview", "watch", "impression", "igview"),
    "likes": ("like", "digg", "favorite", "favourite", "fav", "heart", "thumbsup", "reaction", "love"),
    "comments": ("comment", "reply", "replie", "discussion"),
    "shares": ("share", "reshare", "retweet", "repost", "forward"),
    "saves": ("save", "saved", "collect", "bookmark"),
}
_FORMS: Final = (
    *("{}", "{}s", "{}count", "{}scount", "{}counts", "{}num", "{}cnt", "num{}", "num{}s", "numberof{}s", "{}total"),
    *("total{}s", "total{}", "{}stotal", "countof{}s", "{}number", "no{}s", "{}counter"),
)

NAMES: Final = {
    column: frozenset(form.format(stem) for stem in stems for form in _FORMS) for column, stems in _STEMS.items()
}
"""Column → names of its counts in lower letters without `_` and `-`; `download_count` is nobody's."""
_FAVORITES = frozenset(form.format(stem) for stem in ("favorite", "favourite", "fav") for form in _FORMS)

_OTHERS: Final = frozenset(
    {*CONTAINERS, *REPLIES}
    | {
        "author",
        "authorMeta",
        "authorInfo",
        "authorStats",
        "authorStatsV2",
        "owner",
        "user",
        "users",
        "channel",
        "core",
    }
    | {"creator", "profile", "account", "uploader", "author_stats", "channelInfo", "channel_info", "includes", "poi"}
    | {"music", "musicMeta", "musicInfo", "music_info", "song", "sound", "clips_metadata", "added_sound_music_info"}
    | {"quoted_status", "quoted_status_result", "quoted_tweet", "quoted", "quote", "quotedTweet", "quoteTweet"}
    | {"retweeted_status", "retweeted_status_result", "retweeted_tweet", "retweetedTweet", "parent", "parent_tweet"}
    | {"challenges", "challengeInfo", "cha_list", "related", "recommended", "location", "previous_counts", "viewer"}
)
"""Keys of persons, sounds, places and other posts: what is counted there is not the post's."""
_BARE_COUNTS = frozenset({"count", "total", "value", "num", "number", "sum"})

_NUMBERED = re.compile(r"\s*[0-9][0-9.,\u00a0 ]*\s*[kKmMbB]?\s*(?:[a-z]+)?\s*\Z")
_SEAMS = re.compile(r"[_\-\s]+")
_MAX_OBJECTS, _MAX_DEPTH = 300, 6


def names_of(column: str, platform: Platform) -> frozenset[str]:
    """The names of a column's counts on a platform: TikTok calls favourites what others save."""
    if platform == "tiktok" and column == "saves":
        return NAMES["saves"] | _FAVORITES
    return NAMES[column]


def numbers_in(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(path, name) of each number that is the post's own, wherever in its node it stands; lists are others' affairs.

    Names are in lower letters, without `_`; a number under `count` or the like has the name of what holds it.
    """
    waiting: deque[tuple[dict[str, Any], str, int]] = deque([(node, "", 0)])
    seen = 0
    while waiting and seen < _MAX_OBJECTS:
        holder, above, depth = waiting.popleft()
        seen += 1
        for key, value in holder.items():
            if not isinstance(key, str):
                continue
            path = f"{above}.{key}" if above else key
            if isinstance(value, dict):
                if depth < _MAX_DEPTH and key not in _OTHERS:
                    waiting.append((value, path, depth + 1))
            elif _is_number(value):
                yield path, _plain(path.split(".")[-2] if key in _BARE_COUNTS and above else key)


def _plain(key: str) -> str:
    return _SEAMS.sub("", key).lower()


def _is_number(value: Any) -> bool:
    """A count, also one that no reader takes ("1.2M"); text that only begins with a number is none."""
    if isinstance(value, bool) or value is None:
        return False
    if isinstance(value, int | float):
        return True
    return (
        isinstance(value, str) and len(value) <= 40 and (whole(value) is not None or _NUMBERED.match(value) is not None)
    )


@lru_cache(maxsize=256)
def _read_by(shape: Shape) -> frozenset[str]:
    return frozenset(path for paths in (*shape.columns.values(), *shape.extra.values()) for path in paths)


def unread_counts(node: dict[str, Any], shape: Shape) -> dict[str, list[str]]:
    """Column → paths of numbers that are called like it, and that no table of the platform reads."""
    read = _read_by(shape)
    found: dict[str, list[str]] = {}
    for path, name in numbers_in(node):
        if path in read:
            continue
        for column in COUNTS:
            if name in names_of(column, shape.platform):
                found.setdefault(column, []).append(path)
    return found


def holds_counts(data: Any, platform: Platform) -> bool:
    """Whether a number that is called like a count stands anywhere in an answer, lists of items included."""
    holder = {"items": data} if not isinstance(data, dict) else data
    waiting: deque[Any] = deque([holder])
    names = frozenset(name for column in COUNTS for name in names_of(column, platform))
    seen = 0
    while waiting and seen < _MAX_OBJECTS:
        node = waiting.popleft()
        seen += 1
        if isinstance(node, dict):
            if any(name in names for _, name in numbers_in(node)):
                return True
            waiting.extend(value for key, value in node.items() if isinstance(value, list) and key not in _OTHERS)
        elif isinstance(node, list):
            waiting.extend(node[:_MAX_OBJECTS])
    return False
