"""`tagtrail import urls` and `tagtrail import creators`: the chain from other sources than hashtags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from blocks.errors import UsageError
from blocks.settings import get_settings
from deployments.cli.commands.run import MAX_POSTS, run_request
from deployments.cli.options import ImportOptions, Output, Whole, given_urls
from flows.steps.run.request import request_for_creators, request_for_post_imports

POSTS_FLOW: Final = "flows.import_posts:import_posts"
CREATORS_FLOW: Final = "flows.import_creators:import_creators"


def urls(
    *urls: Annotated[str, Parameter(allow_leading_hyphen=True)],
    file: Annotated[Path | None, Parameter(show_default=False)] = None,
    options: ImportOptions = ImportOptions(),
    output: Output = Output(),
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
    parameters = options.parameters(settings)
    request = request_for_post_imports(given, **parameters)
    return run_request(POSTS_FLOW, {"urls": given, **parameters}, request, settings, output, dry_run=options.dry_run)


def creators(
    *profiles: str,
    posts: Annotated[int, Whole] = 25,
    options: ImportOptions = ImportOptions(),
    output: Output = Output(),
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
    if posts > MAX_POSTS:
        raise UsageError(f"ask for at most {MAX_POSTS:,} posts per creator, not {posts:,}")
    settings = get_settings()
    parameters = options.parameters(settings)
    request = request_for_creators(profiles, posts, **parameters)
    asked = {"creators": list(profiles), "posts_per_creator": posts, **parameters}
    return run_request(CREATORS_FLOW, asked, request, settings, output, dry_run=options.dry_run)
