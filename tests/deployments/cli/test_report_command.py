"""`tagtrail report`, against a filled database and without one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.database.store import runs
from blocks.memories.identity import parse_post_url
from blocks.memories.posts.record import PostRecord
from flows.steps.exported import exported


@pytest.mark.usefixtures("filled", "one_day")
def test_a_report_goes_to_the_home_and_its_path_is_told(tagtrail: Callable[..., Any], clean_environment: Path) -> None:
    called = tagtrail("report")
    assert called.status == 0
    written = Path(called.out.strip())
    assert written == clean_environment / "reports" / f"report-all-{datetime.now(UTC):%Y-%m-%d}.html"
    assert "Collection fibres" in written.read_text(encoding="utf-8")
    assert "The report on 4 posts of 1 collection" in called.err
    assert [(one.path, one.what, one.rows) for one in exported(clean_environment)] == [(written, "report", 4)]
    assert tagtrail("report", "--collection", "fibres", "--hashtag", "#LINEN", "--since", "2026-11-01").status == 0


def test_a_post_of_two_collections_is_counted_once(
    tagtrail: Callable[..., Any], filled: Store, record: Callable[..., PostRecord], clean_environment: Path
) -> None:
    shared, now = parse_post_url(record(1).url), datetime.now(UTC)
    with filled.begin() as conn:
        runs.start_run(conn, run_id="r2", flow="enrich-posts", account="acc", collection="threads", now=now)
        runs.take_posts(conn, "r2", [(shared, None)], now=now)
    assert "The report on 4 posts of 2 collections" in tagtrail("report").err
    [noted] = exported(clean_environment)
    assert noted.rows == 4


@pytest.mark.usefixtures("filled")
def test_a_report_goes_where_it_is_told_to(tagtrail: Callable[..., Any], tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    assert tagtrail("report", "--output", str(target), "--collection", "fibres").out == f"{target}\n"
    piped = tagtrail("report", "--output", "-")
    assert piped.out.startswith("<!DOCTYPE html>")
    assert piped.out.endswith("</html>")
    refused = tagtrail("report", "--output", str(tmp_path / "none" / "page.html"))
    assert (refused.status, "cannot be written" in refused.err) == (2, True)


@pytest.mark.usefixtures("filled")
def test_a_collection_that_is_not_there_is_one_sentence(tagtrail: Callable[..., Any]) -> None:
    refused = tagtrail("report", "--collection", "fibre")
    assert refused.status == 2
    assert "there is no collection fibre in the database; there are fibres" in refused.err


def test_a_home_without_data_is_nothing_and_0(tagtrail: Callable[..., Any], clean_environment: Path) -> None:
    called = tagtrail("report")
    assert (called.status, called.out) == (0, "")
    assert "There is no database yet" in called.err
    assert not clean_environment.exists()


@pytest.mark.stack
@pytest.mark.usefixtures("filled")
def test_a_report_needs_no_prefect_and_an_export_no_plots() -> None:
    script = (
        "import sys; from deployments.cli import main\n"
        "assert main.call(['export', 'posts']) == 0\n"
        "assert not {'matplotlib', 'jinja2', 'pyarrow', 'xlsxwriter'} & set(sys.modules)\n"
        "assert main.call(['report']) == 0\n"
        "sys.exit('prefect' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
