"""`tagtrail import urls` and `tagtrail import creators`: the chain from other sources than hashtags."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from blocks.errors import UsageError
from blocks.settings import Settings, get_settings
from deployments.cli.estimates import tell_cost, tell_estimate
from deployments.cli.given_urls import given_urls
from deployments.cli.options import ChannelChoice, Flag, Hours, Library, Output, Spend, Whole, spend_cap
from deployments.cli.running import connect, finish, require_key, run_flow
from flows.steps.run.request import RunRequest, request_for_creators, request_for_post_imports

POSTS_FLOW: Final = "flows.import_posts:import_posts"
CREATORS_FLOW: Final = "flows.import_creators:import_creators"

MOST_POSTS: Final = 10_000
"""Posts that the flow takes per creator, at most."""


@Parameter(name="*")
@dataclass(frozen=True)
class Terms:
    """What an import may cost, and where it goes.

    Parameters
    ----------
    channel
        Where metadata is bought; `auto` tries the settings' order, apify first.
    collection
        The collection under which the posts are kept.
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


def urls(
    *urls: Annotated[str, Parameter(allow_leading_hyphen=True)],
    file: Annotated[Path | None, Parameter(show_default=False)] = None,
    terms: Terms = Terms(),
    output: Output = Output(),  # noqa: B008 - frozen
) -> int:
    """Import given posts of Instagram, TikTok or YouTube into the vendor's library, and enrich them.

    Up to 50 posts of one platform make one import. Metadata does not need the import: `tagtrail enrich` buys the
    numbers alone, and costs less.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but something needs you, 4 halted (credits, key, cap).

    Parameters
    ----------
    urls
        Post URLs; `-` reads them from standard input.
    file
        A file with one URL a line (`-`: standard input); empty lines and lines that start with # are skipped.
    """
    given = given_urls(urls, file)
    settings = get_settings()
    parameters = terms.parameters(settings)
    request = request_for_post_imports(given, **parameters)
    if terms.dry_run:
        return tell_estimate(request, 0, settings, output)
    return _run(POSTS_FLOW, {"urls": given, **parameters}, request, settings, output)


def creators(
    *profiles: str,
    posts: Annotated[int, Whole] = 25,
    terms: Terms = Terms(),
    output: Output = Output(),  # noqa: B008 - frozen
) -> int:
    """Import the newest posts of creators of TikTok, Instagram or YouTube, and enrich them.

    Imports of Instagram and YouTube creators were seen to be accepted and to stay empty for ever: they end `empty`.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but something needs you, 4 halted (credits, key, cap).

    Parameters
    ----------
    profiles
        URLs of profiles, such as https://www.tiktok.com/@USER.
    posts
        Posts asked for, per creator.
    """
    if posts > MOST_POSTS:
        raise UsageError(f"ask for at most {MOST_POSTS:,} posts per creator, not {posts:,}")
    settings = get_settings()
    parameters = terms.parameters(settings)
    request = request_for_creators(profiles, posts, **parameters)
    if terms.dry_run:
        return tell_estimate(request, posts, settings, output)
    asked = {"creators": list(profiles), "posts_per_creator": posts, **parameters}
    return _run(CREATORS_FLOW, asked, request, settings, output)


def _run(flow: str, parameters: dict[str, Any], request: RunRequest, settings: Settings, output: Output) -> int:
    require_key(settings)
    server, settings = connect(settings)
    tell_cost(request, settings)
    summary = run_flow(flow, parameters, server=server, expected=request.expected_posts, output=output)
    return finish(summary, server=server, settings=settings, output=output)
