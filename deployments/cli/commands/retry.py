"""`tagtrail retry`: takes failed posts up again."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from blocks.database.store import Connection, failures, runs, work
from blocks.database.store.failures import POST_STAGES
from blocks.memories.identity import parse_post_url
from blocks.settings import get_settings
from deployments.cli import stores
from deployments.cli.options import ChannelChoice, Output, PlatformName, Spend, moment, spend_cap
from deployments.cli.results import as_json, tell_result
from deployments.cli.running import connect, require_key, run_flow
from deployments.cli.terminal import tell, write_json

FLOW = "flows.enrich_posts:enrich_posts"
GRAVITY = (0, 3, 1, 4)
"""Exit statuses, the gravest last."""


def retry(
    *,
    error: Annotated[str | None, Parameter(show_default=False)] = None,
    platform: Annotated[PlatformName | None, Parameter(show_default=False)] = None,
    before: Annotated[str | None, Parameter(show_default=False)] = None,
    channel: ChannelChoice = "auto",
    max_spend: Spend = None,
    output: Output = Output(),  # noqa: B008 - frozen
) -> int:
    """Take failed posts up again: each is asked for anew, and its failure is closed if that succeeds.

    Exit status: 0 done or nothing to do, 1 failed, 3 some failed again, 4 halted (credits, key, cap).

    Parameters
    ----------
    error
        Only failures of this class, as `tagtrail status` names them.
    platform
        Only this platform.
    before
        Only what failed last before: 2026-11-01, 2026-11-01T08:00Z, or 7d, 24h ago.
    channel
        Where metadata is bought; `auto` tries the settings' order, apify first.
    max_spend
        Cap on this run's spending in US dollars, or `none`; TAGTRAIL_MAX_SPEND_USD_PER_RUN by itself.
    """
    settings = get_settings()
    cap = spend_cap(max_spend, settings.tagtrail_max_spend_usd_per_run)
    older_than = None if before is None else moment("--before", before, datetime.now(UTC))
    with stores.opened(settings, quiet=True) as store:
        wanted: dict[str, list[str]] = {}
        if store is not None:
            with store.connect() as conn:
                wanted = _failed(conn, error=error, platform=platform, older_than=older_than)
    if not wanted:
        tell("There is no failed post to take up again.")
        if output.json:
            write_json([])
        return 0
    require_key(settings)
    server, settings = connect(settings)
    # Not before there is a server to run on: until then nothing is changed.
    with stores.opened(settings, quiet=True) as store:
        if store is not None:
            with store.begin() as conn:
                _requeue(conn, wanted)
    statuses, told = [0], []
    for collection, urls in wanted.items():
        parameters = {
            "urls": urls,
            "channel": channel,
            "collection": collection,
            "max_spend_usd": cap,
            "max_age_hours": 0,
        }
        summary = run_flow(FLOW, parameters, server=server, expected=len(urls), output=output)
        statuses.append(summary.exit_status)
        told.append(as_json(summary))
        if not output.json:
            tell_result(summary, [], where=[], json=False)
    if output.json:
        write_json(told)
    return max(statuses, key=GRAVITY.index)


def _failed(
    conn: Connection, *, error: str | None, platform: str | None, older_than: datetime | None
) -> dict[str, list[str]]:
    """URLs of posts with an open failure, by the collection whose run gave them up."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    collections: dict[str | None, str] = {None: "default"}
    for failure in failures.find(conn, error_class=error, platform=platform, stages=POST_STAGES, older_than=older_than):
        if failure.run_id not in collections:
            run = runs.get(conn, failure.run_id or "")
            collections[failure.run_id] = "default" if run is None or run.collection is None else run.collection
        if failure.url is not None:
            found[collections[failure.run_id]][failure.url] = None
    return {collection: list(urls) for collection, urls in found.items()}


def _requeue(conn: Connection, wanted: dict[str, list[str]]) -> None:
    """Make their work pending again; without that a post that failed lately is left alone."""
    work.requeue(conn, [parse_post_url(url) for urls in wanted.values() for url in urls], "enrich")
