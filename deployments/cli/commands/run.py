"""`tagtrail run`: the chain once, here."""

from __future__ import annotations

from typing import Annotated, Any, Final

from blocks.errors import UsageError
from blocks.settings import Settings, get_settings
from deployments.cli.estimates import tell_cost, tell_estimate
from deployments.cli.options import ImportOptions, Output, Whole
from deployments.cli.running import connect, finish, require_key, run_flow
from flows.steps.run.request import RunRequest, request_for_hashtags

FLOW = "flows.track_hashtags:track_hashtags"

MAX_POSTS: Final = 10_000
"""Posts that a flow takes per hashtag or creator, at most."""


def run(
    *hashtags: str,
    posts: Annotated[int, Whole] = 25,
    options: ImportOptions = ImportOptions(),
    output: Output = Output(),
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
    parameters = options.parameters(settings)
    request = request_for_hashtags(hashtags, posts, **parameters)
    asked = {"hashtags": list(hashtags), "posts_per_hashtag": posts, **parameters}
    return run_request(FLOW, asked, request, settings, output, dry_run=options.dry_run)


def run_request(
    flow: str, parameters: dict[str, Any], request: RunRequest, settings: Settings, output: Output, *, dry_run: bool
) -> int:
    """Run a flow that asks for `request`, with its estimate before and its result after.

    `dry_run`: nothing but an estimate.
    """
    if dry_run:
        return tell_estimate(request, settings, output)
    require_key(settings)
    server, settings = connect(settings)
    tell_cost(request, settings)
    summary = run_flow(flow, parameters, server=server, expected=request.expected_posts, output=output)
    return finish(summary, server=server, settings=settings, output=output)
