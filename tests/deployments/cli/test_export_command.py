"""`tagtrail export`, against a filled database and without one."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq
import pytest

from blocks.database.engine import Store
from blocks.database.store import runs
from blocks.database.store.export import COLUMNS
from blocks.database.store.posts import EnrichedPost, save_posts
from blocks.errors import UsageError
from blocks.exported_files import exported
from blocks.posts.identity import parse_post_url
from blocks.posts.record import PostRecord
from deployments.cli.options import moment

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.usefixtures("filled")
def test_posts_as_csv(tagtrail: Callable[..., Any]) -> None:
    called = tagtrail("export", "posts")
    assert called.status == 0
    rows = table(called.out)
    assert list(rows[0]) == list(COLUMNS["posts"])
    assert [row["plays"] for row in rows] == ["0", "1000", "2000", ""]
    assert [row["status"] for row in rows] == ["enriched"] * 3 + ["failed"]
    assert rows[0]["caption"] == "'=Linen #linen"
    assert json.loads(rows[0]["source_hashtags"]) == ["linen"]
    assert rows[0]["posted_at"] == "2026-11-20T12:00:00Z"
    assert called.err.startswith("Database: ")


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("what", list(COLUMNS))
def test_everything_can_be_exported_as_text(what: str, tagtrail: Callable[..., Any]) -> None:
    counts = {"posts": 4, "snapshots": 3, "creators": 3, "comments": 0, "imports": 1, "failures": 1}
    as_csv, as_json = tagtrail("export", what), tagtrail("export", what, "--format", "jsonl")
    assert (as_csv.status, as_json.status) == (0, 0)
    lines = [json.loads(line) for line in as_json.out.splitlines()]
    assert len(table(as_csv.out)) == len(lines) == counts[what]
    assert all(list(line) == list(COLUMNS[what]) for line in lines)  # type: ignore[index]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--status", "failed"], 1),
        (["--hashtag", "#LINEN"], 4),
        (["--hashtag", "wool"], 0),
        (["--collection", "fibres"], 4),
        (["--platform", "instagram"], 0),
        (["--since", "2026-11-20"], 4),
        (["--since", "2026-11-20T12:00:01Z"], 0),
    ],
)
def test_filters(filters: list[str], count: int, tagtrail: Callable[..., Any]) -> None:
    called = tagtrail("export", "posts", *filters)
    assert called.status == 0
    assert len(table(called.out)) == count


@pytest.mark.usefixtures("filled")
def test_a_file_by_its_name(tagtrail: Callable[..., Any], tmp_path: Path) -> None:
    target = tmp_path / "posts.jsonl"
    called = tagtrail("export", "posts", "--output", str(target), "--status", "enriched")
    assert (called.status, called.out) == (0, "")
    assert [json.loads(line)["plays"] for line in target.read_text("utf-8").splitlines()] == [0, 1000, 2000]


@pytest.mark.usefixtures("filled")
def test_a_status_that_rows_cannot_have(tagtrail: Callable[..., Any], tmp_path: Path) -> None:
    called = tagtrail("export", "posts", "--status", "open", "--output", str(tmp_path / "x.csv"))
    assert called.status == 2
    assert "choose one of pending, enriched, failed, gone" in called.err
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("command", [["export", "posts"], ["export", "failures", "--format", "jsonl"], ["top"]])
def test_a_home_without_data_is_nothing_and_0(
    command: list[str], tagtrail: Callable[..., Any], clean_environment: Path
) -> None:
    called = tagtrail(*command)
    assert (called.status, called.out) == (0, "")
    assert "There is no database yet" in called.err
    assert not clean_environment.exists()


@pytest.mark.integration
def test_a_reader_that_has_enough_is_no_error(
    home_store: Store, clean_environment: Path, record: Callable[..., PostRecord]
) -> None:
    """`tagtrail export | head`: more than a pipe holds, and a reader that goes after one line."""
    saved = [record(number, caption="x" * 500) for number in range(2000)]
    with home_store.begin() as conn:
        save_posts(conn, [EnrichedPost(record=one, channel="apify", observed_at=NOW) for one in saved], NOW)
    with subprocess.Popen(
        [sys.executable, "-m", "deployments.cli.main", "export", "posts"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"platform,")
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait(30) == 0
    assert said == f"Database: {clean_environment / 'tagtrail.db'}\n"


@pytest.mark.stack
@pytest.mark.usefixtures("filled")
def test_reading_commands_do_not_import_prefect() -> None:
    script = (
        "import sys; from deployments.cli import main\n"
        "for command in (['export', 'posts'], ['status'], ['top'], ['retry', '--error', 'none'], ['down']):\n"
        "    assert main.call(command) == 0, command\n"
        "found = {'prefect', 'httpx', 'fastapi'} & set(sys.modules)\n"
        "sys.exit(f'imported: {found}' if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T08:30Z", datetime(2026, 11, 1, 8, 30, tzinfo=UTC)),
        ("2026-11-01T08:30+02:00", datetime(2026, 11, 1, 6, 30, tzinfo=UTC)),
        ("2026-11-01 08:30", datetime(2026, 11, 1, 8, 30, tzinfo=UTC)),
        ("7d", NOW - timedelta(days=7)),
        ("24h", NOW - timedelta(hours=24)),
    ],
)
def test_moments(typed: str, meant: datetime) -> None:
    assert moment("--since", typed, NOW) == meant


@pytest.mark.parametrize(
    "typed", ["", "soon", "7", "7 days", "2026-13-01", "0001-01-01T00:00+05:00", "9999-12-31T23:59-05:00"]
)
def test_no_moments(typed: str) -> None:
    with pytest.raises(UsageError, match="--since is a date such as"):
        moment("--since", typed, NOW)


@pytest.mark.usefixtures("filled")
def test_the_ending_names_the_format(tagtrail: Callable[..., Any], tmp_path: Path) -> None:
    for name, start in (("a.JSONL", "{"), ("a.NdJson", "{"), ("a.CSV", "platform,"), ("a", "platform,")):
        assert tagtrail("export", "posts", "--output", str(tmp_path / name)).status == 0
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)
    refused = tagtrail("export", "posts", "--output", str(tmp_path / "x.txt"))
    assert refused.status == 2
    assert "csv, jsonl, parquet or xlsx" in refused.err
    assert "--format" in refused.err
    assert not (tmp_path / "x.txt").exists()
    assert tagtrail("export", "posts", "--output", str(tmp_path / "x.txt"), "--format", "jsonl").status == 0


@pytest.mark.usefixtures("filled")
def test_a_lone_hyphen_is_standard_output(tagtrail: Callable[..., Any]) -> None:
    plain = tagtrail("export", "posts").out
    assert tagtrail("export", "posts", "--output", "-").out == plain
    assert tagtrail("export", "posts", "--output=-", "--format", "csv").out == plain


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("what", list(COLUMNS))
def test_everything_can_be_exported_as_parquet_and_workbook(
    what: str, tagtrail: Callable[..., Any], tmp_path: Path, clean_environment: Path
) -> None:
    lines = [json.loads(line) for line in tagtrail("export", what, "--format", "jsonl").out.splitlines()]
    typed, book = tmp_path / "rows.parquet", tmp_path / "rows.xlsx"
    assert [tagtrail("export", what, "--output", str(path)).status for path in (typed, book)] == [0, 0]
    table = pq.read_table(typed)
    assert table.column_names == list(COLUMNS[what])  # type: ignore[index]
    assert table.num_rows == len(lines)
    sheets = openpyxl.load_workbook(book)
    assert sheets.sheetnames == [what, "dictionary"]
    rows = list(sheets[what].values)
    assert rows[0] == COLUMNS[what]  # type: ignore[index]
    assert len(rows) == len(lines) + 1
    assert [(one.path, one.rows) for one in exported(clean_environment)] == [(typed, len(lines)), (book, len(lines))]


@pytest.mark.usefixtures("filled")
def test_a_dictionary_lies_beside_each_file(tagtrail: Callable[..., Any], tmp_path: Path) -> None:
    assert tagtrail("export", "posts", "--output", str(tmp_path / "posts.csv"), "--platform", "tiktok").status == 0
    told = json.loads((tmp_path / "posts.csv.dictionary.json").read_text("utf-8"))
    assert (told["file"], told["what"], told["rows"], told["filters"]) == (
        "posts.csv",
        "posts",
        4,
        {"platform": "tiktok"},
    )
    assert [one["column"] for one in told["columns"]] == list(COLUMNS["posts"])
    plays = next(one for one in told["columns"] if one["column"] == "plays")
    assert (plays["type"], plays["unit"], plays["filled"], plays["share"]) == ("whole number", "plays", 3, 0.75)
    assert plays["null_reasons"] == {"unknown_shape": 1}
    assert plays["source"]["tiktok_item"] == ["playCount"]
    assert "a sample, not a census" in told["note"].lower()
    assert "Ids of letters, digits, - and _ stay as they are: audio_id, author_id, comment_id" in told["escaping"]
    assert all(one["meaning"] and one["source"] for one in told["columns"])
    # The test's records give no reasons; a filled column has none to give.
    assert all(sum(one["null_reasons"].values()) == one["rows"] - one["filled"] for one in told["columns"])
    assert tagtrail("export", "posts", "--output", "/dev/null").status == 0
    assert not Path("/dev/null.dictionary.json").exists()
    for name, options, rule in (("e.csv", ["--excel"], "because of --excel"), ("p.jsonl", [], None)):
        assert tagtrail("export", "posts", "--output", str(tmp_path / name), *options).status == 0
        said = json.loads((tmp_path / f"{name}.dictionary.json").read_text("utf-8")).get("escaping")
        assert said is None if rule is None else rule in said


@pytest.mark.usefixtures("filled")
def test_a_mark_for_excel(tagtrail: Callable[..., Any], tmp_path: Path) -> None:
    target = tmp_path / "posts.csv"
    assert tagtrail("export", "posts", "--output", str(target), "--excel").status == 0
    assert target.read_bytes().startswith(b"\xef\xbb\xbfplatform,")
    refused = tagtrail("export", "posts", "--output", str(target))
    assert (refused.status, "--overwrite replaces it" in refused.err) == (2, True)
    assert target.read_bytes().startswith(b"\xef\xbb\xbfplatform,"), "nothing was overwritten"
    written = tagtrail("export", "posts", "--output", str(target), "--overwrite")
    rows = len(list(csv.reader(target.read_text("utf-8").splitlines()))) - 1
    assert (written.status, f"{rows} rows → {target}\n" in written.err) == (0, True)
    assert target.read_bytes().startswith(b"platform,")
    refused = tagtrail("export", "posts", "--output", str(tmp_path / "p.jsonl"), "--excel")
    assert (refused.status, "--excel marks a CSV file" in refused.err) == (2, True)


@pytest.mark.stack
@pytest.mark.usefixtures("filled")
def test_what_is_no_text_goes_to_a_pipe_but_not_to_a_terminal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deployments.cli.main", "export", "posts", "--format"]
    for shape, start in (("parquet", b"PAR1"), ("xlsx", b"PK")):
        piped = subprocess.run([*command, shape], capture_output=True, env=os.environ, timeout=99)
        assert (piped.returncode, piped.stdout[: len(start)]) == (0, start), piped.stderr
    ours, theirs = pty.openpty()
    try:
        shown = subprocess.run([*command, "parquet"], stdout=theirs, stderr=subprocess.PIPE, env=os.environ, timeout=99)
    finally:
        os.close(theirs)
        os.close(ours)
    assert shown.returncode == 2
    assert b"name a file with --output, or redirect the output" in shown.stderr


@pytest.mark.usefixtures("filled")
def test_without_pyarrow_one_sentence_says_how_to_install_it(
    tagtrail: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    refused = tagtrail("export", "posts", "--output", str(tmp_path / "p.parquet"))
    assert refused.status == 2
    assert "-m pip install 'pyarrow>=20'" in refused.err
    assert list(tmp_path.glob("*p.parquet*")) == []


@pytest.mark.usefixtures("filled")
def test_a_filtered_export_names_no_other_collection(
    filled: Store, tagtrail: Callable[..., Any], record: Callable[..., PostRecord]
) -> None:
    with filled.begin() as conn:
        runs.start_run(conn, run_id="r2", flow="enrich-posts", account="acc", collection="rival", now=NOW)
        runs.take_posts(conn, "r2", [(parse_post_url(record(0).url), "typed")], now=NOW)
    rows = table(tagtrail("export", "posts", "--collection", "rival").out)
    assert [(row["collections"], row["source_hashtags"], row["import_ids"]) for row in rows] == [
        ('["rival"]', "[]", "[]")
    ]
    both = table(tagtrail("export", "posts").out)[0]
    assert both["collections"] == '["fibres","rival"]'


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["export", "posts", "--hashtag", "wool"], "There is no import of the hashtag wool in the database; there are"),
        (["top", "wool"], "There is no import of the hashtag wool in the database; there are"),
    ],
)
def test_a_misspelt_filter_is_told_with_what_there_is(
    command: list[str], said: str, tagtrail: Callable[..., Any]
) -> None:
    called = tagtrail(*command)
    assert called.status == 0
    assert said in called.err
    assert "linen" in called.err


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("command", [["export", "posts"], ["refresh", "--dry-run"], ["top"]])
def test_a_collection_that_is_not_there_is_refused_with_those_that_are(
    command: list[str], tagtrail: Callable[..., Any]
) -> None:
    called = tagtrail(*command, "--collection", "nope")
    assert (called.status, called.out) == (2, "")
    assert called.err.endswith("tagtrail: there is no collection nope; there are: fibres\n")


def test_export_without_a_word_lists_the_choices(tagtrail: Callable[..., Any]) -> None:
    called = tagtrail("export")
    assert (called.status, called.out) == (2, "")
    assert called.err == "tagtrail: say what to export: posts, snapshots, creators, comments, imports, failures\n"
