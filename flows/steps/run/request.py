"""What a run is asked to do, checked before anything is sent or spent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from blocks.database.store.money import Caps
from blocks.dedup_keys import wish_key
from blocks.errors import NotAPostUrl, UsageError
from blocks.memories.requests import MAX_URLS
from blocks.posts.captions import hashtag_key, normalise_hashtag
from blocks.posts.identity import item_key, parse_creator_url, parse_post_url, private_url
from blocks.posts.platforms.registry import PLATFORMS, labels
from blocks.posts.record import CHANNELS, Channel, PostRef
from blocks.posts.urls import shown
from blocks.quotas.budget import micros_of
from blocks.settings import LEAST_USD, MAX_CAP_USD, MAX_HOURS, Settings

Library = Literal["private", "public"]
ChannelChoice = Literal["auto", "apify", "rapid", "memories.ai"]

NO_CAP_USD = MAX_CAP_USD
"""Stands for "no cap" where a flow's parameter has to be a number."""

CAP = "max_spend_usd (--max-spend)"

SMALL_RUN_POSTS = 500
"""Up to so many posts each post is a Prefect task of its own; beyond, a task takes a batch.

Measured (see CONTRIBUTING): a server's in-memory queues drop task-run records when thousands come at once.
"""

BATCH_POSTS = 50

MOST_SHOWN = 10
"""So many wrong addresses are named in one sentence."""


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
    hashtag: str | None = None
    """A refresh: only posts that an import of this hashtag (NFC, lower case) found."""
    sweeps: bool = False
    """A sweep: it buys what others asked for, within what they may still spend, and asks for nothing itself."""

    @property
    def expected_posts(self) -> int:
        """How many posts the run may have to account for, at most."""
        listed = (wish.requested for wish in self.imports if wish.kind != "urls")
        return len(self.posts) + sum(listed)

    def batch_size(self, posts: int | None = None) -> int:
        """Posts per enrich task, in a run of so many posts; None: as many as are expected."""
        if self.posts_per_task > 0:
            return self.posts_per_task
        return 1 if (self.expected_posts if posts is None else posts) <= SMALL_RUN_POSTS else BATCH_POSTS

    def channels(self, order: Sequence[Channel]) -> tuple[Channel, ...]:
        """The channels to try, in order: the one that was named, or all of the settings' order."""
        return tuple(order) if self.channel == "auto" else (self.channel,)

    def asker(self, run_id: str) -> str | None:
        """The run that asks for what is bought: the run itself, or, of a sweep, whoever asked for it (None)."""
        return None if self.sweeps else run_id

    def caps(self, settings: Settings) -> Caps:
        """What a run of this request may spend."""
        return Caps(
            run_micros=None if self.max_spend_usd >= NO_CAP_USD else micros_of(self.max_spend_usd),
            day_micros=micros_of(settings.tagtrail_max_spend_usd_per_day),
            collection_micros=micros_of(settings.tagtrail_max_spend_usd_per_collection),
        )

    def cheapest_micros(self, settings: Settings) -> dict[str, int]:
        """What the cheapest metadata call of a run of this request costs, by platform."""
        return settings.tagtrail_prices.cheapest_micros(self.channels(settings.tagtrail_channel_order))


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
                key=wish_key("hashtag", key, shared["namespace"], shared["library"]),
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
    return Wish(posts=_posts_named_by(urls), **shared)


def wish_for_post_imports(urls: Sequence[str], *, permanent: bool = False, **common: Any) -> Wish:
    """Check a wish for given posts that are to be imported as well: batches of up to 50 of one platform each.

    A batch's wish is known by the set of its posts, whatever the order and the form of their URLs. Posts go into
    batches in the order of their ids, which grow with time: newer posts beside known ones change the last batch only.

    Raises:
        UsageError: as `wish_for_urls`, or a post of a platform of which the API imports none.
    """
    shared = _common(permanent=permanent, **common)
    posts = _posts_named_by(urls)
    if not_imported := [spec for ref, _ in posts if not (spec := PLATFORMS[ref.platform]).imports_urls]:
        raise UsageError(
            f"the API imports no posts of {not_imported[0].label}, and {len(not_imported)} of these {len(posts)} are: "
            "leave them out here, and give them to `tagtrail enrich`; nothing was submitted"
        )
    imports = []
    given = {item_key(ref): private_url(url) or ref.url for ref, url in posts}
    for platform in sorted({ref.platform for ref, _ in posts}):
        of_platform = sorted((ref for ref, _ in posts if ref.platform == platform), key=_by_age)
        for at in range(0, len(of_platform), MAX_URLS):
            batch = of_platform[at : at + MAX_URLS]
            imports.append(
                ImportWish(
                    kind="urls",
                    wanted={"urls": [given[item_key(ref)] for ref in batch]},
                    requested=len(batch),
                    key=wish_key("urls", [item_key(ref) for ref in batch], shared["namespace"], shared["library"]),
                )
            )
    return Wish(imports=tuple(imports), posts=posts, **shared)


def wish_for_creators(
    creators: Sequence[str], posts_per_creator: int, *, permanent: bool = False, **common: Any
) -> Wish:
    """Check a wish for the newest posts of creators, each given by the URL of a profile, each an import by itself.

    Raises:
        UsageError: no profile, an address that is none, a count below 1, or a bad common parameter.
    """
    shared = _common(permanent=permanent, **common)
    if isinstance(creators, str) or not creators:
        raise UsageError("give at least one profile, for example https://www.tiktok.com/@USER")
    if posts_per_creator < 1:
        raise UsageError(f"ask for at least 1 post per creator, not {posts_per_creator}")
    profiles = list(dict.fromkeys(parse_creator_url(url) for url in creators))
    return Wish(
        imports=tuple(
            ImportWish(
                kind="creator",
                wanted={"creator": profile},
                requested=posts_per_creator,
                key=wish_key("creator", [platform, handle], shared["namespace"], shared["library"]),
            )
            for platform, handle, profile in profiles
        ),
        **shared,
    )


def _posts_named_by(urls: Sequence[str]) -> tuple[tuple[PostRef, str], ...]:
    """The posts that URLs name, each once, with its URL as typed; TikTok's form with the handle says the most."""
    if isinstance(urls, str) or not urls:
        raise UsageError("give at least one post URL, for example https://www.instagram.com/p/CODE/")
    posts: dict[tuple[str, str], tuple[PostRef, str]] = {}
    wrong: list[tuple[str, NotAPostUrl]] = []
    for url in urls:
        try:
            ref = parse_post_url(url)
        except NotAPostUrl as error:
            wrong.append((str(url), error))
            continue
        known = posts.get((ref.platform, ref.post_id))
        if known is None or (known[0].handle is None and ref.handle is not None):
            posts[ref.platform, ref.post_id] = (ref, url.strip())
    if len(wrong) == 1:
        raise NotAPostUrl(f"{wrong[0][1]}; nothing was submitted")
    if wrong:
        named = ", ".join(f'"{shown(url.strip())}"' for url, _ in wrong[:MOST_SHOWN])
        more = f" and {len(wrong) - MOST_SHOWN} more" if len(wrong) > MOST_SHOWN else ""
        raise NotAPostUrl(
            f"{len(wrong)} of {len(urls)} addresses name no post of {labels()}: {named}{more}; nothing was submitted"
        )
    return tuple(posts.values())


def _by_age(ref: PostRef) -> tuple[int, str]:
    return len(ref.post_id), ref.post_id


def wish_for_sweep(
    *,
    channel: str,
    max_spend_usd: float,
    max_age_hours: float,
    held: bool = False,
    collection: str = "",
    asks: bool = False,
) -> Wish:
    """Check a sweep's parameters; what it takes up is in the ledger, whatever collection it belongs to.

    With `held` it is a person's request for what a stop holds, of one collection or of all; `asks` says that it is one
    for what the person named.

    Raises:
        UsageError: a parameter cannot be used.
    """
    every = not collection.strip()
    if not every and not held:
        raise UsageError("a collection goes with held=true; a sweep takes up what is open in all of them")
    shared = _common(
        channel=channel,
        collection="default" if every else collection,
        max_spend_usd=max_spend_usd,
        max_age_hours=max_age_hours,
        posts_per_task=BATCH_POSTS,
    )
    return Wish(**{**shared, "collection": None if every else shared["collection"], "sweeps": not (held or asks)})


def wish_for_refresh(
    *,
    collection: str = "",
    hashtag: str = "",
    channel: str = "auto",
    max_spend_usd: float = 5.0,
    posts_per_task: int = 0,
) -> Wish:
    """Check a refresh's parameters; which posts are due is in the database. No collection: all of them.

    Raises:
        UsageError: a parameter cannot be used.
    """
    every = not collection.strip()
    shared = _common(
        channel=channel,
        collection="default" if every else collection,
        max_spend_usd=max_spend_usd,
        max_age_hours=0,
        posts_per_task=posts_per_task,
    )
    tag = hashtag_key(normalise_hashtag(hashtag)) if hashtag.strip() else None
    return Wish(**{**shared, "collection": None if every else shared["collection"], "hashtag": tag})


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
        (CAP, max_spend_usd),
        ("max_age_hours (--max-age)", max_age_hours),
        ("reuse_hours", reuse_hours),
    ):
        if not 0 <= value < math.inf:
            raise UsageError(f"{name} is a number of 0 or more, not {value}")
        if name != CAP and value > MAX_HOURS:
            raise UsageError(f"{name} is at most {MAX_HOURS:,.0f} hours, which is a hundred years; not {value:,.0f}")
    if 0 < max_spend_usd < LEAST_USD or max_spend_usd > NO_CAP_USD:
        raise UsageError(
            f"{CAP} is 0, or from {LEAST_USD:.6f} to {NO_CAP_USD:,.0f} US dollars (which stands for no cap); "
            f"not {max_spend_usd:g}"
        )
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
