"""Rows to Parquet, typed through pyarrow (an extra): a row group at a time, so that memory stays flat."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from blocks.errors import UsageError

if TYPE_CHECKING:
    from blocks.database.store.data_dictionary import ColumnFact

BATCH_ROWS: Final = 1000
GROUP_ROWS: Final = 100_000
GROUP_BYTES: Final = 8_000_000
"""A row group is written when it holds so many rows, or so many bytes."""


def require_pyarrow() -> None:
    """Nothing, where pyarrow is installed.

    Raises:
        UsageError: it is not; the message says how to install it.
    """
    try:
        import pyarrow.parquet  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        raise UsageError(
            f"Parquet needs the package pyarrow; install it: {shlex.quote(sys.executable)} -m pip install 'pyarrow>=20'"
        ) from None


def write_parquet(rows: Iterable[Mapping[str, Any]], facts: Sequence[ColumnFact], file: BinaryIO) -> int:
    """Write rows, whose times are datetimes, to an open binary file; returns how many.

    Counts are int64, times timestamp[us, UTC], lists of text list<string>, `null_reasons` map<string, string>, and
    objects of any form Arrow's JSON type; each column carries its meaning and unit.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(facts)
    written, group, size = 0, [], 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in _batches(rows):
            made = pa.record_batch([_array(batch, fact, schema.field(fact.name).type) for fact in facts], schema=schema)
            group.append(made)
            size += made.nbytes
            written += len(batch)
            if size >= GROUP_BYTES or len(group) * BATCH_ROWS >= GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(group))
                group, size = [], 0
        if group:
            writer.write_table(pa.Table.from_batches(group))
    return written


def _schema(facts: Sequence[ColumnFact]) -> Any:
    import pyarrow as pa

    types = {
        "text": pa.string(),
        "count": pa.int64(),
        "number": pa.float64(),
        "flag": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
        "texts": pa.list_(pa.string()),
        "mapping": pa.map_(pa.string(), pa.string()),
        "json": pa.json_(pa.string()),
    }
    return pa.schema(
        [
            pa.field(fact.name, types[fact.kind], metadata={"description": fact.meaning, "unit": fact.unit})
            for fact in facts
        ]
    )


def _array(batch: Sequence[Mapping[str, Any]], fact: ColumnFact, kind: Any) -> Any:
    import pyarrow as pa

    values = [row[fact.name] for row in batch]
    if fact.kind == "json":
        texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
        return pa.ExtensionArray.from_storage(kind, pa.array([_storable(text) for text in texts], pa.string()))
    if fact.kind == "mapping":
        values = [None if value is None else list(value.items()) for value in values]
    elif fact.kind == "text":
        values = [_storable(value) for value in values]
    elif fact.kind == "texts":
        values = [None if value is None else [_storable(one) for one in value] for value in values]
    return pa.array(values, kind)


def _storable(text: str | None) -> str | None:
    """Arrow refuses what is no UTF-8: a lone half of a surrogate pair becomes a question mark, as in CSV."""
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode()


def _batches(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    source = iter(rows)
    while batch := list(islice(source, BATCH_ROWS)):
        yield batch
