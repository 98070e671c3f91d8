"""The end of a run: the sums that must agree, the money, and the typed summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from datetime import datetime
from typing import Any

from blocks.database.store import erased_names, gaps, provenance, report, runs
from blocks.database.store import imports as ledger
from blocks.database.store import money as money_store
from blocks.database.store.gaps import Overlap
from blocks.database.store.imports import OpenImport
from blocks.database.store.money import RunSpend
from blocks.database.store.provenance import RunOutputs
from blocks.errors import StoreError, TagtrailError, UsageError
from blocks.outside_words import for_log
from flows.steps.prefect_side import events
from flows.steps.prefect_side.trending import announce_trending, link
from flows.steps.run.context import RunContext
from flows.steps.run.request import NO_CAP_USD, RunRequest
from flows.steps.run.stops import StopListener
from flows.steps.run.summary import (
    CREATORS,
    Ending,
    ImportSummary,
    LeadingPost,
    RunSummary,
    going_on,
    message_of,
    outcome_of,
    plural,
)

MAX_LEADING = 5
"""So many leading posts stand in a run's summary."""

UNSETTLED = (None, "pending")
"""Outcomes of a run's posts that are none yet."""


def parameters_of(request: RunRequest) -> dict[str, Any]:
    """A request as the run's row keeps it."""
    return {
        "imports": [{"kind": one.kind, "wanted": one.wanted, "requested": one.requested} for one in request.imports],
        "posts": len(request.posts),
        "channel": request.channel,
        "collection": request.collection,
        "namespace": request.namespace,
        "library": request.library,
        "max_spend_usd": None if request.max_spend_usd >= NO_CAP_USD else request.max_spend_usd,
        "max_age_hours": request.max_age_hours,
        "reuse_hours": request.reuse_hours,
        "fresh": request.fresh,
    }


def never_opened(run_id: str, flow: str, why: TagtrailError | None, now: datetime) -> RunSummary:
    """The summary of a run that was refused before anything was opened: nothing is settled, and nothing written."""
    summary = RunSummary(
        run_id=run_id,
        flow=flow,
        outcome="failed",
        message=for_log(str(why or "the run broke off; see the log")),
        wrong_usage=isinstance(why, UsageError),
        started_at=now,
        finished_at=now,
    )
    events.run_ended(summary, why)
    return summary


async def close(
    run: RunContext, flow: str, stops: StopListener, *, error: TagtrailError | None, broken: BaseException | None
) -> RunSummary:
    """Settle the run's money, check its sums, write its row, and announce the end.

    `error` and `broken` are as in `Ending`.
    """
    now = run.clock()
    unsettled = await _failure_of(run.budget.close())
    error = error or unsettled
    try:
        summary, wrote = await _count(run, flow, now, stopped=stops.stop is not None)
    except StoreError as unread:
        summary = _remembered(run, flow, now)
        _judge(summary, _ending(run, error or unread))
    else:
        summary.notes += going_on(summary)
        _judge(summary, _ending(run, error, broken))
        # Whether a person cancelled it may be unknown: that is asked by the next sweep, as of a run that was killed.
        if not stops.undecided:
            if unwritten := await _failure_of(_write_end(run, summary)):
                _judge(summary, _ending(run, error or unwritten, broken))
            events.assets_written(wrote, run_id=run.run_id)
    events.run_ended(summary, run.halt.reason)
    if broken is None:
        await announce_trending(
            run.store, run.settings, run_id=run.run_id, started_at=summary.started_at, now=run.clock()
        )
    return summary


def _ending(run: RunContext, error: TagtrailError | None, broken: BaseException | None = None) -> Ending:
    return Ending(
        run.request,
        halted=run.halt.reason,
        error=error,
        broken=broken,
        posts=len(run.journal.posts),
        some_full=bool(run.halt.full),
        has_callback=run.client.callback_url is not None,
    )


def _judge(summary: RunSummary, ending: Ending) -> None:
    summary.outcome = outcome_of(ending, summary)
    summary.message = message_of(ending, summary)


async def _failure_of(work: Awaitable[None]) -> StoreError | None:
    """Why that could not be written; None where it was."""
    try:
        await work
    except StoreError as error:
        return error
    return None


async def _write_end(run: RunContext, summary: RunSummary) -> None:
    await run.store.run(
        runs.finish_run,
        run.run_id,
        outcome=summary.outcome,
        message=summary.message,
        summary=summary.model_dump(mode="json"),
        now=summary.finished_at,
    )


def _key_of(key: str) -> tuple[str, str]:
    """`platform:post_id` as the two."""
    platform, _, post_id = key.partition(":")
    return platform, post_id


async def _count(run: RunContext, flow: str, now: datetime, *, stopped: bool) -> tuple[RunSummary, RunOutputs]:
    """The summary, as far as the database tells it, and what the run wrote; its outcome is judged by the caller.

    Raises:
        StoreError: the database cannot be read.
    """
    journal, read = run.journal, run.store.read
    sums = await read(runs.reconcile, run.run_id)
    money = await read(money_store.totals, run.run_id)
    rows = await read(ledger.of_run, run.run_id)
    wrote = await read(provenance.run_outputs, run.run_id)
    overlaps = await read(gaps.overlaps, [row.import_id for row in rows])
    leading = await read(report.leading, [_key_of(key) for key in journal.posts], MAX_LEADING)
    out = await read(erased_names.posts_among, [post.ref for post in journal.posts.values()])
    open_ = [(post.ref.platform, post.ref.post_id) for post in journal.posts.values() if post.outcome in UNSETTLED]
    why = await read(runs.reasons, open_, run.request.cheapest_micros(run.settings), ending=run.run_id)
    if out:
        journal.leave_out(":".join(key) for key in out)
        journal.note(
            f"{plural(len(out), 'post')} left out: erased on request (`tagtrail purge`), or by somebody who was"
        )
    started_at = run.progress.started_at or now
    imports = [_import_summary(row, overlaps.get(row.import_id), since=started_at) for row in rows]
    measured = Counter(key.partition(":")[0] for key in journal.posts)
    held, out_of_room = min(why["held"], sums.pending), min(why["out_of_room"], sums.pending)
    fresh = len(journal.fresh)
    summary = RunSummary(
        run_id=run.run_id,
        flow=flow,
        outcome="done",
        message="",
        collection=run.request.collection,
        requested=sums.requested,
        enriched=sums.enriched,
        failed=sums.failed,
        gone=sums.gone,
        pending=sums.pending,
        held=held,
        out_of_room=out_of_room,
        waiting=max(0, sums.pending - held - out_of_room),
        held_imports=sum(one.state == "planned" for one in imports) if stopped else 0,
        # What an earlier run measured of an import that this one continues was not bought again either.
        fresh=max(fresh, sums.enriched - run.progress.enriched) if journal.continues else fresh,
        new_enriched=wrote.first_measured,
        imports=imports,
        platforms=dict(sorted(measured.items())),
        leading=[LeadingPost(link=link(one), plays=one.plays, likes=one.likes) for one in leading],
        calls=money.named_calls,
        failures=sums.failures,
        cost_usd=money.counted_micros / 1_000_000,
        usd_per_1000_new=money_store.cost_per_1000_new(money.counted_micros, wrote.first_measured),
        halted_because=_halted_because(run),
        notes=[
            *journal.notes,
            *_notes(run, money),
            *_of_creators(imports),
            *_listed_again(imports),
            *_gaps(overlaps.values(), imports),
        ],
        started_at=started_at,
        finished_at=now,
    )
    return summary, wrote


def _halted_because(run: RunContext) -> str | None:
    return None if run.halt.reason is None else for_log(str(run.halt.reason))


def _remembered(run: RunContext, flow: str, now: datetime) -> RunSummary:
    """What the run itself knows of its posts, where the database cannot be asked."""
    posts = run.journal.posts
    outcomes = Counter(post.outcome or "pending" for post in posts.values())
    unread = "counts are this process's own, and the cost is unknown: the database could not be read"
    return RunSummary(
        run_id=run.run_id,
        flow=flow,
        outcome="failed",
        message="",
        collection=run.request.collection,
        requested=len(posts),
        **{name: outcomes[name] for name in ("enriched", "failed", "gone", "pending")},
        fresh=len(run.journal.fresh),
        halted_because=_halted_because(run),
        notes=[*run.journal.notes, unread],
        started_at=run.progress.started_at or now,
        finished_at=now,
    )


def _import_summary(row: OpenImport, overlap: Overlap | None, *, since: datetime) -> ImportSummary:
    told = ImportSummary.model_validate(row, from_attributes=True)
    if told.how == "reused" and (row.last_new_at is None or row.last_new_at < since):
        # What was new when it was bought is known now.
        told.new, told.known = 0, told.new + told.known
    if overlap is not None:
        told.overlap, told.not_seen_again = overlap.shared, overlap.not_seen_again
    return told


def _gaps(overlaps: Iterable[Overlap], imports: Sequence[ImportSummary]) -> list[str]:
    """A sentence for each import that shares nothing with the one before it."""
    names = {one.import_id: one.name for one in imports}
    return [
        f"{names[one.import_id]}: no post is shared with the import of {one.from_at:%Y-%m-%d %H:%M} UTC, so that posts "
        "of the time in between were probably missed; a shorter interval or more posts per hashtag closes such gaps"
        for one in overlaps
        if one.shared == 0
    ]


def _of_creators(imports: list[ImportSummary]) -> list[str]:
    """What is known of creators' imports that stay empty, where there is one."""
    return [CREATORS] if any(one.kind == "creator" and one.state == "empty" for one in imports) else []


def _notes(run: RunContext, money: RunSpend) -> list[str]:
    limiter, posts = run.limits.limiter, run.journal.posts
    notes = [
        f"{name}: the service proved a lower limit, {rate:.2g} a second" for name, rate in limiter.learned().items()
    ]
    if before := sum(key in posts for key in run.journal.failed_before):
        notes.append(
            f"{plural(before, 'post')} failed less than {run.request.max_age_hours:g} h ago, and nothing was bought "
            f"for {'it' if before == 1 else 'them'} again: `tagtrail retry` takes failures up"
        )
    notes += [f"channel {name} rested {plural(count, 'time')}" for name, count in run.channels.times_opened.items()]
    now = run.clock()
    waited = [post for post in posts.values() if post.outcome in (None, "pending") and post.ends_at is not None]
    if late := sum(post.ends_at <= now for post in waited if post.ends_at is not None):
        notes.append(
            f"{plural(late, 'post')} not bought: the window of the checkpoint closed while they waited, it is missed"
        )
    if money.open_micros:
        kept = money.open_micros / 1_000_000
        notes.append(f"{kept:.2f} USD of the cost stay reserved, for imports that are not finished or in doubt")
    if run.journal.poll_errors:
        told = ", ".join(f"{count} {name}" for name, count in sorted(run.journal.poll_errors.items()))
        notes.append(f"polls without an answer: {told}")
    return notes


def _listed_again(imports: Sequence[ImportSummary]) -> list[str]:
    """A sentence where imports listed what was erased: the service bills it all the same."""
    withheld = sum(one.withheld for one in imports)
    if not withheld:
        return []
    return [
        f"{plural(withheld, 'listed post')} left out: erased on request (`tagtrail purge`); the import bills it anyway"
    ]
