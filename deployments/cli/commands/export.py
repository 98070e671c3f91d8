"""`tagtrail export`: rows as CSV or JSON lines."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from blocks.database.store.export import COLUMNS, What, rows
from blocks.database.store.filters import Filters
from blocks.memories.captions import hashtag_key, normalise_hashtag
from blocks.memories.errors import UsageError
from blocks.settings import get_settings
from deployments.cli import stores
from deployments.cli.options import Loud, PlatformName, moment
from deployments.cli.writers import Format, write_rows

_Optional = Annotated[str | None, Parameter(show_default=False)]


def export(
    what: What,
    /,
    *,
    format: Annotated[Format | None, Parameter(show_default=False)] = None,
    output: Annotated[Path | None, Parameter(show_default=False)] = None,
    collection: _Optional = None,
    hashtag: _Optional = None,
    platform: Annotated[PlatformName | None, Parameter(show_default=False)] = None,
    since: _Optional = None,
    status: _Optional = None,
    loud: Loud = Loud(),  # noqa: B008 - frozen
) -> int:
    """Write rows to standard output, or to a file that appears when it is whole.

    Unknown numbers are empty (null in JSON), never 0; times are ISO 8601 in UTC; lists and mappings are JSON.

    Parameters
    ----------
    what
        The rows that are wanted.
    format
        csv, or jsonl: one JSON object a line; by itself csv, or as the file's name says.
    output
        A file to write, instead of standard output (which `-` names too).
    collection
        Only what this collection brought in.
    hashtag
        Only what an import of this hashtag found.
    platform
        Only this platform.
    since
        Only what was measured since: 2026-11-01, 2026-11-01T08:00Z, or 7d, 24h.
    status
        A post's status (pending, enriched, failed, gone), an import's state, or open and resolved for failures.
    """
    filters = Filters(
        collection=collection,
        hashtag=None if hashtag is None else hashtag_key(normalise_hashtag(hashtag)),
        platform=platform,
        since=None if since is None else moment("--since", since, datetime.now(UTC)),
        status=status,
    )
    output = None if output == Path("-") else output
    shape = format or _named(output)
    with stores.opened(get_settings()) as store:
        if store is not None:
            write_rows(rows(store, what, filters), COLUMNS[what], shape, output)
        elif output is not None:
            write_rows([], COLUMNS[what], shape, output)
    return 0


def _named(output: Path | None) -> Format:
    """The format that a file's name asks for; csv where it asks for none.

    Raises:
        UsageError: it asks for one that there is not.
    """
    ending = "" if output is None else output.suffix.lower()
    if ending in (".jsonl", ".ndjson"):
        return "jsonl"
    if ending in ("", ".csv"):
        return "csv"
    raise UsageError(f"{output} is to be csv or jsonl by its ending, and {ending} is neither; or say --format")
