"""`tagtrail run`: the chain once, here."""

from __future__ import annotations

from typing import Annotated, Any, Final

from blocks.errors import UsageError
from blocks.settings import get_settings
from deployments.cli.estimates import tell_cost, tell_estimate
from deployments.cli.options import ChannelChoice, Flag, Hours, Library, Output, Spend, Whole, spend_cap
from deployments.cli.running import connect, finish, require_key, run_flow
from flows.steps.run.request import request_for_hashtags

FLOW = "flows.track_hashtags:track_hashtags"

MOST_POSTS: Final = 10_000
"""Posts that the flow takes per hashtag, at most."""


def run(
    *hashtags: str,
    posts: Annotated[int, Whole] = 25,
    channel: ChannelChoice = "auto",
    collection: str = "default",
    namespace: str = "",
    library: Library = "private",
    permanent: Annotated[bool, Flag] = False,
    max_spend: Spend = None,
    max_age: Hours = None,
    fresh: Annotated[bool, Flag] = False,
    dry_run: Annotated[bool, Flag] = False,
    output: Output = Output(),  # noqa: B008 - frozen
) -> int:
    """Follow hashtags once, here: import their newest posts, enrich them, and store all of it.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but something needs you, 4 halted (credits, key, cap),
    130 interrupted.

    Parameters
    ----------
    hashtags
        Hashtags, with or without `#` (which most shells want quoted).
    posts
        Posts asked for, per hashtag.
    channel
        Where metadata is bought; `auto` tries the settings' order, apify first.
    collection
        A named set of hashtags.
    namespace
        The API's `unique_id`; the collection's name by itself.
    library
        Where the API keeps the imported videos; what is public can never be deleted.
    permanent
        Say that a public import is meant.
    max_spend
        Cap on this run's spending in US dollars, or `none`; TAGTRAIL_MAX_SPEND_USD_PER_RUN by itself.
    max_age
        Hours; younger metadata is not bought again; TAGTRAIL_MAX_AGE_HOURS by itself.
    fresh
        Buy new imports, even where young ones could be used again (for metadata: --max-age 0).
    dry_run
        Print what the run may cost, and call nothing.
    """
    if not hashtags:
        raise UsageError("name at least one hashtag, for example: tagtrail run LVMH (a # in front needs quotes)")
    if posts > MOST_POSTS:
        raise UsageError(f"ask for at most {MOST_POSTS:,} posts per hashtag, not {posts:,}")
    settings = get_settings()
    parameters: dict[str, Any] = {
        "channel": channel,
        "collection": collection,
        "namespace": namespace,
        "library": library,
        "permanent": permanent,
        "max_spend_usd": spend_cap(max_spend, settings.tagtrail_max_spend_usd_per_run),
        "max_age_hours": settings.tagtrail_max_age_hours if max_age is None else max_age,
        "reuse_hours": settings.tagtrail_import_reuse_hours,
        "fresh": fresh,
    }
    request = request_for_hashtags(hashtags, posts, **parameters)
    if dry_run:
        return tell_estimate(request, posts, settings, output)
    require_key(settings)
    server, settings = connect(settings)
    tell_cost(request, settings)
    summary = run_flow(
        FLOW,
        {"hashtags": list(hashtags), "posts_per_hashtag": posts, **parameters},
        server=server,
        expected=request.expected_posts,
        output=output,
    )
    return finish(summary, server=server, settings=settings, output=output)
