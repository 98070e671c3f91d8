"""Rows to text, one at a time: CSV that a spreadsheet cannot be harmed by, and JSON lines."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from blocks.memories.errors import UsageError

Format = Literal["csv", "jsonl"]

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A text cell that starts so would be run as a formula by a spreadsheet (OWASP, CSV injection)."""
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?\Z")


def write_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], shape: Format, output: Path | None) -> int:
    """Write rows to `output`, or to standard output; returns how many.

    A file takes its name only when it is whole: until then the rows are in a hidden one beside it.

    Raises:
        UsageError: the file cannot be written.
    """
    lines = _csv_lines(rows, columns) if shape == "csv" else _json_lines(rows, columns)
    if output is None:
        sys.stdout.flush()
        written = _write(lines, sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        return written
    try:
        if _is_device(output):
            with output.open("wb") as device:
                return _write(lines, device.write)
        return _write_whole(lines, output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror or error}") from None


def cell(value: Any) -> str:
    """A value as CSV text: unknown is empty, lists and mappings are JSON, text never starts a formula."""
    if value is None:
        return ""
    if isinstance(value, str):
        harmless = not value.startswith(_FORMULA) or _NUMBER.match(value)
        return value if harmless else f"'{value}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, datetime):
        return iso(value)
    return json.dumps(value, ensure_ascii=False, default=_plain)


def iso(value: datetime) -> str:
    """A time as ISO 8601 in UTC with `Z`."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    raise TypeError(f"{type(value).__name__} has no place in an export")


def _csv_lines(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    yield buffer.getvalue()
    for row in rows:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow([cell(row[column]) for column in columns])
        yield buffer.getvalue()


def _json_lines(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    yield ""
    for row in rows:
        yield json.dumps({column: row[column] for column in columns}, ensure_ascii=False, default=_plain) + "\n"


def _write(lines: Iterator[str], write: Callable[[bytes], Any]) -> int:
    """Write a heading and rows; returns the number of rows."""
    count = -1
    for count, line in enumerate(lines):  # noqa: B007 - counted on purpose
        write(line.encode("utf-8", errors="replace"))
    return count


def _is_device(path: Path) -> bool:
    """Whether it is there and no plain file: a device or a pipe is written to, never replaced."""
    try:
        return not stat.S_ISREG(path.stat().st_mode) and not path.is_dir()
    except FileNotFoundError:
        return False


def _write_whole(lines: Iterator[str], output: Path) -> int:
    if output.is_dir():
        raise IsADirectoryError(21, "it is a folder")
    target = output.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            written = _write(lines, file.write)
        part.replace(target)
        return written
    finally:
        part.unlink(missing_ok=True)
