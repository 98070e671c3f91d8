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
from blocks.exported_files import exported
from blocks.posts.identity import parse_post_url
from blocks.posts.record import PostRecord


@pytest.mark.usefixtures("filled", "one_day")
def test_a_report_goes_to_the_home_and_its_path_is_told(tagtrail: Callable[..., Any], clean_environment: Path) -> None:
    called = tagtrail("report", "--days", "0")
    assert called.status == 0
    written = Path(called.out.strip())
    assert written == clean_environment / "reports" / f"report-all-{datetime.now(UTC):%Y-%m-%d}.html"
    assert "<bdi>fibres</bdi>" in written.read_text(encoding="utf-8")
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
    assert "The report on 4 posts of 2 collections" in tagtrail("report", "--days", "0").err
    [noted] = exported(clean_environment)
    assert noted.rows == 4


@pytest.mark.usefixtures("filled")
def test_a_report_goes_where_it_is_told_to(tagtrail: Callable[..., Any], tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    assert tagtrail("report", "--output", str(target), "--collection", "fibres").out == f"{target}\n"
    piped = tagtrail("report", "--output", "-")
    assert piped.out.startswith("<!DOCTYPE html>")
    assert piped.out.endswith("</html>")
    for where, why in (
        (tmp_path / "none" / "page.html", "is not there; name a file in a folder that is"),
        (target / "page.html", "is no folder; name a file in a folder that is"),
        (tmp_path / ("r" * 300), "File name too long"),
        (tmp_path, "is a folder; name a file"),
    ):
        refused = tagtrail("report", "--output", str(where))
        assert refused.status == 2
        assert why in refused.err


@pytest.mark.usefixtures("filled")
def test_a_collection_that_is_not_there_is_one_sentence(tagtrail: Callable[..., Any]) -> None:
    refused = tagtrail("report", "--collection", "fibre")
    assert refused.status == 2
    assert "there is no collection fibre in the database; there are fibres" in refused.err


@pytest.mark.usefixtures("filled")
def test_a_week_without_posts_says_how_to_see_more(tagtrail: Callable[..., Any]) -> None:
    called = tagtrail("report", "--since", "2001-01-01", "--until", "2001-01-08")
    assert called.status == 0
    assert "No post was posted in this period; `--days 0` reports on all time" in called.err


@pytest.mark.usefixtures("filled")
def test_a_report_of_the_past_is_the_same_again(tagtrail: Callable[..., Any], tmp_path: Path) -> None:
    then = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    targets = [tmp_path / "one.html", tmp_path / "two.html"]
    for target in targets:
        assert tagtrail("report", "--as-of", then, "--days", "0", "--output", str(target)).status == 0
    assert targets[0].read_bytes() == targets[1].read_bytes()
    assert f"--days 0 --until {then} --as-of {then}" in targets[0].read_text(encoding="utf-8")


@pytest.mark.usefixtures("filled")
def test_a_list_to_check_lies_beside_the_report_and_the_browser_opens_it(
    tagtrail: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) is None)
    target = tmp_path / "page.html"
    called = tagtrail("report", "--check", "3", "--open", "--output", str(target))
    assert called.status == 0
    assert f"The list to check by hand: {tmp_path / 'page.check.csv'}" in called.err
    assert opened == [target.as_uri()]
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    assert "no browser to open it with" in tagtrail("report", "--open", "--output", str(target)).err


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("--days", "7", "--since", "3d"), "give --days or --since, not both"),
        (("--as-of", "2999-01-01"), "--as-of 2999-01-01 00:00 UTC lies ahead"),
        (("--check", "0"), "--check is 1 or more, not 0"),
        (("--output", "-", "--open"), "--check and --open need a file"),
        (("--days", "week"), "is a whole number, such as 25; not week"),
    ],
)
def test_what_is_no_report_is_one_sentence(tagtrail: Callable[..., Any], typed: tuple[str, ...], said: str) -> None:
    refused = tagtrail("report", *typed)
    assert (refused.status, said in refused.err) == (2, True), refused.err


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
        "assert not {'numpy', 'jinja2', 'pyarrow', 'xlsxwriter'} & set(sys.modules)\n"
        "assert main.call(['report']) == 0\n"
        "sys.exit('prefect' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
