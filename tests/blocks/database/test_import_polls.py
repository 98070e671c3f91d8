"""Answers of polls: posts, work and sums are right however often, late or disordered the items come."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.database.engine import Store
from blocks.database.store import failures, import_polls, runs
from blocks.database.store import imports as ledger
from blocks.database.store.import_polls import ItemSeen, PollResult, end_import
from blocks.database.store.statements import table_of
from blocks.database.tables import ImportItem, Post, Work
from blocks.posts.identity import parse_post_url

Ledger = Any  # the class of the fixture `book`, see conftest.py

T0 = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
RUNS = itertools.count()
INSTAGRAM = "https://www.instagram.com/reel/ABCdef12345/?igsh=1"


def item(number: int, *, url: bool = True, video_no: str | None = None, status: str = "UNPARSE") -> ItemSeen:
    address = f"https://www.tiktok.com/player/v1/{7000000000000000000 + number}"
    ref = parse_post_url(address) if url else None
    return ItemSeen(video_no or f"VI{number}", address if url else None, status, ref)


def foreign(name: str) -> ItemSeen:
    """A post of a platform that nobody knows."""
    return ItemSeen(f"VI-{name}", f"https://example.org/{name}", "PARSE", None)


def record(book: Ledger, import_id: str, listed: Sequence[ItemSeen], **more: Any) -> PollResult:
    result: PollResult = book.do(import_polls.record_poll, import_id, list(listed), **more)
    return result


def sums(result: PollResult) -> tuple[int, int, int, int]:
    return result.row.seen, result.row.new, result.row.known, result.no_url


def keys(store: Store, import_id: str) -> set[str]:
    table = table_of(ImportItem)
    with store.connect() as conn:
        return set(conn.execute(sa.select(table.c.item_key).where(table.c.import_id == import_id)).scalars())


def count(store: Store, model: Any) -> int:
    with store.connect() as conn:
        return conn.execute(sa.select(sa.func.count()).select_from(table_of(model))).scalar_one()


def found(store: Store, import_id: str) -> list[tuple[str, str | None]]:
    with store.connect() as conn:
        return [(post.ref.post_id, post.source_url) for post in ledger.found_posts(conn, import_id)]


def test_listed_posts_are_pending_with_their_work_in_the_same_transaction(book: Ledger) -> None:
    import_id = book.submit("r1")
    instagram = ItemSeen("VI9", INSTAGRAM, "PARSE", parse_post_url(INSTAGRAM))
    result = record(book, import_id, [item(1), instagram], post_micros=10_000)
    assert [(post.ref.platform, post.source_url) for post in result.new_posts] == [
        ("tiktok", item(1).source_url),
        ("instagram", INSTAGRAM),
    ]
    assert (result.recorded, result.new_items, sums(result)) == (True, 2, (2, 2, 0, 0))
    assert result.row.cost_micros == 20_000
    posts, work = table_of(Post), table_of(Work)
    with book.store.connect() as conn:
        rows = conn.execute(sa.select(posts.c.platform, posts.c.status, posts.c.source_url, posts.c.run_id)).all()
        assert sorted(rows) == [
            ("instagram", "pending", INSTAGRAM, "r1"),
            ("tiktok", "pending", item(1).source_url, "r1"),
        ]
        assert conn.execute(sa.select(work.c.purpose, work.c.state)).all() == [("enrich", "pending")] * 2
        found = ledger.found_posts(conn, import_id)
    assert {post.ref for post in found} == {post.ref for post in result.new_posts}


def test_the_same_answer_twice_changes_no_count(book: Ledger) -> None:
    import_id = book.submit("r1")
    listed = [item(1), item(2), item(2), item(3, url=False), foreign("a")]
    first = record(book, import_id, listed, post_micros=10)
    before = (sums(first), count(book.store, ImportItem), count(book.store, Post), count(book.store, Work))
    book.wait(5)
    again = record(book, import_id, list(reversed(listed)), post_micros=10)
    assert (again.new_posts, again.new_items, again.row.cost_micros) == ([], 0, first.row.cost_micros)
    assert (sums(again), count(book.store, ImportItem), count(book.store, Post), count(book.store, Work)) == before
    assert sums(again) == (4, 3, 0, 1)
    assert (again.row.polls, again.row.quiet_polls, again.row.last_new_at) == (2, 1, T0)


def test_the_clocks_are_written_down(book: Ledger) -> None:
    import_id = book.submit("r1")
    for _ in range(3):
        book.wait(5)
        row = record(book, import_id, []).row
    assert (row.state, row.polls, row.quiet_polls, row.first_item_at, row.last_new_at) == (
        "submitted",
        3,
        3,
        None,
        None,
    )
    book.wait(5)
    row = record(book, import_id, [item(1)]).row
    assert (row.state, row.quiet_polls, row.first_item_at) == ("collecting", 0, book.now)
    book.wait(5)
    row = record(book, import_id, [item(1, status="PARSE")]).row
    assert (row.quiet_polls, row.last_new_at) == (1, book.now - timedelta(seconds=5))
    book.wait(5)
    row = record(book, import_id, [item(2), item(1)]).row
    assert (row.quiet_polls, row.last_new_at, row.last_polled_at, row.polls) == (0, book.now, book.now, 6)
    assert row.first_item_at == T0 + timedelta(seconds=20)


def test_an_item_whose_url_comes_later_becomes_the_post_s_row(book: Ledger) -> None:
    import_id = book.submit("r1")
    assert sums(record(book, import_id, [item(1, url=False), item(2)])) == (2, 1, 0, 1)
    assert keys(book.store, import_id) == {"no:VI1", "tiktok:7000000000000000002"}
    book.wait(5)
    result = record(book, import_id, [item(1), item(2)])
    assert [post.ref.post_id for post in result.new_posts] == ["7000000000000000001"]
    assert (sums(result), result.row.quiet_polls) == ((2, 2, 0, 0), 0)
    assert keys(book.store, import_id) == {"tiktok:7000000000000000001", "tiktok:7000000000000000002"}
    # An older page, without the URL, comes late.
    assert sums(record(book, import_id, [item(1, url=False)])) == (2, 2, 0, 0)
    assert dict(found(book.store, import_id))["7000000000000000001"] == item(1).source_url


def test_within_one_answer_an_item_with_and_without_its_url_is_one(book: Ledger) -> None:
    import_id = book.submit("r1")
    assert sums(record(book, import_id, [item(1, url=False), item(1)])) == (1, 1, 0, 0)


def test_a_video_number_may_change(book: Ledger) -> None:
    import_id = book.submit("r1")
    record(book, import_id, [item(1, video_no="VI-old")])
    result = record(book, import_id, [item(1, video_no="VI-new"), item(1, url=False, video_no="VI-new")])
    assert sums(result) == (1, 1, 0, 0)


def test_posts_that_were_known_before_are_told_apart(book: Ledger) -> None:
    first = book.submit("r1")
    record(book, first, [item(1), item(2)])
    second = book.submit("r2", dedup_key="w2")
    assert sums(record(book, second, [item(2), item(3)])) == (2, 1, 1, 0)
    assert sums(record(book, first, [item(1), item(2), item(3)])) == (3, 2, 1, 0)
    assert (count(book.store, Post), count(book.store, Work)) == (3, 3)


def test_posts_of_unknown_platforms_are_kept_and_counted(book: Ledger) -> None:
    import_id = book.submit("r1")
    result = record(book, import_id, [foreign("a"), foreign("b"), foreign("a")])
    assert (sums(result), result.new_posts, result.new_items) == ((2, 2, 0, 0), [], 2)
    other = book.submit("r2", dedup_key="w2")
    assert sums(record(book, other, [foreign("a"), foreign("c")])) == (2, 1, 1, 0)
    with book.store.connect() as conn:
        kept = ledger.without_post(conn, [import_id])
    assert sorted(row[2] for row in kept) == ["https://example.org/a", "https://example.org/b"]


def test_an_item_that_tells_nothing_of_itself_is_left_out(book: Ledger) -> None:
    import_id = book.submit("r1")
    assert sums(record(book, import_id, [ItemSeen(None, None, "PARSE", None)])) == (0, 0, 0, 0)


def test_texts_that_no_database_holds_do_not_stop_an_answer(book: Ledger) -> None:
    import_id = book.submit("r1")
    odd = [ItemSeen("VI\x00" + "9" * 5000, None, "\ud800", None), ItemSeen("VI2", "http://\x00\ud800", None, None)]
    assert sums(record(book, import_id, odd)) == (2, 1, 0, 1)
    assert sums(record(book, import_id, odd)) == (2, 1, 0, 1)


@pytest.mark.parametrize("state", ["planned", "sending", "ambiguous", "failed"])
def test_an_import_that_nobody_sent_takes_no_items(book: Ledger, state: str) -> None:
    import_id = book.plan("r1").import_id
    if state in ("sending", "ambiguous"):
        book.send(import_id, "r1")
    if state == "ambiguous":
        book.do(ledger.mark_ambiguous, import_id, note="?")
    if state == "failed":
        book.do(ledger.mark_failed, import_id, note="no")
    before = book.get(import_id)
    result = record(book, import_id, [item(1)])
    assert (result.recorded, result.new_posts, result.row) == (False, [], before)
    assert count(book.store, Post) == 0


def test_items_that_come_after_the_end_are_not_lost(book: Ledger) -> None:
    import_id = book.submit("r1")
    record(book, import_id, [item(1)])
    book.do(ledger.finish_import, import_id, state="complete")
    result = record(book, import_id, [item(1), item(2)])
    assert (result.row.state, sums(result), len(result.new_posts)) == ("complete", (2, 2, 0, 0), 1)
    empty = book.submit("r2", dedup_key="w2")
    book.do(ledger.finish_import, empty, state="empty")
    book.wait(60)
    row = record(book, empty, [item(3)]).row
    assert (row.state, row.clocks().deadline(900)) == ("collecting", book.now + timedelta(seconds=900))


def test_an_import_that_is_empty_ends_so_only_without_items(book: Ledger) -> None:
    import_id = book.submit("r1")
    assert not book.do(ledger.finish_import, import_id, state="complete")
    record(book, import_id, [item(1)])
    assert not book.do(ledger.finish_import, import_id, state="empty")


def test_items_without_a_url_are_those_of_the_latest_answer(book: Ledger) -> None:
    """The service may number them anew in every answer."""
    import_id = book.submit("r1")

    def answer(turn: int, without: int) -> PollResult:
        nameless = [item(n, url=False, video_no=f"VI{turn}-{n}") for n in range(100, 100 + without)]
        book.wait(5)
        return record(book, import_id, [item(1), item(2), *nameless], post_micros=10)

    assert (sums(first := answer(1, 3)), first.new_items, first.row.cost_micros) == ((5, 2, 0, 3), 5, 50)
    for turn in range(2, 6):
        again = answer(turn, 3)
        assert (sums(again), again.new_items, again.row.cost_micros) == ((5, 2, 0, 3), 0, 50)
        assert again.quiet_polls == turn - 1
    assert (sums(more := answer(6, 4)), more.new_items, more.quiet_polls) == ((6, 2, 0, 4), 1, 0)
    assert (sums(less := answer(7, 1)), less.new_items, less.quiet_polls) == ((3, 2, 0, 1), 0, 1)
    # An answer that lists nothing tells nothing.
    assert sums(record(book, import_id, [])) == (3, 2, 0, 1)
    assert keys(book.store, import_id) == {
        "no:VI7-100",
        "tiktok:7000000000000000001",
        "tiktok:7000000000000000002",
    }


def test_a_url_that_comes_under_another_number_leaves_nothing_behind(book: Ledger) -> None:
    import_id = book.submit("r1")
    record(book, import_id, [item(1, url=False, video_no="VI-a"), item(2, url=False, video_no="VI-b")])
    result = record(book, import_id, [item(1, video_no="VI-c"), item(2, url=False, video_no="VI-d")])
    assert (sums(result), result.new_items) == ((2, 1, 0, 1), 1)
    assert sums(record(book, import_id, [item(1, video_no="VI-e"), item(2, video_no="VI-f")])) == (2, 2, 0, 0)


def test_a_failure_of_an_item_that_is_not_listed_any_more_is_closed(book: Ledger) -> None:
    import_id = book.submit("r1")

    def end() -> list[str]:
        assert book.do(end_import, import_id, state="complete", post_micros=10, run_id="r1")
        with book.store.connect() as conn:
            open_ = [failure.item_key for failure in failures.find(conn)]
            assert runs.reconcile(conn, "r1").failed == len(open_)
        return open_

    record(book, import_id, [item(1), item(2, url=False, video_no="VI-a"), item(3, url=False, video_no="VI-b")])
    assert end() == [f"{import_id}/no:VI-a", f"{import_id}/no:VI-b"]
    book.do(ledger.reopen, import_id)
    record(book, import_id, [item(1), item(2), item(3, url=False, video_no="VI-c")])
    assert end() == [f"{import_id}/no:VI-c"]


pages = st.lists(
    st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.sampled_from(["UNPARSE", "PARSE", "FAIL"])), max_size=6),
    max_size=5,
)


@given(pages=pages, seed=st.integers(0, 99))
@settings(suppress_health_check=list(HealthCheck))
def test_pages_in_any_order_end_in_the_same_sums(sqlite_book: Ledger, pages: list[Any], seed: int) -> None:
    """Whatever was listed, whole, twice or in a mess: once all URLs are there every item is one post."""
    results = []
    for turn in range(2):
        shuffled = list(pages)
        if turn:
            random.Random(seed).shuffle(shuffled)
        run = f"run {next(RUNS)}"  # not by chance: hypothesis makes chance repeat itself
        import_id = sqlite_book.submit(run, dedup_key=run)
        for page in shuffled:
            result = record(sqlite_book, import_id, [item(n, url=url, status=status) for n, url, status in page])
            assert result.row.seen == len(keys(sqlite_book.store, import_id))
        numbers = {n for page in pages for n, _, _ in page}
        with_url = {n for page in pages for n, url, _ in page if url}
        record(sqlite_book, import_id, [item(n, url=False) for n in numbers])
        result = record(sqlite_book, import_id, [])
        assert (result.row.seen, result.no_url) == (len(numbers), len(numbers - with_url))
        results.append(keys(sqlite_book.store, import_id))
    assert results[0] == results[1]
