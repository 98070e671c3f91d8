"""What a run is asked to do, checked before anything is sent or spent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from blocks.dedup_keys import dedup_key
from blocks.errors import NotAPostUrl, UsageError
from blocks.memories.requests import MAX_URLS
from blocks.posts.captions import hashtag_key, normalise_hashtag
from blocks.posts.identity import item_key, parse_creator_url, parse_post_url, private_url
from blocks.posts.platforms.registry import PLATFORMS, labels
from blocks.posts.record import CHANNELS, Channel, PostRef
from blocks.posts.urls import shown
from blocks.settings import LEAST_USD, MAX_CAP_USD, MAX_HOURS, Settings

if TYPE_CHECKING:
    from blocks.database.store.money import Caps

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

MAX_SHOWN = 10
"""So many wrong addresses are named in one sentence."""


@dataclass(frozen=True, slots=True)
class RequestedImport:
    """One import that a run needs: `wanted` is what is sent, `key` the hash by which equal ones are known."""

    kind: str
    wanted: dict[str, Any]
    requested: int
    key: str
    hashtag: str | None = None


class RunRequest(BaseModel):
    """What a run is asked to do, checked when it is made; money is US dollars, ages and re-use are hours.

    Raises:
        UsageError: a value cannot be used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    imports: tuple[RequestedImport, ...] = ()
    posts: tuple[tuple[PostRef, str], ...] = ()
    """Posts given by URL, each with the URL as it was typed."""
    channel: ChannelChoice = "auto"
    collection: str | None = "default"
    """None: a sweep, over all collections."""
    namespace: str = "default"
    """The API's `unique_id`; by itself, or where it is empty, the collection's name."""
    library: Library = "private"
    permanent: bool = False
    """Has to be said for the public library."""
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

    @model_validator(mode="before")
    @classmethod
    def _namespace_by_itself(cls, given: dict[str, Any]) -> dict[str, Any]:
        collection = given.get("collection") or "default"
        return {**given, "namespace": given.get("namespace", "").strip() or collection.strip()}

    @field_validator("channel", mode="before")
    @classmethod
    def _is_a_channel(cls, channel: str) -> str:
        if channel != "auto" and channel not in CHANNELS:
            raise UsageError(f"the channel is auto, {', '.join(CHANNELS[:-1])} or {CHANNELS[-1]}, not {channel!r}")
        return channel

    @field_validator("library", mode="before")
    @classmethod
    def _is_a_library(cls, library: str) -> str:
        if library not in ("private", "public"):
            raise UsageError(f"the library is private or public, not {library!r}")
        return library

    @field_validator("collection")
    @classmethod
    def _has_a_name(cls, collection: str | None) -> str | None:
        name = None if collection is None else collection.strip()
        if name is not None and not 1 <= len(name) <= 200:
            raise UsageError("a collection's name has 1 to 200 characters")
        return name

    @model_validator(mode="after")
    def _can_be_done(self) -> Self:
        if self.library == "public" and not self.permanent:
            raise UsageError(
                "an import into the public library can never be deleted and is seen by everybody; "
                "say --permanent (permanent=true) if that is meant"
            )
        _check_number(CAP, self.max_spend_usd)
        for name, hours in (("max_age_hours (--max-age)", self.max_age_hours), ("reuse_hours", self.reuse_hours)):
            _check_number(name, hours)
            if hours > MAX_HOURS:
                raise UsageError(
                    f"{name} is at most {MAX_HOURS:,.0f} hours, which is a hundred years; not {hours:,.0f}"
                )
        if 0 < self.max_spend_usd < LEAST_USD or self.max_spend_usd > NO_CAP_USD:
            raise UsageError(
                f"{CAP} is 0, or from {LEAST_USD:.6f} to {NO_CAP_USD:,.0f} US dollars (which stands for no cap); "
                f"not {self.max_spend_usd:g}"
            )
        if self.posts_per_task < 0:
            raise UsageError(f"posts_per_task is 0 (by itself) or more, not {self.posts_per_task}")
        return self

    def by_settings(self, settings: Settings) -> Self:
        """The request with the settings' cap and ages for those parameters that have their default.

        A form or a deployment cannot leave a parameter out, so that nobody can tell a default from the same number
        that was typed: for the cap the smaller of the two holds.
        """
        by_itself, cap = RunRequest(), settings.tagtrail_max_spend_usd_per_run
        decided: dict[str, Any] = {}
        if self.max_spend_usd == by_itself.max_spend_usd and cap is not None:
            decided["max_spend_usd"] = min(self.max_spend_usd, cap)
        if self.max_age_hours == by_itself.max_age_hours:
            decided["max_age_hours"] = settings.tagtrail_max_age_hours
        if self.reuse_hours == by_itself.reuse_hours:
            decided["reuse_hours"] = settings.tagtrail_import_reuse_hours
        return self.changed(**decided)

    def changed(self, **changes: Any) -> Self:
        """The same request but for some fields, which are not checked again."""
        return self.model_copy(update=changes)

    @property
    def cap_usd(self) -> float | None:
        """What the run may spend, in US dollars; None: no cap."""
        return None if self.max_spend_usd >= NO_CAP_USD else self.max_spend_usd

    def parameters(self) -> dict[str, Any]:
        """The request as the run's row keeps it."""
        return {
            "imports": [{"kind": one.kind, "wanted": one.wanted, "requested": one.requested} for one in self.imports],
            "posts": len(self.posts),
            "channel": self.channel,
            "collection": self.collection,
            "namespace": self.namespace,
            "library": self.library,
            "max_spend_usd": self.cap_usd,
            "max_age_hours": self.max_age_hours,
            "reuse_hours": self.reuse_hours,
            "fresh": self.fresh,
        }

    @property
    def expected_posts(self) -> int:
        """How many posts the run may have to account for, at most."""
        listed = (one.requested for one in self.imports if one.kind != "urls")
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
        # The database loads slowly, and most of the command line needs none of it.
        from blocks.database.store.money import Caps
        from blocks.quotas.budget import micros_of

        return Caps(
            run_micros=micros_of(self.cap_usd),
            day_micros=micros_of(settings.tagtrail_max_spend_usd_per_day),
            collection_micros=micros_of(settings.tagtrail_max_spend_usd_per_collection),
        )

    def cheapest_micros(self, settings: Settings) -> dict[str, int]:
        """What the cheapest metadata call of a run of this request costs, by platform."""
        return settings.tagtrail_prices.cheapest_micros(self.channels(settings.tagtrail_channel_order))


def request_for_hashtags(hashtags: Sequence[str], posts_per_hashtag: int, **terms: Any) -> RunRequest:
    """A request for hashtags; each is imported by itself, for nothing else tells which one found a post.

    Raises:
        UsageError: no hashtag, a hashtag that cannot be one, a count below 1, or a value that `RunRequest` refuses.
    """
    request = RunRequest(**terms)
    if isinstance(hashtags, str) or not hashtags:
        raise UsageError("name at least one hashtag, for example LVMH")
    if posts_per_hashtag < 1:
        raise UsageError(f"ask for at least 1 post per hashtag, not {posts_per_hashtag}")
    by_key: dict[str, str] = {}
    for typed in hashtags:
        tag = normalise_hashtag(typed)
        by_key.setdefault(hashtag_key(tag), tag)
    return request.changed(
        imports=tuple(
            RequestedImport(
                kind="hashtag",
                wanted={"hashtag": tag},
                requested=posts_per_hashtag,
                key=dedup_key("hashtag", key, request.namespace, request.library),
                hashtag=key,
            )
            for key, tag in by_key.items()
        )
    )


def request_for_urls(urls: Sequence[str], **terms: Any) -> RunRequest:
    """A request for given posts, to be enriched without an import; a post named twice is asked for once.

    Raises:
        UsageError: no URL, a URL that names no post (NotAPostUrl), or a value that `RunRequest` refuses.
    """
    request = RunRequest(**terms)
    return request.changed(posts=_posts_named_by(urls))


def request_for_post_imports(urls: Sequence[str], **terms: Any) -> RunRequest:
    """A request for given posts that are to be imported as well: batches of up to 50 of one platform each.

    A batch is known by the set of its posts, whatever the order and the form of their URLs. Posts go into
    batches in the order of their ids, which grow with time: newer posts beside known ones change the last batch only.

    Raises:
        UsageError: as `request_for_urls`, or a post of a platform of which the API imports none.
    """
    request = RunRequest(**terms)
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
                RequestedImport(
                    kind="urls",
                    wanted={"urls": [given[item_key(ref)] for ref in batch]},
                    requested=len(batch),
                    key=dedup_key("urls", [item_key(ref) for ref in batch], request.namespace, request.library),
                )
            )
    return request.changed(imports=tuple(imports), posts=posts)


def request_for_creators(creators: Sequence[str], posts_per_creator: int, **terms: Any) -> RunRequest:
    """A request for the newest posts of creators, each given by the URL of a profile, each an import by itself.

    Raises:
        UsageError: no profile, an address that is none, a count below 1, or a value that `RunRequest` refuses.
    """
    request = RunRequest(**terms)
    if isinstance(creators, str) or not creators:
        raise UsageError("give at least one profile, for example https://www.tiktok.com/@USER")
    if posts_per_creator < 1:
        raise UsageError(f"ask for at least 1 post per creator, not {posts_per_creator}")
    profiles = list(dict.fromkeys(parse_creator_url(url) for url in creators))
    return request.changed(
        imports=tuple(
            RequestedImport(
                kind="creator",
                wanted={"creator": profile},
                requested=posts_per_creator,
                key=dedup_key("creator", [platform, handle], request.namespace, request.library),
            )
            for platform, handle, profile in profiles
        )
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
        named = ", ".join(f'"{shown(url.strip())}"' for url, _ in wrong[:MAX_SHOWN])
        more = f" and {len(wrong) - MAX_SHOWN} more" if len(wrong) > MAX_SHOWN else ""
        raise NotAPostUrl(
            f"{len(wrong)} of {len(urls)} addresses name no post of {labels()}: {named}{more}; nothing was submitted"
        )
    return tuple(posts.values())


def _by_age(ref: PostRef) -> tuple[int, str]:
    return len(ref.post_id), ref.post_id


def request_for_sweep(
    *,
    channel: ChannelChoice,
    max_spend_usd: float,
    max_age_hours: float,
    held: bool = False,
    collection: str = "",
    asks: bool = False,
) -> RunRequest:
    """A sweep's request; what it takes up is in the ledger, whatever collection it belongs to.

    With `held` it is a person's request for what a stop holds, of one collection or of all; `asks` says that it is one
    for what the person named.

    Raises:
        UsageError: a parameter cannot be used.
    """
    every = not collection.strip()
    if not every and not held:
        raise UsageError("a collection goes with held=true; a sweep takes up what is open in all of them")
    return RunRequest(
        channel=channel,
        collection=None if every else collection,
        max_spend_usd=max_spend_usd,
        max_age_hours=max_age_hours,
        posts_per_task=BATCH_POSTS,
        sweeps=not (held or asks),
    )


def request_for_refresh(
    *,
    collection: str = "",
    hashtag: str = "",
    channel: ChannelChoice = "auto",
    max_spend_usd: float = 5.0,
    posts_per_task: int = 0,
) -> RunRequest:
    """A refresh's request; which posts are due is in the database. No collection: all of them.

    Raises:
        UsageError: a parameter cannot be used.
    """
    return RunRequest(
        channel=channel,
        collection=collection if collection.strip() else None,
        max_spend_usd=max_spend_usd,
        max_age_hours=0,
        posts_per_task=posts_per_task,
        hashtag=hashtag_key(normalise_hashtag(hashtag)) if hashtag.strip() else None,
    )


def _check_number(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise UsageError(f"{name} is a number of 0 or more, not {value}")
