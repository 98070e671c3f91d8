"""Exports as text: nothing a spreadsheet would run, nothing lost, a file whole or not there."""

import csv
import errno
import io
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO

import pytest

from blocks.errors import NO_ROOM, TagtrailError, UsageError
from deployments.cli.writers import cell, check_output, place, text_maker, write_rows
from tests.read_only import readable_alone

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "exports"
    made.mkdir()
    return made


COLUMNS = ("post_id", "caption", "plays", "hashtags", "extra", "posted_at", "likes_hidden")


def row(**changes: object) -> dict[str, object]:
    plain = {
        "post_id": "3700000000000000001",
        "caption": "Morning light, nothing else",
        "plays": 0,
        "hashtags": ["früh", "light"],
        "extra": {"a": 1},
        "posted_at": datetime(2026, 11, 20, 7, 5, tzinfo=UTC),
        "likes_hidden": False,
    }
    return plain | changes


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_text_that_would_be_a_formula_is_made_harmless(start: str) -> None:
    assert cell(f"{start}HYPERLINK(1)") == f"'{start}HYPERLINK(1)"


@pytest.mark.parametrize("text", ["=1+1", "'=1+1", "''=1+1", "'-12", "'\n", "'", "''", "'a", "-12", "-a", "'＝"])
def test_a_guarded_text_reads_back(text: str) -> None:
    written = cell(text)
    assert re.sub(r"\A'('*[=+\-@\t\r\n＝＋－＠])", r"\1", written) == text
    assert written.startswith("'") or written == "-12"


def test_ids_stay_as_they_are_but_for_excel(folder: Path) -> None:
    rows = [{"post_id": "-hyphenated_", "caption": "-a"}, {"post_id": "=1+1", "caption": None}]
    written = []
    for excel in (False, True):
        write_rows(rows, ("post_id", "caption"), "csv", folder / "posts.csv", excel=excel)
        written.append((folder / "posts.csv").read_text("utf-8-sig").splitlines()[1:])
    assert written == [["-hyphenated_,'-a", "'=1+1,"], ["'-hyphenated_,'-a", "'=1+1,"]]


@pytest.mark.parametrize("text", ["-12", "+3.5", "plain", "a=b", "-0.25", "'quoted"])
def test_numbers_and_plain_text_stay_as_they_are(text: str) -> None:
    assert cell(text) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0, "0"),
        (-5, "-5"),
        (4_294_967_296_000, "4294967296000"),
        (41.125, "41.125"),
        (True, "true"),
        (False, "false"),
        ([], "[]"),
        (["été", "=x"], '["été","=x"]'),
        ({"k": None}, '{"k":null}'),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1))), "2026-01-02T02:04:05Z"),
    ],
)
def test_values_as_cells(value: object, text: str) -> None:
    assert cell(value) == text


def test_csv_reads_back(folder: Path) -> None:
    rows = [row(), row(caption='two\nlines, "quoted"', plays=None), row(caption="a\rlone return")]
    assert write_rows(rows, COLUMNS, "csv", folder / "posts.csv") == 3
    read = list(csv.DictReader(io.StringIO((folder / "posts.csv").read_bytes().decode(), newline="")))
    assert [one["plays"] for one in read] == ["0", "", "0"]
    assert read[2]["caption"] == "a\rlone return"
    assert read[1]["caption"] == 'two\nlines, "quoted"'
    assert json.loads(read[0]["hashtags"]) == ["früh", "light"]
    assert read[0]["posted_at"] == "2026-11-20T07:05:00Z"


def test_json_lines_keep_null_zero_and_the_order_of_columns(folder: Path) -> None:
    assert write_rows([row(caption=None)], COLUMNS, "jsonl", folder / "posts.jsonl") == 1
    (line,) = (folder / "posts.jsonl").read_text("utf-8").splitlines()
    read = json.loads(line)
    assert list(read) == list(COLUMNS)
    assert (read["caption"], read["plays"], read["posted_at"]) == (None, 0, "2026-11-20T07:05:00Z")


def test_no_rows_are_a_heading_or_nothing(folder: Path) -> None:
    assert write_rows([], COLUMNS, "csv", folder / "a.csv") == 0
    assert (folder / "a.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert write_rows([], COLUMNS, "jsonl", folder / "a.jsonl") == 0
    assert (folder / "a.jsonl").read_text() == ""


def test_a_broken_export_leaves_the_old_file_and_no_other(folder: Path) -> None:
    target = folder / "posts.csv"
    target.write_text("old")

    def breaks():
        yield row()
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        write_rows(breaks(), COLUMNS, "csv", target)
    assert [path.name for path in folder.iterdir()] == ["posts.csv"]
    assert target.read_text() == "old"


def test_a_folder_or_a_missing_one_is_one_sentence(folder: Path) -> None:
    for target in (folder, folder / "missing" / "posts.csv"):
        with pytest.raises(UsageError, match="cannot be written"):
            write_rows([row()], COLUMNS, "csv", target)


def test_a_full_disk_is_no_wrong_usage(folder: Path) -> None:
    def broken(file: BinaryIO) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(TagtrailError) as caught:
        place(broken, folder / "x.csv")
    assert type(caught.value) is TagtrailError
    assert str(caught.value) == f"{folder / 'x.csv'} cannot be written: {NO_ROOM}"
    assert list(folder.iterdir()) == []


def test_a_pipe_or_device_is_written_to_and_not_replaced(folder: Path) -> None:
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(pipe.read_text, "utf-8")
        try:
            assert write_rows([row()], COLUMNS, "csv", pipe) == 1
            assert pipe.is_fifo()
        finally:
            if not reading.done():
                # A writer that never came: let the reader go.
                pipe.unlink()
                reading.cancel()
        assert reading.result(10).startswith("post_id,")


def test_rows_are_written_one_at_a_time(folder: Path) -> None:
    target = folder / "posts.jsonl"
    taken = []

    def rows():
        for number in range(50_000):
            taken.append(number)
            yield row(caption="x" * 100)
            if number == 40_000:
                (part,) = folder.iterdir()
                assert part.stat().st_size > 1_000_000

    assert write_rows(rows(), COLUMNS, "jsonl", target) == 50_000


@pytest.mark.parametrize(
    "text",
    [
        "7420072536716239499", "007", "12", "1e5", "1E10", "3-4", "2020-01-02", "Mar-5", "march8", "SEPT2", "12:30",
        "5%", "$5", "1/2", "1,000", "(5)", "5 March", "5. Mai", "10 AM", "TRUE", "falsch", "2020年1月2日", "1.5", "-12",
        "+49 170 123", "1.234,5", "6'000", "30.11.2026 10:30", "９９", "'12", "''=1+1", "=1+1", "@x", "-hyphenated_",
    ],
)  # fmt: skip
def test_what_excel_would_change_has_a_quote_before_it(text: str) -> None:
    assert cell(text, is_id=True, excel=True) == f"'{text}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("3 tips", "3 tips"),
        ("maria22", "maria22"),
        ("anna_22", "anna_22"),
        ("DTagtrail01", "DTagtrail01"),
        ("https://x.example/1", "https://x.example/1"),
        ("May we?", "May we?"),
        (NOON, "2026-03-01T12:00:00Z"),
        ("'quoted", "'quoted"),
        (10**15 - 1, "999999999999999"),
        (10**15, "'1000000000000000"),
        (-(10**15), "'-1000000000000000"),
        (41.125, "41.125"),
        (True, "true"),
        (None, ""),
        ([1], "[1]"),
    ],
)
def test_what_excel_leaves_alone_stays_as_it_is(value: object, text: str) -> None:
    assert cell(value, excel=True) == text


@pytest.mark.parametrize("excel", [True, False])
def test_cells_that_excel_would_cut_are_told_once(excel: bool, folder: Path) -> None:
    said: list[str] = []
    rows = [{"caption": "🌅" * 16_384}, {"caption": "x" * 32_768}, {"caption": "x" * 32_767}]
    place(text_maker(rows, ("caption",), "csv", excel=excel, say=said.append), folder / "posts.csv")
    assert (folder / "posts.csv").read_text("utf-8-sig").splitlines()[2] == "x" * 32_768
    assert [line[:31] for line in said] == (["2 cells of this file hold more "] if excel else [])
    assert all(".xlsx" in line for line in said)


def test_a_file_that_cannot_be_written_is_refused_at_first(folder: Path) -> None:
    (folder / "a.txt").touch()
    (folder / "loop").symlink_to(folder / "loop")
    refused = {
        folder / "a.txt" / "x.csv": "a.txt is no folder",
        folder / "none" / "x.csv": "none is not there",
        folder / "loop" / "x.csv": "--output: ",
        folder / f"{'x' * 300}.csv": "too long",
        # It would fit, but not its dictionary's.
        folder / f"{'é' * 120}.csv": "is too long",
        folder: "is a folder; name a file",
    }
    for output, said in refused.items():
        with pytest.raises(UsageError, match=said) as caught:
            check_output(output)
        assert "\n" not in str(caught.value)
    longest = folder / f"{'é' * 110}.csv"
    for output in (longest, Path("x.csv"), Path(os.devnull)):
        check_output(output)
    assert place(text_maker([row()], COLUMNS, "csv"), longest) == 1
    (folder / "loop").unlink()
    with readable_alone(folder), pytest.raises(UsageError, match=r"nothing can be written in|Permission denied"):
        check_output(folder / "x.csv")
