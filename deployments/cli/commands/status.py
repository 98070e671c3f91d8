"""`tagtrail status`: what is open, what failed, what was spent."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter
from rich.text import Text

from blocks.dedup_keys import wish_shown
from blocks.outside_words import plain
from blocks.settings import Settings, get_settings
from deployments.cli import forecasts, pending, servers, stores
from deployments.cli.invented import INVENTED, holds_invented
from deployments.cli.options import Output
from deployments.cli.results import EMPTY
from deployments.cli.terminal import counted, results, tell, write_json
from deployments.cli.writers import iso
from deployments.stack import own_server
from flows.steps.run.summary import SAMPLE, named

if TYPE_CHECKING:
    # Where there is no database none of it is loaded.
    from blocks.database.store.gaps import GapRow
    from blocks.database.store.imports import OpenImport as LedgerImport
    from blocks.database.store.overview import LastRun, OpenImport, Overview
    from blocks.database.store.tallies import Tally

LATEST: Final = 500
"""Imports of the ledger that are looked through for empty ones."""

GAPS_SHOWN: Final = timedelta(days=30)
"""So long a gap between two imports is shown."""

MOST_GAPS: Final = 5

EMPTY_SHOWN: Final = timedelta(hours=48)
"""So long an import that ended empty is shown."""


def status(
    *,
    collection: Annotated[str | None, Parameter(show_default=False)] = None,
    output: Output = Output(),  # noqa: B008 - frozen
) -> int:
    """Show open imports, pending posts, failures and spend; nothing is called and nothing is changed.

    Parameters
    ----------
    collection
        Only what this collection brought in, asked for and spent.
    """
    settings = get_settings()
    server = server_in_use(settings)
    tell(f"Prefect server: {server or 'none configured, and none of Tagtrail running'}")
    now = datetime.now(UTC)
    with stores.opened(settings) as store:
        seen, empty, missed, coming, invented = None, [], [], None, False
        if store is not None:
            stores.require_collection(store, collection)
            invented = holds_invented(store, collection)
            from blocks.database.store import gaps, history, imports, overview
            from blocks.database.store.filters import Filters

            with store.connect() as conn:
                cheapest = settings.tagtrail_prices.cheapest_micros(settings.tagtrail_channel_order)
                seen = overview.overview(conn, now, cheapest, collection=collection)
                empty = ended_empty(imports.find_imports(conn, "", limit=LATEST), now, collection)
                missed = gaps.find(conn, collection=collection, since=now - GAPS_SHOWN)
                coming = history.next_snapshots(conn, settings.snapshot_plan, now, Filters(collection))
    if output.json:
        shown = as_json(seen, server=server, database=stores.shown(settings), missed=missed)
        shown |= {"invented": INVENTED} if invented else {}
        write_json(shown | {"next_snapshots": None if coming is None else _plain(dataclasses.asdict(coming))})
    elif seen is not None:
        console = results()
        told = [INVENTED] if invented else []
        told += lines(seen, settings, empty=empty, missed=missed)
        if coming is not None and seen.posts:
            told.append(forecasts.next_line(coming, settings.snapshot_plan))
        for line in told:
            console.print(Text(line), soft_wrap=True)
    return 0


def server_in_use(settings: Settings) -> str | None:
    """The Prefect server that the next run works with, if there is one already."""
    if (found := servers.configured()) is not None:
        return servers.PrefectServer.configured(*found).shown
    info = own_server.running(settings.home)
    return None if info is None else servers.PrefectServer.of_our_own(info).shown


def as_json(
    seen: Overview | None, *, server: str | None, database: str, missed: Sequence[GapRow] = ()
) -> dict[str, Any]:
    """The figures for `--json`; `overview` is null where there is no database yet."""
    told = None if seen is None else _plain(dataclasses.asdict(seen))
    if seen is not None and told is not None:
        for one, request in zip(seen.requests, told["requests"], strict=True):
            request["go_on"] = pending.command(one)
            del request["parameters"]
    return {
        "prefect_server": server,
        "database": database,
        "overview": told,
        "gaps": [_plain(dataclasses.asdict(gap)) for gap in missed],
        "note": SAMPLE,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        # Money is US dollars on the outside.
        return {
            name.replace("_micros", "_usd"): each / 1e6
            if name.endswith("_micros") and each is not None
            else _plain(each)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return iso(value) if isinstance(value, datetime) else value


def ended_empty(latest: Sequence[LedgerImport], now: datetime, collection: str | None = None) -> list[OpenImport]:
    """Those of the imports (of the collection) that ended without a post in the last two days."""
    from blocks.database.store.overview import OpenImport

    return [
        OpenImport(
            import_id=one.import_id,
            kind=one.kind,
            hashtag=one.hashtag,
            collection=one.collection,
            state=one.state,
            task_id=one.task_id,
            requested=one.requested,
            seen=one.seen,
            age_seconds=(now - one.planned_at).total_seconds(),
            polled_seconds_ago=None if one.last_polled_at is None else (now - one.last_polled_at).total_seconds(),
            note=one.note,
            name=wish_shown(one.kind, one.hashtag, one.wanted, one.import_id),
        )
        for one in latest
        if one.state == "empty"
        and collection in (None, one.collection)
        and (one.finished_at is None or now - one.finished_at <= EMPTY_SHOWN)
    ]


def lines(
    seen: Overview, settings: Settings, *, empty: Sequence[OpenImport] = (), missed: Sequence[GapRow] = ()
) -> list[str]:
    """The figures as sentences; `empty`: imports that ended without a post, `missed`: gaps, the latest first."""
    told = []
    for platform, counts in seen.posts.items():
        parts = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
        told.append(f"{platform}: {counted(sum(counts.values()), 'post')} ({parts})")
    told.append(f"Snapshots: {seen.snapshots:,}")
    told += [f"Open: {_import(each)}" for each in seen.open_imports]
    for each in seen.ambiguous:
        how = f"tagtrail resolve {each.import_id} --resubmit|--attach TASK_ID|--drop"
        told.append(f"In doubt: {_import(each)}; decide it: {how}")
    told += [f"Empty: {_import(each)}; {EMPTY}" for each in empty]
    told += [f"Gap: {_gap(each)}" for each in missed[:MOST_GAPS]]
    if len(missed) > MOST_GAPS:
        told.append(
            f"{len(missed) - MOST_GAPS:,} more gaps in the last {GAPS_SHOWN.days} days: `status --json` has all."
        )
    if seen.pending_work:
        told.append("Pending: " + ", ".join(f"{count:,} {purpose}" for purpose, count in seen.pending_work.items()))
    told += pending.lines(seen.requests)
    if seen.failures:
        told.append("Failures: " + ", ".join(f"{count:,} {name}" for name, count in seen.failures.items()))
    cap = settings.tagtrail_max_spend_usd_per_day
    reserved = f", {seen.reserved_micros / 1e6:,.4f} of it reserved" if seen.reserved_micros else ""
    of_cap = "" if cap is None else f" of at most {cap:,.2f}"
    told.append(f"Spent today (UTC, estimated): {seen.spent_micros / 1e6:,.4f} USD{of_cap}{reserved}")
    if today := _tally(seen.today):
        told.append(f"Today (UTC): {today}")
    told.append(f"Last run: {_run(seen.last_run)}" if seen.last_run else "No run yet.")
    if seen.last_run and (brought := _tally(seen.last_run.tally)):
        told.append(f"Last run: {brought}")
    if seen.posts:
        told.append(SAMPLE)
    return told


def _gap(each: GapRow) -> str:
    return (
        f"#{each.hashtag} (collection {each.collection}): the imports of {each.from_at:%Y-%m-%d %H:%M} and "
        f"{each.until_at:%Y-%m-%d %H:%M} UTC share no post; posts in between were probably missed"
    )


def _import(each: OpenImport) -> str:
    what = each.name or named(each.kind, each.hashtag, each.import_id)
    polled = "" if each.polled_seconds_ago is None else f", last poll {age(each.polled_seconds_ago)} ago"
    note = f" ({plain(each.note)})" if each.note else ""
    task = f", task {plain(each.task_id)}" if each.task_id else ""
    return (
        f"import of {what}, {each.state}, {each.seen:,} of {each.requested:,} posts listed, "
        f"planned {age(each.age_seconds)} ago{polled}{task}{note}"
    )


def _run(run: LastRun) -> str:
    ended = run.outcome or "not ended: it goes on, or was killed"
    if run.stopped_at is not None:
        ended = f"cancelled by {run.stopped_by} ({run.stopped_why})"
    # What halted or failed says so itself.
    message = f": {plain(run.message).removeprefix(f'{ended}: ')}" if run.message else ""
    return f"{run.flow} of {run.started_at:%Y-%m-%d %H:%M} UTC, {ended}{message}"


def _tally(tally: Tally) -> str:
    """What was called, what it cost and what it brought; '' where nothing was."""
    if not (tally.calls or tally.spent_micros or tally.new_posts or tally.known_posts or tally.new_enriched):
        return ""
    calls = ", ".join(f"{count:,} {name}" for name, count in tally.calls.items()) or "no call"
    per_thousand = (
        "" if tally.usd_per_1000_new is None else f", {tally.usd_per_1000_new:,.2f} USD per 1,000 new enriched posts"
    )
    return (
        f"{calls}; {tally.spent_micros / 1e6:,.4f} USD; {tally.new_posts:,} new and {tally.known_posts:,} known posts, "
        f"{tally.new_enriched:,} new enriched{per_thousand}"
    )


def age(seconds: float) -> str:
    """A span in words: `40 s`, `3 min`, `2 h`, `5 days`."""
    for unit, size, until in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 172_800)):
        if seconds < until:
            return f"{max(0, round(seconds / size))} {unit}"
    return f"{round(seconds / 86_400)} days"
