"""Rows to Parquet, typed through pyarrow (an extra): a row group at a time, so that memory stays flat."""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from blocks.errors import UsageError
from deployments.cli.writers import json_line, json_text

if TYPE_CHECKING:
    from blocks.database.data_dictionary import ColumnFact

BATCH_ROWS: Final = 1000
GROUP_ROWS: Final = 100_000
GROUP_BYTES: Final = 4_000_000
"""A row group is written when it holds so many rows, or so many bytes."""


def require_pyarrow() -> None:
    """Nothing, where pyarrow is installed.

    Raises:
        UsageError: it is not; the message says how to install it.
    """
    # Read when pyarrow is loaded: an allocator of its own keeps 20 MB more.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        import pyarrow.parquet  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        raise UsageError(
            f"Parquet needs the package pyarrow; install it: {shlex.quote(sys.executable)} -m pip install 'pyarrow>=20'"
        ) from None


def write_parquet(rows: Iterable[Mapping[str, Any]], facts: Sequence[ColumnFact], file: BinaryIO) -> int:
    """Write rows to an open binary file; returns how many.

    Counts are int64, times timestamp[us, UTC], lists of text list<string>, `null_reasons` map<string, string>, and
    objects of any form Arrow's JSON type; each column carries its meaning and unit.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    written, group, size = 0, [], 0
    with pq.ParquetWriter(file, _schema(facts), compression="zstd") as writer:
        for batch in _batches(rows):
            made = _table(batch, facts)
            group.append(made)
            size += made.nbytes
            written += len(batch)
            if size >= GROUP_BYTES or len(group) * BATCH_ROWS >= GROUP_ROWS:
                writer.write_table(pa.concat_tables(group))
                group, size = [], 0
        if group:
            writer.write_table(pa.concat_tables(group))
    return written


def _schema(facts: Sequence[ColumnFact]) -> Any:
    import pyarrow as pa

    types = _read_as() | {"mapping": pa.map_(pa.string(), pa.string()), "json": pa.json_(pa.string())}
    return pa.schema(
        [
            pa.field(fact.name, types[fact.kind], metadata={"description": fact.meaning, "unit": fact.unit})
            for fact in facts
        ]
    )


def _read_as() -> dict[str, Any]:
    """The types as which Arrow reads JSON lines; it reads no maps, and nothing without a type."""
    import pyarrow as pa

    return {
        "text": pa.string(),
        "count": pa.int64(),
        "number": pa.float64(),
        "flag": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
        "texts": pa.list_(pa.string()),
        "mapping": pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())])),
        "json": pa.string(),
    }


def _table(batch: Sequence[Mapping[str, Any]], facts: Sequence[ColumnFact]) -> Any:
    """Rows as Arrow's: it reads JSON lines sooner than Python's values, and needs no pandas for it."""
    import pyarrow as pa
    from pyarrow import json as arrow_json

    types = _read_as()
    mappings = [fact.name for fact in facts if fact.kind == "mapping"]
    objects = [fact.name for fact in facts if fact.kind == "json"]
    lines = b"".join(json_line(_readable(row, mappings, objects)) for row in batch)
    read = arrow_json.read_json(
        io.BytesIO(lines),
        read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=arrow_json.ParseOptions(
            explicit_schema=pa.schema([(fact.name, types[fact.kind]) for fact in facts]),
            unexpected_field_behavior="ignore",
        ),
    )
    schema = _schema(facts)
    columns = []
    for fact in facts:
        column = read.column(fact.name).combine_chunks()
        if fact.kind == "mapping":
            entries = column.values
            column = pa.MapArray.from_arrays(
                column.offsets, entries.field("key"), entries.field("value"), mask=column.is_null()
            )
        elif fact.kind == "json":
            column = pa.ExtensionArray.from_storage(schema.field(fact.name).type, column)
        columns.append(column)
    return pa.table(columns, schema=schema)


def _readable(row: Mapping[str, Any], mappings: Sequence[str], objects: Sequence[str]) -> dict[str, Any]:
    """The row with its mappings as lists of keys and values, and its objects as JSON text."""
    readable = dict(row)
    for name in mappings:
        if row[name] is not None:
            readable[name] = [{"key": key, "value": value} for key, value in row[name].items()]
    for name in objects:
        if row[name] is not None:
            readable[name] = json_text(row[name])
    return readable


def _batches(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    source = iter(rows)
    while batch := list(islice(source, BATCH_ROWS)):
        yield batch
