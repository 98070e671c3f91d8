"""Rows to a file or to standard output: text one row at a time, and files that appear only when they are whole."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import orjson

from blocks.errors import UsageError, unwritable
from blocks.outside_words import for_terminal
from deployments.cli.terminal import counted

TextFormat = Literal["csv", "jsonl"]
Format = Literal["csv", "jsonl", "parquet", "xlsx"]

Maker = Callable[[BinaryIO], int]
"""Writes all rows to an open binary file; the number of rows."""

_FORMULA: Final = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""A text cell that starts so would be run as a formula by a spreadsheet (OWASP, CSV injection), or, with quotes before
it, would look as if one had been put there against that."""
_MAY_BE_FORMULA: Final = frozenset("'=+-@\t\r\n＝＋－＠")
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
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    shape: TextFormat,
    *,
    excel: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Maker:
    """Writes rows as CSV or JSON lines; `excel`: CSV with a BOM, in which all that Excel would change is guarded.

    `say` gets a sentence if there are cells that Excel would cut.
    """

    def make(file: BinaryIO) -> int:
        from blocks.database.data_dictionary import IDS

        too_long = 0

        def guarded(value: Any, is_id: bool) -> str:
            nonlocal too_long
            text = cell(value, is_id=is_id, excel=excel)
            too_long += excel and is_too_long(text)
            return text

        if shape == "jsonl":
            return _write_json_lines(rows, columns, file)
        if excel:
            file.write(BOM)
        count = _write_csv(rows, {name: name in IDS for name in columns}, guarded if excel else cell, file, excel=excel)
        if too_long:
            say(_TOO_LONG.format(cells=counted(too_long, "cell")))
        return count

    return make


_TOO_LONG: Final = (
    "{cells} of this file hold more than the 32,767 characters that Excel shows in one: open it with something else, "
    "or export to a file that ends in .xlsx, which has them whole in a sheet of their own"
)


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
        out: BinaryIO = _Shown(sys.stdout.buffer) if sys.stdout.isatty() else sys.stdout.buffer
        written = _through_a_file(make, out) if binary else make(out)
        sys.stdout.buffer.flush()
        return written
    try:
        if is_device(output):
            with output.open("wb") as device:
                return _through_a_file(make, device) if binary else make(device)
        return _place_whole(make, output, companion)
    except OSError as error:
        raise unwritable(output, error) from None


def beside(output: Path) -> Path:
    """The place of a file's data dictionary: `posts.csv.dictionary.json` beside `posts.csv`."""
    target = output.resolve()
    return target.with_name(f"{target.name}.dictionary.json")


def check_output(output: Path, *, overwrite: bool = True) -> None:
    """Refuse a file that cannot be written, or its dictionary not beside it, before anything is read for it.

    Raises:
        UsageError: its folder is missing, no folder, or not to be written; or its name is too long, or a folder's; or
            the file is there and not to be overwritten.
    """
    try:
        folder = output.resolve().parent
        if not _is_folder(folder):
            what = "is no folder" if folder.exists() else "is not there"
            raise UsageError(f"--output: {folder} {what}; name a file in a folder that is")
        if output.is_dir():
            raise UsageError(f"--output: {output} is a folder; name a file")
        if is_device(output):
            return
        if output.exists() and not overwrite:
            raise UsageError(f"--output: {output} is there already; --overwrite replaces it, or name another file")
        if len(os.fsencode(beside(output).name)) > os.pathconf(folder, "PC_NAME_MAX"):
            raise UsageError(f"--output: the name {output.name[:40]}… is too long; give a shorter one")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UsageError(f"--output: nothing can be written in {folder}; name a file in another folder")
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "its links lead nowhere"
        raise UsageError(f"--output: {str(output)[:100]} cannot be written ({reason}); name another file") from None


def _is_folder(path: Path) -> bool:
    """As `Path.is_dir`, but a path that cannot be looked at raises PermissionError; Python 3.14 says False of it."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def cell(value: Any, is_id: bool = False, *, excel: bool = False) -> str:
    """A value as CSV text: unknown is empty, lists and mappings are JSON, text never starts a formula.

    A text that would has one more quote before it, and so has one that begins with quotes and then such a character:
    whoever takes one away has the text. With `is_id`, letters, digits, `-` and `_` stay as they are: rows are joined
    by them. With `excel` the quote stands before ids too, and before all that Excel would read as something else:
    numbers, dates, times, truth values.
    """
    if value is None:
        return ""
    if excel and isinstance(value, str | int) and not isinstance(value, bool):
        return f"'{value}" if _excel_would_change(value) else str(value)
    if isinstance(value, str):
        # Most texts begin with something else, and there are dozens in a row.
        if value[:1] not in _MAY_BE_FORMULA or not _FORMULA.match(value):
            return value
        if _NUMBER.match(value) or (is_id and _ID.match(value)):
            return value
        return f"'{value}"
    if isinstance(value, list | dict):
        return json_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return iso(value) if isinstance(value, datetime) else str(value)


def _excel_would_change(value: str | int) -> bool:
    if isinstance(value, int):
        return abs(value) > EXACT
    return bool(_FORMULA.match(value)) or would_change(value.lstrip("'"))


def iso(value: datetime) -> str:
    """A time as ISO 8601 in UTC with `Z`."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def json_text(value: Any) -> str:
    """A list or mapping as JSON."""
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()
    except orjson.JSONEncodeError:
        # Numbers beyond 64 bits, and halves of surrogate pairs.
        return _JSON.encode(value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    raise TypeError(f"{type(value).__name__} has no place in an export")


_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain)


def json_line(row: Mapping[str, Any]) -> bytes:
    """A row as JSON; halves of surrogate pairs become question marks."""
    return (json_text(row) + "\n").encode("utf-8", errors="replace")


def is_device(path: Path) -> bool:
    """Whether it is there and no plain file: a device or a pipe is written to, never replaced."""
    try:
        return not stat.S_ISREG(path.stat().st_mode) and not path.is_dir()
    except FileNotFoundError:
        return False


class _Lines:
    """Where the csv module writes its lines, each of which gets the line end of this project."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, line: str) -> None:
        self._file.write((line[:-2] + "\n").encode("utf-8", errors="replace"))


def _write_csv(
    rows: Iterable[Mapping[str, Any]],
    columns: Mapping[str, bool],
    to_text: Callable[[Any, bool], str],
    file: BinaryIO,
    *,
    excel: bool,
) -> int:
    """Write the heading and all rows; `columns` says of each whether it is an id."""
    # The csv module puts a text with a lone carriage return in quotes only if its own line ends have one.
    writer = csv.writer(_Lines(file), lineterminator="\r\n")
    writer.writerow(columns)
    wanted = tuple(columns.items())
    count = 0
    for row in rows:
        writer.writerow(
            [
                # Most cells are as they are: a call for each would take longer than all the rest.
                value
                if (value := row[name]) is None
                or (
                    not excel
                    and (
                        value[:1] not in _MAY_BE_FORMULA
                        if (kind := type(value)) is str
                        else kind is int or kind is float
                    )
                )
                else to_text(value, is_id)
                for name, is_id in wanted
            ]
        )
        count += 1
    return count


def _write_json_lines(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], file: BinaryIO) -> int:
    count = 0
    for row in rows:
        file.write(json_line({name: row[name] for name in columns}))
        count += 1
    return count


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


class _Shown(io.BytesIO):
    """A terminal, on which rows are text that steers nothing; files and pipes get them as they are."""

    def __init__(self, terminal: BinaryIO) -> None:
        super().__init__()
        self._terminal = terminal

    def write(self, line: Any, /) -> int:
        return self._terminal.write(for_terminal(bytes(line).decode("utf-8", errors="replace")).encode())


def _part_of(target: Path) -> Path:
    # Short, so that it fits wherever the file's own name does.
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    return target.with_name(f".{name}.{os.getpid()}.part")


MAX_CELL_TEXT: Final = 32_767
"""Letters in one cell at most, by Excel's own count (UTF-16)."""

EXACT: Final = 10**15 - 1
"""Excel keeps 15 digits of a number."""

_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november"),
    *("december", "januar", "februar", "märz", "mai", "juni", "juli", "oktober", "dezember", "janvier", "février"),
    *("mars", "avril", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre", "enero", "febrero"),
    *("marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"),
    *("gennaio", "febbraio", "aprile", "maggio", "giugno", "luglio", "settembre", "ottobre", "dicembre", "janeiro"),
    *("fevereiro", "março", "maio", "junho", "julho", "setembro", "outubro", "novembro", "dezembro", "januari"),
    *("februari", "maart", "mei", "augustus"),
)
_WORDS: Final = frozenset(
    {"e", "a", "p", "am", "pm", *"年月日時分秒"} | {name[:end] for name in _MONTHS for end in range(3, len(name) + 1)}
)
"""Words that stand in numbers, times and dates; Excel takes the beginning of a month's name for the month."""

_TRUTHS: Final = frozenset({"true", "false", "wahr", "falsch", "vrai", "faux", "verdadero", "falso", "vero", "waar"})
_WORD: Final = re.compile(r"[^\W\d_]")
_BETWEEN: Final = re.compile(r"[\d\s.,:;/'’()%$€£¥₹₩+\-–−]+")


def would_change(text: str) -> bool:
    """Whether Excel may read a text as a number, a date, a time or a truth value, in some language of its own."""
    if len(text) > 60:
        return False
    if not any(letter.isdigit() for letter in text):
        return text.strip().lower() in _TRUTHS
    words = re.findall(r"[年月日時分秒]|[^\W\d_年月日時分秒]+", text.lower())
    return all(word in _WORDS for word in words) and _BETWEEN.fullmatch(_WORD.sub(" ", text)) is not None


def cell_length(text: str) -> int:
    """How long Excel says that a text is."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "replace")) // 2


def is_too_long(text: str) -> bool:
    """Whether one cell does not hold it."""
    return len(text) * 2 > MAX_CELL_TEXT and cell_length(text) > MAX_CELL_TEXT
