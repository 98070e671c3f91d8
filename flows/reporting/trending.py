"""Posts that rise: announced as an event, once per threshold, when a run has measured them far above their peers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from blocks.database.store import report as rows
from blocks.errors import StoreError
from blocks.posts.platforms.registry import PLATFORMS
from flows.steps.prefect_side.events import POST_TRENDING, announce, event_id, related_to

if TYPE_CHECKING:
    from blocks.database.engine import Store
    from blocks.database.store.report import LeadingPost, MeasuredPost
    from blocks.posts.snapshot_plan import SnapshotPlan
    from blocks.settings import Settings

WINDOW = timedelta(days=30)
"""Peers are posts of so many days."""

MAX_HASHTAGS = 50
"""Of a run that measured posts of more hashtags, so many are looked at."""


@dataclass(frozen=True, slots=True)
class Rising:
    """A post far above its baseline at an age; `thresholds` are those that it has passed."""

    post: MeasuredPost
    metric: str
    value: int
    times: float
    base: float
    peers: int
    baseline: str
    thresholds: tuple[float, ...]


async def announce_trending(
    store: Store, settings: Settings, *, run_id: str, started_at: datetime, now: datetime
) -> None:
    """Announce which of the posts that a run measured since it started rise; what cannot be read is left out."""
    thresholds = settings.tagtrail_trending_times
    if not thresholds:
        return
    with suppress(StoreError):
        found = await store.read(
            rising, run_id, started_at, now, settings.snapshot_plan, thresholds,
            settings.tagtrail_trending_peers,
        )  # fmt: skip
        for one in found:
            _announce(one, run_id)


def rising(
    conn: Any,
    run_id: str,
    started_at: datetime,
    now: datetime,
    plan: SnapshotPlan,
    thresholds: Sequence[float],
    min_peers: int,
) -> list[Rising]:
    """The posts that a run measured at a checkpoint of a day at most, and that are above the lowest threshold."""
    from flows.reporting.statistics import CHECKPOINT_SECONDS

    ages = [age for age in plan.ages if age <= CHECKPOINT_SECONDS]
    measured = rows.measured_by(conn, run_id, started_at, ages)
    found: dict[tuple[str, str], Rising] = {}
    groups = groupby(measured, key=lambda one: (one.collection, one.hashtag))
    for _, ((collection, hashtag), posts) in zip(range(MAX_HASHTAGS), groups, strict=False):
        for one in _of_hashtag(conn, collection, hashtag, list(posts), now, plan, thresholds, min_peers):
            known = found.get((one.post.platform, one.post.post_id))
            if known is None or one.times > known.times:
                found[one.post.platform, one.post.post_id] = one
    return list(found.values())


def _of_hashtag(
    conn: Any,
    collection: str,
    hashtag: str,
    posts: list[MeasuredPost],
    now: datetime,
    plan: SnapshotPlan,
    thresholds: Sequence[float],
    min_peers: int,
) -> Iterator[Rising]:
    # numpy is loaded by runs that have measured something at a checkpoint only.
    import numpy as np

    from flows.reporting.leading import judged
    from flows.reporting.sample import load
    from flows.reporting.statistics import CHECKPOINT_SECONDS

    scope = rows.Scope(collection, hashtag, now - WINDOW, now + timedelta(days=1), now)
    sample = load(rows.post_rows(conn, scope, plan.ages, CHECKPOINT_SECONDS), plan, now)
    places = {key: at for at, key in enumerate(sample.keys)}
    for age in sorted({post.age_seconds for post in posts}):
        here = np.zeros(len(sample), dtype=bool)
        of_place = {places[post.platform, post.post_id]: post for post in posts
                    if post.age_seconds == age and (post.platform, post.post_id) in places}  # fmt: skip
        here[list(of_place)] = True
        for one in judged(sample, age, here, min(thresholds), min_peers):
            passed = tuple(sorted(times for times in thresholds if one.outrun.times >= times))
            yield Rising(
                of_place[one.post], one.metric, int(one.value), one.outrun.times, one.outrun.base, one.outrun.posts,
                one.outrun.baseline, passed,
            )  # fmt: skip


def _announce(one: Rising, run_id: str) -> None:
    post = one.post
    for threshold in one.thresholds:
        announce(
            POST_TRENDING,
            resource_id=f"tagtrail.post.{post.platform}.{post.post_id}",
            related=related_to(collection=post.collection, hashtags=[post.hashtag]),
            payload={
                "platform": post.platform,
                "post_id": post.post_id,
                "link": link(post),
                "collection": post.collection,
                "hashtag": post.hashtag,
                "metric": one.metric,
                "value": one.value,
                "age_seconds": post.age_seconds,
                "times": round(one.times, 2),
                "baseline": one.baseline,
                "baseline_median": one.base,
                "baseline_posts": one.peers,
                "threshold": threshold,
                "run_id": run_id,
            },
            # The same post and threshold again, at another age or by another run, is the same event.
            event_id=event_id(POST_TRENDING, post.platform, post.post_id, f"{threshold:g}"),
        )


def link(post: MeasuredPost | LeadingPost) -> str:
    """Where the post can be seen; an address that holds no name of a person."""
    return PLATFORMS[post.platform].post_url(post.post_id, post.shortcode)
