"""The end of a run: the sums that must agree, the money, and the typed summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime

from blocks.database.store import erased_names, gaps, overview, report, runs
from blocks.database.store import imports as ledger
from blocks.database.store import money as money_store
from blocks.database.store.gaps import Overlap
from blocks.database.store.money import RunSpend
from blocks.database.store.overview import RunOutputs
from blocks.database.tables import Import
from blocks.errors import StoreError, TagtrailError, UsageError
from blocks.outside_words import for_log
from flows.reporting.trending import announce_trending, link
from flows.steps.prefect_side import events
from flows.steps.run.context import RunContext
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


class RunEnd:
    """The end of one run: its money is settled, its sums are checked, its row is written, its end announced."""

    def __init__(self, run: RunContext, flow: str) -> None:
        self._store, self._budget, self._client = run.store, run.budget, run.client
        self._journal, self._halt, self._channels = run.journal, run.halt, run.channels
        self._limiter, self._progress = run.limiter, run.progress
        self._run_id, self._flow, self._request, self._settings = run.run_id, flow, run.request, run.settings
        self._clock, self._now = run.clock, run.clock()
        self._started_at = run.progress.started_at or self._now

    async def close(
        self, stops: StopListener, *, error: TagtrailError | None, broken: BaseException | None
    ) -> RunSummary:
        """Bring the run to its end; gives its summary. `error` and `broken` are as in `Ending`."""
        unsettled = await _failure_of(self._budget.close())
        error = error or unsettled
        try:
            summary, wrote = await self._count(stopped=stops.is_written)
        except StoreError as unread:
            summary = self._remember()
            self._judge(summary, error or unread, None)
        else:
            summary.notes += going_on(summary)
            self._judge(summary, error, broken)
            # Whether a person cancelled it may be unknown: that is asked by the next sweep, as of a killed run.
            if not stops.undecided:
                if unwritten := await _failure_of(self._write(summary)):
                    self._judge(summary, error or unwritten, broken)
                events.assets_written(wrote, run_id=self._run_id)
        events.run_ended(summary, self._halt.reason)
        if broken is None:
            await announce_trending(
                self._store, self._settings, run_id=self._run_id, started_at=summary.started_at, now=self._clock()
            )
        return summary

    def _judge(self, summary: RunSummary, error: TagtrailError | None, broken: BaseException | None) -> None:
        ending = Ending(
            self._request,
            halted=self._halt.reason,
            error=error,
            broken=broken,
            posts=len(self._journal.posts),
            some_full=bool(self._halt.full),
            has_callback=self._client.callback_url is not None,
        )
        summary.outcome = outcome_of(ending, summary)
        summary.message = message_of(ending, summary)

    async def _write(self, summary: RunSummary) -> None:
        await self._store.run(
            runs.finish_run,
            self._run_id,
            outcome=summary.outcome,
            message=summary.message,
            summary=summary.model_dump(mode="json"),
            now=summary.finished_at,
        )

    async def _count(self, *, stopped: bool) -> tuple[RunSummary, RunOutputs]:
        """The summary, as far as the database tells it, and what the run wrote; its outcome is judged by the caller.

        Raises:
            StoreError: the database cannot be read.
        """
        journal, read = self._journal, self._store.read
        sums = await read(runs.reconcile, self._run_id)
        money = await read(money_store.totals, self._run_id)
        rows = await read(ledger.of_run, self._run_id)
        wrote = await read(overview.run_outputs, self._run_id)
        overlaps = await read(gaps.overlaps, [row.import_id for row, _ in rows])
        posts = {(post.ref.platform, post.ref.post_id): post for post in journal.posts.values()}
        leading = await read(report.leading, list(posts), MAX_LEADING)
        out = await read(erased_names.posts_among, [post.ref for post in posts.values()])
        open_ = [key for key, post in posts.items() if post.outcome in UNSETTLED]
        why = await read(runs.reasons, open_, self._request.cheapest_micros(self._settings), ending=self._run_id)
        if out:
            journal.leave_out(":".join(key) for key in out)
            journal.note(
                f"{plural(len(out), 'post')} left out: erased on request (`tagtrail purge`), or by somebody who was"
            )
        imports = [_import_summary(row, how, overlaps.get(row.import_id), since=self._started_at) for row, how in rows]
        measured = Counter(post.ref.platform for post in journal.posts.values())
        held, out_of_room = min(why["held"], sums.pending), min(why["out_of_room"], sums.pending)
        fresh = len(journal.fresh)
        summary = RunSummary(
            run_id=self._run_id,
            flow=self._flow,
            outcome="done",
            message="",
            collection=self._request.collection,
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
            fresh=max(fresh, sums.enriched - self._progress.enriched) if journal.continues else fresh,
            new_enriched=wrote.first_measured,
            imports=imports,
            platforms=dict(sorted(measured.items())),
            leading=[LeadingPost(link=link(one), plays=one.plays, likes=one.likes) for one in leading],
            calls=money.named_calls,
            failures=sums.failures,
            cost_usd=money.counted_micros / 1_000_000,
            usd_per_1000_new=money_store.cost_per_1000_new(money.counted_micros, wrote.first_measured),
            halted_because=self._halted_because,
            notes=[*journal.notes, *self._notes(money), *_notes_of_imports(imports, overlaps)],
            started_at=self._started_at,
            finished_at=self._now,
        )
        return summary, wrote

    def _remember(self) -> RunSummary:
        """What the run itself knows of its posts, where the database cannot be asked."""
        posts = self._journal.posts
        outcomes = Counter(post.outcome or "pending" for post in posts.values())
        unread = "counts are this process's own, and the cost is unknown: the database could not be read"
        return RunSummary(
            run_id=self._run_id,
            flow=self._flow,
            outcome="failed",
            message="",
            collection=self._request.collection,
            requested=len(posts),
            **{name: outcomes[name] for name in ("enriched", "failed", "gone", "pending")},
            fresh=len(self._journal.fresh),
            halted_because=self._halted_because,
            notes=[*self._journal.notes, unread],
            started_at=self._started_at,
            finished_at=self._now,
        )

    @property
    def _halted_because(self) -> str | None:
        return None if self._halt.reason is None else for_log(str(self._halt.reason))

    def _notes(self, money: RunSpend) -> list[str]:
        limiter, posts = self._limiter, self._journal.posts
        notes = [
            f"{name}: the service proved a lower limit, {rate:.2g} a second" for name, rate in limiter.learned().items()
        ]
        if before := sum(key in posts for key in self._journal.failed_before):
            notes.append(
                f"{plural(before, 'post')} failed less than {self._request.max_age_hours:g} h ago, and nothing was "
                f"bought for {'it' if before == 1 else 'them'} again: `tagtrail retry` takes failures up"
            )
        notes += [
            f"channel {name} rested {plural(count, 'time')}" for name, count in self._channels.times_opened.items()
        ]
        now = self._clock()
        waited = [post for post in posts.values() if post.outcome in (None, "pending") and post.ends_at is not None]
        if late := sum(post.ends_at <= now for post in waited if post.ends_at is not None):
            notes.append(
                f"{plural(late, 'post')} not bought: the window of the checkpoint closed while they waited, it is "
                "missed"
            )
        if money.open_micros:
            kept = money.open_micros / 1_000_000
            notes.append(f"{kept:.2f} USD of the cost stay reserved, for imports that are not finished or in doubt")
        if self._journal.poll_errors:
            polls = ", ".join(f"{count} {name}" for name, count in sorted(self._journal.poll_errors.items()))
            notes.append(f"polls without an answer: {polls}")
        return notes


async def _failure_of(work: Awaitable[None]) -> StoreError | None:
    """Why that could not be written; None where it was."""
    try:
        await work
    except StoreError as error:
        return error
    return None


def _import_summary(row: Import, how: str, overlap: Overlap | None, *, since: datetime) -> ImportSummary:
    summary = ImportSummary.model_validate(row.model_dump() | {"how": how})
    if summary.how == "reused" and (row.last_new_at is None or row.last_new_at < since):
        # What was new when it was bought is known now.
        summary.new, summary.known = 0, summary.new + summary.known
    if overlap is not None:
        summary.overlap, summary.not_seen_again = overlap.shared, overlap.not_seen_again
    return summary


def _notes_of_imports(imports: Sequence[ImportSummary], overlaps: Mapping[str, Overlap]) -> list[str]:
    notes = [CREATORS] if any(one.kind == "creator" and one.state == "empty" for one in imports) else []
    if withheld := sum(one.withheld for one in imports):
        listed = plural(withheld, "listed post")
        notes.append(f"{listed} left out: erased on request (`tagtrail purge`); the import bills it anyway")
    for one in imports:
        if one.overlap == 0:
            before = f"{overlaps[one.import_id].from_at:%Y-%m-%d %H:%M} UTC"
            notes.append(
                f"{one.name}: no post is shared with the import of {before}, so that posts of the time in between were "
                "probably missed; a shorter interval or more posts per hashtag closes such gaps"
            )
    return notes
