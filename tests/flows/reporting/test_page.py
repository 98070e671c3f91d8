"""The report's page: nothing from elsewhere, nothing that runs, every text escaped, the same bytes each time."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sqlalchemy import Connection

from blocks.database.engine import Store, open_store
from blocks.memories.errors import TagtrailError, UsageError
from flows.reporting.figures import Group, gather
from flows.reporting.making import default_target
from flows.reporting.page import middle, number, percent, render, write

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
VOID = {"meta", "br"}


class Page(HTMLParser):
    """What a browser would see: elements, attributes, text; badly nested elements are an error."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
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
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def page_of(store: Store, collection: str | None = "autumn") -> str:
    return render(gather(store, collection=collection, hashtag=None, since=None, now=NOW))


@pytest.fixture(scope="module")
def filled(
    migrated_sqlite: Path, fill: Callable[[Connection], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    path = tmp_path_factory.mktemp("reporting") / "tagtrail.db"
    shutil.copyfile(migrated_sqlite, path)
    store = open_store(f"sqlite:///{path}")
    with store.begin() as conn:
        fill(conn)
    yield store
    store.close()


@pytest.fixture(scope="module")
def whole(filled: Store) -> str:
    """The page of all collections; drawing takes a second."""
    return page_of(filled, None)


@pytest.fixture(scope="module")
def autumn(filled: Store) -> str:
    return page_of(filled)


def test_the_page_needs_nothing_else_and_runs_nothing(whole: str) -> None:
    page = Page(whole)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "img", "object", "embed", "form", "base", "image"}
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "srcset", "action", "xlink:href"):
                assert (value or "").startswith("#"), (tag, value)
            if name == "href" and tag != "a":
                assert (value or "").startswith("#"), (tag, value)
            assert "url(" not in (value or "") or "url(#" in (value or "")
    policy = [attributes["content"] for tag, attributes in page.elements if "http-equiv" in attributes]
    assert policy[0] is not None
    assert policy[0].startswith("default-src 'none'")
    links = [attributes for tag, attributes in page.elements if tag == "a"]
    assert links
    assert all((one["href"] or "").startswith("https://") and one["rel"] == "noreferrer noopener" for one in links)


def test_ids_are_there_once_and_plots_tell_in_words(whole: str) -> None:
    page = Page(whole)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = [value[1:] for _, a in page.elements for name, value in a.items() if name == "xlink:href" and value]
    assert used
    assert set(used) <= set(ids)
    plots = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(plots) >= 3
    assert all(one["role"] == "img" and one["aria-label"] for one in plots)


def test_totals_rest_on_counted_values_and_captions_are_escaped(autumn: str) -> None:
    page, words = autumn, Page(autumn).words
    assert "a sample, not a census" in words
    assert "1,200 of 3 of 4 posts" in words
    assert '<script>alert("x")</script>' not in page
    assert '<script>alert("x")</script> & more' in words
    assert "unconfirmed" in words
    assert "task-linen" in words
    assert "hidden_by_owner 1" in words
    assert "rival" not in words
    assert "flax" not in words
    assert "0.0300 USD" in words


def test_the_same_data_is_the_same_page(filled: Store, autumn: str) -> None:
    assert page_of(filled) == autumn


def test_a_database_without_anything_makes_a_page_too(sqlite_store: Store) -> None:
    words = Page(page_of(sqlite_store, None)).words
    assert "The database holds no collection yet" in words


def test_a_period_without_posts_makes_a_page_too(filled: Store) -> None:
    since = NOW + timedelta(days=1)
    figures = gather(filled, collection="autumn", hashtag=None, since=since, now=NOW)
    assert "No post of this collection falls into what this report covers" in Page(render(figures)).words


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


@pytest.mark.parametrize(
    ("share", "shown"),
    [(None, "–"), (0.0, "0 %"), (0.0004, "< 0.1 %"), (0.9996, "> 99.9 %"), (1.0, "100 %"), (0.123, "12.3 %")],
)
def test_shares(share: float | None, shown: str) -> None:
    assert percent(share) == shown


def test_numbers() -> None:
    assert [number(one) for one in (None, 0, 1234567, 2.5, 4.0)] == ["–", "0", "1,234,567", "2.5", "4"]


def test_a_large_count_keeps_its_last_digit() -> None:
    assert number(2**53 + 1) == "9,007,199,254,740,993"
    large = Group(posts=2, values={"plays": [2**53 + 1, 2**53 + 3, 2**53 + 1, 2**53 + 1]})
    assert middle(large.figure("plays")) == "9,007,199,254,740,993"
    assert middle(Group(values={"plays": [1, 2]}).figure("plays")) == "1.5"
