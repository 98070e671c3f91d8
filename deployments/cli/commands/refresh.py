"""`tagtrail refresh`: known posts are measured again, by the snapshot plan."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from cyclopts import Parameter

from blocks.database.store import snapshots
from blocks.database.store.filters import Filters
from blocks.settings import Settings, get_settings
from deployments.cli import forecasts, stores
from deployments.cli.options import ChannelChoice, Flag, Output, Spend, spend_cap
from deployments.cli.running import connect, finish, require_key, run_flow, where_runs_are
from deployments.cli.terminal import say, tell, write_json
from flows.steps.run.request import NO_CAP_USD, RunRequest, request_for_refresh

FLOW: Final = "flows.refresh_metrics:refresh_metrics"


def refresh(
    *,
    collection: Annotated[str, Parameter(show_default=False)] = "",
    hashtag: Annotated[str, Parameter(show_default=False)] = "",
    channel: ChannelChoice = "auto",
    max_spend: Spend = None,
    dry_run: Annotated[bool, Flag] = False,
    output: Output = Output(),  # noqa: B008 - frozen
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
    channel
        Where metadata is bought; `auto` tries the settings' order, apify first.
    max_spend
        Cap on this run's spending in US dollars, or `none`; TAGTRAIL_MAX_SPEND_USD_PER_RUN by itself.
    dry_run
        Print what is due now and what the plan will cost in the next 30 days, and call nothing.
    """
    settings = get_settings()
    parameters: dict[str, Any] = {
        "collection": collection,
        "hashtag": hashtag,
        "channel": channel,
        "max_spend_usd": spend_cap(max_spend, settings.tagtrail_max_spend_usd_per_run),
    }
    request = request_for_refresh(**parameters)
    if dry_run:
        _, settings = where_runs_are(settings)
        return _tell_forecast(request, settings, output)
    require_key(settings)
    server, settings = connect(settings)
    with stores.opened(settings, quiet=True) as store:
        expected = 0
        if store is not None:
            stores.require_collection(store, request.collection)
            stores.tell_unknown(store, hashtag=request.hashtag)
            with store.connect() as conn:
                expected = snapshots.next_snapshots(conn, settings.snapshot_plan, datetime.now(UTC)).due
    summary = run_flow(FLOW, parameters, server=server, expected=expected, output=output)
    return finish(summary, server=server, settings=settings, output=output)


def _tell_forecast(request: RunRequest, settings: Settings, output: Output) -> int:
    plan = settings.snapshot_plan
    outlook = snapshots.Outlook()
    with stores.opened(settings) as store:
        if store is not None:
            stores.require_collection(store, request.collection)
            stores.tell_unknown(store, hashtag=request.hashtag)
            with store.connect() as conn:
                filters = Filters(collection=request.collection, hashtag=request.hashtag)
                outlook = snapshots.outlook(conn, plan, datetime.now(UTC), filters)
    facts = forecasts.forecast(outlook, settings, request.channels(settings.tagtrail_channel_order))
    cap = None if request.max_spend_usd >= NO_CAP_USD else request.max_spend_usd
    if output.json:
        write_json({"dry_run": True, **facts, "max_spend_usd": cap})
        return 0
    for line in forecasts.lines(facts, settings, plan, cap):
        say(line)
    tell("Nothing was called.")
    return 0
