"""The end of a run: the sums that must agree, the money, the typed summary, and what Prefect shows of it."""

from __future__ import annotations

import asyncio
import shlex
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from blocks.database.store import erased_names, gaps, provenance, report, requests, runs, spend
from blocks.database.store import imports as ledger
from blocks.database.store.gaps import Overlap
from blocks.database.store.imports import OpenImport
from blocks.database.store.spend import RunSpend
from blocks.errors import StoreError, TagtrailError, UsageError
from blocks.outside_words import for_log
from flows.steps.prefect_side import artifacts, run_events
from flows.steps.prefect_side.trending import announce_trending, link
from flows.steps.run.request import NO_CAP_USD, Wish
from flows.steps.run.stops import Stopped
from flows.steps.run.summary import CREATORS, UNFINISHED, ImportSummary, LeadingPost, Outcome, RunSummary, plural
from flows.steps.upkeep.erasure_filter import listed_again

if TYPE_CHECKING:
    from flows.steps.run.lifecycle import Run

MOST_LEADING = 5
"""So many leading posts stand in a run's summary."""

UNSETTLED = (None, "pending")
"""Outcomes of a run's posts that are none yet."""

NEEDS_A_LOOK = ("empty", "ambiguous")
"""Ledger states in which an import needs somebody (exit status 3)."""

MOST_NAMES, MOST_REASONS = 5, 3
"""So many imports that were not accepted, and reasons for it, a run's message names."""


def parameters_of(wish: Wish) -> dict[str, Any]:
    """A wish as the run's row keeps it."""
    return {
        "imports": [{"kind": one.kind, "wanted": one.wanted, "requested": one.requested} for one in wish.imports],
        "posts": len(wish.posts),
        "channel": wish.channel,
        "collection": wish.collection,
        "namespace": wish.namespace,
        "library": wish.library,
        "max_spend_usd": None if wish.max_spend_usd >= NO_CAP_USD else wish.max_spend_usd,
        "max_age_hours": wish.max_age_hours,
        "reuse_hours": wish.reuse_hours,
        "fresh": wish.fresh,
    }


async def close(run: Run, *, broken: BaseException | None) -> RunSummary:
    """Settle the run's money, check its sums, write its row, show the summary, and announce the end.

    `broken` is an error that is not Tagtrail's own and ended it: a cancellation, or a fault of ours.
    """
    summary = await _settled(run, broken=broken)
    run_events.run_ended(run, summary)
    if broken is None:
        await announce_trending(run)
    return summary


def _key_of(key: str) -> tuple[str, str]:
    """`platform:post_id` as the two."""
    platform, _, post_id = key.partition(":")
    return platform, post_id


async def _settled(run: Run, *, broken: BaseException | None) -> RunSummary:
    now = run.clock()
    if not run.opened:
        # Refused before anything was opened: there is nothing to settle and nowhere to write.
        return RunSummary(
            run_id=run.run_id,
            flow=run.flow,
            outcome="failed",
            message=for_log(str(run.error or run.halted or "the run broke off; see the log")),
            wrong_usage=isinstance(run.error, UsageError),
            started_at=now,
            finished_at=now,
        )
    await _written(run, run.budget.close())
    try:
        sums = await run.store.read(runs.reconcile, run.run_id)
        money = await run.store.read(spend.totals, run.run_id)
        rows = await run.store.read(ledger.of_run, run.run_id)
        wrote = await run.store.read(provenance.run_outputs, run.run_id)
        overlaps = await run.store.read(gaps.overlaps, [row.import_id for row in rows])
        leading = await run.store.read(report.leading, [_key_of(key) for key in run.posts], MOST_LEADING)
        out = await run.store.read(erased_names.posts_among, [post.ref for post in run.posts.values()])
        open_ = [(post.ref.platform, post.ref.post_id) for post in run.posts.values() if post.outcome in UNSETTLED]
        why = await run.store.read(requests.reasons, open_, run.cheapest_micros(), ending=run.run_id)
    except StoreError as error:
        run.error = run.error or error
        return _remembered(run, now)
    if out:
        _leave_out(run, out)
    started_at = run.progress.started_at or now
    imports = [_import_summary(row, overlaps.get(row.import_id), since=started_at) for row in rows]
    measured = Counter(key.partition(":")[0] for key in run.posts)
    cost_usd = money.counted_micros / 1_000_000
    held, out_of_room = min(why["held"], sums.pending), min(why["out_of_room"], sums.pending)
    unsent = [] if run.stops.stop is None else [one for one in imports if one.state == "planned"]
    summary = RunSummary(
        run_id=run.run_id,
        flow=run.flow,
        outcome="done",
        message="",
        collection=run.wish.collection,
        requested=sums.requested,
        enriched=sums.enriched,
        failed=sums.failed,
        gone=sums.gone,
        pending=sums.pending,
        held=held,
        out_of_room=out_of_room,
        waiting=max(0, sums.pending - held - out_of_room),
        held_imports=len(unsent),
        # What an earlier run measured of an import that this one continues was not bought again either.
        fresh=max(len(run.fresh), sums.enriched - run.progress.enriched) if run.continues else len(run.fresh),
        new_enriched=wrote.first_measured,
        imports=imports,
        platforms=dict(sorted(measured.items())),
        leading=[LeadingPost(link=link(one), plays=one.plays, likes=one.likes) for one in leading],
        calls=money.named_calls,
        failures=sums.failures,
        cost_usd=cost_usd,
        usd_per_1000_new=spend.cost_per_1000_new(money.counted_micros, wrote.first_measured),
        halted_because=None if run.halted is None else for_log(str(run.halted)),
        notes=[
            *run.notes,
            *_notes(run, money),
            *_of_creators(imports),
            *listed_again(imports),
            *_gaps(overlaps.values(), imports),
        ],
        started_at=started_at,
        finished_at=now,
    )
    summary.notes += going_on(summary)
    summary.outcome = _outcome(run, summary, broken=broken)
    summary.message = _message(run, summary, broken=broken)
    if run.stops.undecided:
        # Whether a person cancelled it is asked by the next sweep, as of a run that was killed.
        await artifacts.show(summary)
        return summary
    ending = run.store.run(
        runs.finish_run,
        run.run_id,
        outcome=summary.outcome,
        message=summary.message,
        summary=summary.model_dump(mode="json"),
        now=now,
    )
    if not await _written(run, ending):
        summary.outcome = _outcome(run, summary, broken=broken)
        summary.message = _message(run, summary, broken=broken)
    run_events.assets_written(wrote, run_id=run.run_id)
    await artifacts.show(summary)
    return summary


def _leave_out(run: Run, keys: Iterable[tuple[str, str]]) -> None:
    """Posts that were erased on request while the run had them are none of its posts any more."""
    gone = {":".join(key) for key in keys}
    run.posts = {key: post for key, post in run.posts.items() if key not in gone}
    run.fresh -= gone
    run.note(f"{plural(len(gone), 'post')} left out: erased on request (`tagtrail purge`), or by somebody who was")


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


async def _written(run: Run, work: Awaitable[None]) -> bool:
    """Whether that could be written; if not, it is the run's error, unless there is one."""
    try:
        await work
    except StoreError as error:
        run.error = run.error or error
        return False
    return True


def _remembered(run: Run, now: datetime) -> RunSummary:
    """What the run itself knows of its posts, where the database cannot be asked."""
    outcomes = Counter(post.outcome or "pending" for post in run.posts.values())
    summary = RunSummary(
        run_id=run.run_id,
        flow=run.flow,
        outcome="failed",
        message="",
        collection=run.wish.collection,
        requested=len(run.posts),
        **{name: outcomes[name] for name in ("enriched", "failed", "gone", "pending")},
        fresh=len(run.fresh),
        halted_because=None if run.halted is None else for_log(str(run.halted)),
        notes=[*run.notes, "counts are this process's own, and the cost is unknown: the database could not be read"],
        started_at=run.progress.started_at or now,
        finished_at=now,
    )
    summary.outcome = _outcome(run, summary, broken=None)
    summary.message = _message(run, summary, broken=None)
    return summary


def _sums_differ(run: Run, summary: RunSummary) -> str | None:
    """Two ways of counting must agree: what this run took in, and what the database accounts for."""
    parts = summary.enriched + summary.failed + summary.gone + summary.pending
    if parts != summary.requested:
        return f"requested {summary.requested} posts, but enriched + failed + gone + pending = {parts}"
    if summary.requested < len(run.posts):
        return f"the run took in {len(run.posts)} posts, but the database accounts for {summary.requested}"
    return None


def _outcome(run: Run, summary: RunSummary, *, broken: BaseException | None) -> Outcome:
    if isinstance(run.halted, Stopped):
        return "cancelled"
    if run.halted is not None and run.halted.halts:
        return "halted"
    if broken is not None or _fault(run) is not None or _sums_differ(run, summary):
        return "failed"
    if summary.imports and all(one.state == "failed" for one in summary.imports):
        return "failed"
    needs = [one for one in summary.imports if one.state in NEEDS_A_LOOK or one.state == "failed"]
    waits = run.wish.wait and (summary.pending > 0 or _unfinished(summary) > 0)
    return "attention" if needs or summary.failed or waits or run.full else "done"


def _fault(run: Run) -> TagtrailError | None:
    """What ended the run before its time, other than a halt: mostly a database that cannot be used."""
    return run.error or (run.halted if run.halted is not None and not run.halted.halts else None)


def _unfinished(summary: RunSummary) -> int:
    return sum(one.state in UNFINISHED for one in summary.imports)


def _message(run: Run, summary: RunSummary, *, broken: BaseException | None) -> str:
    not_accepted = [one for one in summary.imports if one.state == "failed"]
    if isinstance(run.halted, Stopped):
        same = "the same command without --fresh" if run.wish.fresh else "the same command"
        left = f"what it left is held; {same} continues" if run.wish.collection is not None else "what it left is held"
        reason = f"cancelled ({run.halted}): {left}. "
    elif run.halted is not None and run.halted.halts:
        # Asked for with `fresh`, the imports would be bought anew.
        same = "The same command without --fresh continues" if run.wish.fresh else "The same command continues"
        reason = f"halted: {run.halted}. {same}. "
        if difference := _sums_differ(run, summary):
            reason += f"The sums do not agree either ({difference}); nothing was lost, please report this. "
    elif (fault := _fault(run)) is not None:
        reason = f"failed: {fault}. "
    elif isinstance(broken, asyncio.CancelledError | KeyboardInterrupt):
        same = "the same command without --fresh" if run.wish.fresh else "the same command"
        reason = f"cancelled; {same} goes on where it stopped. "
    elif broken is not None:
        reason = "failed: a fault of Tagtrail's own; see the log. "
    elif difference := _sums_differ(run, summary):
        reason = f"failed: the sums do not agree ({difference}); nothing was lost, please report this. "
    elif not_accepted and len(not_accepted) == len(summary.imports):
        reason = f"failed: no import was accepted ({_reasons(not_accepted)}). "
    else:
        reason = ""
    parts = [f"{summary.enriched} enriched"]
    if summary.fresh:
        parts[0] += f" ({summary.fresh} of them fresh already)"
    parts += [f"{count} {name}" for name in ("failed", "gone") if (count := getattr(summary, name))]
    if summary.pending:
        kinds = ", ".join(kinds_of_pending(summary))
        parts.append(f"{summary.pending} pending" + (f" ({kinds})" if kinds else ""))
    empty = sum(one.state in NEEDS_A_LOOK for one in summary.imports)
    if empty:
        parts.append(f"{plural(empty, 'import')} empty or ambiguous")
    if not_accepted and "no import was accepted" not in reason:
        parts.append(f"{plural(len(not_accepted), 'import')} not accepted ({_reasons(not_accepted)})")
    if unfinished := _unfinished(summary):
        parts.append(f"{plural(unfinished, 'import')} {'not finished' if run.wish.wait else _left_to(run)}")
    return for_log(f"{reason}{plural(summary.requested, 'post')}: {', '.join(parts)}; about {summary.cost_usd:.2f} USD")


def kinds_of_pending(summary: RunSummary) -> list[str]:
    """Why posts are pending, each kind with its count."""
    counts = {"held": summary.held, "out of room": summary.out_of_room, "waiting": summary.waiting}
    return [f"{count} {kind}" for kind, count in counts.items() if count]


def going_on(summary: RunSummary) -> list[str]:
    """For each kind of pending posts a sentence with the one command that goes on."""
    told = []
    if summary.held or summary.held_imports:
        what = [plural(summary.held, "post")] if summary.held else []
        what += [f"{plural(summary.held_imports, 'import')} not sent"] if summary.held_imports else []
        of = "" if summary.collection is None else f" --collection {shlex.quote(summary.collection)}"
        told.append(
            f"held by a person's stop: {' and '.join(what)}; `tagtrail retry --held{of}` goes on, "
            f"`tagtrail retry --held{of} --close` gives up"
        )
    if summary.out_of_room:
        told.append(
            f"out of room: {plural(summary.out_of_room, 'post')}, for which the run's cap has no money left; the same "
            "command goes on, under a cap of its own"
        )
    if summary.waiting:
        told.append(
            f"waiting: {plural(summary.waiting, 'post')}; the sweep (`collect-imports/sweep`) goes on by itself, or "
            "the same command"
        )
    return told


def _reasons(not_accepted: Sequence[ImportSummary]) -> str:
    """Which imports the service did not accept and why, those with one reason together; three reasons at most.

    Of posts and creators without the service's words, which may name somebody: a run's message is shown in Prefect.
    """
    named_by_why: dict[str, list[str]] = {}
    for one in not_accepted:
        why = one.note or ""
        if one.kind != "hashtag":
            why = why.partition(': "')[0]
        if not why or (one.kind != "hashtag" and '"' in why):
            why = "see `tagtrail export imports`"
        named_by_why.setdefault(why, []).append(one.name)
    told = [
        f"{', '.join(names[:MOST_NAMES])}{' …' * (len(names) > MOST_NAMES)}: {why}"
        for why, names in named_by_why.items()
    ]
    return "; ".join(told[:MOST_REASONS]) + ("; …" if len(told) > MOST_REASONS else "")


def _left_to(run: Run) -> str:
    """Who collects the imports of a run that does not wait for them."""
    sweep = "the sweep (collect-imports/sweep), or the same run with wait=true, collects"
    return f"under way; {sweep}" if run.callback_url is None else f"under way; the service calls back, else {sweep}"


def _of_creators(imports: list[ImportSummary]) -> list[str]:
    """What is known of creators' imports that stay empty, where there is one."""
    return [CREATORS] if any(one.kind == "creator" and one.state == "empty" for one in imports) else []


def _notes(run: Run, money: RunSpend) -> list[str]:
    notes = [
        f"{name}: the service proved a lower limit, {rate:.2g} a second" for name, rate in run.limiter.learned().items()
    ]
    if before := sum(key in run.posts for key in run.failed_before):
        notes.append(
            f"{plural(before, 'post')} failed less than {run.wish.max_age_hours:g} h ago, and nothing was bought for "
            f"{'it' if before == 1 else 'them'} again: `tagtrail retry` takes failures up"
        )
    notes += [run.limiter.remark] if run.limiter.remark else []
    notes += [f"channel {name} rested {plural(count, 'time')}" for name, count in run.channels.rested.items()]
    now = run.clock()
    waited = [post for post in run.posts.values() if post.outcome in (None, "pending") and post.ends_at is not None]
    if late := sum(post.ends_at <= now for post in waited if post.ends_at is not None):
        notes.append(
            f"{plural(late, 'post')} not bought: the window of the checkpoint closed while they waited, it is missed"
        )
    if money.open_micros:
        kept = money.open_micros / 1_000_000
        notes.append(f"{kept:.2f} USD of the cost stay reserved, for imports that are not finished or in doubt")
    if run.poll_errors:
        told = ", ".join(f"{count} {name}" for name, count in sorted(run.poll_errors.items()))
        notes.append(f"polls without an answer: {told}")
    return notes
