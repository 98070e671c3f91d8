"""`tagtrail run`: the chain once, here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from cyclopts import Parameter

from blocks.errors import UsageError
from blocks.settings import Settings, get_settings
from deployments.cli.estimates import tell_cost, tell_estimate
from deployments.cli.options import ChannelChoice, Flag, Hours, Library, Output, Spend, Whole, spend_cap
from deployments.cli.running import connect, finish, require_key, run_flow
from flows.steps.run.request import RunRequest, request_for_hashtags

FLOW = "flows.track_hashtags:track_hashtags"

MAX_POSTS: Final = 10_000
"""Posts that a flow takes per hashtag or creator, at most."""


@Parameter(name="*")
@dataclass(frozen=True)
class Terms:
    """What a run with imports may cost, and where it goes.

    Parameters
    ----------
    channel
        Where metadata is bought; `auto` tries the settings' order, apify first.
    collection
        The collection (a named set of hashtags) under which the posts are kept.
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

    channel: ChannelChoice = "auto"
    collection: str = "default"
    namespace: str = ""
    library: Library = "private"
    permanent: Annotated[bool, Flag] = False
    max_spend: Spend = None
    max_age: Hours = None
    fresh: Annotated[bool, Flag] = False
    dry_run: Annotated[bool, Flag] = False

    def parameters(self, settings: Settings) -> dict[str, Any]:
        """As the flows take them."""
        return {
            "channel": self.channel,
            "collection": self.collection,
            "namespace": self.namespace,
            "library": self.library,
            "permanent": self.permanent,
            "max_spend_usd": spend_cap(self.max_spend, settings.tagtrail_max_spend_usd_per_run),
            "max_age_hours": settings.tagtrail_max_age_hours if self.max_age is None else self.max_age,
            "reuse_hours": settings.tagtrail_import_reuse_hours,
            "fresh": self.fresh,
        }


def run(
    *hashtags: str,
    posts: Annotated[int, Whole] = 25,
    terms: Terms = Terms(),
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
    """
    if not hashtags:
        raise UsageError("name at least one hashtag, for example: tagtrail run LVMH (a # in front needs quotes)")
    if posts > MAX_POSTS:
        raise UsageError(f"ask for at most {MAX_POSTS:,} posts per hashtag, not {posts:,}")
    settings = get_settings()
    parameters = terms.parameters(settings)
    request = request_for_hashtags(hashtags, posts, **parameters)
    if terms.dry_run:
        return tell_estimate(request, posts, settings, output)
    asked = {"hashtags": list(hashtags), "posts_per_hashtag": posts, **parameters}
    return run_request(FLOW, asked, request, settings, output)


def run_request(flow: str, parameters: dict[str, Any], request: RunRequest, settings: Settings, output: Output) -> int:
    """Run a flow that asks for `request`, say what it may cost, and tell what came of it."""
    require_key(settings)
    server, settings = connect(settings)
    tell_cost(request, settings)
    summary = run_flow(flow, parameters, server=server, expected=request.expected_posts, output=output)
    return finish(summary, server=server, settings=settings, output=output)
