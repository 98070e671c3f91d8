"""Finding the post inside a payload, whatever stands around it, and telling a gone post from a strange answer."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from blocks.memories.errors import PostGone, UnknownShape, WrongPost
from blocks.memories.posts import youtube
from blocks.memories.posts.addresses import shortcode_to_id
from blocks.memories.posts.instagram import GRAPHQL, V1
from blocks.memories.posts.instagram_flat import FLAT
from blocks.memories.posts.reading import MISSING, dig, ident, storable, text, whole
from blocks.memories.posts.record import PostRef
from blocks.memories.posts.shape import Shape
from blocks.memories.posts.tiktok import ITEM, ITEM_STRUCT
from blocks.memories.posts.x import TWEET

SHAPES: tuple[Shape, ...] = (GRAPHQL, V1, FLAT, ITEM, ITEM_STRUCT, youtube.ITEM, youtube.OBJECT, TWEET)
"""All known shapes; among those of the asked platform the one with most marks wins, at a tie the first."""

_MEDIA_KEYS = ("xdt_shortcode_media", "shortcode_media", "itemStruct")
"""What stands here is the post; null here is how the platform says that there is none (or none to be seen)."""
_ITEMS_KEY = "xdt_api__v1__media__shortcode__web_info"
_WRAPPERS = (*_MEDIA_KEYS, _ITEMS_KEY, "data", "graphql", "items", "item", "itemInfo", "media", "result", "results")

_LEAST_MARKS = 2
_MOST_NODES, _MOST_DEEP = 500, 8

_POST = r"\b(?:post|video|media|tweet|reel|photo|page|item)\b"
_GONE = re.compile(
    # "Post not found", "the media that you asked for was removed": the post, a few words, and what became of it.
    rf"{_POST}(?:\s+[^\s.;:!?]+){{0,6}}?\s+(?:not\s?found|does\s?n[o'’]t\s+exist|does\s+not\s+exist"
    r"|no\s+longer\s+available|removed|deleted|private)\b"
    rf"|\b(?:private|removed|deleted|no\s+such)\s+(?:(?:this|the)\s+)?{_POST}",
    re.I,
)
_NOT_THE_POST = re.compile(
    r"\b(?:tokens?|actors?|prox(?:y|ies)|sessions?|data(?:\s?sets?)?|accounts?|credentials?|runs?|log\s?ins?|cookies?"
    r"|keys?|api|versions?|tasks?|jobs?|queues?|servers?|hosts?|https?|endpoints?|routes?|methods?|requests?|quota"
    r"|credits?|connect\w*|elements?|selectors?|files?|fields?|parameters?|inputs?|transcripts?|subtitles?|captions?"
    r"|comments?|thumbnails?|downloads?|formats?|streams?|block(?:ed)?|limit(?:ed|s)?|retry|again|later"
    r"|time[sd]?\s?out|temporar\w*)\b",
    re.I,
)
"""Words of errors in which the service, not the post, is what is missing: they leave the post open."""
_GONE_CODES = frozenset({"POST_NOT_FOUND_OR_PRIVATE"})
_NOTHING_FOUND = "not_found"
"""A code that says that something was not found: the post, unless the words beside it name something else."""
_NOT_SAID = frozenset({"no_items"})
"""An error of scraping services ("empty or private data") that does not say which of the two."""
_TIKTOK_GONE = frozenset({10204, 10216, 10222})
"""TikTok's own status codes: no such post, private post, private account."""

_ADDRESS = re.compile(r"https?://\S+", re.I)
_SEAMS = re.compile(r"(?<=[a-z])(?=[A-Z])|[_-]+")

_NUMBER = re.compile(r"[0-9]{1,20}\Z")
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}\Z")


@dataclass(slots=True)
class Found:
    """A post in a payload: its shape, its node, and what the answer around it says of itself."""

    shape: Shape
    node: dict[str, Any]
    answer: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Search:
    found: list[Found] = field(default_factory=list)
    gone: bool = False
    trouble: bool = False
    answer: dict[str, Any] = field(default_factory=dict)


def locate(data: Any, asked: PostRef) -> Found:
    """The asked post's node in an envelope's `data`, with the shape that it has.

    `data` that is null means that the post is gone (the API answers so for what it does not know), and so do the
    documented null media and an error item that says so. An empty list says nothing: services give it for a
    blocked look-up as well, so it is a payload of unknown shape, which can be tried again.

    Raises:
        PostGone, UnknownShape, WrongPost
    """
    if data is None:
        raise PostGone("the API knows nothing of this post: it is private, removed, or never was")
    search = _search(data, asked)
    if search.found:
        return _the_asked(search.found, asked)
    if search.gone and not search.trouble:
        raise PostGone("the platform shows no such post: it is private, removed, or never was")
    raise UnknownShape(top_keys(data))


def _search(data: Any, asked: PostRef) -> _Search:
    shapes = [shape for shape in SHAPES if shape.platform == asked.platform]
    search = _Search()
    waiting: deque[tuple[Any, bool, int]] = deque([(data, False, 0)])
    seen = 0
    while waiting and seen < _MOST_NODES:
        node, told, depth = waiting.popleft()
        seen += 1
        if isinstance(node, list):
            waiting.extend((item, told, depth + 1) for item in node[:_MOST_NODES] if depth < _MOST_DEEP)
        if not isinstance(node, dict):
            continue
        best = max(shapes, key=lambda shape: shape.score(node), default=None)
        if best is not None and best.score(node) >= (1 if told else _LEAST_MARKS):
            search.found.append(Found(best, node, search.answer))
            continue
        _judge(node, search)
        if depth < _MOST_DEEP:
            waiting.extend((node[key], told or key in _MEDIA_KEYS, depth + 1) for key in _WRAPPERS if key in node)
    return search


def _judge(node: dict[str, Any], search: _Search) -> None:
    """Note what an object that is no post says: that there is none, or that something went wrong."""
    if isinstance(node.get("status"), str) and "status" not in search.answer:
        search.answer.update({"status": node["status"]})
    if isinstance(dig(node, "extensions.is_final"), bool):
        search.answer.setdefault("is_final", dig(node, "extensions.is_final"))
    if any(key in node and node[key] is None for key in (*_MEDIA_KEYS, _ITEMS_KEY)):
        search.gone = True
    if dig(node, f"{_ITEMS_KEY}.items") == [] or whole(node.get("statusCode")) in _TIKTOK_GONE:
        search.gone = True
    said = [node.get(key) for key in ("errorCode", "error", "errorDescription")]
    if node.get("status") == "fail":
        said.append(node.get("message"))
    words = [word for word in said if isinstance(word, str) and word]
    if _NOT_SAID.isdisjoint(words) and _name_a_gone_post(words):
        search.gone = True
    elif words or node.get("errors") or node.get("status") == "fail":
        search.trouble = True


def _name_a_gone_post(words: list[str]) -> bool:
    """Whether an error's codes and words say that the post is gone, and not that anything of the service's is."""
    if not _GONE_CODES.isdisjoint(words):
        return True
    # Addresses are no words, and codes are written PostNotFound or POST_NOT_FOUND.
    plain = [_SEAMS.sub(" ", _ADDRESS.sub("it", word)) for word in words]
    if any(_NOT_THE_POST.search(word) for word in plain):
        return False
    return _NOTHING_FOUND in words or any(_GONE.search(word) for word in plain)


def _the_asked(found: list[Found], asked: PostRef) -> Found:
    """Of several posts the one that was asked for; of one without identity it is taken on trust.

    Raises:
        WrongPost: all that is there says that it is another post.
    """
    silent: Found | None = None
    other = ""
    for one in found:
        told = identities(one)
        if asked.post_id in told:
            return one
        if told:
            other = other or sorted(told)[0]
        elif silent is None:
            silent = one
    if silent is None:
        raise WrongPost(f"the payload is about {asked.platform} post {other}, not about {asked.post_id}")
    return silent


def identities(found: Found) -> set[str]:
    """The post ids that a node names; what cannot be an id of its platform names nothing."""
    told = set()
    for path in found.shape.ids:
        value = ident(dig(found.node, path))
        if value is None:
            continue
        if found.shape.platform == "youtube":
            if _VIDEO_ID.match(value):
                told.add(value)
            continue
        # Instagram's v1 id is POST_OWNER.
        digits = value.partition("_")[0] if found.shape.platform == "instagram" else value
        if _NUMBER.match(digits):
            told.add(digits)
    for path in found.shape.codes:
        code = text(dig(found.node, path))
        if code is not None:
            try:
                told.add(shortcode_to_id(code))
            except ValueError:
                continue
    return told


def top_keys(data: Any) -> list[str]:
    """The payload's top keys, and those inside its wrappers as `data.key`, sorted."""
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
            inner.extend((f"{prefix}{key}.", node[key]) for key in _WRAPPERS if dig(node, key) is not MISSING)
        level = inner
    return sorted(keys)[:200]


def _shown(key: Any) -> str:
    cut = storable(str(key)[:60])
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cut)
