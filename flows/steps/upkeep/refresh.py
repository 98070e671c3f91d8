"""A refresh: the posts whose snapshot is due, most valuable first, as many as the caps can pay for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from blocks.database.store import money, runs, snapshots, stale_work
from blocks.database.store.filters import Filters
from blocks.database.store.imports import FoundPost
from blocks.database.store.snapshots import DuePost
from flows.steps.run.context import RunContext
from flows.steps.run.summary import plural

CHUNK = 500


@dataclass(frozen=True, slots=True)
class Due:
    """The due posts that a run takes, and those that its caps leave no money for; both most valuable first.

    `of_full`, by collection: so many more that the collection's own cap leaves no money for, in a run over all.
    """

    taken: Sequence[DuePost]
    beyond: Sequence[DuePost]
    of_full: Mapping[str, int] = field(default_factory=dict)

    @property
    def posts(self) -> list[FoundPost]:
        """Those that are taken, for the enrichment."""
        return [FoundPost(one.ref, one.source_url, one.purpose, one.collection, one.ends_at) for one in self.taken]


async def plan_refresh(run: RunContext) -> Due:
    """What is due, and how much of it the caps can pay for: that is written down for the run, each with its checkpoint.

    Of what is beyond the caps no trace is written.
    """
    await run.store.run(stale_work.drop_missed, run.settings.snapshot_plan, run.clock())
    filters = Filters(collection=run.request.collection, hashtag=run.request.hashtag)
    found = await run.store.read(snapshots.due, run.settings.snapshot_plan, run.clock(), filters)
    caps = run.request.caps(run.settings)
    left = await run.store.read(
        money.left_micros,
        caps,
        account=run.client.account,
        day=money.day_of(run.clock()),
        run_id=run.run_id,
        collection=run.request.collection,
    )
    left_of = {}
    if run.request.collection is None:
        names = {one.collection for one in found if one.collection is not None}
        left_of = await run.store.read(money.left_by_collection, names, caps.collection_micros)
    due = affordable(found, left, run.request.cheapest_micros(run.settings), left_of)
    if not found:
        run.journal.note("no snapshot is due now")
    for name, count in due.of_full.items():
        run.journal.note(f"collection {name}: {plural(count, 'post')} due beyond its cap; they stay due")
    if due.beyond:
        run.journal.note(f"{plural(len(found), 'post')} due; {len(due.beyond)} of them are beyond the cap and stay due")
    for at in range(0, len(due.taken), CHUNK):
        chunk = due.taken[at : at + CHUNK]
        for purpose in sorted({one.purpose for one in chunk}):
            posts = [(one.ref, one.source_url) for one in chunk if one.purpose == purpose]
            await run.store.run(runs.take_posts, run.run_id, posts, purpose=purpose, now=run.clock())
    return due


def affordable(
    due: Sequence[DuePost],
    left_micros: int | None,
    price_micros: Mapping[str, int],
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


async def halt_at_the_cap(run: RunContext, due: Due) -> None:
    """End the run as halted where a cap has no room for the next due post; what is due stays due.

    Where it is the cap of one collection in a run over all, the run is not halted, but needs a look.

    Raises:
        SpendCapReached: it has none.
    """
    run.halt.full.update(due.of_full)
    if due.beyond and run.halt.reason is None:
        platform, prices = due.beyond[0].ref.platform, run.settings.tagtrail_prices
        cheapest = min(run.channels.order, key=lambda channel: prices.metadata_micros(platform, channel))
        reservation = await run.budget.reserve(platform, cheapest)
        await reservation.release()
