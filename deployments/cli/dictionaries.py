"""The data dictionary of an export: each column's type, unit, meaning, coverage and source paths."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from blocks.database import What
from blocks.database.data_dictionary import IDS, ColumnCoverage, ColumnFact, Coverage, column_facts
from blocks.database.store.filters import Filters
from blocks.posts.payloads import sources
from blocks.posts.payloads.mapping import PARSER_VERSION
from deployments.cli.stores import INVENTED
from deployments.cli.writers import Format, iso

SCHEMA: Final = "tagtrail.dictionary/1"
"""What a dictionary says of itself in `schema`."""

SAMPLE: Final = (
    "A sample, not a census: what hashtag imports listed is the newest that the service saw, never all there is."
)

_TYPES: Final[dict[Format, dict[str, str]]] = {
    "csv": {
        "text": "text",
        "count": "whole number",
        "number": "number",
        "flag": "true or false",
        "time": "ISO 8601, UTC",
        "texts": "JSON array of text",
        "mapping": "JSON object",
        "json": "JSON object",
    },
    "jsonl": {
        "text": "string",
        "count": "whole number",
        "number": "number",
        "flag": "true or false",
        "time": "ISO 8601, UTC, as string",
        "texts": "array of strings",
        "mapping": "object",
        "json": "object",
    },
    "parquet": {
        "text": "string",
        "count": "int64",
        "number": "double",
        "flag": "bool",
        "time": "timestamp[us, UTC]",
        "texts": "list<string>",
        "mapping": "map<string, string>",
        "json": "json",
    },
    "xlsx": {
        "text": "text",
        "count": "whole number (as text above 15 digits)",
        "number": "number",
        "flag": "TRUE or FALSE",
        "time": "date and time in UTC, to the millisecond",
        "texts": "JSON array of text",
        "mapping": "JSON object",
        "json": "JSON object",
    },
}

_GUARDED: Final = (
    "A text that a spreadsheet would take for a formula has a ' put before it: one that begins with =, +, -, @, their "
    "full-width forms, a tab or a line end (a number such as -12 has none). So has one that begins with ' and, after "
    "any further ', with one of these. To have the text as it was, take one ' away from every text that begins so."
)
"""How text stands in CSV."""

_BARE: Final = f"Ids of letters, digits, - and _ stay as they are: {', '.join(sorted(IDS))}."
_NOT_BARE: Final = (
    "Ids have it too, because of --excel, and so has all that Excel would read as something else: numbers in text, "
    "counts of more than 15 digits, dates, times, truth values. Take the ' away before rows are joined by ids."
)

_SOURCES: Final = {
    "posts": sources.post_sources,
    "snapshots": sources.post_sources,
    "creators": sources.creator_sources,
    "comments": sources.comment_sources,
}

_OWN: Final = "Tagtrail"
"""Where a column comes from that no payload holds."""

_NOT_A_PATH: Final = {"platform", "post_id", "url", "shortcode", "observed_at", "first_seen_at"}


def dictionary(
    what: What,
    shape: Format,
    coverage: Coverage,
    *,
    file: str,
    filters: Filters,
    exported_at: datetime,
    excel: bool = False,
    invented: bool = False,
) -> dict[str, Any]:
    """The dictionary of an export whose rows all went through `coverage`, as a JSON object; `excel`: CSV for Excel.

    `invented`: some of the rows came from a sandbox.
    """
    chosen = {name: value for name, value in asdict(filters).items() if value is not None}
    covered = coverage.by_column()
    guarded = {"escaping": f"{_GUARDED} {_NOT_BARE if excel else _BARE}"} if shape == "csv" else {}
    return {
        "schema": SCHEMA,
        "file": file,
        "format": shape,
        "what": what,
        "rows": coverage.rows,
        "exported_at": iso(exported_at),
        "filters": {name: iso(value) if isinstance(value, datetime) else value for name, value in chosen.items()},
        "parser_version": PARSER_VERSION,
        "note": SAMPLE,
        **({"invented": INVENTED} if invented else {}),
        **guarded,
        "columns": [_column(what, shape, fact, cover) for fact, cover in zip(column_facts(what), covered, strict=True)],
    }


def as_json(content: Mapping[str, Any]) -> bytes:
    """The dictionary as the bytes of its file."""
    return json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def as_sheet(content: Mapping[str, Any]) -> list[Sequence[Any]]:
    """The dictionary as the lines of a sheet, its heading first."""
    lines: list[Sequence[Any]] = [
        ("column", "type", "unit", "meaning", "filled", "rows", "share", "why not filled", "source")
    ]
    for one in content["columns"]:
        reasons = ", ".join(f"{name}: {count}" for name, count in one["null_reasons"].items())
        source = one["source"]
        if not isinstance(source, str):
            source = "; ".join(f"{shape}: {', '.join(paths)}" for shape, paths in source.items())
        lines.append(
            (
                *(one[name] for name in ("column", "type", "unit", "meaning", "filled", "rows", "share")),
                reasons,
                source,
            )
        )
    lines += [(), (content["note"],), (f"exported at {content['exported_at']}",)]
    lines += [(content["invented"],)] if "invented" in content else []
    return lines


def _column(what: What, shape: Format, fact: ColumnFact, cover: ColumnCoverage) -> dict[str, Any]:
    paths = {} if fact.name in _NOT_A_PATH or what not in _SOURCES else _SOURCES[what](fact.name)
    return {
        "column": fact.name,
        "type": _TYPES[shape][fact.kind],
        "unit": fact.unit,
        "meaning": fact.meaning,
        "filled": cover.filled,
        "rows": cover.rows,
        "share": None if cover.share is None else round(cover.share, 6),
        "null_reasons": cover.reasons,
        "source": paths or _OWN,
    }
