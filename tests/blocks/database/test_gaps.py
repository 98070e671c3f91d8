"""What consecutive imports share is counted, and where they share nothing a gap is written."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import insert, select

from blocks.database.store import gaps, runs
from blocks.database.store.export import provenance, rows
from blocks.database.store.filters import Filters
from blocks.database.store.gaps import Overlap
from blocks.database.store.import_polls import end_import
from blocks.database.store.statements import table_of
from blocks.database.tables import Gap, Hashtag, RunImport
from blocks.posts.identity import parse_post_url
from blocks.posts.record import PostRef

HOUR = 3600


def ref(number: int) -> PostRef:
    return parse_post_url(f"https://www.tiktok.com/player/v1/{7000000000000000000 + number}")


def take(book: Any, run: str, *numbers: int, **more: Any) -> str:
    """An import from its plan to its end, which lists these posts; an hour later."""
    book.wait(HOUR)
    import_id: str = book.submit(run, reuse_hours=None, **more)
    if numbers:
        book.poll(import_id, *numbers)
    end(book, import_id, "complete" if numbers else "empty")
    return import_id


def end(book: Any, import_id: str, state: Any) -> None:
    with book.store.begin() as conn:
        assert end_import(conn, import_id, state=state, post_micros=0, run_id="r", now=book.now)


def found(book: Any, **more: Any) -> list[Gap]:
    with book.store.connect() as conn:
        return gaps.find(conn, **more)


def overlap(book: Any, import_id: str) -> Overlap | None:
    with book.store.connect() as conn:
        return gaps.overlaps(conn, [import_id]).get(import_id)


def test_overlap_is_a_plain_count_and_the_first_import_has_none(book: Any) -> None:
    first = take(book, "r1", 1, 2, 3)
    second = take(book, "r2", 3, 4)
    assert overlap(book, first) is None
    told = overlap(book, second)
    assert told is not None
    assert (told.previous_import_id, told.shared, told.not_seen_again) == (first, 1, 2)
    assert told.until_at - told.from_at == timedelta(seconds=HOUR)
    assert found(book) == []


def test_imports_that_share_nothing_leave_a_gap_with_both_times(book: Any) -> None:
    first = take(book, "r1", 1, 2)
    began = book.now
    second = take(book, "r2", 3, 4)
    [gap] = found(book)
    assert (gap.import_id, gap.previous_import_id, gap.hashtag, gap.collection) == (second, first, "lvmh", "c")
    assert (gap.from_at, gap.until_at) == (began, began + timedelta(seconds=HOUR))
    assert found(book, hashtag="dior") == found(book, collection="d") == []
    assert found(book, since=book.now - timedelta(seconds=1)) == [gap]
    with book.store.begin() as conn:
        gaps.note_gaps(conn, second, book.now)
    assert found(book) == [gap], "the same thing twice is one row"
    assert not take_again(book, second)


def take_again(book: Any, import_id: str) -> bool:
    """Another run that uses the import again ends nothing anew."""
    ticket = book.plan("r9", 2)
    assert ticket.import_id == import_id
    with book.store.begin() as conn:
        return end_import(conn, import_id, state="complete", post_micros=0, run_id="r9", now=book.now)


def test_an_empty_import_is_no_gap_and_the_next_is_compared_with_the_last_that_listed_posts(book: Any) -> None:
    first = take(book, "r1", 1, 2)
    take(book, "r2")
    assert found(book) == []
    third = take(book, "r3", 2, 3)
    told = overlap(book, third)
    assert told is not None
    assert (told.previous_import_id, told.shared, told.not_seen_again) == (first, 1, 1)
    take(book, "r4", 9)
    assert [gap.previous_import_id for gap in found(book)] == [third]


def test_an_import_that_is_filled_late_mends_the_gap_behind_it(book: Any) -> None:
    take(book, "r1", 1, 2)
    late = take(book, "r2")
    third = take(book, "r3", 5, 6)
    assert [gap.import_id for gap in found(book)] == [third]
    # An empty import is looked at again, and lists what lies in between.
    book.poll(late, 2, 3, 5)
    end(book, late, "complete")
    assert found(book) == []


def test_hashtags_collections_and_libraries_are_compared_among_themselves(book: Any) -> None:
    take(book, "r1", 1, 2)
    take(book, "r2", 8, hashtag="dior", dedup_key="w2")
    take(book, "r3", 9, collection="d", namespace="d", dedup_key="w3")
    take(book, "r4", 7, library="public", dedup_key="w4")
    assert found(book) == []
    take(book, "r5", 5)
    assert len(found(book)) == 1
    with book.store.connect() as conn:
        assert set(conn.execute(select(table_of(Hashtag).c.tag)).scalars()) == {"lvmh", "dior"}


def test_an_import_that_a_collection_used_again_is_one_of_its_imports(book: Any) -> None:
    with book.store.begin() as conn:
        runs.start_run(conn, run_id="r2", flow="f", collection="d", now=book.now)
    shared = take(book, "r1", 1, 2)
    with book.store.begin() as conn:
        conn.execute(insert(table_of(RunImport)).values(run_id="r2", import_id=shared, how="reused"))
    mine = take(book, "r3", 3, collection="d", dedup_key="w3")
    [gap] = found(book)
    assert (gap.import_id, gap.previous_import_id, gap.collection) == (mine, shared, "d")


def test_two_collections_with_the_same_hashtag_are_kept_apart_and_share_posts(sqlite_book: Any) -> None:
    book = sqlite_book
    for name in ("north", "south"):
        with book.store.begin() as conn:
            runs.start_run(conn, run_id=f"run-{name}", flow="f", collection=name, now=book.now)
    take(book, "run-north", 1, 2, collection="north", namespace="north", dedup_key="north")
    take(book, "run-south", 2, 3, collection="south", namespace="south", dedup_key="south")
    assert found(book) == []

    def ids(what: Any, collection: str | None = None) -> list[str]:
        key = "import_id" if what == "imports" else "post_id"
        return [row[key][-1:] for row in rows(book.store, what, Filters(collection=collection))]

    assert (ids("posts"), ids("posts", "north"), ids("posts", "south")) == (["1", "2", "3"], ["1", "2"], ["2", "3"])
    assert [len(ids("imports", name)) for name in (None, "north", "south")] == [2, 1, 1]
    shared = {row["post_id"][-1:]: row["collections"] for row in rows(book.store, "posts")}
    assert shared == {"1": ["north"], "2": ["north", "south"], "3": ["south"]}
    with book.store.connect() as conn:
        assert conn.execute(select(table_of(Gap))).all() == []


def test_provenance_names_the_collections_that_found_a_post(sqlite_book: Any) -> None:
    book = sqlite_book
    with book.store.begin() as conn:
        for run in ("r1", "r2", "r3"):
            runs.start_run(conn, run_id=run, flow="f", collection="d" if run == "r2" else "c", now=book.now)
    first = take(book, "r1", 1, 2)
    with book.store.begin() as conn:
        conn.execute(insert(table_of(RunImport)).values(run_id="r2", import_id=first, how="reused"))
        runs.take_posts(conn, "r3", [(ref(1), None)], now=book.now)
    keys = [("tiktok", ref(number).post_id) for number in (1, 2)]
    with book.store.connect() as conn:
        one, two = provenance(conn, keys).values()
        of_d = provenance(conn, keys, "d")[keys[0]]
    assert (one.hashtags, one.collections, one.import_ids) == (["lvmh"], ["c", "d"], [first])
    assert (two, of_d.collections) == (one, ["d"])
