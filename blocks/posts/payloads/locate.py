"""Finding the asked post inside a payload, whatever stands around it, and telling a gone post from a strange answer."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from blocks.errors import PostGone, UnknownShape, WrongPost
from blocks.posts.payloads.comments import CONTAINERS, REPLIES
from blocks.posts.payloads.node_identity import addressed_to_another, mentions, named_by, tells_of_another
from blocks.posts.payloads.reading import MISSING, begun, dig, storable
from blocks.posts.payloads.shape import HOLDERS, Shape, with_alternatives
from blocks.posts.payloads.synonyms import COUNTS
from blocks.posts.payloads.unavailability import MEDIA_KEYS, mark_of, words_of
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import PostRef

_LEAST_MARKS = 2
MAX_PLACES = 30_000
"""Objects and lists that are looked at, breadth first: no answer to one post's question has as many."""
MAX_DEPTH = 24
_MAX_SCORED = 1_000
_MAX_CANDIDATES = 20
_NEAR_THE_TOP = 3

_WRAPPERS = (
    *MEDIA_KEYS,
    *("xdt_api__v1__media__shortcode__web_info", "data", "graphql", "items", "item", "itemInfo", "media", "result"),
    *("results", "response", "body", "output", "node", "media_or_ad", "aweme_detail", "tweetResult", "tweet", "video"),
    *("metrics", "statistics", "stats", "public_metrics", "legacy", "snippet", "videoDetails", "playabilityStatus"),
)
"""Objects whose keys an error shows besides the top ones."""
_NOT_LOOKED_INTO = frozenset((*CONTAINERS, *REPLIES))
_COUNT_HOLDERS = frozenset(HOLDERS)
"""What stands there in a post are its own counts, and no other post: they may repeat its id."""
_NO_POSTS_KEYS = frozenset(
    {"cid", "comment_id", "commentId", "comment_pk", "comment_like_count", "parent_comment_id", "reply_comment_total"}
    | {"topLevelComment", "textDisplay", "authorDisplayName", "totalReplyCount", "voteCount"}
    | {"commentUrl", "comment_url", "replyToCid", "parentCommentId", "comment_text", "commentText"}
)
"""Keys of a comment: it may name the post that it stands under, and its likes are not the post's."""

SUBSTANCE = (*COUNTS, "posted_at", "author_id", "author_username")
"""What a row is made for: a payload that tells none of these is of a shape that changed, whatever it is called."""


@dataclass(slots=True)
class Found:
    """A post in a payload: its shape, its node, and what the answer around it says of itself."""

    shape: Shape
    node: dict[str, Any]
    answer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Place:
    """A value in the payload, and where it stands."""

    value: Any
    depth: int = 0
    under_media_key: bool = False
    an_error: bool = False
    inside_a_post: bool = False
    beside: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Search:
    asked: list[Found] = field(default_factory=list)
    silent: list[Found] = field(default_factory=list)
    other: str | None = None
    holds_more: bool = False
    """Another post is named inside a post (a part of it, or one of a list), or by what stands around it."""
    gone: bool = False
    trouble: bool = False
    answer: dict[str, Any] = field(default_factory=dict)


def locate(data: Any, asked: PostRef, *, max_places: int = MAX_PLACES) -> Found:
    """The asked post's node in an envelope's `data`, with the shape that it has.

    Only a node that names the asked post counts, at whatever depth; of several the one that tells most. A node that
    names none counts if it is the only one in the answer and its form is known to come without.
    `data` that is null means that the post is gone (the API answers so for what it does not know), and so do the
    documented null media and an error that says so. What lies behind the first `max_places` values is not looked at.

    Raises:
        PostGone, UnknownShape, WrongPost
    """
    if data is None:
        raise PostGone("the API knows nothing of this post: it is private, removed, or never was")
    search = _search(data, asked, max_places)
    is_gone = search.gone and not search.trouble
    best = max(search.asked, key=_substance, default=None)
    if best is not None and (_substance(best) or not is_gone):
        return _with_plain_keys(best)
    if search.other is not None:
        raise WrongPost(f"the payload is about {asked.platform} post {_shown(search.other)}, not about {asked.post_id}")
    mute = [found for found in search.silent if _substance(found)]
    if len(mute) == 1 and not search.holds_more and mute[0].shape.may_lack_identity and _substance(mute[0], COUNTS):
        return _with_plain_keys(mute[0])
    if is_gone and not mute:
        raise PostGone("the platform shows no such post: it is private, removed, or never was")
    raise UnknownShape(top_keys(data))


def _search(data: Any, asked: PostRef, max_places: int) -> _Search:
    shapes, first_steps, beside = _forms_of(PLATFORMS[asked.platform].shapes)
    search = _Search()
    waiting: deque[_Place] = deque([_Place(data)])
    taken, scored = 1, 0
    while waiting:
        place = waiting.popleft()
        node, is_post = place.value, False
        if isinstance(node, dict):
            least = 1 if place.under_media_key else _LEAST_MARKS
            looks_like_one = not first_steps.isdisjoint(node) or mentions(node, asked)
            if scored < _MAX_SCORED and looks_like_one and _NO_POSTS_KEYS.isdisjoint(node):
                scored += 1
                is_post = _take(place, shapes, least, asked, search)
            if not place.inside_a_post:
                _judge(place, asked, search, is_post)
        if place.depth < MAX_DEPTH:
            for inner in _inner(place, is_post, beside):
                if taken >= max_places:
                    break
                taken += 1
                waiting.append(inner)
    return search


@lru_cache(maxsize=32)
def _forms_of(tables: tuple[Shape, ...]) -> tuple[tuple[Shape, ...], frozenset[str], frozenset[str]]:
    """A platform's tables, each followed by what the others know; the keys with which their marks begin; and those
    that may stand beside a node."""
    shapes = with_alternatives(tables)
    first_steps = frozenset(mark.partition(".")[0] for shape in shapes for mark in shape.marks)
    return shapes, first_steps, frozenset(key for shape in shapes for key in shape.beside)


def _inner(place: _Place, is_post: bool, beside: frozenset[str]) -> Iterator[_Place]:
    """What stands directly in a place and may hold posts."""
    node = place.value
    inside = place.inside_a_post or is_post
    if isinstance(node, list):
        for item in node:
            if isinstance(item, dict | list):
                yield _Place(item, place.depth + 1, place.under_media_key, place.an_error, inside, place.beside)
        return
    if not isinstance(node, dict):
        return
    around = place.beside
    if not beside.isdisjoint(node):
        around = around | {key: node[key] for key in beside & node.keys()}
    closed = _NOT_LOOKED_INTO | _COUNT_HOLDERS if is_post else _NOT_LOOKED_INTO
    for key, value in node.items():
        if isinstance(value, dict | list) and key not in closed:
            yield _Place(value, place.depth + 1, key in MEDIA_KEYS, key == "errors", inside, around)


def _take(place: _Place, shapes: tuple[Shape, ...], least: int, asked: PostRef, search: _Search) -> bool:
    """Sort a node in by whose it is, if it looks like a post."""
    node: dict[str, Any] = place.value
    if not shapes:
        return False
    score, best = max(((shape.score(node), shape) for shape in shapes), key=lambda one: one[0])
    if score < least and not mentions(node, asked):
        return False
    named = named_by(node, best, asked)
    if score < least and not (named.asked and _substance(Found(best, node), COUNTS)):
        return False  # What names the asked post and has counts is the post, however few marks it has.
    if named.other is not None and place.inside_a_post:
        search.holds_more = True
        return True
    if named.other is not None:
        search.other = search.other or named.other
        return True
    kept = search.asked if named.asked else search.silent
    if len(kept) < _MAX_CANDIDATES and (named.asked or not place.inside_a_post):
        kept.append(Found(best, _whole(node, best, place.beside), search.answer))
    return True


def _whole(node: dict[str, Any], shape: Shape, beside: dict[str, Any]) -> dict[str, Any]:
    """The node with what stands beside it."""
    extra = {key: value for key, value in beside.items() if key in shape.beside and key not in node}
    return {**node, **extra} if extra else node


def _with_plain_keys(found: Found) -> Found:
    """The post without what its form writes before some keys."""
    if found.shape.key_prefix is not None:
        prefix = _prefix(found.shape.key_prefix)
        if _has_prefixed_keys(found.node, prefix, 0):
            found.node = _plain(found.node, prefix, 0)
    return found


@lru_cache(maxsize=8)
def _prefix(expression: str) -> re.Pattern[str]:
    return re.compile(expression)


def _has_prefixed_keys(value: Any, prefix: re.Pattern[str], depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and any(key[:1].isdigit() and prefix.match(key) for key in value):
        return True
    deeper = depth < MAX_DEPTH
    return deeper and any(_has_prefixed_keys(one, prefix, depth + 1) for one in inner if isinstance(one, dict | list))


def _plain(value: Any, prefix: re.Pattern[str], depth: int) -> Any:
    """The value with the prefix taken off its keys; a key that stands there without it comes first."""
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, list):
        return [_plain(item, prefix, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _plain(inner, prefix, depth + 1) for key, inner in value.items()}
    for key in value:
        match = prefix.match(key) if key[:1].isdigit() else None
        if match is not None:
            plain.setdefault(key[match.end() :], plain[key])
    return plain


def _substance(found: Found, columns: tuple[str, ...] = SUBSTANCE) -> int:
    """How many of the columns a node tells."""
    paths = (found.shape.columns.get(column, ()) for column in columns)
    return sum(any(dig(found.node, path) not in (MISSING, None) for path in begun(found.node, one)) for one in paths)


def _judge(place: _Place, asked: PostRef, search: _Search, is_post: bool) -> None:
    """Note what an object outside of posts says: that there is none, or that something went wrong."""
    node: dict[str, Any] = place.value
    if is_post:
        search.gone = search.gone or mark_of(node, near_the_top=place.depth <= _NEAR_THE_TOP) == "gone"
        return
    if isinstance(node.get("status"), str) and "status" not in search.answer:
        search.answer["status"] = node["status"]
    if isinstance(dig(node, "extensions.is_final"), bool):
        search.answer.setdefault("is_final", dig(node, "extensions.is_final"))
    mark = mark_of(node, near_the_top=place.depth <= _NEAR_THE_TOP, an_error=place.an_error)
    if (mark is not None or place.depth <= _NEAR_THE_TOP) and addressed_to_another(node, asked):
        search.holds_more = True
        mark = "trouble" if mark == "gone" else mark
    elif mark == "gone" and tells_of_another(node, words_of(node), asked):
        mark = "trouble"
    search.gone = search.gone or mark == "gone"
    search.trouble = search.trouble or mark == "trouble"


def top_keys(data: Any) -> list[str]:
    """The payload's top keys, and those inside its wrappers as `data.key`, sorted; other keys may be people's names."""
    keys: set[str] = set()
    level: list[tuple[str, Any]] = [("", data)]
    for _ in range(4):
        inner: list[tuple[str, Any]] = []
        for prefix, node in level:
            if isinstance(node, list):
                node = next((item for item in node if isinstance(item, dict)), None)
            if not isinstance(node, dict):
                continue
            keys.update(prefix + _shown(key) for key in list(node)[:100])
            inner.extend((f"{prefix}{key}.", node[key]) for key in _WRAPPERS if key in node)
        level = inner
    return sorted(keys)[:200]


def _shown(key: Any) -> str:
    cut = storable(str(key)[:60])
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cut)
