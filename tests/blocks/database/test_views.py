"""The views for other people's tools: stable columns, sums beside what they rest on, collections apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, insert

from blocks.database.engine import Store
from blocks.database.store import runs
from blocks.database.store.posts import ensure_posts, save_posts
from blocks.database.store.statements import table_of
from blocks.database.tables import Import, ImportItem, Run, RunImport
from blocks.posts.record import PostRef
from tests.stored import measured

T0 = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
FIRST, SECOND, THIRD, TYPED = (PostRef("tiktok", str(n), f"https://www.tiktok.com/@ada/video/{n}") for n in range(1, 5))
COUNTS = ("plays", "views", "likes", "comments", "shares", "saves")

COLUMNS = {
    "post_source": "collection hashtag platform post_id",
    "post_latest": (
        "platform post_id status url shortcode author_id author_username author_name author_verified author_followers "
        "caption hashtags mentions posted_at media_type product_type duration_seconds plays views likes likes_hidden "
        "comments shares saves null_reasons observed_at snapshots first_observed_at first_seen_at channel run_id "
        "parser_version raw_sha256"
    ),
    "hashtag_daily": "collection hashtag platform day posts posts_enriched "
    + " ".join(f"{name} {name}_known" for name in COUNTS),
    "creator_latest": "platform author_id author_username author_name verified followers observed_at first_seen_at "
    "posts_known last_posted_at " + " ".join(f"{name} {name}_known" for name in COUNTS),
}


def fill(conn: Connection) -> None:
    for run_id, collection in (("r1", "luxury"), ("r2", "research")):
        conn.execute(insert(table_of(Run)).values(run_id=run_id, flow="f", collection=collection, started_at=T0))
    for import_id, hashtag, refs in (("i1", "dior", (FIRST, SECOND, THIRD)), ("i2", "dior", (FIRST,))):
        conn.execute(
            insert(table_of(Import)).values(
                import_id=import_id, account="a", kind="hashtag", hashtag=hashtag, dedup_key=import_id,
                collection="luxury", namespace="n", library="private", requested=5, state="complete", run_id="r1",
                planned_at=T0,
            )
        )  # fmt: skip
        ensure_posts(conn, [(ref, None) for ref in refs], T0, "r1")
        for ref in refs:
            conn.execute(
                insert(table_of(ImportItem)).values(
                    import_id=import_id, item_key=f"tiktok:{ref.post_id}", platform="tiktok", post_id=ref.post_id,
                    was_new=True, first_seen_at=T0, last_seen_at=T0,
                )
            )  # fmt: skip
    conn.execute(insert(table_of(RunImport)).values(run_id="r2", import_id="i2", how="reused"))
    runs.take_posts(conn, "r2", [(TYPED, "typed")], now=T0)
    day_after = T0 + HOUR
    ada = {"author_id": "a1", "author_username": "ada"}
    save_posts(
        conn,
        [
            measured(FIRST, T0 + HOUR, posted_at=T0, plays=100, likes=1, **ada),
            measured(FIRST, T0 + 2 * HOUR, posted_at=T0, plays=2**40, likes=None, likes_hidden=True, **ada),
            measured(SECOND, T0 + HOUR, posted_at=day_after, plays=None, likes=0, **ada),
        ],
        T0,
    )


@pytest.fixture
def filled(store: Store) -> Store:
    with store.begin() as conn:
        fill(conn)
    return store


def read(store: Store, query: str) -> list[dict[str, Any]]:
    with store.connect() as conn:
        return [dict(row._mapping) for row in conn.execute(sa.text(query))]


def test_views_have_their_columns_and_no_other(store: Store) -> None:
    inspector = sa.inspect(store.engine)
    found = {name: " ".join(one["name"] for one in inspector.get_columns(name)) for name in inspector.get_view_names()}
    assert found == COLUMNS


def test_a_day_is_utc_and_each_sum_stands_beside_its_count(filled: Store) -> None:
    rows = read(filled, "SELECT * FROM hashtag_daily WHERE collection = 'luxury' ORDER BY day IS NULL, day")
    assert [None if row["day"] is None else str(row["day"]) for row in rows] == ["2026-03-01", "2026-03-02", None]
    first, second, unknown = rows
    assert {row["hashtag"] for row in rows} == {"dior"}
    # Two imports of one hashtag found the first post: it counts once.
    assert (first["posts"], first["plays"], first["plays_known"]) == (1, 2**40, 1)
    assert (first["likes"], first["likes_known"]) == (None, 0)
    assert (second["plays"], second["plays_known"], second["likes"], second["likes_known"]) == (None, 0, 0, 1)
    assert (unknown["posts"], unknown["posts_enriched"]) == (1, 0)
    assert type(first["plays"]) is int


def test_collections_are_kept_apart(filled: Store) -> None:
    rows = read(filled, "SELECT collection, posts FROM hashtag_daily WHERE collection = 'research'")
    assert rows == [{"collection": "research", "posts": 1}]
    sources = read(filled, "SELECT * FROM post_source WHERE collection = 'research' ORDER BY post_id")
    assert [(row["hashtag"], row["post_id"]) for row in sources] == [("dior", "1"), (None, "4")]


def test_a_post_has_its_latest_numbers_and_counts_its_snapshots(filled: Store) -> None:
    [row] = read(filled, "SELECT * FROM post_latest WHERE post_id = '1'")
    assert (row["plays"], row["likes"], row["snapshots"], row["status"]) == (2**40, None, 2, "enriched")
    assert str(row["first_observed_at"]).startswith("2026-03-02 00:30:00")
    assert len(read(filled, "SELECT post_id FROM post_latest")) == 4


def test_a_creator_has_the_sums_over_the_known_posts(filled: Store) -> None:
    [row] = read(filled, "SELECT * FROM creator_latest")
    assert (row["author_username"], row["posts_known"], row["plays"], row["plays_known"]) == ("ada", 2, 2**40, 1)
    assert (row["likes"], row["likes_known"]) == (0, 1)
