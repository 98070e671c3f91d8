"""`tagtrail enrich`: metadata for post URLs that are known already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from blocks.settings import get_settings
from deployments.cli.commands.run import run_request
from deployments.cli.options import Output, RunOptions, given_urls
from flows.steps.run.request import request_for_urls

FLOW = "flows.enrich_posts:enrich_posts"


def enrich(
    *urls: Annotated[str, Parameter(allow_leading_hyphen=True)],
    file: Annotated[Path | None, Parameter(show_default=False)] = None,
    options: RunOptions = RunOptions(),
    output: Output = Output(),
) -> int:
    """Enrich given posts, without an import: Instagram, TikTok, YouTube or X, in any form of their URLs.

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
    request = request_for_urls(given, **parameters)
    return run_request(FLOW, {"urls": given, **parameters}, request, settings, output, dry_run=options.dry_run)
