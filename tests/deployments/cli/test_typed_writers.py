"""Parquet and workbooks: types kept, nothing rounded, nothing run, nothing half written."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blocks.database.data_dictionary import ColumnFact, Coverage, column_facts
from blocks.database.store.export import COLUMNS
from blocks.database.store.filters import Filters
from blocks.posts.payloads import sources
from deployments.cli import dictionaries, parquet, writers, xlsx
from deployments.cli.parquet import write_parquet
from deployments.cli.writers import place
from deployments.cli.xlsx import write_xlsx

NOON = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
FACTS = [fact for fact in column_facts("posts") if fact.name in (
    "post_id", "caption", "hashtags", "posted_at", "duration_seconds", "plays", "likes_hidden", "null_reasons", "extra"
)]  # fmt: skip


def row(**changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "post_id": "0037", "caption": "Morgenlicht 🌅", "hashtags": ["été", "=x"], "posted_at": NOON,
        "duration_seconds": 12.5, "plays": 0, "likes_hidden": False, "null_reasons": {"plays": "not_in_payload"},
        "extra": {"children": [{"width": 1}]},
    }  # fmt: skip
    return known | changes


def empty() -> dict[str, Any]:
    return dict.fromkeys(row())


def test_parquet_keeps_types_null_and_zero() -> None:
    file = io.BytesIO()
    assert write_parquet([row(), row(plays=2**62), empty()], FACTS, file) == 3
    table = pq.read_table(file)
    assert table.schema.field("posted_at").type == pa.timestamp("us", tz="UTC")
    assert table.schema.field("plays").type == pa.int64()
    assert table.schema.field("hashtags").type == pa.list_(pa.string())
    assert table.schema.field("null_reasons").type == pa.map_(pa.string(), pa.string())
    assert table.schema.field("extra").type == pa.json_(pa.string())
    assert table.schema.field("plays").metadata[b"unit"] == b"plays"
    first, large, nothing = table.to_pylist()
    assert (first["post_id"], first["plays"], first["likes_hidden"], first["posted_at"]) == ("0037", 0, False, NOON)
    assert (first["hashtags"], dict(first["null_reasons"])) == (["été", "=x"], {"plays": "not_in_payload"})
    assert json.loads(first["extra"]) == {"children": [{"width": 1}]}
    assert large["plays"] == 2**62
    assert set(nothing.values()) == {None}


def test_parquet_without_rows_has_its_columns_and_half_a_surrogate_is_no_fault() -> None:
    file = io.BytesIO()
    assert write_parquet([], FACTS, file) == 0
    assert pq.read_table(file).column_names == [fact.name for fact in FACTS]
    file = io.BytesIO()
    odd = row(caption="a\ud83d", hashtags=["\ud83d"], extra={"k": "\ud83d"})
    assert write_parquet([odd], FACTS, file) == 1
    assert pq.read_table(file).to_pylist()[0]["caption"] == "a?"


def test_parquet_is_written_group_by_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BATCH_ROWS", 10)
    monkeypatch.setattr(parquet, "GROUP_ROWS", 20)
    file = io.BytesIO()
    sizes: list[int] = []

    def many() -> Iterator[dict[str, Any]]:
        for number in range(95):
            sizes.append(file.tell())
            yield row(post_id=str(number))

    assert write_parquet(many(), FACTS, file) == 95
    assert pq.ParquetFile(file).num_row_groups == 5
    assert sizes[-1] > sizes[0] + 100
    assert [one["post_id"] for one in pq.read_table(file).to_pylist()] == [str(number) for number in range(95)]


def book_of(rows: list[dict[str, Any]], facts: list[ColumnFact] = FACTS, **more: Any) -> Any:
    file = io.BytesIO()
    appendix = [("column", "rows"), ("plays", 1)]
    assert write_xlsx(rows, facts, file, sheet="posts", appendix=lambda: appendix, **more) == len(rows)
    return openpyxl.load_workbook(file)


def test_a_workbook_runs_nothing_and_rounds_nothing() -> None:
    sheet = book_of([row(caption='=HYPERLINK("x")'), empty(), row(caption="https://a.b", plays=2**53 + 1)])["posts"]
    heading, first, nothing, large = sheet.iter_rows()
    names = [one.value for one in heading]
    cells = dict(zip(names, first, strict=True))
    assert (cells["caption"].data_type, cells["caption"].value) == ("s", '=HYPERLINK("x")')
    assert (cells["post_id"].data_type, cells["post_id"].value) == ("s", "0037")
    assert (cells["plays"].data_type, cells["plays"].value) == ("n", 0)
    assert cells["likes_hidden"].value is False
    assert cells["posted_at"].value == NOON.replace(tzinfo=None)
    assert cells["hashtags"].value == '["été","=x"]'
    assert all(one.hyperlink is None for one in large)
    assert dict(zip(names, large, strict=True))["plays"].value == str(2**53 + 1)
    assert {one.value for one in nothing} == {None}


def test_a_workbooks_sheet_is_ready_to_be_read() -> None:
    fact = next(one for one in column_facts("posts") if one.name == "url")
    facts = [*FACTS, fact]
    address = "https://www.tiktok.com/@loom/video/7500000000000000001"
    rows = [row() | {"url": address}, row() | {"url": "javascript:alert(1)"}, row() | {"url": None}]
    sheet = book_of(rows, facts)["posts"]
    names = [one.value for one in sheet[1]]
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref is not None
    assert sheet.auto_filter.ref.startswith("A1:")
    assert sheet.cell(2, names.index("plays") + 1).number_format == "#,##0"
    assert sheet.cell(2, names.index("posted_at") + 1).number_format == "yyyy-mm-dd hh:mm:ss"
    links = [sheet.cell(at, len(facts)).hyperlink for at in (2, 3, 4)]
    assert links[0] is not None
    assert (links[0].target, links[1], links[2]) == (address, None, None)
    assert sheet.cell(2, len(facts)).value == address
    widths = [sheet.column_dimensions[letter].width for letter in "ABC"]
    assert len(set(widths)) > 1


def test_a_workbook_takes_any_text() -> None:
    told = ["a\x00\x07b", "\ud83d", "x" * 32_767]
    book = book_of([row(caption=text) for text in told])
    read = [one[1] for one in book["posts"].iter_rows(min_row=2, values_only=True)]
    assert read[1:3] == ["?", "x" * 32_767]
    assert book.sheetnames == ["posts", "dictionary"]


@pytest.mark.parametrize("long", ["🌅" * 20_000, "x" * 32_768, "=é\n" * 30_000])
def test_what_no_cell_holds_stands_whole_in_a_sheet_of_its_own(long: str) -> None:
    said: list[str] = []
    rows = [row(), row(caption=long, hashtags=[long, "b"]), row(caption="after")]
    book = book_of(rows, say=said.append)
    heading, _, second, third = book["posts"].iter_rows(values_only=True)
    cells = dict(zip(heading, second, strict=True))
    assert cells["caption"].startswith(long[:1000])
    assert "whole in sheet long cells, from row 2" in cells["caption"]
    told = json.loads(cells["hashtags"])
    assert told["too_long"] > 32_767
    assert third[heading.index("caption")] == "after"
    parts: dict[str, str] = {}
    for cell, _, text in book["long cells"].iter_rows(min_row=2, values_only=True):
        assert len(text.encode("utf-16-le")) // 2 <= writers.MAX_CELL_TEXT
        parts[cell] = parts.get(cell, "") + text
    assert parts["posts!caption 3"] == long
    assert json.loads(parts["posts!hashtags 3"]) == [long, "b"]
    assert all(one.data_type != "f" for cells in book["long cells"].iter_rows() for one in cells)
    assert said == ['2 cells would hold more than Excel can; the sheet "long cells" has them whole']


def test_more_rows_than_a_sheet_holds_go_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "SHEET_ROWS", 4)
    book = book_of([row(post_id=str(number)) for number in range(7)])
    assert book.sheetnames == ["posts", "posts 2", "posts 3", "dictionary"]
    read = [list(book[name].iter_rows(values_only=True)) for name in book.sheetnames[:3]]
    assert [len(rows) for rows in read] == [4, 4, 2]
    assert {rows[0] for rows in read} == {tuple(fact.name for fact in FACTS)}
    assert [one[0] for rows in read for one in rows[1:]] == [str(number) for number in range(7)]


@pytest.mark.parametrize("shape", ["parquet", "xlsx"])
def test_a_broken_export_leaves_the_old_file_and_nothing_else(
    shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("out", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    target = tmp_path / "out" / f"posts.{shape}"
    target.write_text("old")

    def breaks() -> Iterator[dict[str, Any]]:
        for _ in range(3000):
            yield row()
        raise RuntimeError("in the middle")

    def make(file: Any) -> int:
        if shape == "parquet":
            return write_parquet(breaks(), FACTS, file)
        return write_xlsx(breaks(), FACTS, file, sheet="posts", appendix=list)

    with pytest.raises(RuntimeError):
        place(make, target, companion=lambda: (target.with_name("beside"), b"{}"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [target.name]
    assert target.read_text() == "old"
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("what", list(COLUMNS))
def test_every_public_column_is_described(what: Any) -> None:
    facts = column_facts(what)
    assert [fact.name for fact in facts] == list(COLUMNS[what])
    assert all(fact.meaning for fact in facts)
    coverage = Coverage(COLUMNS[what])
    told = dictionaries.dictionary(what, "csv", coverage, file="f", filters=Filters(since=NOON), exported_at=NOON)
    assert all(one["share"] is None for one in told["columns"])
    assert told["filters"] == {"since": "2026-03-01T12:00:00.250000Z"}


def test_what_rests_on_a_date_alone_says_so() -> None:
    said = {fact.name: fact.meaning for what in ("posts", "snapshots") for fact in column_facts(what)}
    for name in ("posted_at", "age_seconds", "target_age", "lateness_seconds"):
        assert "a date alone" in said[name]
        assert "may be a day off" in said[name]


def test_a_creators_numbers_are_of_one_payload() -> None:
    said = {fact.name: fact.meaning for fact in column_facts("creators")}
    assert all("unknown where that one does not tell" in said[name] for name in ("verified", "followers"))
    assert "stand in the snapshots" in said["followers"]


def test_sources_are_the_mappers_own_tables() -> None:
    assert sources.post_sources("likes")["x_tweet"] == ["likeCount", "favoriteCount"]
    assert sources.post_sources("hashtags")["tiktok_item"] == ["parsed from the caption (text)"]
    assert sources.post_sources("run_id") == {}
    assert sources.creator_sources("followers")["tiktok_item"] == ["authorMeta.fans"]
    assert "likeCount" in next(iter(sources.comment_sources("likes").values()))
    assert set(sources.post_sources("extra")) >= {"instagram_flat", "youtube_item"}


def test_coverage_counts_values_and_reasons() -> None:
    coverage = Coverage(("plays", "shares", "null_reasons", "status"))
    given = [
        {"plays": 0, "shares": None, "null_reasons": {"shares": "not_in_payload"}, "status": "enriched"},
        {"plays": None, "shares": None, "null_reasons": {}, "status": "pending"},
        {"plays": None, "shares": 3, "null_reasons": None, "status": "enriched"},
    ]
    assert list(coverage.of(given)) == given
    plays, shares, *_ = coverage.by_column()
    assert (plays.filled, plays.share, plays.reasons) == (1, 1 / 3, {"not_measured_yet": 1, "unstated": 1})
    assert (shares.filled, shares.reasons) == (1, {"not_in_payload": 1, "not_measured_yet": 1})
