"""`tagtrail export`: rows as CSV, JSON lines, Parquet or an Excel workbook, each file with its data dictionary."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, get_args

from cyclopts import Parameter

from blocks.database import What
from blocks.errors import UsageError
from blocks.posts.captions import hashtag_key, normalise_hashtag
from blocks.settings import get_settings
from deployments.cli import stores
from deployments.cli.options import Loud, Platform, Switch, Typed, moment
from deployments.cli.parquet import require_pyarrow, write_parquet
from deployments.cli.stores import holds_invented
from deployments.cli.terminal import counted, diagnostics, tell
from deployments.cli.writers import Format, Maker, beside, check_output, is_device, place, text_maker
from deployments.cli.xlsx import write_xlsx

T = TypeVar("T")

QUIET_SECONDS: Final = 1.0
"""What is over by then shows no bar."""

LOOK_ROWS: Final = 500
"""Rows between two looks at the clock."""


def watched(
    rows: Iterable[T], what: str, count: Callable[[], int], *, clock: Callable[[], float] = time.monotonic
) -> Iterator[T]:
    """The same rows. `count` says how many there are in all; it is asked once, and only where a bar is shown."""
    console = diagnostics()
    if not console.is_terminal:
        yield from rows
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    began = clock()
    with Progress(*columns, console=console, transient=True, disable=False, auto_refresh=False) as bar:
        task = bar.add_task(what, total=None, visible=False)
        for done, row in enumerate(rows, 1):
            if done % LOOK_ROWS == 0 and clock() - began >= QUIET_SECONDS:
                if not bar.tasks[0].visible:
                    bar.update(task, total=count(), visible=True)
                bar.update(task, completed=done, refresh=True)
            yield row


def export(
    what: Annotated[What | None, Parameter(show_default=False)] = None,
    /,
    *,
    format: Annotated[Format | None, Parameter(show_default=False)] = None,
    output: Annotated[Path | None, Parameter(show_default=False)] = None,
    overwrite: Switch = False,
    excel: Switch = False,
    collection: Typed = None,
    hashtag: Typed = None,
    platform: Platform = None,
    since: Typed = None,
    status: Typed = None,
    loud: Loud = Loud(),
) -> int:
    """Write rows to standard output, or to a file that appears when it is whole, with a data dictionary beside it.

    Unknown numbers are empty (null in JSON), never 0; times are ISO 8601 in UTC; lists and mappings are JSON.
    Parquet has typed columns; a workbook has Excel's own dates, in UTC.

    Parameters
    ----------
    what
        The rows that are wanted.
    format
        csv, jsonl (one JSON object a line), parquet or xlsx; by itself csv, or as the file's name says.
    output
        A file to write, instead of standard output (which `-` names too).
    overwrite
        Replace the file if it is there already.
    excel
        Begin a CSV file with the mark by which Excel knows UTF-8, and put a ' before all that it would change: ids and
        other long numbers, leading zeros, dates, truth values, formulas.
    collection
        Only what this collection brought in.
    hashtag
        Only what an import of this hashtag found; with a collection, an import of that collection.
    platform
        Only this platform.
    since
        Only what was measured since: 2026-11-01, 2026-11-01T08:00Z, or 7d, 24h.
    status
        A post's status (pending, enriched, failed, gone), an import's state, or open and resolved for failures.
    """
    if what is None:
        raise UsageError(f"say what to export: {', '.join(get_args(What))}")
    now = datetime.now(UTC)
    tag = None if hashtag is None else hashtag_key(normalise_hashtag(hashtag))
    begin = None if since is None else moment("--since", since, now)
    output = None if output == Path("-") else output
    shape = format or _named(output)
    if excel and shape != "csv":
        raise UsageError(f"--excel marks a CSV file for Excel; {shape} needs no such mark, so leave it out")
    if output is not None:
        check_output(output, overwrite=overwrite)
    if shape == "parquet":
        require_pyarrow()
    settings = get_settings()
    with stores.opened(settings) as store:
        if store is None and output is None:
            return 0
        # A home without a database is looked at without loading it.
        from blocks.database.data_dictionary import Coverage
        from blocks.database.store.export import COLUMNS, count, rows
        from blocks.database.store.filters import Filters
        from deployments.cli import dictionaries

        filters = Filters(collection=collection, hashtag=tag, platform=platform, since=begin, status=status)
        source: Iterable[Mapping[str, Any]] = []
        if store is not None:
            stores.require_collection(store, filters.collection)
            stores.tell_unknown(store, hashtag=filters.hashtag)
            source = rows(store, what, filters, moments=shape == "xlsx")
            if output is not None or not sys.stdout.isatty():
                source = watched(source, what, partial(count, store, what, filters))
        coverage = Coverage(COLUMNS[what])
        invented = store is not None and holds_invented(store, filters.collection)

        def described() -> dict[str, Any]:
            name = "-" if output is None else output.name
            return dictionaries.dictionary(
                what, shape, coverage, file=name, filters=filters, exported_at=now, excel=excel, invented=invented
            )

        make = _maker(what, shape, coverage.of(source), described, excel=excel)
        binary = shape in ("parquet", "xlsx")
        if output is None or is_device(output):
            place(make, output, binary=binary)
        else:
            place(make, output, companion=lambda: (beside(output), dictionaries.as_json(described())))
            tell(f"{counted(coverage.rows, 'row')} → {output}")
            if store is not None:
                stores.note_export(settings.home, output, what, coverage.rows, now)
    return 0


def _maker(what: What, shape: Format, source: Iterable[Mapping[str, Any]], described: Any, *, excel: bool) -> Maker:
    from blocks.database.data_dictionary import column_facts
    from blocks.database.store.export import COLUMNS
    from deployments.cli import dictionaries

    facts = column_facts(what)
    if shape == "parquet":
        return lambda file: write_parquet(source, facts, file)
    if shape == "xlsx":
        return lambda file: write_xlsx(
            source, facts, file, sheet=what, appendix=lambda: dictionaries.as_sheet(described()), say=tell
        )
    return text_maker(source, COLUMNS[what], shape, excel=excel, say=tell)


_ENDINGS: dict[str, Format] = {
    "": "csv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "xlsx",
}


def _named(output: Path | None) -> Format:
    """The format that a file's name asks for; csv where it asks for none.

    Raises:
        UsageError: it asks for one that there is not.
    """
    ending = "" if output is None else output.suffix.lower()
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    raise UsageError(
        f"{output} is to be csv, jsonl, parquet or xlsx by its ending, and {ending} is none of them; or say --format"
    )
