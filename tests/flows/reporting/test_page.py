"""The report's page: nothing from elsewhere, every text escaped, plots with their numbers, the same bytes each time."""

from __future__ import annotations

import base64
import errno
import gzip
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from blocks.database.engine import Store, open_store
from blocks.errors import TagtrailError, UsageError
from blocks.posts.snapshot_plan import SnapshotPlan
from flows.reporting.figures import gather
from flows.reporting.making import address, default_target, make
from flows.reporting.page import percent, render, spark, write
from flows.reporting.period import Period
from flows.reporting.sentences import aged, number, times

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
WEEKLY = Period(NOW - WEEK, NOW, NOW)
VOID = {"meta", "br"}
HOSTILE = '</script><script>alert("x")</script> & \u202e =HYPERLINK("http://example.com") #Loom'


class Page(HTMLParser):
    """What a browser would see: elements, attributes, text; badly nested elements are an error."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts.append(data)
        elif not self._open or self._open[-1] != "style":
            self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    @property
    def data(self) -> Any:
        """What the page's own program reads."""
        return json.loads(gzip.decompress(base64.b64decode(self.scripts[0])))


def page_of(store: Store, collection: str | None = None, period: Period = WEEKLY) -> str:
    return render(gather(store, collection=collection, hashtag=None, period=period, plan=SnapshotPlan()))


@pytest.fixture(scope="module")
def filled(
    migrated_sqlite: Path,
    fill: Callable[[Connection], None],
    fill_weeks: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Store]:
    path = tmp_path_factory.mktemp("reporting") / "tagtrail.db"
    shutil.copyfile(migrated_sqlite, path)
    store = open_store(f"sqlite:///{path}")
    with store.begin() as conn:
        fill(conn)
        fill_weeks(
            conn,
            a_week=70,
            name='=HYPERLINK("http://example.com","<u>")',
            caption=HOSTILE,
            hashtags=("linen", "แฟชั่น", "موضة", "🧵"),
        )
    yield store
    store.close()


@pytest.fixture(scope="module")
def whole(filled: Store) -> str:
    return page_of(filled)


def test_the_page_asks_nothing_of_anybody(whole: str) -> None:
    page = Page(whole)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"link", "iframe", "img", "object", "embed", "form", "base", "image"}
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("src", "srcset", "action", "xlink:href"), (tag, value)
            assert "url(" not in (value or "")
    links = [attributes for attributes in page.of("a") if not (attributes["href"] or "").startswith("#")]
    assert links
    assert all((one["href"] or "").startswith("https://") and one["rel"] == "noreferrer noopener" for one in links)
    assert "url(" not in whole[whole.index("<style>") : whole.index("</style>")]


def test_only_the_pages_own_program_may_run(whole: str) -> None:
    page = Page(whole)
    [policy] = [one["content"] for one in page.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    program = page.scripts[-1]
    allowed = base64.b64encode(sha256(program.encode()).digest()).decode()
    assert policy is not None
    assert policy.startswith(f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{allowed}' blob:;")
    assert [one.get("type") for one in page.of("script")] == ["text/plain", "text/plain", None]
    assert b"plotly.js" in gzip.decompress(base64.b64decode(page.scripts[1]))[:200]
    assert len(whole) < 3_000_000


def test_words_from_outside_stay_words(whole: str) -> None:
    page = Page(whole)
    assert '<script>alert("x")</script>' not in whole
    assert '</script><script>alert("x")</script> & \u202e =HYPERLINK' in page.words
    assert "<u>" not in whole
    assert '@=HYPERLINK("http://example.com","<u>").' in page.words
    [weeks] = [one for one in page.data["sections"] if one["tags"] and "แฟชั่น" in one["tags"]]
    assert weeks["tags"] == sorted(weeks["tags"], key=weeks["tags"].index)
    assert '=HYPERLINK("http://example.com","<u>").0' in weeks["creators"]
    for tag in ("#แฟชั่น", "#موضة", "#🧵"):
        assert tag in page.words


def test_each_plot_has_a_name_and_its_numbers_in_a_table(whole: str) -> None:
    page = Page(whole)
    plots = [attributes for attributes in page.of("div") if attributes.get("class") == "plot"]
    assert [str(one["id"]).split("-", 1)[1] for one in plots[:3]] == ["compared", "growth-plot", "outrun"]
    assert all(one["role"] == "img" and "table" in str(one["aria-label"]) for one in plots)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [one["aria-labelledby"] for _, one in page.elements if "aria-labelledby" in one]
    assert set(named) <= set(ids)
    anchors = [str(one["href"])[1:] for one in page.of("a") if str(one["href"]).startswith("#")]
    assert set(anchors) <= set(ids)
    selects = [str(one["id"]) for one in page.of("select")]
    assert selects


def test_every_figure_opens_to_its_posts(whole: str) -> None:
    page = Page(whole)
    receipts = [json.loads(str(one["data-receipt"])) for one in page.of("button") if "data-receipt" in one]
    first = page.data["sections"][0]
    posts = first["posts"]
    assert {len(column) for column in posts.values()} == {140}
    assert {"now": 1, "compared": True} in receipts
    assert sum(posts["when"]) == 70
    assert all(re.fullmatch(r"[0-9a-f]{12}", one) for one in posts["hash"])
    assert all(url.startswith("https://www.tiktok.com/") for url in posts["url"])
    assert set(posts["late"]) == {600}
    tagged = [one for one in receipts if one.get("tag") == 0 and one.get("number") == "plays"]
    assert tagged
    # The whole hash of the payload of a post that is called outstanding, and of its peers' the beginning.
    assert f"{137:064x}" in page.words


def test_what_it_rests_on_is_told(filled: Store) -> None:
    words = Page(page_of(filled, "autumn")).words
    assert "A hashtag import is a sample, not a census" in words
    assert "likes: 1 post (hidden_by_owner 1)" in words
    assert "parse: UnknownShape 1" in words
    assert "0.03 USD" in words
    assert "task-linen" in words
    assert "unconfirmed" in words
    assert "rival" not in words
    assert "flax" not in words
    cited = re.search(r"SHA-256 of its rows: ([0-9a-f]{64})", words)
    assert cited
    assert (
        "tagtrail report --collection autumn --since 2026-11-13T12:00:00Z --until 2026-11-20T12:00:00Z "
        "--as-of 2026-11-20T12:00:00Z"
    ) in words
    assert "nvented data" not in words


def test_the_same_data_is_the_same_page_letter_by_letter(filled: Store, whole: str) -> None:
    assert page_of(filled) == whole


def test_a_database_and_a_period_without_posts_make_pages_too(sqlite_store: Store, filled: Store) -> None:
    assert "The database holds no collection yet" in Page(page_of(sqlite_store)).words
    later = Period(NOW + WEEK, NOW + 2 * WEEK, NOW + 2 * WEEK)
    words = Page(page_of(filled, "autumn", later)).words
    assert "No post of this collection was posted in this period" in words


def test_one_post_and_only_hidden_likes_make_pages_too(sqlite_store: Store, fill_weeks: Callable[..., None]) -> None:
    with sqlite_store.begin() as conn:
        fill_weeks(conn, a_week=1, creators=1)
    page = Page(page_of(sqlite_store))
    assert "of 1 post by 1 creator in the sample" in page.words
    assert "Too few posts were measured at two checkpoints" in page.words
    assert re.search(r"\b1 (posts|creators)\b", page.words) is None


def test_where_nothing_is_compared_yet_a_sentence_stands_for_the_plot(
    sqlite_store: Store, fill_weeks: Callable[..., None]
) -> None:
    """A plot of nothing would end the page's own program, and with it the plots of all other collections."""
    with sqlite_store.begin() as conn:
        fill_weeks(conn, a_week=2, creators=1)
        conn.exec_driver_sql("DELETE FROM snapshots")
    page = Page(page_of(sqlite_store))
    assert page.data["sections"][0]["compared"] == []
    assert "nothing is compared yet" in page.words
    assert not [one for one in page.of("div") if str(one.get("id")).endswith("-compared")]


def test_many_hashtags_make_a_page_too(sqlite_store: Store, fill_weeks: Callable[..., None]) -> None:
    with sqlite_store.begin() as conn:
        fill_weeks(conn, hashtags=tuple(f"tag{at}" for at in range(70)), a_week=70)
    whole = page_of(sqlite_store)
    assert len(whole) < 3_000_000
    assert all(f"#tag{at}: posts of this period" in whole for at in range(70))
    assert [at for at in range(70) if f"#tag{at}, tiktok video" in whole] == list(range(60))
    assert "The first 40 hashtags are drawn" in whole
    assert "The 60 hashtags with most posts are listed." in whole


def test_all_time_and_invented_pages(sqlite_store: Store, fill_weeks: Callable[..., None]) -> None:
    from blocks.database.store import runs

    with sqlite_store.begin() as conn:
        fill_weeks(conn)
        runs.start_run(
            conn, run_id="sand", flow="track-hashtags", account="acc", collection="weeks",
            parameters={"service": "127.0.0.1:8787"}, now=NOW,
        )  # fmt: skip
    page = Page(page_of(sqlite_store, period=Period(None, NOW, NOW)))
    assert "Invented data: all of this came from a sandbox." in page.words
    assert page.words.count("nvented data") >= 4
    assert "This report is of all time" in page.words
    assert "--days 0" in page.words


def test_a_list_to_check_by_hand_is_shown_once_it_is_filled_in(filled: Store, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    asked: dict[str, Any] = {"collection": "weeks", "hashtag": None, "period": WEEKLY, "plan": SnapshotPlan()}
    make(filled, target, check=5, **asked)
    listed = tmp_path / "report.check.csv"
    lines = listed.read_text(encoding="utf-8-sig").splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("url,measured_at,plays,views,likes,comments,checked_at,found,seen_plays")
    with pytest.raises(UsageError, match="is there already; fill it in"):
        make(filled, target, check=5, **asked)
    make(filled, target, **asked)
    assert "Checked by hand" not in Page(target.read_text(encoding="utf-8")).words

    # As a spreadsheet of another country gives it back: semicolons, points between the thousands.
    stored = [line.split(",") for line in lines[1:]]
    filled_in = [lines[0].replace(",", ";")]
    for at, cells in enumerate(stored):
        seen = int(cells[2]) * (1 if at < 3 else 2)
        cells[8] = f"{seen:,}".replace(",", ".")
        cells[7] = "no" if at == 4 else "yes"
        filled_in.append(";".join(cells))
    listed.write_text("\ufeff" + "\n".join(filled_in), encoding="utf-8")
    make(filled, target, **asked)
    words = Page(target.read_text(encoding="utf-8")).words
    assert "5 of 5 random posts were compared with what the platform showed; 1 were not found there" in words
    assert "plays 5 3 1.00" in words

    listed.write_text("\n".join(filled_in).replace("yes", "yes;abc", 1).replace(f"abc;{seen}", "abc"), encoding="utf-8")
    with pytest.raises(UsageError, match="line 2: seen_plays is a whole number"):
        make(filled, target, **asked)
    listed.write_text("something\nelse\n", encoding="utf-8")
    with pytest.raises(UsageError, match="lacks columns of a list to check"):
        make(filled, target, **asked)


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    target = folder / "page.html"
    write("é\ud83d", target)
    assert target.read_bytes() == "é?".encode()
    for wrong in (folder, folder / "none" / "page.html"):
        with pytest.raises(UsageError, match="cannot be written"):
            write("x", wrong)
    assert [path.name for path in folder.iterdir()] == ["page.html"]


def test_a_full_disk_is_no_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(TagtrailError, match=r"page\.html cannot be written: no space is left") as caught:
        write("x", tmp_path / "page.html")
    assert type(caught.value) is TagtrailError


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "page.html"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        write("x", pipe)
        assert pipe.is_fifo()
        assert os.read(held, 10) == b"x"
    finally:
        os.close(held)


def test_names_of_reports_are_names_of_files(tmp_path: Path) -> None:
    name = default_target(tmp_path, collection="../Öl & more", hashtag="été", now=NOW)
    assert name.parent == tmp_path / "reports"
    assert re.fullmatch(r"report-Öl-more-[0-9a-f]{6}-été-2026-11-20\.html", name.name)
    alike = ("fashion week", "fashion-week", "Q4/2026", "Q4 2026", "🔥", "***")
    assert len({default_target(tmp_path, collection=one, hashtag=None, now=NOW) for one in alike}) == len(alike)
    assert default_target(tmp_path, collection=None, hashtag=None, now=NOW).name == "report-all-2026-11-20.html"
    assert (
        address("https://files.example/r/", name)
        == f"https://files.example/r/report-%C3%96l-more-{name.name[15:21]}-%C3%A9t%C3%A9-2026-11-20.html"
    )
    assert address("", name) is None


def test_numbers() -> None:
    shares = (None, 0.0, 0.0004, 0.9996, 1.0, 0.123)
    assert [percent(one) for one in shares] == ["–", "0 %", "< 0.1 %", "> 99.9 %", "100 %", "12.3 %"]
    assert [number(one) for one in (None, 0, 1234567, 2.5, 4.0, 1234.5)] == ["–", "0", "1,234,567", "2.5", "4", "1,234"]
    ratios = (None, 0.05, 0.96, 1.05, 2.14, 33.3)
    assert [times(one) for one in ratios] == ["no bound", "0.05", "0.96", "1.05", "2.1", "33"]
    assert [aged(one) for one in (1800, 86_400, 604_800)] == ["30 min", "24 h", "7 days"]
    assert spark([(3600, 1.0), (86_400, 4.0)]) == "2.0,28.0 98.0,2.0"
    assert spark([(3600, 1.0)]) == ""
