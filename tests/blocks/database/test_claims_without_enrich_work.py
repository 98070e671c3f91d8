"""Two checkpoints of one post that are claimed at one instant, where nothing but checkpoints is noted for it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.database.engine import Store, open_store
from blocks.database.store import posts, work
from blocks.database.store.work import Claimed
from blocks.posts.record import PostRef

T0 = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
HOUR_OLD, DAY_OLD = "refresh:3600", "refresh:86400"
REFS = [PostRef("tiktok", str(7000000000000000000 + n), f"https://example.org/{n}") for n in range(60)]

pytestmark = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


@pytest.fixture
def known(store: Store) -> Store:
    """All posts have a row, as they have before anybody claims them."""
    with store.begin() as conn:
        posts.ensure_posts(conn, [(ref, None) for ref in REFS], T0, "r")
    return store


def claim_on(conn: Any, owner: str, refs: list[PostRef], purpose: str) -> Claimed:
    return work.claim(conn, owner, refs, purpose, fresh_after=None, measured_after=T0 - timedelta(hours=12), now=T0)


@pytest.mark.parametrize("second", [DAY_OLD, "enrich"])
def test_the_second_sees_the_first_though_neither_is_committed(known: Store, second: str) -> None:
    with known.begin() as first, known.begin() as other:
        assert [item.ref for item in claim_on(first, "me", REFS[:1], HOUR_OLD).claimed] == REFS[:1]
        found = claim_on(other, "you", REFS[:2], second)
    assert (found.busy, [item.ref for item in found.claimed]) == (REFS[:1], REFS[1:2])
    with known.begin() as conn:
        assert claim_on(conn, "you", REFS[:1], second).busy == REFS[:1]
        assert [item.ref for item in claim_on(conn, "me", REFS[:1], second).claimed] == REFS[:1], "its own way is free"


def test_the_second_sees_the_first_also_where_enrich_work_is_noted_in_between(known: Store) -> None:
    with known.begin() as first:
        claim_on(first, "me", REFS[:1], HOUR_OLD)
        with known.begin() as conn:
            work.enqueue(conn, REFS[:1], "enrich", now=T0)
        with known.begin() as conn:
            assert claim_on(conn, "you", REFS[:1], "enrich").busy == REFS[:1]


async def test_of_refreshes_that_race_each_post_goes_to_one(known: Store, database_url: str) -> None:
    purposes = (HOUR_OLD, DAY_OLD, "refresh:21600", HOUR_OLD)
    stores = [open_store(database_url) for _ in purposes]

    async def worker(number: int) -> list[str]:
        mine: list[str] = []
        for at in range(0, 60, 10):
            found = await stores[number].run(claim_on, f"w{number}", REFS[at : at + 10], purposes[number])
            mine += [item.ref.post_id for item in found.claimed]
        return mine

    try:
        shares = await asyncio.gather(*(worker(number) for number in range(len(purposes))))
    finally:
        for one in stores:
            one.close()
    assert sorted(post_id for share in shares for post_id in share) == sorted(ref.post_id for ref in REFS)
