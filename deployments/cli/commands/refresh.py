"""`tagtrail refresh`: known posts are measured again, by the snapshot plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from cyclopts import Parameter

from blocks.database.store import snapshots
from blocks.database.store.filters import Filters
from blocks.database.store.snapshots import OUTLOOK_DAYS, Outlook
from blocks.posts.record import Channel
from blocks.posts.snapshot_plan import SnapshotPlan, age_text
from blocks.settings import Settings, get_settings
from deployments.cli import stores
from deployments.cli.commands.status import NO_PLAN
from deployments.cli.options import Buying, Output, Switch
from deployments.cli.running import connect, finish, require_key, run_flow, where_runs_are
from deployments.cli.terminal import counted, say, tell, write_json
from flows.steps.run.request import NO_CAP_USD, RunRequest, request_for_refresh

FLOW: Final = "flows.refresh_metrics:refresh_metrics"
WEEK_DAYS = 7

NOT_FOUND_YET = "Posts that are not found yet are in none of these figures."
TOO_YOUNG = f"{NOT_FOUND_YET} What they will add can be told once posts have come in for two days."


def refresh(
    *,
    collection: Annotated[str, Parameter(show_default=False)] = "",
    hashtag: Annotated[str, Parameter(show_default=False)] = "",
    buying: Buying = Buying(),
    dry_run: Switch = False,
    output: Output = Output(),
) -> int:
    """Measure known posts again whose snapshot is due by the plan (TAGTRAIL_SNAPSHOT_AGES), most valuable first.

    First come the posts whose counts grew most between their last two snapshots. A checkpoint whose window is over is
    missed and never filled later; posts whose numbers stopped moving rest. Gone posts are left alone.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but something needs you, 4 halted (credits, key, cap); after a
    cap the rest stays due.

    Parameters
    ----------
    collection
        Only posts of this collection, which then pays for them. By itself: all posts, and each is paid by the
        collection that found it first; where one's cap is reached, the others go on.
    hashtag
        Only posts that an import of this hashtag found.
    dry_run
        Print what is due now and what the plan will cost in the next 30 days, and call nothing.
    """
    settings = get_settings()
    parameters = {**buying.parameters(settings), "collection": collection, "hashtag": hashtag}
    request = request_for_refresh(**parameters)
    if dry_run:
        _, settings = where_runs_are(settings)
        return _tell_forecast(request, settings, output)
    require_key(settings)
    server, settings = connect(settings)
    expected = 0
    with stores.opened(settings, quiet=True) as store:
        if store is not None:
            stores.require_collection(store, request.collection)
            stores.tell_unknown(store, hashtag=request.hashtag)
            with store.connect() as conn:
                expected = snapshots.next_snapshots(conn, settings.snapshot_plan, datetime.now(UTC)).due
    summary = run_flow(FLOW, parameters, server=server, expected=expected, output=output)
    return finish(summary, server=server, settings=settings, output=output)


def _tell_forecast(request: RunRequest, settings: Settings, output: Output) -> int:
    plan = settings.snapshot_plan
    outlook = Outlook()
    with stores.opened(settings) as store:
        if store is not None:
            stores.require_collection(store, request.collection)
            stores.tell_unknown(store, hashtag=request.hashtag)
            with store.connect() as conn:
                filters = Filters(collection=request.collection, hashtag=request.hashtag)
                outlook = snapshots.outlook(conn, plan, datetime.now(UTC), filters)
    facts = forecast(outlook, settings, request.channels(settings.tagtrail_channel_order))
    cap = None if request.max_spend_usd >= NO_CAP_USD else request.max_spend_usd
    if output.json:
        write_json({"dry_run": True, **facts, "max_spend_usd": cap})
        return 0
    for line in lines(facts, settings, plan, cap):
        say(line)
    tell("Nothing was called.")
    return 0


def forecast(outlook: Outlook, settings: Settings, order: Sequence[Channel]) -> dict[str, Any]:
    """The outlook with its prices in US dollars (of the first channel that is tried), as `--json` writes it."""

    def usd(calls: float, platform: str) -> float:
        return round(calls * settings.tagtrail_prices.metadata_micros(platform, order[0]) / 1e6, 6)

    days: list[dict[str, Any]] = [{"day": day, "calls": 0, "usd": 0.0, "platforms": {}} for day in range(OUTLOOK_DAYS)]
    for platform in sorted({*outlook.due, *outlook.upcoming}):
        calls = outlook.upcoming.get(platform, [0] * OUTLOOK_DAYS)
        for day, count in zip(days, [calls[0] + outlook.due[platform], *calls[1:]], strict=True):
            if count:
                day["platforms"][platform] = {"calls": count, "usd": usd(count, platform)}
                day["calls"] += count
                day["usd"] = round(day["usd"] + usd(count, platform), 6)
    return {
        "plan": [age_text(age) for age in settings.tagtrail_snapshot_ages],
        "channel": order[0],
        "due": {name: {"posts": count, "usd": usd(count, name)} for name, count in sorted(outlook.due.items())},
        "due_posts": sum(outlook.due.values()),
        "due_usd": round(sum(usd(count, name) for name, count in outlook.due.items()), 6),
        "failed": outlook.failed,
        "next_30_days": {
            "calls": sum(day["calls"] for day in days),
            "usd": round(sum(day["usd"] for day in days), 6),
            "days": days,
            "new_posts": _of_new_posts(outlook, usd),
        },
        "last_30_days": {state: outlook.past[state] for state in ("taken", "missed", "resting", "unseen")},
        "resting_posts": outlook.resting_posts,
        "spared_by_rest": outlook.spared,
        "posts_of_unknown_age": outlook.unknown_age,
    }


def _of_new_posts(outlook: Outlook, usd: Callable[[float, str], float]) -> dict[str, Any]:
    """What posts that are not found yet will add; null where there is too little to go by."""
    if not outlook.expected_new:
        return {"calls": None, "usd": None, "days": round(outlook.rate_days, 1), "note": TOO_YOUNG}
    calls = round(sum(outlook.expected_new.values()))
    cost = round(sum(usd(count, name) for name, count in outlook.expected_new.items()), 6)
    note = (
        f"{NOT_FOUND_YET} If as many come, as old, as in the last {outlook.rate_days:.0f} days, they add about "
        f"{counted(calls, 'snapshot')}, {cost:,.2f} USD."
    )
    return {"calls": calls, "usd": cost, "days": round(outlook.rate_days, 1), "note": note}


def lines(facts: dict[str, Any], settings: Settings, plan: SnapshotPlan, cap_usd: float | None) -> list[str]:
    """The forecast in sentences; `cap_usd` is the run's cap, None where there is none."""
    if not plan.ages:
        return [NO_PLAN]
    by_platform = ", ".join(f"{name} {each['posts']:,}" for name, each in facts["due"].items())
    sentences = [
        f"Plan: measured again {', '.join(facts['plan'])} after posting; late by at most "
        f"{settings.tagtrail_snapshot_tolerance_percent:g} % of the gap to the next age.",
        f"Due now: {counted(facts['due_posts'], 'post')}{f' ({by_platform})' if by_platform else ''}, "
        f"{facts['due_usd']:,.2f} USD.",
    ]
    if cap_usd is not None and facts["due_usd"] > cap_usd:
        sentences.append(f"The cap of {cap_usd:,.2f} USD per run would halt a refresh now; what is left stays due.")
    if facts["failed"]:
        posts = counted(facts["failed"], "post")
        sentences.append(f"Tried and failed, not tried again before their next age: {posts}.")
    coming = facts["next_30_days"]
    for first in range(0, OUTLOOK_DAYS, WEEK_DAYS):
        week = coming["days"][first : first + WEEK_DAYS]
        calls = sum(day["calls"] for day in week)
        parts = [
            f"{name} {sum(day['platforms'].get(name, {}).get('calls', 0) for day in week):,}"
            for name in sorted({name for day in week for name in day["platforms"]})
        ]
        usd = sum(day["usd"] for day in week)
        of_platforms = f" ({', '.join(parts)})" if parts else ""
        sentences.append(
            f"Days {first + 1:>2} to {first + len(week):>2}: {counted(calls, 'snapshot')}{of_platforms}, {usd:,.2f} USD"
        )
    sentences += [
        f"Next 30 days, of the posts known now: {counted(coming['calls'], 'snapshot')}, {coming['usd']:,.2f} USD by "
        "the price table, at most: posts that come to rest cost less.",
        coming["new_posts"]["note"],
    ]
    past = facts["last_30_days"]
    sentences.append(
        f"Last 30 days: {past['taken']:,} taken, {past['missed']:,} missed, {past['resting']:,} left out at rest; "
        f"{past['unseen']:,} were over before their post was found."
    )
    sentences.append(
        f"At rest: {counted(facts['resting_posts'], 'post')} whose counts changed by less than "
        f"{plan.rest_percent:g} % over {plan.rest_snapshots} snapshots; this spares "
        f"{counted(facts['spared_by_rest'], 'snapshot')} in the next 30 days."
    )
    if facts["posts_of_unknown_age"]:
        sentences.append(
            f"Outside the plan: {counted(facts['posts_of_unknown_age'], 'post')} whose time of posting is not known."
        )
    return sentences
