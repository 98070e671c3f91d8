"""Rows to an Excel workbook, one row at a time: as many sheets as they need, and one with the data dictionary."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from deployments.cli.writers import iso, json_text

if TYPE_CHECKING:
    from blocks.database.store.column_facts import ColumnFact

SHEET_ROWS: Final = 1_048_576
"""Rows of one sheet, its heading among them; what is more goes to the next sheet."""

LONGEST_TEXT: Final = 32_767
"""Letters in one cell at most, by Excel's own count (UTF-16)."""

CUT: Final = "… [cut: a cell of Excel holds no more; CSV, JSON lines and Parquet have the whole]"

EXACT: Final = 10**15 - 1
"""Excel keeps 15 digits of a number; a larger count is written as text, so that no digit is lost."""

_FIRST_TIME: Final = datetime(1900, 3, 1, tzinfo=UTC)
"""Before it Excel's calendar is wrong, or has no days at all."""


def write_xlsx(
    rows: Iterable[Mapping[str, Any]],
    facts: Sequence[ColumnFact],
    file: BinaryIO,
    *,
    sheet: str,
    appendix: Callable[[], Sequence[Sequence[Any]]],
) -> int:
    """Write rows, whose times are datetimes, to an open binary file; returns how many.

    Text is always a string cell, never a formula or a link; times are Excel's dates in UTC, to the millisecond;
    lists and objects are JSON. `appendix` gives the rows of the last sheet, `dictionary`, once all others are written.
    """
    from xlsxwriter import Workbook  # type: ignore[import-untyped]

    # In constant memory each sheet lies in a file until the end; the folder goes whatever happens.
    with tempfile.TemporaryDirectory(prefix="tagtrail-xlsx-") as folder:
        book = Workbook(file, {"constant_memory": True, "tmpdir": folder, "use_zip64": True, "default_date_format": ""})
        try:
            sheets = _Sheets(book, [fact.name for fact in facts])
            written = _fill(sheets, rows, facts, sheet)
            sheets.appendix(appendix())
            book.close()
        finally:
            # The library closes a sheet's file only when it writes the book.
            for one in book.worksheets():
                one.row_data_fh.close()
    return written


def _fill(sheets: _Sheets, rows: Iterable[Mapping[str, Any]], facts: Sequence[ColumnFact], name: str) -> int:
    sheets.begin(name)
    count, page, at = 0, 1, 1
    for row in rows:
        if at >= SHEET_ROWS:
            page, at = page + 1, 1
            sheets.begin(f"{name} {page}")
        for column, fact in enumerate(facts):
            sheets.cell(at, column, row[fact.name])
        at += 1
        count += 1
    return count


class _Sheets:
    """The sheet that is being written, of a book that holds several."""

    def __init__(self, book: Any, columns: Sequence[str]) -> None:
        self._book, self._columns = book, columns
        self._bold = book.add_format({"bold": True})
        self._time = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        self._sheet: Any = None

    def begin(self, name: str) -> None:
        """Open the next sheet, with the heading."""
        self._sheet = self._book.add_worksheet(name)
        self._sheet.freeze_panes(1, 0)
        self._sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
        self._sheet.set_column(0, len(self._columns) - 1, 18)
        for column, text in enumerate(self._columns):
            self._sheet.write_string(0, column, text, self._bold)

    def cell(self, row: int, column: int, value: Any) -> None:
        """One value; unknown stays an empty cell."""
        if value is None:
            return
        if isinstance(value, bool):
            self._sheet.write_boolean(row, column, value)
        elif isinstance(value, int | float) and math.isfinite(value) and abs(value) <= EXACT:
            self._sheet.write_number(row, column, value)
        elif isinstance(value, datetime) and value >= _FIRST_TIME:
            self._sheet.write_datetime(row, column, value.astimezone(UTC).replace(tzinfo=None), self._time)
        else:
            self._sheet.write_string(row, column, _text(value))

    def appendix(self, lines: Sequence[Sequence[Any]]) -> None:
        """The last sheet; its first line is the heading."""
        heading, *others = lines
        self._columns = [str(one) for one in heading]
        self.begin("dictionary")
        for row, line in enumerate(others, 1):
            for column, value in enumerate(line):
                self.cell(row, column, value)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return iso(value)
    text = value if isinstance(value, str) else str(value) if isinstance(value, int | float) else json_text(value)
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    if len(text) * 2 <= LONGEST_TEXT:
        return text
    units = text.encode("utf-16-le")
    if len(units) <= LONGEST_TEXT * 2:
        return text
    return units[: (LONGEST_TEXT - len(CUT)) * 2].decode("utf-16-le", "ignore") + CUT
