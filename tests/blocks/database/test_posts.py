"""Posts: written by key, twice is the same as once, a newer observation wins as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Table, func, insert, select
from sqlmodel import SQLModel

from blocks.database.engine import Store
from blocks.database.store import failures, raw_payloads
from blocks.database.store.failures import GivenUp
from blocks.database.store.posts import EnrichedPost, ensure_posts, mark_failed, mark_gone, save_posts
from blocks.database.store.raw_payloads import RawAnswer
from blocks.database.store.statements import table_of
from blocks.database.tables import Comment, Creator, Failure, Post, Snapshot, Work
from blocks.errors import NoAnswer, UnknownShape
from blocks.posts.identity import parse_post_url
from blocks.posts.record import CommentRecord, PostRecord, PostRef
from tests.unparsed import unparsed

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def ref(number: int, platform: Any = "instagram") -> PostRef:
    return PostRef(platform, str(number), f"https://{platform}.example/{number}")


def enriched(number: int, at: datetime = T0, *, purpose: str = "enrich", **facts: Any) -> EnrichedPost:
    told: dict[str, Any] = {
        "author_id": "a1",
        "author_username": "ada",
        "author_followers": 1000,
        "posted_at": T0 - HOUR,
        "media_type": "video",
        "plays": 10,
        "likes": 0,
        "hashtags": ["été", "東京"],
        "comment_rows": [CommentRecord(comment_id=f"c{number}", author="bo", text="wow", likes=0, created_at=T0)],
    }
    post = PostRecord(
        platform="instagram",
        post_id=str(number),
        url=f"https://www.instagram.com/p/X{number}/",
        shape="s",
        **told | facts,
    )
    return EnrichedPost(
        record=post, channel="apify", observed_at=at, run_id="r1", purpose=purpose, parser_version="p1", raw_sha256="ab"
    )


def statuses(conn: Connection) -> dict[str, str]:
    post = table_of(Post).c
    return dict(conn.execute(select(post.post_id, post.status)).all())


def counts(conn: Connection) -> dict[str, int]:
    return {
        name: conn.execute(select(func.count()).select_from(table)).scalar_one()
        for name, table in SQLModel.metadata.tables.items()
    }


def the_row(conn: Connection, model: type[SQLModel], **key: Any) -> Any:
    table: Table = table_of(model)
    return conn.execute(select(table).filter_by(**key)).one()


def test_loading_twice_changes_nothing(store: Store) -> None:
    saved = [enriched(number) for number in range(30)]

    def load(conn: Connection) -> None:
        refs = [one.record for one in saved]
        raw_payloads.save_raw(
            conn,
            [
                RawAnswer(ref(int(r.post_id)), b"x%d" % n, "apify", r.url, "enrich", T0, "r1")
                for n, r in enumerate(refs)
            ],
        )
        ensure_posts(conn, [(ref(int(r.post_id)), "src") for r in refs], T0, "r1")
        save_posts(conn, saved, T0)

    with store.begin() as conn:
        load(conn)
    with store.connect() as conn:
        first, rows = counts(conn), conn.execute(select(table_of(Post)).order_by("post_id")).all()
    with store.begin() as conn:
        load(conn)
    with store.connect() as conn:
        assert counts(conn) == first
        assert conn.execute(select(table_of(Post)).order_by("post_id")).all() == rows
    assert first["posts"] == first["snapshots"] == first["comments"] == first["work"] == first["raw_payloads"] == 30
    assert first["creators"] == 1


def test_every_value_comes_back(store: Store) -> None:
    facts: dict[str, Any] = {
        "plays": 3_000_000_000, "views": 0, "likes": None, "likes_hidden": True, "comments": 0, "saves": None,
        "duration_seconds": 41.125, "caption": "été #東京 \U0001f600", "has_audio": False, "author_verified": False,
        "coauthors": [], "tagged_users": None, "extra": {"big": 2**70, "deep": [{"a": None}]},
        "null_reasons": {"likes": "hidden_by_owner", "saves": "not_in_payload"},
    }  # fmt: skip
    with store.begin() as conn:
        save_posts(conn, [enriched(1, **facts)], T0)
        row = the_row(conn, Post, post_id="1")
        snapshot = the_row(conn, Snapshot, post_id="1")
    for name, value in facts.items():
        if name not in ("extra",):
            assert getattr(row, name) == value, name
    assert row.extra == {"big": None, "deep": [{"a": None}]}
    assert row.hashtags == ["été", "東京"]
    assert row.observed_at == T0
    assert row.observed_at.tzinfo is not None
    assert (snapshot.plays, snapshot.views, snapshot.likes, snapshot.author_followers) == (3_000_000_000, 0, None, 1000)
    assert snapshot.null_reasons == {"likes": "hidden_by_owner", "saves": "not_in_payload"}
    assert snapshot.age_seconds == 3600


def test_what_no_database_can_hold_is_left_out_with_a_reason(store: Store) -> None:
    facts: dict[str, Any] = {
        "plays": 2**63, "duration_seconds": float("nan"), "caption": "nul\x00 and \ud800 alone", "likes": 2**63 - 1,
        "author_id": "x" * 5000, "coauthors": ["a\x00b"], "extra": {"k\x00": "\udfff"},
        "comment_rows": [
            CommentRecord(comment_id="y" * 9000, author="\x00", text="\ud83d", likes=-(2**80), created_at=None)
        ],
    }  # fmt: skip
    with store.begin() as conn:
        save_posts(conn, [enriched(1, **facts)], T0)
        row = the_row(conn, Post, post_id="1")
        comment = the_row(conn, Comment, post_id="1")
    assert (row.plays, row.duration_seconds, row.likes) == (None, None, 2**63 - 1)
    assert row.null_reasons == {"plays": "unknown_shape", "duration_seconds": "unknown_shape"}
    assert row.caption == "nul and ? alone"
    assert row.coauthors == ["ab"]
    assert row.extra == {"k": "?"}
    assert row.author_id.startswith("sha256:")
    assert (comment.text, comment.likes) == ("?", None)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_newer_row_wins_as_a_whole(store: Store, order: Sequence[int]) -> None:
    observations = [
        enriched(1, T0, plays=10, likes=5, author_followers=100, caption="old"),
        enriched(1, T0 + HOUR, plays=20, likes=None, author_followers=None, caption=None),
    ]
    for which in order:
        with store.begin() as conn:
            save_posts(conn, [observations[which]], T0 + 2 * HOUR)
    with store.connect() as conn:
        row = the_row(conn, Post, post_id="1")
        creator = the_row(conn, Creator, author_id="a1")
        snapshots = conn.execute(select(table_of(Snapshot)).order_by("observed_at")).all()
    assert (row.plays, row.likes, row.author_followers, row.caption) == (20, None, None, None)
    assert row.observed_at == T0 + HOUR
    assert (creator.followers, creator.observed_at, creator.first_seen_at) == (None, T0 + HOUR, T0)
    assert [(one.observed_at, one.plays, one.likes) for one in snapshots] == [(T0, 10, 5), (T0 + HOUR, 20, None)]


def test_both_orders_in_one_batch_too(store: Store) -> None:
    with store.begin() as conn:
        save_posts(conn, [enriched(1, T0 + HOUR, plays=20), enriched(1, T0, plays=10)], T0)
        assert the_row(conn, Post, post_id="1").plays == 20


def test_identity_and_first_times_stay(store: Store) -> None:
    with store.begin() as conn:
        ensure_posts(conn, [(ref(1), "https://given.example/1?x=y")], T0, "r0")
        save_posts(conn, [enriched(1, T0 + HOUR, shortcode="Xabc")], T0 + HOUR)
        save_posts(conn, [enriched(1, T0 + 2 * HOUR)], T0 + 2 * HOUR)
        row = the_row(conn, Post, post_id="1")
    assert row.source_url == "https://given.example/1?x=y"
    assert row.shortcode == "Xabc"
    assert (row.first_seen_at, row.enriched_at) == (T0, T0 + HOUR)
    assert row.last_seen_at == T0 + 2 * HOUR
    assert row.url == "https://www.instagram.com/p/X1/"


def test_the_same_observation_parsed_anew_replaces_the_row(store: Store) -> None:
    with store.begin() as conn:
        save_posts(conn, [enriched(1, caption="before the mapper was mended")], T0)
        save_posts(conn, [enriched(1, caption="after")], T0)
        assert the_row(conn, Post, post_id="1").caption == "after"


def test_new_posts_are_told_from_known_ones(store: Store) -> None:
    with store.begin() as conn:
        assert ensure_posts(conn, [], T0, "r1") == set()
        found = [(ref(n), None) for n in (1, 2, 2)]
        assert ensure_posts(conn, found, T0, "r1") == {"instagram:1", "instagram:2"}
        assert ensure_posts(conn, [*found, (ref(3), "u3")], T0 + HOUR, "r2") == {"instagram:3"}
        row = the_row(conn, Post, post_id="1")
        assert (row.first_seen_at, row.last_seen_at, row.run_id, row.status) == (T0, T0 + HOUR, "r1", "pending")
        many = [(ref(n), None) for n in range(10_000, 13_000)]
        assert len(ensure_posts(conn, many, T0, "r1")) == 3000
        assert ensure_posts(conn, many, T0, "r1") == set()
        assert len(statuses(conn)) == 3003


def test_a_tiktok_post_learns_its_author_from_a_later_url(store: Store) -> None:
    player = PostRef("tiktok", "77", "https://www.tiktok.com/player/v1/77")
    named = PostRef("tiktok", "77", "https://www.tiktok.com/@ada/video/77", handle="ada")
    with store.begin() as conn:
        ensure_posts(conn, [(player, player.url)], T0, None)
        ensure_posts(conn, [(named, named.url)], T0, None)
        ensure_posts(conn, [(player, player.url)], T0, None)
        row = the_row(conn, Post, post_id="77")
    assert (row.url, row.source_url) == (named.url, player.url)


def test_saving_ends_work_failures_and_parsing(store: Store) -> None:
    with store.begin() as conn:
        [sha] = raw_payloads.save_raw(conn, [RawAnswer(ref(1), b"{}", "apify", "u", "enrich", T0, "r1")])
        give_up = GivenUp.post(ref(1), "metadata", NoAnswer("gone quiet"), attempts=2, run_id="r1")
        other = GivenUp(item_key="instagram:1", stage="identify", error_class="X", message="m", attempts=0)
        mark_failed(conn, [give_up], T0)
        failures.give_up(conn, [other], T0)
        saved = enriched(1)
        save_posts(conn, [EnrichedPost(**{**_fields(saved), "raw_sha256": sha})], T0 + HOUR)
        work = the_row(conn, Work, post_id="1")
        open_ones = failures.find(conn)
        row = the_row(conn, Post, post_id="1")
        assert unparsed(conn) == []
    assert (work.state, work.attempts, work.lease_owner, work.updated_at) == ("done", 2, None, T0 + HOUR)
    assert [failure.stage for failure in open_ones] == ["identify"]
    assert row.status == "enriched"
    assert "fetch_failed" not in row.null_reasons.values()


def _fields(one: EnrichedPost) -> dict[str, Any]:
    return {name: getattr(one, name) for name in EnrichedPost.__dataclass_fields__}


def test_a_refresh_also_ends_the_first_enrichment(store: Store) -> None:
    work = table_of(Work)
    pending = {"platform": "instagram", "state": "pending", "purpose": "enrich", "updated_at": T0}
    with store.begin() as conn:
        conn.execute(insert(work), [{**pending, "post_id": number} for number in ("1", "2", "3")])
        save_posts(conn, [enriched(number, purpose="refresh:3600") for number in (1, 3)], T0)
        states = {(row.post_id, row.purpose): row.state for row in conn.execute(select(work))}
    assert states == {
        ("1", "enrich"): "done", ("1", "refresh:3600"): "done", ("2", "enrich"): "pending",
        ("3", "enrich"): "done", ("3", "refresh:3600"): "done",
    }  # fmt: skip


def test_gone_is_an_outcome_and_keeps_what_was_measured(store: Store) -> None:
    with store.begin() as conn:
        raw_payloads.save_raw(conn, [RawAnswer(ref(2), b"null", "apify", "u", "enrich", T0, "r1")])
        save_posts(conn, [enriched(1, plays=10)], T0)
        mark_failed(conn, [GivenUp.post(ref(2), "metadata", NoAnswer(""), attempts=1)], T0)
        mark_gone(conn, [ref(1), ref(2)], "r2", T0 + HOUR)
        mark_gone(conn, [ref(1), ref(2)], "r2", T0 + HOUR)
        known, unknown = the_row(conn, Post, post_id="1"), the_row(conn, Post, post_id="2")
        assert statuses(conn) == {"1": "gone", "2": "gone"}
        assert {row.state for row in conn.execute(select(table_of(Work)))} == {"gone"}
        assert failures.find(conn) == []
        assert unparsed(conn) == []
    assert (known.plays, known.gone_at, known.observed_at) == (10, T0 + HOUR, T0)
    assert set(known.null_reasons.values()) <= {"not_in_payload"}
    assert unknown.null_reasons["plays"] == unknown.null_reasons["caption"] == "post_gone"


def test_gone_outlives_an_older_answer_but_not_a_newer_one(store: Store) -> None:
    with store.begin() as conn:
        mark_gone(conn, [ref(1)], "r1", T0 + HOUR)
        save_posts(conn, [enriched(1, T0)], T0 + 2 * HOUR)
        row = the_row(conn, Post, post_id="1")
        assert (row.status, row.plays, row.gone_at) == ("gone", 10, T0 + HOUR)
        save_posts(conn, [enriched(1, T0 + 3 * HOUR)], T0 + 3 * HOUR)
        row = the_row(conn, Post, post_id="1")
        assert (row.status, row.gone_at) == ("enriched", None)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: GivenUp.post(ref(1), "metadata", NoAnswer("slow", code="0001"), attempts=3), "fetch_failed"),
        (lambda: GivenUp.post(ref(1), "parse", UnknownShape(["a"]), attempts=1, raw_sha256="ff"), "unknown_shape"),
    ],
)
def test_a_post_given_up_says_why(store: Store, make: Callable[[], GivenUp], reason: str) -> None:
    with store.begin() as conn:
        ensure_posts(conn, [(ref(1), "src")], T0, "r1")
        mark_failed(conn, [make()], T0)
        mark_failed(conn, [make()], T0 + HOUR)
        row, work = the_row(conn, Post, post_id="1"), the_row(conn, Work, post_id="1")
        [failure] = failures.find(conn)
    assert (row.status, row.source_url, work.state, work.attempts) == ("failed", "src", "failed", make().attempts)
    assert row.null_reasons["likes"] == reason
    assert (failure.first_at, failure.last_at, failure.error_class) == (T0, T0 + HOUR, make().error_class)


def test_a_failed_refresh_leaves_the_post_enriched(store: Store) -> None:
    with store.begin() as conn:
        save_posts(conn, [enriched(1)], T0)
        mark_failed(conn, [GivenUp.post(ref(1), "metadata", NoAnswer(""), attempts=2)], T0, purpose="refresh:60")
        row = the_row(conn, Post, post_id="1")
        states = {work.purpose: work.state for work in conn.execute(select(table_of(Work)))}
    assert (row.status, row.plays) == ("enriched", 10)
    assert states == {"enrich": "done", "refresh:60": "failed"}


def test_nothing_to_save_is_nothing(store: Store) -> None:
    with store.begin() as conn:
        save_posts(conn, [], T0)
        mark_gone(conn, [], None, T0)
        mark_failed(conn, [], T0)
        assert counts(conn)["posts"] == 0
        assert conn.execute(select(func.count()).select_from(table_of(Failure))).scalar_one() == 0


def test_the_link_to_a_private_post_takes_the_place_of_a_public_one(store: Store) -> None:
    public = "https://www.instagram.com/p/CAbcdEfGh12/"
    private = f"https://www.instagram.com/p/CAbcdEfGh12{'aB-_' * 7}/"
    for given, kept in ((public, public), (private, private), (public, private)):
        with store.begin() as conn:
            ensure_posts(conn, [(parse_post_url(given), given)], datetime(2026, 3, 1, tzinfo=UTC), "run")
            table = table_of(Post)
            row = conn.execute(select(table.c.url, table.c.source_url)).one()
        assert tuple(row) == (public, kept)
