"""Rows to a file or to standard output: text one row at a time, and files that appear only when they are whole."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from blocks.full_disk import unwritable
from blocks.memories.errors import UsageError

TextFormat = Literal["csv", "jsonl"]
Format = Literal["csv", "jsonl", "parquet", "xlsx"]

Maker = Callable[[BinaryIO], int]
"""Writes all rows to an open binary file; the number of rows."""

_FORMULA: Final = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""A text cell that starts so would be run as a formula by a spreadsheet (OWASP, CSV injection), or, with quotes before
it, would look as if one had been put there against that."""
_ID: Final = re.compile(r"[A-Za-z0-9_-]+\Z")
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?\Z", re.ASCII)

BOM: Final = b"\xef\xbb\xbf"
"""Tells Excel that a CSV file is UTF-8."""


def write_rows(
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    shape: TextFormat,
    output: Path | None,
    *,
    excel: bool = False,
) -> int:
    """Write rows as text to `output`, or to standard output; returns how many. `excel`: CSV for Excel (see `cell`).

    A file takes its name only when it is whole: until then the rows are in a hidden one beside it.

    Raises:
        TagtrailError: the disk is full.
        UsageError: the file cannot be written.
    """
    return place(text_maker(rows, columns, shape, excel=excel), output)


def text_maker(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], shape: TextFormat, *, excel: bool = False
) -> Maker:
    """Writes rows as CSV or JSON lines; `excel`: CSV with a BOM, in which ids are guarded like any text."""

    def make(file: BinaryIO) -> int:
        if excel:
            file.write(BOM)
        from blocks.database.store.column_facts import IDS

        ids = frozenset[str]() if excel else IDS
        lines = _csv_lines(rows, columns, ids) if shape == "csv" else _json_lines(rows, columns)
        count = -1
        for count, line in enumerate(lines):  # noqa: B007 - counted on purpose
            file.write(line.encode("utf-8", errors="replace"))
        return count

    return make


def place(
    make: Maker, output: Path | None, *, binary: bool = False, companion: Callable[[], tuple[Path, bytes]] | None = None
) -> int:
    """Have rows written to `output`, or to standard output; returns how many.

    `binary`: the format needs a file to move about in, so that a pipe gets a finished copy. `companion`: a file
    that takes its place together with the rows, made when they are written; devices and pipes have none.

    Raises:
        TagtrailError: the disk is full.
        UsageError: the file cannot be written, or a binary format would go to a terminal.
    """
    if output is None:
        if binary and sys.stdout.isatty():
            raise UsageError("this format is no text for a terminal; name a file with --output, or redirect the output")
        sys.stdout.flush()
        written = _through_a_file(make, sys.stdout.buffer) if binary else make(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return written
    try:
        if is_device(output):
            with output.open("wb") as device:
                return _through_a_file(make, device) if binary else make(device)
        return _place_whole(make, output, companion)
    except OSError as error:
        raise unwritable(output, error) from None


def cell(value: Any, *, is_id: bool = False) -> str:
    """A value as CSV text: unknown is empty, lists and mappings are JSON, text never starts a formula.

    A text that would has one more quote before it, and so has one that begins with quotes and then such a character:
    whoever takes one away has the text. With `is_id`, letters, digits, `-` and `_` stay as they are: rows are joined
    by them.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        if not _FORMULA.match(value) or _NUMBER.match(value) or (is_id and _ID.match(value)):
            return value
        return f"'{value}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, datetime):
        return iso(value)
    return json_text(value)


def iso(value: datetime) -> str:
    """A time as ISO 8601 in UTC with `Z`."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def json_text(value: Any) -> str:
    """A list or mapping as JSON."""
    return json.dumps(value, ensure_ascii=False, default=_plain)


def is_device(path: Path) -> bool:
    """Whether it is there and no plain file: a device or a pipe is written to, never replaced."""
    try:
        return not stat.S_ISREG(path.stat().st_mode) and not path.is_dir()
    except FileNotFoundError:
        return False


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    raise TypeError(f"{type(value).__name__} has no place in an export")


def _csv_lines(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], ids: frozenset[str]) -> Iterator[str]:
    buffer = io.StringIO()
    # The csv module puts a text with a lone carriage return in quotes only if its own line ends have one.
    writer = csv.writer(buffer, lineterminator="\r\n")

    def line(cells: Sequence[str]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(cells)
        return buffer.getvalue()[:-2] + "\n"

    yield line(columns)
    for row in rows:
        yield line([cell(row[column], is_id=column in ids) for column in columns])


def _json_lines(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    yield ""
    for row in rows:
        yield json_text({column: row[column] for column in columns}) + "\n"


def _through_a_file(make: Maker, sink: BinaryIO) -> int:
    with tempfile.TemporaryFile() as whole:
        written = make(whole)
        whole.seek(0)
        shutil.copyfileobj(whole, sink)
    return written


def _place_whole(make: Maker, output: Path, companion: Callable[[], tuple[Path, bytes]] | None) -> int:
    if output.is_dir():
        raise IsADirectoryError(21, "it is a folder")
    target = output.resolve()
    part = _part_of(target)
    beside: Path | None = None
    try:
        with part.open("xb") as file:
            written = make(file)
        if companion is not None:
            named, content = companion()
            if named.is_dir():
                raise IsADirectoryError(21, f"{named.name} beside it is a folder")
            beside = _part_of(named)
            beside.write_bytes(content)
            beside.replace(named)
        part.replace(target)
        return written
    finally:
        part.unlink(missing_ok=True)
        if beside is not None:
            beside.unlink(missing_ok=True)


def _part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.part")
