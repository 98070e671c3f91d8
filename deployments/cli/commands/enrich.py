"""`tagtrail enrich`: metadata for post URLs that are known already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from blocks.settings import get_settings
from deployments.cli.commands.run import run_request
from deployments.cli.estimates import tell_estimate
from deployments.cli.options import ChannelChoice, Flag, Hours, Output, Spend, given_urls, spend_cap
from flows.steps.run.request import request_for_urls

FLOW = "flows.enrich_posts:enrich_posts"


def enrich(
    *urls: Annotated[str, Parameter(allow_leading_hyphen=True)],
    file: Annotated[Path | None, Parameter(show_default=False)] = None,
    channel: ChannelChoice = "auto",
    collection: str = "default",
    max_spend: Spend = None,
    max_age: Hours = None,
    dry_run: Annotated[bool, Flag] = False,
    output: Output = Output(),  # noqa: B008 - frozen
) -> int:
    """Enrich given posts, without an import: Instagram, TikTok, YouTube or X, in any form of their URLs.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but something needs you, 4 halted (credits, key, cap).

    Parameters
    ----------
    urls
        Post URLs; `-` reads them from standard input.
    file
        A file with one URL a line (`-`: standard input); empty lines and lines that start with # are skipped.
    channel
        Where metadata is bought; `auto` tries the settings' order, apify first.
    collection
        The collection under which the posts are kept.
    max_spend
        Cap on this run's spending in US dollars, or `none`; TAGTRAIL_MAX_SPEND_USD_PER_RUN by itself.
    max_age
        Hours; younger metadata is not bought again; TAGTRAIL_MAX_AGE_HOURS by itself.
    dry_run
        Print what the run may cost, and call nothing.
    """
    given = given_urls(urls, file)
    settings = get_settings()
    parameters: dict[str, Any] = {
        "channel": channel,
        "collection": collection,
        "max_spend_usd": spend_cap(max_spend, settings.tagtrail_max_spend_usd_per_run),
        "max_age_hours": settings.tagtrail_max_age_hours if max_age is None else max_age,
    }
    request = request_for_urls(given, **parameters)
    if dry_run:
        return tell_estimate(request, 0, settings, output)
    return run_request(FLOW, {"urls": given, **parameters}, request, settings, output)
