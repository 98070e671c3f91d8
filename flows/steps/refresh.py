"""A refresh: the posts whose snapshot is due, most valuable first, as many as the caps can pay for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from blocks.database.store import history, runs, spend
from blocks.database.store.filters import Filters
from blocks.database.store.history import DuePost
from blocks.database.store.imports import FoundPost
from blocks.memories.posts.record import Channel, Platform
from flows.steps.summary import plural

if TYPE_CHECKING:
    from flows.steps.run import Run

CHUNK = 500


@dataclass(frozen=True, slots=True)
class Due:
    """The due posts that a run takes, and those that its caps leave no money for; both most valuable first."""

    taken: Sequence[DuePost]
    beyond: Sequence[DuePost]


async def plan_refresh(run: Run) -> Due:
    """What is due, and how much of it the caps can pay for; of what is beyond them no trace is written."""
    filters = Filters(collection=run.wish.collection, hashtag=run.wish.hashtag)
    found = await run.store.read(history.due, run.settings.snapshot_plan, run.clock(), filters)
    left = await run.store.read(
        spend.left_micros,
        run.caps(),
        account=run.client.account,
        day=spend.day_of(run.clock()),
        run_id=run.run_id,
        collection=run.wish.collection,
    )
    prices = {platform: _cheapest(run, platform)[0] for platform in {one.ref.platform for one in found}}
    count = affordable(found, left, prices)
    due = Due(found[:count], found[count:])
    if not found:
        run.note("no snapshot is due now")
    if due.beyond:
        run.note(f"{plural(len(found), 'post')} due; {len(due.beyond)} of them are beyond the cap and stay due")
    run.wish = replace(run.wish, posts=tuple((one.ref, one.source_url or one.ref.url) for one in due.taken))
    return due


def affordable(due: Sequence[DuePost], left_micros: int | None, price_micros: Mapping[Platform, int]) -> int:
    """How many of the due posts, from the first, so much money can pay for; None is no cap."""
    for at, one in enumerate(due):
        if left_micros is not None and one.ends_at is not None:
            left_micros -= price_micros[one.ref.platform]
            if left_micros < 0:
                return at
    return len(due)


def _cheapest(run: Run, platform: Platform) -> tuple[int, Channel]:
    prices = run.settings.tagtrail_prices
    channels = run.wish.channels(run.settings.tagtrail_channel_order)
    return min((prices.metadata_micros(platform, channel), channel) for channel in channels)


async def take_due_posts(run: Run, due: Due) -> None:
    """Write the due posts down for the run, each with its checkpoint, and have them enriched in this order."""
    for at in range(0, len(due.taken), CHUNK):
        chunk = due.taken[at : at + CHUNK]
        for purpose in sorted({one.purpose for one in chunk}):
            posts = [(one.ref, one.source_url) for one in chunk if one.purpose == purpose]
            await run.store.run(runs.take_posts, run.run_id, posts, purpose=purpose, now=run.clock())
        run.found([FoundPost(one.ref, one.source_url, one.purpose) for one in chunk])


async def halt_at_the_cap(run: Run, due: Due) -> None:
    """End the run as halted where a cap has no room for the next due post; what is due stays due.

    Raises:
        SpendCapReached: it has none.
    """
    if due.beyond and run.halted is None:
        platform = due.beyond[0].ref.platform
        voucher = await run.budget.take(platform, _cheapest(run, platform)[1])
        await voucher.release()
