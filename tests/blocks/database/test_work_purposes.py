"""Claims of one post for several purposes, of which one holder buys it at a time; and what a holder still has."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from blocks.database.engine import Store, open_store
from blocks.database.store import posts, work
from blocks.database.store.statements import table_of
from blocks.database.store.work import Claimed
from blocks.database.tables import Work
from blocks.posts.record import PostRef
from tests.stored import measured

T0 = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
HOURS = timedelta(hours=1)
DAY_OLD = "refresh:86400"


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def ref(number: int) -> PostRef:
    return PostRef("tiktok", str(7000000000000000000 + number), f"https://example.org/{number}")


def claim_on(
    conn: Any, owner: str, refs: Sequence[PostRef], purpose: str, *, now: datetime = T0, dead: str = ""
) -> Claimed:
    """Claim as a run does that wants nothing older than 12 hours."""
    young = now - 12 * HOURS
    of_plan = purpose != "enrich"
    return work.claim(
        conn,
        owner,
        refs,
        purpose,
        fresh_after=None if of_plan else young,
        measured_after=young if of_plan else None,
        now=now,
        alive=lambda name: False if name == dead else None,
    )


def claim(store: Store, *args: Any, **more: Any) -> Claimed:
    with store.begin() as conn:
        return claim_on(conn, *args, **more)


def refs_of(found: Claimed) -> list[PostRef]:
    return [item.ref for item in found.claimed]


def enrich(store: Store, one: PostRef, purpose: str, at: datetime) -> None:
    with store.begin() as conn:
        posts.save_posts(conn, [measured(one, at, purpose=purpose)], at)


def know(store: Store, refs: Sequence[PostRef]) -> None:
    """Posts have a row before anybody claims them."""
    with store.begin() as conn:
        posts.ensure_posts(conn, [(one, None) for one in refs], T0, "r")


@pytest.mark.parametrize(("first", "second"), [("enrich", DAY_OLD), (DAY_OLD, "enrich"), ("refresh:3600", DAY_OLD)])
def test_a_post_that_is_bought_for_one_purpose_is_held_for_every_other(store: Store, first: str, second: str) -> None:
    assert refs_of(claim(store, "me", [ref(1)], first)) == [ref(1)]
    found = claim(store, "you", [ref(1), ref(2)], second, now=after(5))
    assert (found.busy, refs_of(found)) == ([ref(1)], [ref(2)])
    enrich(store, ref(1), first, after(6))
    assert claim(store, "you", [ref(1)], second, now=after(7)).fresh == [ref(1)]


def test_it_is_free_again_where_its_holder_died_or_fell_silent(store: Store) -> None:
    claim(store, "me", [ref(1), ref(2)], "enrich")
    assert refs_of(claim(store, "you", [ref(1)], DAY_OLD, now=after(5), dead="me")) == [ref(1)]
    assert refs_of(claim(store, "you", [ref(2)], DAY_OLD, now=after(15))) == [ref(2)]


def test_a_holder_does_not_stand_in_its_own_way(store: Store) -> None:
    claim(store, "me", [ref(1)], "enrich")
    assert refs_of(claim(store, "me", [ref(1)], DAY_OLD, now=after(1))) == [ref(1)]
    assert refs_of(claim(store, "me", [ref(1)], "enrich", now=after(2))) == [ref(1)]
    assert claim(store, "you", [ref(1)], "refresh:3600", now=after(3)).busy == [ref(1)]


def test_what_failed_or_is_fresh_says_so_whoever_has_it(store: Store) -> None:
    enrich(store, ref(1), "enrich", T0)
    claim(store, "me", [ref(1)], DAY_OLD, now=T0 + 13 * HOURS)
    with store.begin() as conn:
        conn.execute(sa.update(table_of(Work)).where(table_of(Work).c.purpose == "enrich").values(state="failed"))
    assert claim(store, "you", [ref(1)], "enrich", now=after(60)).ended == [(ref(1), "failed")]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_claim_that_is_not_committed_yet_counts_too_whatever_is_noted_of_the_post(store: Store) -> None:
    pairs = [("enrich", DAY_OLD), (DAY_OLD, "enrich"), ("refresh:3600", DAY_OLD)]
    for number, ((first, second), noted) in enumerate(itertools.product(pairs, [True, False])):
        mine, free = ref(2 * number), ref(2 * number + 1)
        know(store, [mine, free])
        if noted:
            with store.begin() as conn:
                work.enqueue(conn, [mine, free], "enrich", now=T0)
        with store.begin() as other:
            assert refs_of(claim_on(other, "me", [mine], first)) == [mine]
            found = claim(store, "you", [mine, free], second)
        assert (found.busy, refs_of(found)) == ([mine], [free]), (first, second, noted)
        assert claim(store, "you", [mine], second).busy == [mine]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_claim_that_may_not_have_a_post_does_not_keep_it_from_the_one_that_may(store: Store) -> None:
    """Else both are told that it is busy, and nobody buys it."""
    enrich(store, ref(1), "enrich", T0)
    enrich(store, ref(1), DAY_OLD, T0)
    later = T0 + 13 * HOURS
    with store.begin() as first, store.begin() as second:
        assert claim_on(first, "me", [ref(1)], DAY_OLD, now=later).fresh == [ref(1)]
        assert claim_on(second, "you", [ref(1)], "enrich", now=later).busy == [ref(1)]
        assert refs_of(claim_on(first, "me", [ref(1)], "enrich", now=later)) == [ref(1)]


@pytest.mark.parametrize("noted", [True, False])
async def test_of_runs_that_race_for_several_purposes_each_post_goes_to_one(
    store: Store, database_url: str, noted: bool
) -> None:
    refs = [ref(number) for number in range(200)]
    know(store, refs)
    if noted:
        with store.begin() as conn:
            work.enqueue(conn, refs, "enrich", now=T0)
    purposes = ("enrich", DAY_OLD, "refresh:3600", "enrich")
    stores = [open_store(database_url) for _ in purposes]

    async def worker(number: int) -> list[PostRef]:
        mine: list[PostRef] = []
        order = refs[number * 50 :] + refs[: number * 50]
        for start in range(0, 200, 40 + number):
            batch = order[start : start + 40 + number]
            found = await stores[number].run(claim_on, f"w{number}", batch, purposes[number])
            assert len(found.claimed) + len(found.busy) == len(batch)
            mine += refs_of(found)
        return mine

    try:
        shares = await asyncio.gather(*(worker(number) for number in range(len(purposes))))
    finally:
        for one in stores:
            one.close()
    assert sorted(one.post_id for share in shares for one in share) == sorted(one.post_id for one in refs)


def still_mine(store: Store, owner: str, refs: Sequence[PostRef], purpose: str, seconds: float) -> set[PostRef]:
    with store.begin() as conn:
        return work.still_mine(conn, owner, refs, purpose, now=after(seconds))


def test_a_holder_that_slept_learns_what_it_still_has_and_keeps_it(store: Store) -> None:
    refs = [ref(number) for number in range(1, 6)]
    claim(store, "me", refs[:4], "enrich")
    claim(store, "you", [ref(2)], "enrich", now=after(20))
    enrich(store, ref(3), "enrich", after(20))
    with store.begin() as conn:
        work.release(conn, "me", [ref(4)], "enrich", now=after(20))
    assert still_mine(store, "me", refs, "enrich", 30) == {ref(1)}
    assert still_mine(store, "you", refs, "enrich", 30) == {ref(2)}
    assert still_mine(store, "me", refs, DAY_OLD, 30) == set()
    assert still_mine(store, "me", [], "enrich", 30) == set()
    assert claim(store, "third", [ref(1), ref(2)], "enrich", now=after(44)).busy == [ref(1), ref(2)]
    assert len(claim(store, "third", [ref(1), ref(2)], "enrich", now=after(45)).claimed) == 2


def test_more_posts_of_a_holder_than_one_statement_takes(store: Store) -> None:
    refs = [ref(number) for number in range(1201)]
    claim(store, "me", refs, "enrich")
    assert still_mine(store, "me", refs, "enrich", 5) == set(refs)
