"""Rows to an Excel workbook, one row at a time: as many sheets as they need, and one with the data dictionary."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from deployments.cli.terminal import counted
from deployments.cli.writers import EXACT, MAX_CELL_TEXT, cell_length, is_too_long, iso, json_text

if TYPE_CHECKING:
    from blocks.database.data_dictionary import ColumnFact

SHEET_ROWS: Final = 1_048_576
"""Rows of one sheet, its heading among them; what is more goes to the next sheet."""

LONG: Final = "long cells"
"""The sheet with what no cell holds: the cell (its sheet, column and row), and its text in parts, a row each."""

MAX_LINKS: Final = 65_530
MAX_LINK_LENGTH: Final = 2_000
"""Excel takes so many links on a sheet, and none that is longer (by a little); what is more stays text."""

WIDTHS: Final = {"count": 13, "number": 12, "flag": 9, "time": 19, "texts": 26, "mapping": 26, "json": 26}
WIDE: Final = {
    "url": 44, "caption": 60, "message": 60, "text": 60, "note": 40, "post_id": 22, "raw_sha256": 20, "platform": 11,
    "meaning": 70, "source": 60, "why not filled": 40, "column": 28,
}  # fmt: skip
"""Widths of columns in letters, by what they hold, and by name."""

_FIRST_TIME: Final = datetime(1900, 3, 1, tzinfo=UTC)
"""Before it Excel's calendar is wrong, or has no days at all."""


def write_xlsx(
    rows: Iterable[Mapping[str, Any]],
    facts: Sequence[ColumnFact],
    file: BinaryIO,
    *,
    sheet: str,
    appendix: Callable[[], Sequence[Sequence[Any]]],
    say: Callable[[str], None] = lambda _: None,
) -> int:
    """Write rows, whose times are datetimes, to an open binary file; returns how many.

    Text is always a string cell, never a formula; only the posts' own addresses are links. Times are Excel's dates in
    UTC, to the millisecond; counts of which Excel would round digits are text; lists and objects are JSON. What is
    longer than a cell stands whole in a sheet of its own, and `say` gets a sentence about it. `appendix` gives the rows
    of the last sheet, `dictionary`, once all others are written.
    """
    from xlsxwriter import Workbook  # type: ignore[import-untyped]

    # In constant memory each sheet lies in a file until the end; the folder goes whatever happens.
    with tempfile.TemporaryDirectory(prefix="tagtrail-xlsx-") as folder:
        book = Workbook(file, {"constant_memory": True, "tmpdir": folder, "use_zip64": True, "default_date_format": ""})
        try:
            sheets = _Sheets(book, facts)
            written = _fill(sheets, rows, facts, sheet)
            long_cells = sheets.long_cells
            sheets.appendix(appendix())
            book.close()
        finally:
            # The library closes a sheet's file only when it writes the book.
            for one in book.worksheets():
                one.row_data_fh.close()
    if long_cells:
        say(f'{counted(long_cells, "cell")} would hold more than Excel can; the sheet "{LONG}" has them whole')
    return written


def _fill(sheets: _Sheets, rows: Iterable[Mapping[str, Any]], facts: Sequence[ColumnFact], name: str) -> int:
    sheets.begin(name)
    count, page, at = 0, 1, 1
    for row in rows:
        if at >= SHEET_ROWS:
            page, at = page + 1, 1
            sheets.begin(f"{name} {page}")
        for column, fact in enumerate(facts):
            sheets.cell(at, column, row[fact.name], link=fact.name == "url")
        at += 1
        count += 1
    return count


class _Sheets:
    """The sheet that is being written, of a book that holds several, and the one for what is too long for a cell."""

    def __init__(self, book: Any, facts: Sequence[ColumnFact]) -> None:
        self._book = book
        self._columns = [fact.name for fact in facts]
        self._widths = [WIDE.get(fact.name, WIDTHS.get(fact.kind, 18)) for fact in facts]
        self._bold = book.add_format({"bold": True, "bottom": 1, "bg_color": "#EEF2F6"})
        self._time = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        self._count = book.add_format({"num_format": "#,##0"})
        self._rate = book.add_format({"num_format": "0.0000"})
        self._link = book.get_default_url_format()
        self._links = 0
        self._sheet: Any = None
        self._long: Any = None
        self._long_row = self._long_page = 0
        self.long_cells = 0
        """Cells whose text stands in a sheet of its own."""

    def begin(self, name: str) -> None:
        """Open the next sheet, with the heading."""
        self._links = 0
        self._sheet = self._new(name, self._columns, self._widths)
        self._sheet.autofilter(0, 0, SHEET_ROWS - 1, len(self._columns) - 1)

    def _new(self, name: str, columns: Sequence[str], widths: Sequence[int]) -> Any:
        sheet = self._book.add_worksheet(name)
        sheet.freeze_panes(1, 0)
        sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
        for column, (text, width) in enumerate(zip(columns, widths, strict=True)):
            sheet.set_column(column, column, width)
            sheet.write_string(0, column, text, self._bold)
        return sheet

    def cell(self, row: int, column: int, value: Any, *, link: bool = False) -> None:
        """One value; unknown stays an empty cell. `link`: an address can be followed."""
        if value is None:
            return
        if isinstance(value, bool):
            self._sheet.write_boolean(row, column, value)
        elif isinstance(value, int | float) and math.isfinite(value) and abs(value) <= EXACT:
            self._sheet.write_number(row, column, value, self._count if isinstance(value, int) else self._rate)
        elif isinstance(value, datetime) and value >= _FIRST_TIME:
            self._sheet.write_datetime(row, column, value.astimezone(UTC).replace(tzinfo=None), self._time)
        elif link and self._links < MAX_LINKS and str(value).startswith("https://") and len(value) <= MAX_LINK_LENGTH:
            self._links += 1
            self._sheet.write_url(row, column, value, self._link, string=value)
        else:
            text = _text(value)
            if is_too_long(text):
                text = self._apart(row, column, text, is_text=isinstance(value, str))
            self._sheet.write_string(row, column, text)

    def _apart(self, row: int, column: int, text: str, *, is_text: bool) -> str:
        """Write what no cell holds into the sheet for such; what its own cell says instead, in JSON for JSON."""
        place = f"{self._sheet.name}!{self._columns[column]} {row + 1}"
        first = ""
        for number, part in enumerate(_parts(text), 1):
            if self._long is None or self._long_row >= SHEET_ROWS:
                self._long_page, self._long_row = self._long_page + 1, 1
                name = LONG if self._long_page == 1 else f"{LONG} {self._long_page}"
                self._long = self._new(name, ("cell", "part", "text"), (30, 8, 80))
            first = first or f"sheet {self._long.name}, from row {self._long_row + 1}"
            self._long.write_string(self._long_row, 0, place)
            self._long.write_number(self._long_row, 1, number)
            self._long.write_string(self._long_row, 2, part)
            self._long_row += 1
        self.long_cells += 1
        if is_text:
            return f"{text[:1000]} … [too long for a cell of Excel: whole in {first}]"
        return json_text({"too_long": cell_length(text), "whole": first})

    def appendix(self, lines: Sequence[Sequence[Any]]) -> None:
        """The last sheet; its first line is the heading."""
        heading, *others = lines
        self._columns = [str(one) for one in heading]
        self._widths = [WIDE.get(name, 18) for name in self._columns]
        self.begin("dictionary")
        for row, line in enumerate(others, 1):
            for column, value in enumerate(line):
                self.cell(row, column, value)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return iso(value)
    text = value if isinstance(value, str) else str(value) if isinstance(value, int | float) else json_text(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _parts(text: str) -> Iterator[str]:
    """A text in pieces that a cell holds each; together they are the text."""
    # As many letters as fit also where each counts twice.
    step = MAX_CELL_TEXT if text.isascii() else MAX_CELL_TEXT // 2
    for begin in range(0, len(text), step):
        yield text[begin : begin + step]
