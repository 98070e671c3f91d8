"""A refresh: the posts whose snapshot is due, most valuable first, as many as the caps can pay for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from blocks.database.store import leftovers, payers, runs, snapshots, spend
from blocks.database.store.filters import Filters
from blocks.database.store.imports import FoundPost
from blocks.database.store.snapshots import DuePost
from blocks.posts.record import Channel, Platform
from flows.steps.run.summary import plural

if TYPE_CHECKING:
    from flows.steps.run.lifecycle import Run

CHUNK = 500


@dataclass(frozen=True, slots=True)
class Due:
    """The due posts that a run takes, and those that its caps leave no money for; both most valuable first.

    `of_full`, by collection: so many more that the collection's own cap leaves no money for, in a run over all.
    """

    taken: Sequence[DuePost]
    beyond: Sequence[DuePost]
    of_full: Mapping[str, int] = field(default_factory=dict)


async def plan_refresh(run: Run) -> Due:
    """What is due, and how much of it the caps can pay for; of what is beyond them no trace is written."""
    await run.store.run(leftovers.drop_missed, run.settings.snapshot_plan, run.clock())
    filters = Filters(collection=run.wish.collection, hashtag=run.wish.hashtag)
    found = await run.store.read(snapshots.due, run.settings.snapshot_plan, run.clock(), filters)
    left = await run.store.read(
        spend.left_micros,
        run.caps(),
        account=run.client.account,
        day=spend.day_of(run.clock()),
        run_id=run.run_id,
        collection=run.wish.collection,
    )
    prices = {platform: _cheapest(run, platform)[0] for platform in {one.ref.platform for one in found}}
    left_of = {}
    if run.wish.collection is None:
        names = {one.collection for one in found if one.collection is not None}
        left_of = await run.store.read(payers.left_by_collection, names, run.caps().collection_micros)
    due = affordable(found, left, prices, left_of)
    if not found:
        run.note("no snapshot is due now")
    for name, count in due.of_full.items():
        run.note(f"collection {name}: {plural(count, 'post')} due beyond its cap; they stay due")
    if due.beyond:
        run.note(f"{plural(len(found), 'post')} due; {len(due.beyond)} of them are beyond the cap and stay due")
    run.wish = replace(run.wish, posts=tuple((one.ref, one.source_url or one.ref.url) for one in due.taken))
    return due


def affordable(
    due: Sequence[DuePost],
    left_micros: int | None,
    price_micros: Mapping[Platform, int],
    left_of: Mapping[str, int] | None = None,
) -> Due:
    """Which of the due posts, from the first, so much money can pay for; None is no cap.

    `left_of` is what collections may spend of it, those that have a cap: where one has nothing left, the others go on.
    """
    taken: list[DuePost] = []
    of_full: Counter[str] = Counter()
    left_each = dict(left_of or {})
    for at, one in enumerate(due):
        price = 0 if one.ends_at is None else price_micros[one.ref.platform]
        if one.collection in left_each and left_each[one.collection] < price:
            of_full[one.collection] += 1
            continue
        if left_micros is not None and left_micros < price:
            return Due(taken, due[at:], of_full)
        if left_micros is not None:
            left_micros -= price
        if one.collection in left_each:
            left_each[one.collection] -= price
        taken.append(one)
    return Due(taken, [], of_full)


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
        run.found([FoundPost(one.ref, one.source_url, one.purpose, one.collection, one.ends_at) for one in chunk])


async def halt_at_the_cap(run: Run, due: Due) -> None:
    """End the run as halted where a cap has no room for the next due post; what is due stays due.

    Where it is the cap of one collection in a run over all, the run is not halted, but needs a look.

    Raises:
        SpendCapReached: it has none.
    """
    run.full.update(due.of_full)
    if due.beyond and run.halted is None:
        platform = due.beyond[0].ref.platform
        voucher = await run.budget.take(platform, _cheapest(run, platform)[1])
        await voucher.release()
