"""Answers that come late or together: what counts is when they were given, not when they arrive."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from blocks.database.engine import Store
from blocks.database.store import raw_payloads, work
from blocks.database.store.posts import EnrichedPost, mark_gone, save_posts
from blocks.database.store.raw_payloads import RawAnswer
from blocks.database.store.statements import table_of
from blocks.database.tables import Post, Snapshot, Work
from blocks.posts.record import PostRecord, PostRef
from tests.unparsed import unparsed

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
REF = PostRef("tiktok", "1", "https://www.tiktok.com/@ada/video/1")


def measured(at: datetime, sha: str | None = "aa", **facts: Any) -> EnrichedPost:
    record = PostRecord(platform=REF.platform, post_id=REF.post_id, url=REF.url, shape="s", **facts)
    return EnrichedPost(record=record, channel="apify", observed_at=at, raw_sha256=sha, parser_version="p1")


def the_post(conn: Connection) -> Any:
    return conn.execute(select(table_of(Post))).one()


def work_of(conn: Connection) -> dict[str, str]:
    work = table_of(Work).c
    return dict(conn.execute(select(work.purpose, work.state)).all())


def claim(conn: Connection, purpose: str, *, state: str = "claimed", owner: str | None = None) -> None:
    lease = {"lease_owner": owner, "lease_until": T0 + 9 * HOUR if owner else None, "updated_at": T0}
    row = {"platform": REF.platform, "post_id": REF.post_id, "purpose": purpose, "state": state}
    conn.execute(insert(table_of(Work)).values(**row, **lease))


def test_an_older_word_of_gone_leaves_what_was_measured_since(store: Store) -> None:
    with store.begin() as conn:
        save_posts(conn, [measured(T0 + 2 * HOUR, plays=7)], T0 + 2 * HOUR)
        claim(conn, "refresh:3600", owner="me")
        claim(conn, "refresh:7200", owner="other")
        claim(conn, "refresh:9000", state="pending")
        mark_gone(conn, [REF], "r1", T0 + 3 * HOUR, observed_at=T0 + HOUR, owner="me")
        post = the_post(conn)
        assert (post.status, post.gone_at, post.plays) == ("enriched", None, 7)
        states = {"enrich": "done", "refresh:3600": "done", "refresh:7200": "claimed", "refresh:9000": "pending"}
        assert work_of(conn) == states
        mark_gone(conn, [REF], "r1", T0 + HOUR)
        assert (the_post(conn).status, work_of(conn)) == ("enriched", states)


def test_a_word_of_gone_dates_from_its_answer(store: Store) -> None:
    with store.begin() as conn:
        save_posts(conn, [measured(T0)], T0)
        mark_gone(conn, [REF], "r1", T0 + 9 * HOUR, observed_at=T0 + 2 * HOUR)
        # An older one takes nothing back.
        mark_gone(conn, [REF], "r1", T0 + 9 * HOUR, observed_at=T0 + HOUR)
        assert (the_post(conn).status, the_post(conn).gone_at) == ("gone", T0 + 2 * HOUR)
        assert work_of(conn) == {"enrich": "gone"}
        # It was there again three hours later, however late that is stored.
        save_posts(conn, [measured(T0 + 3 * HOUR)], T0 + 9 * HOUR)
        assert (the_post(conn).status, the_post(conn).gone_at) == ("enriched", None)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("hashes", [("aa", "bb"), (None, None)])
def test_two_payloads_of_one_moment_are_not_mixed(
    store: Store, together: bool, hashes: tuple[str | None, str | None]
) -> None:
    first, second = measured(T0, hashes[0], plays=1), measured(T0, hashes[1], plays=2)
    with store.begin() as conn:
        for part in [[first, second]] if together else [[first], [second]]:
            save_posts(conn, part, T0)
        post, snapshot = the_post(conn), conn.execute(select(table_of(Snapshot))).one()
    assert (post.plays, post.raw_sha256) == (snapshot.plays, snapshot.raw_sha256) == (1, hashes[0])


def test_an_answer_that_came_after_the_post_was_gone_is_still_parsed(store: Store) -> None:
    def answer(body: bytes, at: datetime) -> RawAnswer:
        return RawAnswer(ref=REF, body=body, channel="apify", url=REF.url, purpose="enrich", fetched_at=at)

    with store.begin() as conn:
        work.claim(conn, "slow", [REF], "enrich", fresh_after=None, now=T0)
        _, newer = raw_payloads.save_raw(conn, [answer(b"gone", T0 + HOUR), answer(b"there again", T0 + 2 * HOUR)])
        # The slow one lost the post; the other was killed before it parsed its answer.
        taken = work.claim(conn, "killed", [REF], "enrich", fresh_after=None, now=T0 + 2 * HOUR)
        assert len(taken.claimed) == 1
        mark_gone(conn, [REF], "r1", T0 + 3 * HOUR, observed_at=T0 + HOUR)
        assert [seen.raw_sha256 for seen in unparsed(conn)] == [newer]
