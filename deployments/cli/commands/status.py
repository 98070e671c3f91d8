"""`tagtrail status`: what is open, what failed, what was spent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.text import Text

from blocks.dollars import dollars
from blocks.outside_words import plain
from blocks.posts.snapshot_plan import SnapshotPlan
from blocks.settings import Settings, get_settings
from deployments.cli import servers, stores
from deployments.cli.options import Output, Typed
from deployments.cli.results import EMPTY, go_on_command, pending_lines
from deployments.cli.stores import INVENTED, holds_invented
from deployments.cli.terminal import counted, print_labelled, results, tell, write_json
from deployments.cli.writers import iso
from flows.steps.run.summary import SAMPLE, named

if TYPE_CHECKING:
    # Where there is no database none of it is loaded.
    from blocks.database.store.overview import LastRun, LimitInUse, OpenImport, Overview, Totals
    from blocks.database.store.snapshots import NextSnapshots
    from blocks.database.tables import Gap, Import

LATEST: Final = 500
"""Imports of the ledger that are looked through for empty ones."""

GAPS_SHOWN: Final = timedelta(days=30)
"""So long a gap between two imports is shown."""

MAX_GAPS: Final = 5
MAX_COLLECTIONS: Final = 5

NEED_SOMEBODY: Final = ("In doubt", "Held", "Out of room", "Failures", "Empty", "Gap")

NO_PLAN: Final = "There is no snapshot plan: TAGTRAIL_SNAPSHOT_AGES is none."

Line = tuple[str, str]
"""A label and a text."""

EMPTY_SHOWN: Final = timedelta(hours=48)
"""So long an import that ended empty is shown."""


def status(
    *,
    collection: Typed = None,
    output: Output = Output(),
) -> int:
    """Show open imports, pending posts, failures and spend; nothing is called and nothing is changed.

    Parameters
    ----------
    collection
        Only what this collection brought in, asked for and spent.
    """
    settings = get_settings()
    found = servers.find(settings.home)
    server = None if found is None else found.shown
    tell(f"Prefect server: {server or 'none configured, and none of Tagtrail running'}")
    now = datetime.now(UTC)
    seen: Overview | None = None
    coming: NextSnapshots | None = None
    empty: list[OpenImport] = []
    missed: list[Gap] = []
    of_all_micros: int | None = None
    ever: dict[str, int] = {}
    invented = False
    with stores.opened(settings) as store:
        if store is not None:
            stores.require_collection(store, collection)
            invented = holds_invented(store, collection)
            from blocks.database.store import filters, gaps, imports, money, overview, snapshots
            from blocks.database.store.filters import Filters

            with store.connect() as conn:
                cheapest = settings.tagtrail_prices.cheapest_micros(settings.tagtrail_channel_order)
                seen = overview.overview(conn, now, cheapest, collection=collection)
                empty = ended_empty(imports.find_imports(conn, "", limit=LATEST), now, collection)
                missed = gaps.find(conn, collection=collection, since=now - GAPS_SHOWN)
                coming = snapshots.next_snapshots(conn, settings.snapshot_plan, now, Filters(collection))
                if collection is not None:
                    of_all_micros = money.totals_of_day(conn, money.day_of(now)).counted_micros
                if settings.tagtrail_max_spend_usd_per_collection is not None:
                    names = filters.collections(conn) if collection is None else [collection]
                    ever = {name: money.used_micros(conn, f"collection:{name}") for name in names}
    if output.json:
        shown = as_json(seen, server=server, database=stores.shown(settings), missed=missed)
        shown |= {"invented": INVENTED} if invented else {}
        write_json(shown | {"next_snapshots": None if coming is None else _plain(dataclasses.asdict(coming))})
    elif seen is not None:
        said = lines(seen, settings, of_all_micros=of_all_micros, ever=ever, empty=empty, missed=missed, coming=coming)
        show(said, results(), head=INVENTED if invented else None, foot=SAMPLE if seen.posts else None)
    return 0


def show(listed: Sequence[Line], console: Console, *, head: str | None = None, foot: str | None = None) -> None:
    """Print the lines: on a terminal in two columns, elsewhere one a line."""
    if head is not None:
        console.print(Text(head, style="bold yellow"), soft_wrap=not console.is_terminal)
    styles = {label: "bold yellow" if label in NEED_SOMEBODY else "bold" for label, _ in listed}
    print_labelled(console, [(Text(label, style=styles[label]), text) for label, text in listed], joint=": ")
    if foot is not None:
        console.print(Text(foot, style="dim"), soft_wrap=not console.is_terminal)


def as_json(seen: Overview | None, *, server: str | None, database: str, missed: Sequence[Gap] = ()) -> dict[str, Any]:
    """The figures for `--json`; `overview` is null where there is no database yet."""
    document = None if seen is None else _plain(dataclasses.asdict(seen))
    if seen is not None and document is not None:
        for one, request in zip(seen.requests, document["requests"], strict=True):
            request["go_on"] = go_on_command(one)
            del request["parameters"]
    return {
        "prefect_server": server,
        "database": database,
        "overview": document,
        "gaps": [_plain(gap.model_dump()) for gap in missed],
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


def ended_empty(latest: Sequence[Import], now: datetime, collection: str | None = None) -> list[OpenImport]:
    """Those of the imports (of the collection) that ended without a post in the last two days."""
    from blocks.database.store.overview import as_open

    return [
        as_open(one, now)
        for one in latest
        if one.state == "empty"
        and collection in (None, one.collection)
        and (one.finished_at is None or now - one.finished_at <= EMPTY_SHOWN)
    ]


def lines(
    seen: Overview,
    settings: Settings,
    *,
    of_all_micros: int | None = None,
    ever: Mapping[str, int] = MappingProxyType({}),
    empty: Sequence[OpenImport] = (),
    missed: Sequence[Gap] = (),
    coming: NextSnapshots | None = None,
) -> list[Line]:
    """The figures, labelled: money and limits, what is open or needs somebody, what comes next, what is there.

    `of_all_micros`: what was spent today by all, where `seen` is of one collection. `ever`: what collections spent in
    all their time, where that has a cap. `empty`: imports that ended without a post, `missed`: gaps, the latest first.
    """
    unsettled = [("Open", _import(each)) for each in seen.open_imports]
    unsettled += pending_lines(seen.requests)
    for each in seen.ambiguous:
        how = f"tagtrail resolve {each.import_id} --resubmit|--attach TASK_ID|--drop"
        unsettled.append(("In doubt", f"{_import(each)}; decide it: {how}"))
    if seen.failures:
        failures = ", ".join(f"{count:,} {name}" for name, count in seen.failures.items())
        unsettled.append(("Failures", f"{failures}; take them up again: tagtrail retry"))
    return [
        ("Spent today", _spent_today(seen, settings.tagtrail_max_spend_usd_per_day, of_all_micros)),
        *_spent_ever(ever, settings.tagtrail_max_spend_usd_per_collection),
        ("Limits", _limits(seen.limits)),
        *(unsettled or [("Open", "nothing; nothing is held, in doubt or failed either")]),
        *_found_wanting(empty, missed),
        *([("Next snapshots", next_line(coming, settings.snapshot_plan))] if coming is not None and seen.posts else []),
        *_stored(seen),
    ]


def next_line(found: NextSnapshots, plan: SnapshotPlan) -> str:
    """What comes next by the plan, for `status`."""
    if not plan.ages:
        return NO_PLAN
    first = "" if found.next_at is None else f", the next at {found.next_at:%Y-%m-%d %H:%M} UTC"
    rest = f"; {counted(found.resting, 'post')} at rest" if found.resting else ""
    what = f"{found.due:,} due now" + (" (`tagtrail refresh` buys them)" if found.due else "")
    return f"{what}, {found.next_day:,} more within 24 h{first}{rest}"


def _spent_today(seen: Overview, cap_usd: float | None, of_all_micros: int | None) -> str:
    reserved = f", {dollars(seen.reserved_micros / 1e6)} of it reserved" if seen.reserved_micros else ""
    if of_all_micros is None:
        return f"{_of_cap(seen.spent_micros, cap_usd)}{reserved}; by UTC, estimated"
    theirs = f"{dollars(seen.spent_micros / 1e6)} USD by this collection{reserved}"
    return f"{theirs}; by all {_of_cap(of_all_micros, cap_usd)}; by UTC, estimated"


def _of_cap(micros: int, cap_usd: float | None) -> str:
    if cap_usd is None:
        return f"{dollars(micros / 1e6)} USD, without a cap"
    percent = micros / 1e4 / cap_usd if cap_usd else 0.0
    share = "under 1" if 0 < percent < 1 else f"{percent:.0f}"
    return f"{dollars(micros / 1e6)} USD of at most {cap_usd:,.2f} ({share} %)"


def _spent_ever(ever: Mapping[str, int], cap_usd: float | None) -> list[Line]:
    most = sorted(ever, key=lambda name: (-ever[name], name))[:MAX_COLLECTIONS]
    return [("Collection", f"{plain(name)} spent {_of_cap(ever[name], cap_usd)}, ever") for name in most]


def _limits(in_use: Sequence[LimitInUse]) -> str:
    sentences = []
    for one in in_use:
        parts = [f"the next call in {age(one.wait_seconds)}"] if one.wait_seconds >= 1 else []
        if one.lowered_to_per_second is not None:
            parts.append(f"lowered by the service to {one.lowered_to_per_second:.2g} a second")
        if parts:
            sentences.append(f"{one.name}: {', '.join(parts)}")
    return " · ".join(sentences) or "none makes a call wait"


def _found_wanting(empty: Sequence[OpenImport], missed: Sequence[Gap]) -> list[Line]:
    listed = [("Empty", f"{_import(each)}; {EMPTY}") for each in empty]
    listed += [("Gap", _gap(each)) for each in missed[:MAX_GAPS]]
    if (more := len(missed) - MAX_GAPS) > 0:
        listed.append(("Gap", f"{more:,} more in the last {GAPS_SHOWN.days} days: `status --json` has all"))
    return listed


def _stored(seen: Overview) -> list[Line]:
    listed = []
    for platform, counts in seen.posts.items():
        parts = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
        listed.append(("Posts", f"{sum(counts.values()):,} of {platform} ({parts})"))
    listed.append(("Snapshots", f"{seen.snapshots:,}"))
    if today := _tally(seen.today):
        listed.append(("Today", f"{today} (UTC)"))
    listed.append(("Last run", _run(seen.last_run) if seen.last_run else "none yet"))
    if seen.last_run and (brought := _tally(seen.last_run.tally)):
        listed.append(("", brought))
    return listed


def _gap(each: Gap) -> str:
    return (
        f"#{each.hashtag} (collection {each.collection}): the imports of {each.from_at:%Y-%m-%d %H:%M} and "
        f"{each.until_at:%Y-%m-%d %H:%M} UTC share no post; posts in between were probably missed"
    )


def _import(each: OpenImport) -> str:
    what = each.name or named(each.kind, each.hashtag, each.import_id)
    polled = "" if each.polled_seconds_ago is None else f", last poll {age(each.polled_seconds_ago)} ago"
    note = f" ({plain(each.note)})" if each.note else ""
    task = f", task {plain(each.task_id)}" if each.task_id else ""
    planned = f"planned {age(each.age_seconds)} ago"
    if each.state == "planned":
        return f"import of {what}, {planned}, not sent, {each.requested:,} posts asked for{note}"
    listed = f"{each.seen:,} of {each.requested:,} posts listed"
    return f"import of {what}, {each.state}, {listed}, {planned}{polled}{task}{note}"


def _run(run: LastRun) -> str:
    ended = run.outcome or "not ended: it goes on, or was killed"
    if run.stopped_at is not None:
        ended = f"cancelled by {run.stopped_by} ({run.stopped_why})"
    # What halted or failed says so itself.
    message = f": {plain(run.message).removeprefix(f'{ended}: ')}" if run.message else ""
    cap = "" if run.cap_micros is None else f"; {_of_cap(run.used_micros, run.cap_micros / 1e6)}"
    return f"{run.flow} of {run.started_at:%Y-%m-%d %H:%M} UTC, {ended}{message}{cap}"


def _tally(tally: Totals) -> str:
    """What was called, what it cost and what it brought; '' where nothing was."""
    if not (tally.calls or tally.spent_micros or tally.new_posts or tally.known_posts or tally.new_enriched):
        return ""
    calls = ", ".join(f"{count:,} {name}" for name, count in tally.calls.items()) or "no call"
    per_thousand = (
        "" if tally.usd_per_1000_new is None else f", {tally.usd_per_1000_new:,.2f} USD per 1,000 new enriched posts"
    )
    return (
        f"{calls}; {dollars(tally.spent_micros / 1e6)} USD; {tally.new_posts:,} new and "
        f"{tally.known_posts:,} known posts, {tally.new_enriched:,} new enriched{per_thousand}"
    )


def age(seconds: float) -> str:
    """A span in words: `40 s`, `3 min`, `2 h`, `5 days`."""
    for unit, size, until in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 172_800)):
        if seconds < until:
            return f"{max(0, round(seconds / size))} {unit}"
    return f"{round(seconds / 86_400)} days"
