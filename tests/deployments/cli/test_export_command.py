"""`tagtrail export`, against a filled database and without one."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.database.store.export import COLUMNS
from blocks.database.store.posts import EnrichedPost, save_posts
from blocks.memories.errors import UsageError
from blocks.memories.posts.record import PostRecord
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
def test_everything_can_be_exported_both_ways(what: str, tagtrail: Callable[..., Any]) -> None:
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
        (["--collection", "default"], 0),
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


@pytest.mark.parametrize("typed", ["", "soon", "7", "7 days", "2026-13-01"])
def test_no_moments(typed: str) -> None:
    with pytest.raises(UsageError, match="--since is a date such as"):
        moment("--since", typed, NOW)


@pytest.mark.usefixtures("filled")
def test_the_ending_names_the_format(tagtrail: Callable[..., Any], tmp_path: Path) -> None:
    for name, start in (("a.JSONL", "{"), ("a.NdJson", "{"), ("a.CSV", "platform,"), ("a", "platform,")):
        assert tagtrail("export", "posts", "--output", str(tmp_path / name)).status == 0
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)
    refused = tagtrail("export", "posts", "--output", str(tmp_path / "x.parquet"))
    assert refused.status == 2
    assert "csv or jsonl" in refused.err
    assert "--format" in refused.err
    assert not (tmp_path / "x.parquet").exists()
    assert tagtrail("export", "posts", "--output", str(tmp_path / "x.txt"), "--format", "jsonl").status == 0


@pytest.mark.usefixtures("filled")
def test_a_lone_hyphen_is_standard_output(tagtrail: Callable[..., Any]) -> None:
    plain = tagtrail("export", "posts").out
    assert tagtrail("export", "posts", "--output", "-").out == plain
    assert tagtrail("export", "posts", "--output=-", "--format", "csv").out == plain
