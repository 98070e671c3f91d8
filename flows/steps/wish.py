"""What a run is asked to do, checked before anything is sent or spent."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from blocks.memories.captions import hashtag_key, normalise_hashtag
from blocks.memories.errors import UsageError
from blocks.memories.identity import parse_post_url
from blocks.memories.posts.record import CHANNELS, Channel, PostRef

Library = Literal["private", "public"]
ChannelChoice = Literal["auto", "apify", "rapid", "memories.ai"]

NO_CAP_USD = 1_000_000_000.0
"""Stands for "no cap" where a flow's parameter has to be a number."""

SMALL_RUN_POSTS = 500
"""Up to so many posts each post is a Prefect task of its own; beyond, a task takes a batch.

Measured (see CONTRIBUTING): a server's in-memory queues drop task-run records when thousands come at once.
"""

BATCH_POSTS = 50


@dataclass(frozen=True, slots=True)
class ImportWish:
    """One import that a run needs: `wanted` is what is sent, `key` the hash by which equal wishes are known."""

    kind: str
    wanted: dict[str, Any]
    requested: int
    key: str
    hashtag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A run's parameters after the check; money is US dollars, ages and re-use are hours."""

    imports: tuple[ImportWish, ...] = ()
    posts: tuple[tuple[PostRef, str], ...] = ()
    """Posts given by URL, each with the URL as it was typed."""
    channel: ChannelChoice = "auto"
    collection: str | None = "default"
    """None: a sweep, over all collections."""
    namespace: str = "default"
    library: Library = "private"
    max_spend_usd: float = 5.0
    max_age_hours: float = 12
    reuse_hours: float = 6
    fresh: bool = False
    wait: bool = True
    posts_per_task: int = 0

    @property
    def expected_posts(self) -> int:
        """How many posts the run may have to account for, at most."""
        return len(self.posts) + sum(wish.requested for wish in self.imports)

    @property
    def batch_size(self) -> int:
        """Posts per enrich task."""
        if self.posts_per_task > 0:
            return self.posts_per_task
        return 1 if self.expected_posts <= SMALL_RUN_POSTS else BATCH_POSTS

    def channels(self, order: Sequence[Channel]) -> tuple[Channel, ...]:
        """The channels to try, in order: the one that was named, or all of the settings' order."""
        return tuple(order) if self.channel == "auto" else (self.channel,)


def _wish_key(kind: str, what: Any, namespace: str, library: str) -> str:
    return hashlib.sha256(orjson.dumps([kind, what, namespace, library])).hexdigest()


def wish_for_hashtags(
    hashtags: Sequence[str], posts_per_hashtag: int, *, permanent: bool = False, **common: Any
) -> Wish:
    """Check a wish for hashtags; each is imported by itself, for nothing else tells which one found a post.

    Raises:
        UsageError: no hashtag, a hashtag that cannot be one, a count below 1, or a bad common parameter.
    """
    shared = _common(permanent=permanent, **common)
    if isinstance(hashtags, str) or not hashtags:
        raise UsageError("name at least one hashtag, for example LVMH")
    if posts_per_hashtag < 1:
        raise UsageError(f"ask for at least 1 post per hashtag, not {posts_per_hashtag}")
    by_key: dict[str, str] = {}
    for typed in hashtags:
        tag = normalise_hashtag(typed)
        by_key.setdefault(hashtag_key(tag), tag)
    return Wish(
        imports=tuple(
            ImportWish(
                kind="hashtag",
                wanted={"hashtag": tag},
                requested=posts_per_hashtag,
                key=_wish_key("hashtag", key, shared["namespace"], shared["library"]),
                hashtag=key,
            )
            for key, tag in by_key.items()
        ),
        **shared,
    )


def wish_for_urls(urls: Sequence[str], **common: Any) -> Wish:
    """Check a wish for given posts, to be enriched without an import; a post named twice is asked for once.

    Raises:
        UsageError: no URL, a URL that names no post (NotAPostUrl), or a bad common parameter.
    """
    shared = _common(**common)
    if isinstance(urls, str) or not urls:
        raise UsageError("give at least one post URL, for example https://www.instagram.com/p/CODE/")
    posts: dict[tuple[str, str], tuple[PostRef, str]] = {}
    for url in urls:
        ref = parse_post_url(url)
        posts.setdefault((ref.platform, ref.post_id), (ref, url.strip()))
    return Wish(posts=tuple(posts.values()), **shared)


def wish_for_sweep(*, channel: str, max_spend_usd: float, max_age_hours: float) -> Wish:
    """Check a sweep's parameters; what it takes up is in the ledger, whatever collection it belongs to.

    Raises:
        UsageError: a parameter cannot be used.
    """
    shared = _common(channel=channel, max_spend_usd=max_spend_usd, max_age_hours=max_age_hours)
    return Wish(**{**shared, "collection": None, "posts_per_task": BATCH_POSTS})


def _common(
    *,
    channel: str = "auto",
    collection: str = "default",
    namespace: str = "",
    library: str = "private",
    permanent: bool = False,
    max_spend_usd: float = 5.0,
    max_age_hours: float = 12,
    reuse_hours: float = 6,
    fresh: bool = False,
    wait: bool = True,
    posts_per_task: int = 0,
) -> dict[str, Any]:
    collection = collection.strip()
    if not collection or len(collection) > 200:
        raise UsageError("a collection's name has 1 to 200 characters")
    if channel != "auto" and channel not in CHANNELS:
        raise UsageError(f"the channel is auto, {', '.join(CHANNELS[:-1])} or {CHANNELS[-1]}, not {channel!r}")
    if library not in ("private", "public"):
        raise UsageError(f"the library is private or public, not {library!r}")
    if library == "public" and not permanent:
        raise UsageError(
            "an import into the public library can never be deleted and is seen by everybody; "
            "say --permanent (permanent=true) if that is meant"
        )
    for name, value in (
        ("max_spend_usd", max_spend_usd),
        ("max_age_hours", max_age_hours),
        ("reuse_hours", reuse_hours),
    ):
        if not value >= 0:
            raise UsageError(f"{name} is 0 or more, not {value}")
    if posts_per_task < 0:
        raise UsageError(f"posts_per_task is 0 (by itself) or more, not {posts_per_task}")
    return {
        "channel": channel,
        "collection": collection,
        "namespace": namespace.strip() or collection,
        "library": library,
        "max_spend_usd": float(max_spend_usd),
        "max_age_hours": float(max_age_hours),
        "reuse_hours": float(reuse_hours),
        "fresh": fresh,
        "wait": wait,
        "posts_per_task": posts_per_task,
    }
