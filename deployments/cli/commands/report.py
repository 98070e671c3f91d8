"""`tagtrail report`: what is stored as one HTML file with tables and plots, which needs no network."""

from __future__ import annotations

import sys
import webbrowser
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from blocks.errors import UsageError
from blocks.posts.captions import hashtag_key, normalise_hashtag
from blocks.settings import Settings, get_settings
from deployments.cli import stores
from deployments.cli.options import Loud, Switch, Typed, Whole, moment
from deployments.cli.terminal import counted, tell
from deployments.cli.writers import check_output

if TYPE_CHECKING:
    from flows.reporting.period import Period

_Count = Annotated[int | None, Whole, Parameter(show_default=False)]


def report(
    *,
    collection: Typed = None,
    hashtag: Typed = None,
    days: _Count = None,
    since: Typed = None,
    until: Typed = None,
    as_of: Typed = None,
    check: _Count = None,
    open: Switch = False,
    output: Annotated[Path | None, Parameter(show_default=False)] = None,
    loud: Loud = Loud(),
) -> int:
    """Write a report on the posts of a period beside the one before: what moved, growth, posts that outrun their peers.

    The file holds everything that it shows, and needs no network. Its path is written to standard output.

    Parameters
    ----------
    collection
        Only this collection; without it every collection has a part of its own.
    hashtag
        Only what an import of this hashtag found; with a collection, an import of that collection.
    days
        Posts of so many days (7), beside as many days before them; 0 for all time.
    since
        Posts posted since then instead: 2026-11-01, 2026-11-01T08:00Z, or 7d, 24h.
    until
        The period's end; by itself now.
    as_of
        As it was known at that time: repeats a report, or says what was erased or read anew since.
    check
        List so many random posts in a file beside the report, to compare their numbers by hand with the platform. A
        report at the same place shows how far they agree, once the file is filled in.
    open
        Open the report in the browser.
    output
        The file to write, or `-` for standard output; by itself a file in `reports` under the home.
    """
    now = datetime.now(UTC)
    if check is not None and check < 1:
        raise UsageError(f"--check is 1 or more, not {check}")
    if output == Path("-") and (check or open):
        raise UsageError("--check and --open need a file; leave out --output -, or name one")
    if output is not None and output != Path("-"):
        check_output(output)
    from flows.reporting.period import period_of

    moments = {name: moment(f"--{name.replace('_', '-')}", typed, now) if typed is not None else None
               for name, typed in (("since", since), ("until", until), ("as_of", as_of))}  # fmt: skip
    period = period_of(days=days, now=now, **moments)
    tag = None if hashtag is None else hashtag_key(normalise_hashtag(hashtag))
    written = write_report(
        get_settings(), collection=collection, hashtag=tag, period=period, output=output, check=check or 0
    )
    if written is not None:
        sys.stdout.write(f"{written}\n")
        if open:
            open_in_browser(written)
    return 0


def open_in_browser(target: Path) -> None:
    """Open a file in the user's browser; where there is none, say so."""
    if not webbrowser.open(target.absolute().as_uri()):
        tell("There is no browser to open it with here; open the file by hand.")


def write_report(
    settings: Settings,
    *,
    collection: str | None,
    hashtag: str | None,
    period: Period,
    output: Path | None,
    check: int = 0,
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
        from flows.reporting import checking
        from flows.reporting.figures import gather
        from flows.reporting.making import default_target, make
        from flows.reporting.page import render

        if not quiet:
            # An unknown collection is refused below.
            stores.tell_unknown(store, hashtag=hashtag)
        plan = settings.snapshot_plan
        if output == Path("-"):
            figures = gather(store, collection=collection, hashtag=hashtag, period=period, plan=plan)
            sys.stdout.buffer.write(render(figures).encode(errors="replace"))
            return None
        target = output or default_target(settings.home, collection=collection, hashtag=hashtag, now=period.as_of)
        figures = make(store, target, collection=collection, hashtag=hashtag, period=period, plan=plan, check=check)
        posts = len(figures.posts)
        stores.note_export(settings.home, target, "report", posts, datetime.now(UTC))
        if not quiet:
            if figures.is_invented:
                tell("Invented data: some of it came from a sandbox.")
            if check:
                tell(f"The list to check by hand: {checking.beside(target)}")
            if not posts and period.begin is not None:
                tell("No post was posted in this period; `--days 0` reports on all time.")
            tell(f"The report on {counted(posts, 'post')} of {counted(len(figures.sections), 'collection')}:")
        return target
