"""`tagtrail report`: what is stored as one HTML file with tables and plots, which needs no network."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from blocks.memories.captions import hashtag_key, normalise_hashtag
from blocks.settings import Settings, get_settings
from deployments.cli import stores
from deployments.cli.options import Loud, moment
from deployments.cli.terminal import counted, tell

_Optional = Annotated[str | None, Parameter(show_default=False)]


def report(
    *,
    collection: _Optional = None,
    hashtag: _Optional = None,
    since: _Optional = None,
    output: Annotated[Path | None, Parameter(show_default=False)] = None,
    loud: Loud = Loud(),  # noqa: B008 - frozen
) -> int:
    """Write a report: posts, sums with the number of values that they rest on, growth, failures, gaps, spend, methods.

    The file holds everything that it shows, and needs no network. Its path is written to standard output.

    Parameters
    ----------
    collection
        Only this collection; without it every collection has a part of its own.
    hashtag
        Only what an import of this hashtag found; with a collection, an import of that collection.
    since
        Only what was measured since: 2026-11-01, 2026-11-01T08:00Z, or 7d, 24h.
    output
        The file to write, or `-` for standard output; by itself a file in `reports` under the home.
    """
    now = datetime.now(UTC)
    tag = None if hashtag is None else hashtag_key(normalise_hashtag(hashtag))
    begin = None if since is None else moment("--since", since, now)
    written = write_report(get_settings(), collection=collection, hashtag=tag, since=begin, output=output, now=now)
    if written is not None:
        sys.stdout.write(f"{written}\n")
    return 0


def write_report(
    settings: Settings,
    *,
    collection: str | None,
    hashtag: str | None,
    since: datetime | None,
    output: Path | None,
    now: datetime,
    quiet: bool = False,
) -> Path | None:
    """Write a report and return where it lies; None where it went to standard output, or where there is no database.

    Raises:
        UsageError: there is no such collection, or the file cannot be written.
        StoreError: the database cannot be read.
    """
    with stores.opened(settings, quiet=quiet) as store:
        if store is None:
            return None
        # Templates and plots cost a command that makes no report nothing.
        from flows.reporting.figures import gather
        from flows.reporting.making import default_target, make
        from flows.reporting.page import render

        if not quiet:
            # An unknown collection is refused below.
            stores.tell_unknown(store, hashtag=hashtag)
        if output == Path("-"):
            figures = gather(store, collection=collection, hashtag=hashtag, since=since, now=now)
            sys.stdout.buffer.write(render(figures).encode())
            return None
        target = output or default_target(settings.home, collection=collection, hashtag=hashtag, now=now)
        figures = make(store, target, collection=collection, hashtag=hashtag, since=since, now=now)
        posts = len(figures.posts)
        stores.note_export(settings.home, target, "report", posts, now)
        if not quiet:
            tell(f"The report on {counted(posts, 'post')} of {counted(len(figures.sections), 'collection')}:")
        return target
