"""Exports: the public columns with the values that the product promises, filtered and streamed."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, update

from blocks.database.engine import Store
from blocks.database.store import runs
from blocks.database.store.export import COLUMNS, engagement_rates, rows
from blocks.database.store.failures import GivenUp, give_up, resolve
from blocks.database.store.filters import Filters
from blocks.database.store.posts import EnrichedPost, ensure_posts, mark_failed, mark_gone, save_posts
from blocks.database.store.statements import table_of
from blocks.database.tables import Import, ImportItem, Post, Run, RunImport
from blocks.errors import NoAnswer, NotFound, UsageError
from blocks.posts.record import CommentRecord, PostRef
from tests.stored import measured

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
CLIP, REEL, LOST, GONE, NEW = (
    PostRef("tiktok", "1", "https://www.tiktok.com/@ada/video/1"),
    PostRef("instagram", "2", "https://www.instagram.com/p/C/", "C"),
    PostRef("instagram", "3", "https://www.instagram.com/p/D/", "D"),
    PostRef("x", "4", "https://x.com/i/status/4"),
    PostRef("youtube", "5", "https://www.youtube.com/watch?v=5"),
)
IMPORTS = {"i1": ("dior", "luxury"), "i2": ("été", "luxury"), "i3": ("dior", "research")}
LISTED = {"i1": [CLIP, REEL], "i2": [REEL, LOST, GONE], "i3": [CLIP]}


def enriched(ref: PostRef, at: datetime = T0, **facts: Any) -> EnrichedPost:
    return measured(ref, at, run_id="r1", **facts)


def fill(conn: Connection) -> None:
    for run_id, collection in (("r1", "luxury"), ("r2", "research"), ("r3", "archive")):
        conn.execute(insert(table_of(Run)).values(run_id=run_id, flow="f", collection=collection, started_at=T0))
    for number, (import_id, (hashtag, collection)) in enumerate(IMPORTS.items()):
        conn.execute(
            insert(table_of(Import)).values(
                import_id=import_id, task_id=f"t{number}", account="a", kind="hashtag", hashtag=hashtag,
                dedup_key=import_id, collection=collection, namespace="n", library="private", requested=5,
                state="complete", run_id="r1", planned_at=T0 + number * HOUR, submitted_at=T0, seen=2, new=1,
                known=1, cost_micros=1_250_000,
            )
        )  # fmt: skip
        ensure_posts(conn, [(ref, None) for ref in LISTED[import_id]], T0, "r1")
        item = {"import_id": import_id, "was_new": True, "first_seen_at": T0, "last_seen_at": T0}
        conn.execute(
            insert(table_of(ImportItem)),
            [
                item | {"item_key": f"{r.platform}:{r.post_id}", "platform": r.platform, "post_id": r.post_id}
                for r in LISTED[import_id]
            ],
        )
    # A run of another collection used the first import again; a third was given a post by URL.
    conn.execute(insert(table_of(RunImport)).values(run_id="r2", import_id="i1", how="reused"))
    runs.take_posts(conn, "r3", [(REEL, "typed"), (NEW, "typed")], now=T0)
    comment = CommentRecord(comment_id="k", author="bo", text="=1+1", likes=0, created_at=T0)
    save_posts(
        conn,
        [
            enriched(
                CLIP, plays=400, likes=10, comments=0, shares=5, saves=5, author_followers=100, posted_at=T0 - HOUR,
                author_id="a1", author_username="ada", hashtags=["Été"], comment_rows=[comment],
                null_reasons={"caption": "not_in_payload"},
            ),
            enriched(
                REEL, T0 + HOUR, plays=None, likes=None, likes_hidden=True, comments=3, author_followers=0,
                author_id="b1", null_reasons={"likes": "hidden_by_owner", "plays": "not_a_video"},
            ),
        ],
        T0,
    )  # fmt: skip
    mark_failed(conn, [GivenUp.post(LOST, "metadata", NotFound("?"), attempts=1, run_id="r1")], T0)
    mark_gone(conn, [GONE], "r1", T0)


@pytest.fixture
def filled(store: Store) -> Store:
    with store.begin() as conn:
        fill(conn)
    return store


def ids(found: Sequence[dict[str, Any]], name: str = "post_id") -> list[str]:
    return [row[name] for row in found]


def test_each_export_has_exactly_the_public_columns(filled: Store) -> None:
    counts = {}
    for what, columns in COLUMNS.items():
        found = list(rows(filled, what))
        counts[what] = len(found)
        assert {tuple(row) for row in found} == {columns}
    assert counts == {"posts": 5, "snapshots": 2, "creators": 2, "comments": 1, "imports": 3, "failures": 1}


def test_a_post_says_where_it_came_from_and_what_was_measured(filled: Store) -> None:
    posts = {row["post_id"]: row for row in rows(filled, "posts")}
    clip, reel = posts["1"], posts["2"]
    assert (clip["source_hashtags"], clip["import_ids"]) == (["dior"], ["i1", "i3"])
    assert clip["collections"] == ["luxury", "research"]
    assert reel["source_hashtags"] == ["dior", "été"]
    assert reel["collections"] == ["archive", "luxury", "research"]
    assert (clip["posted_at"], clip["observed_at"]) == ("2026-03-01T11:00:00Z", "2026-03-01T12:00:00Z")
    assert (clip["hashtags"], clip["extra"], clip["status"]) == (["Été"], {}, "enriched")
    assert clip["engagement_rate_by_followers"] == 0.1
    assert clip["engagement_rate_by_plays"] == 20 / 400
    assert clip["null_reasons"] == {"caption": "not_in_payload"}
    assert (reel["likes"], reel["likes_hidden"], reel["engagement_rate_by_plays"]) == (None, True, None)
    assert reel["null_reasons"]["engagement_rate_by_followers"] == "hidden_by_owner"
    assert reel["null_reasons"]["engagement_rate_by_plays"] == "hidden_by_owner"


def test_posts_without_metadata_are_there_with_their_reasons(filled: Store) -> None:
    posts = {row["post_id"]: row for row in rows(filled, "posts")}
    lost, gone, new = posts["3"], posts["4"], posts["5"]
    assert [row["status"] for row in (lost, gone, new)] == ["failed", "gone", "pending"]
    for row, reason in ((lost, "fetch_failed"), (gone, "post_gone")):
        nameless = ("shortcode", "enriched_at", "observed_at", "channel", "parser_version", "raw_sha256")
        unknown = {name for name, value in row.items() if value is None and name not in nameless}
        assert {row["null_reasons"][name] for name in unknown} == {reason}
    assert (new["null_reasons"], new["likes_hidden"], new["collections"]) == ({}, False, ["archive"])


def test_the_other_tables_carry_their_values(filled: Store) -> None:
    [clip, _] = sorted(rows(filled, "snapshots"), key=lambda row: row["post_id"])
    assert (clip["plays"], clip["comments"], clip["age_seconds"], clip["author_followers"]) == (400, 0, 3600, 100)
    ada = next(row for row in rows(filled, "creators") if row["author_id"] == "a1")
    assert (ada["author_username"], ada["followers"], ada["posts_known"]) == ("ada", 100, 1)
    [comment] = rows(filled, "comments")
    assert (comment["post_id"], comment["text"], comment["likes"]) == ("1", "=1+1", 0)
    assert comment["created_at"] == "2026-03-01T12:00:00Z"
    [first, *_] = rows(filled, "imports")
    assert (first["import_id"], first["cost_usd"], first["finished_at"]) == ("i1", 1.25, None)
    [failure] = rows(filled, "failures")
    assert (failure["post_id"], failure["error_class"], failure["resolved_at"]) == ("3", "NotFound", None)


@pytest.mark.parametrize(
    ("filters", "posts", "snapshots", "creators", "comments"),
    [
        (Filters(), ["2", "3", "1", "4", "5"], ["2", "1"], ["b1", "a1"], ["k"]),
        (Filters(platform="instagram"), ["2", "3"], ["2"], ["b1"], []),
        (Filters(hashtag="été"), ["2", "3", "4"], ["2"], ["b1"], []),
        (Filters(hashtag="dior", platform="tiktok"), ["1"], ["1"], ["a1"], ["k"]),
        (Filters(collection="research"), ["2", "1"], ["2", "1"], ["b1", "a1"], ["k"]),
        (Filters(collection="archive"), ["2", "5"], ["2"], ["b1"], []),
        (Filters(collection="nobody's"), [], [], [], []),
        # An import of the hashtag found it for another collection; this one has the post by other means.
        (Filters(collection="research", hashtag="été"), [], [], [], []),
        (Filters(collection="archive", hashtag="dior"), [], [], [], []),
        (Filters(collection="research", hashtag="dior"), ["2", "1"], ["2", "1"], ["b1", "a1"], ["k"]),
        (Filters(collection="luxury", hashtag="été"), ["2", "3", "4"], ["2"], ["b1"], []),
        (Filters(status="enriched"), ["2", "1"], ["2", "1"], ["b1", "a1"], ["k"]),
        (Filters(status="pending"), ["5"], [], [], []),
        (Filters(since=T0 + HOUR), ["2"], ["2"], ["b1"], []),
    ],
)
def test_filters(
    filled: Store, filters: Filters, posts: list[str], snapshots: list[str], creators: list[str], comments: list[str]
) -> None:
    assert ids(list(rows(filled, "posts", filters))) == posts
    assert ids(list(rows(filled, "snapshots", filters))) == snapshots
    assert ids(list(rows(filled, "creators", filters)), "author_id") == creators
    assert ids(list(rows(filled, "comments", filters)), "comment_id") == comments


def test_filters_of_imports_and_failures(filled: Store) -> None:
    def imports(**filters: Any) -> list[str]:
        return ids(list(rows(filled, "imports", Filters(**filters))), "import_id")

    assert imports(hashtag="dior") == ["i1", "i3"]
    assert imports(collection="research") == ["i1", "i3"]
    assert imports(platform="x") == ["i2"]
    assert imports(since=T0 + HOUR) == ["i2", "i3"]
    assert imports(status="complete", hashtag="été") == ["i2"]
    assert imports(status="empty") == []
    with filled.begin() as conn:
        of_item = GivenUp(
            item_key="i1/no:V", stage="identify", error_class="NotAPostUrl", message="m", attempts=0, import_id="i1"
        )
        give_up(conn, [of_item], T0 + HOUR)

    def failures(**filters: Any) -> list[str]:
        return ids(list(rows(filled, "failures", Filters(**filters))), "error_class")

    assert failures() == ["NotFound", "NotAPostUrl"]
    assert failures(hashtag="dior") == ["NotAPostUrl"]
    assert failures(hashtag="été") == ["NotFound"]
    assert failures(collection="luxury") == ["NotFound", "NotAPostUrl"]
    assert failures(platform="instagram") == ["NotFound"]
    assert failures(since=T0 + HOUR) == ["NotAPostUrl"]
    assert failures(collection="research", hashtag="dior") == ["NotAPostUrl"]
    with filled.begin() as conn:
        give_up(conn, [GivenUp.post(REEL, "metadata", NoAnswer("?"), attempts=1, run_id="r1")], T0)
    assert failures(collection="luxury", hashtag="été") == ["NotFound", "NoAnswer"]
    assert failures(collection="research", hashtag="été") == []
    with filled.begin() as conn:
        resolve(conn, ["instagram:2"], T0)
    with filled.begin() as conn:
        resolve(conn, ["instagram:3"], T0)
    assert failures(status="open") == ["NotAPostUrl"]
    assert sorted(failures(status="resolved")) == ["NoAnswer", "NotFound"]


@pytest.mark.parametrize(("what", "status"), [("posts", "open"), ("imports", "enriched"), ("failures", "failed")])
def test_a_status_that_does_not_exist_is_refused_at_once(sqlite_store: Store, what: Any, status: str) -> None:
    with pytest.raises(UsageError, match=f"there is no status {status} here; choose one of"):
        rows(sqlite_store, what, Filters(status=status))


def test_rates_are_null_if_any_part_is() -> None:
    post: dict[str, Any] = {
        "platform": "x", "plays": 100, "likes": 1, "comments": 2, "shares": 3, "saves": None, "author_followers": 0,
        "null_reasons": {"saves": "not_in_payload"},
    }  # fmt: skip
    rates, reasons = engagement_rates(post)
    assert rates == {"engagement_rate_by_followers": None, "engagement_rate_by_plays": None}
    assert set(reasons.values()) == {"not_in_payload"}
    # Instagram has neither shares nor saves: they are not waited for.
    assert engagement_rates(post | {"platform": "instagram"})[0]["engagement_rate_by_plays"] == 0.03
    assert engagement_rates(post | {"null_reasons": None, "plays": None})[1] == {
        "engagement_rate_by_followers": "not_in_payload"
    }


def test_an_export_needs_no_more_memory_and_no_query_per_row_for_many_rows(store: Store) -> None:
    def add(conn: Connection, count: int) -> None:
        start = conn.exec_driver_sql("SELECT count(*) FROM posts").scalar_one()
        refs = [PostRef("tiktok", f"{start + n:09}", "https://www.tiktok.com/player/v1/1") for n in range(count)]
        ensure_posts(conn, [(ref, "s" * 100) for ref in refs], T0, "r1")
        conn.execute(update(table_of(Post)).values(caption="c" * 500, extra={"k": "v" * 200}))

    cursors: list[str] = []

    def note(conn: Any, cursor: Any, *_: Any) -> None:
        cursors.append(type(cursor).__name__)

    def peak() -> tuple[int, int]:
        tracemalloc.start()
        count = sum(1 for _ in rows(store, "posts", batch_rows=100))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return count, used

    with store.begin() as conn:
        add(conn, 300)
    first, little = peak()
    with store.begin() as conn:
        add(conn, 1500)
    event.listen(store.engine, "before_cursor_execute", note)
    second, much = peak()
    event.remove(store.engine, "before_cursor_execute", note)
    assert (first, second) == (300, 1800)
    assert much < little * 1.3
    assert len(cursors) < 80
    # The memory of a Postgres result is libpq's, which is not traced: only a cursor on the server keeps it small.
    assert store.is_sqlite or any("ServerCursor" in name for name in cursors)


def test_leaving_an_export_early_frees_the_connection(filled: Store) -> None:
    stream = rows(filled, "posts")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert filled.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
