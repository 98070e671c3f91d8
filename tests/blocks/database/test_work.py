"""Claims: every post is bought by one holder at a time, and not again while what is known of it is young enough."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from blocks.database.engine import Store, open_store
from blocks.database.store import posts, raw_payloads, work
from blocks.database.store.failures import GivenUp
from blocks.database.store.raw_payloads import RawAnswer
from blocks.database.store.statements import table_of
from blocks.database.store.work import Claimed
from blocks.database.tables import Work
from blocks.errors import ServerFault
from blocks.posts.record import PostRef
from tests.stored import measured

T0 = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
HOURS = timedelta(hours=1)


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def ref(number: int, platform: str = "tiktok") -> PostRef:
    return PostRef(platform, str(7000000000000000000 + number), f"https://example.org/{platform}/{number}")  # type: ignore[arg-type]


def claim(
    store: Store,
    owner: str,
    refs: Sequence[PostRef],
    purpose: str = "enrich",
    *,
    now: datetime = T0,
    dead: str = "",
    **more: Any,
) -> Claimed:
    """Claim at `now`, with a maximum age of 12 hours; the holder `dead` is known to be so."""
    options = {"fresh_after": now - 12 * HOURS, **more}
    with store.begin() as conn:
        return work.claim(
            conn, owner, refs, purpose, now=now, alive=lambda name: False if name == dead else None, **options
        )


def refs_of(found: Claimed) -> list[PostRef]:
    return [item.ref for item in found.claimed]


def enrich(store: Store, *refs: PostRef, at: datetime = T0, purpose: str = "enrich") -> None:
    with store.begin() as conn:
        posts.save_posts(conn, [measured(one, at, purpose=purpose) for one in refs], at)


def fail(store: Store, one: PostRef, at: datetime = T0) -> None:
    given_up = GivenUp.post(one, "metadata", ServerFault("fell over"), attempts=2, channel="apify", run_id="r")
    with store.begin() as conn:
        posts.mark_failed(conn, [given_up], at)


def rows(store: Store) -> dict[str, tuple[str, int, str | None]]:
    table = table_of(Work)
    with store.connect() as conn:
        return {row.post_id: (row.state, row.attempts, row.lease_owner) for row in conn.execute(sa.select(table)).all()}


def test_what_is_new_is_the_caller_s(store: Store) -> None:
    with store.begin() as conn:
        posts.ensure_posts(conn, [(ref(1), "as it came")], T0, "r")
        work.enqueue(conn, [ref(1)], "enrich", now=T0)
    found = claim(store, "me", [ref(2), ref(1), ref(1, "x"), ref(1)])
    assert sorted(refs_of(found), key=str) == sorted([ref(1), ref(2), ref(1, "x")], key=str)
    assert {item.ref.post_id: item.source_url for item in found.claimed if item.ref.platform == "tiktok"} == {
        ref(1).post_id: "as it came",
        ref(2).post_id: None,
    }
    assert all(item.attempts == 0 and item.unparsed is None for item in found.claimed)
    assert (found.fresh, found.busy, found.ended) == ([], [], [])


def test_noting_twice_changes_nothing(store: Store) -> None:
    claim(store, "me", [ref(1)])
    with store.begin() as conn:
        work.enqueue(conn, [ref(1), ref(1)], "enrich", now=after(5))
    assert rows(store) == {ref(1).post_id: ("claimed", 0, "me")}


def test_another_s_claim_holds_until_it_ends_or_its_holder_dies(store: Store) -> None:
    assert len(claim(store, "me", [ref(1), ref(2)]).claimed) == 2
    found = claim(store, "you", [ref(1), ref(3)])
    assert (refs_of(found), found.busy) == ([ref(3)], [ref(1)])
    assert claim(store, "you", [ref(1)], now=after(14.9)).busy == [ref(1)]
    assert refs_of(claim(store, "you", [ref(1)], now=after(15))) == [ref(1)]
    assert refs_of(claim(store, "you", [ref(2)], dead="me")) == [ref(2)]


def test_claiming_one_s_own_again_renews_it_and_keeps_its_attempts(store: Store) -> None:
    claim(store, "me", [ref(1)])
    with store.begin() as conn:
        conn.execute(sa.update(table_of(Work)).values(attempts=3))
    found = claim(store, "me", [ref(1)], now=after(10))
    assert [item.attempts for item in found.claimed] == [3]
    assert claim(store, "you", [ref(1)], now=after(20)).busy == [ref(1)]


def test_attempts_outlive_their_holder(store: Store) -> None:
    claim(store, "me", [ref(1)])
    with store.begin() as conn:
        conn.execute(sa.update(table_of(Work)).values(attempts=1))
    assert [item.attempts for item in claim(store, "you", [ref(1)], dead="me").claimed] == [1]


def test_what_was_measured_lately_is_not_bought(store: Store) -> None:
    claim(store, "me", [ref(1), ref(2)])
    enrich(store, ref(1))
    found = claim(store, "you", [ref(1), ref(2)], now=T0 + 12 * HOURS)
    assert (found.fresh, refs_of(found)) == ([ref(1)], [ref(2)])
    found = claim(store, "you", [ref(1)], now=T0 + 12 * HOURS + timedelta(seconds=1))
    assert [(item.ref, item.attempts) for item in found.claimed] == [(ref(1), 0)]


def test_measured_for_another_purpose_is_measured_too(store: Store) -> None:
    enrich(store, ref(1), purpose="refresh:3600")
    assert claim(store, "me", [ref(1)]).fresh == [ref(1)]
    assert rows(store)[ref(1).post_id][0] == "done"


@pytest.mark.parametrize("ended", ["failed", "gone"])
def test_failed_and_gone_are_not_asked_for_until_they_are_old(store: Store, ended: str) -> None:
    claim(store, "me", [ref(1)])
    if ended == "failed":
        fail(store, ref(1))
    else:
        with store.begin() as conn:
            posts.mark_gone(conn, [ref(1)], "r", T0)
    assert claim(store, "you", [ref(1)], now=T0 + 12 * HOURS).ended == [(ref(1), ended)]
    assert claim(store, "you", [ref(1)], now=T0 + 12 * HOURS, fresh_after=None).ended == [(ref(1), ended)]
    with store.begin() as conn:
        conn.execute(sa.update(table_of(Work)).values(attempts=2))
    found = claim(store, "you", [ref(1)], now=T0 + 13 * HOURS)
    assert [item.attempts for item in found.claimed] == [0]
    assert rows(store) == {ref(1).post_id: ("claimed", 0, "you")}


def test_failures_are_taken_up_sooner_when_asked_for(store: Store) -> None:
    claim(store, "me", [ref(1), ref(2), ref(3)])
    fail(store, ref(1))
    enrich(store, ref(2))
    with store.begin() as conn:
        assert work.requeue(conn, [ref(1), ref(2), ref(3)], "enrich", now=after(60)) == 1
    found = claim(store, "you", [ref(1), ref(2), ref(3)], now=after(10))
    assert (refs_of(found), found.fresh, found.busy) == ([ref(1)], [ref(2)], [ref(3)])
    assert found.claimed[0].attempts == 0


def test_a_checkpoint_is_measured_once_for_ever(store: Store) -> None:
    purpose = "refresh:3600"
    assert len(claim(store, "me", [ref(1)], purpose, fresh_after=None).claimed) == 1
    enrich(store, ref(1), purpose=purpose)
    found = claim(store, "me", [ref(1)], purpose, now=T0 + 999 * HOURS, fresh_after=None)
    assert (found.fresh, found.claimed) == ([ref(1)], [])
    assert len(claim(store, "me", [ref(1)], "refresh:86400", fresh_after=None).claimed) == 1


def test_what_is_given_back_is_free_at_once(store: Store) -> None:
    claim(store, "me", [ref(1), ref(2)])
    enrich(store, ref(2))
    with store.begin() as conn:
        assert work.release(conn, "you", [ref(1)], "enrich", now=T0) == 0
        assert work.release(conn, "me", [ref(1), ref(2)], "enrich", now=T0) == 1
    assert {key: row[0] for key, row in rows(store).items()} == {ref(1).post_id: "pending", ref(2).post_id: "done"}
    assert refs_of(claim(store, "you", [ref(1)])) == [ref(1)]


def test_an_answer_that_nobody_parsed_is_handed_over(store: Store) -> None:
    def answer(one: PostRef, body: bytes, at: datetime, purpose: str = "enrich") -> str:
        with store.begin() as conn:
            return raw_payloads.save_raw(conn, [RawAnswer(one, body, "rapid", one.url, purpose, at)])[0]

    claim(store, "me", [ref(1), ref(2), ref(3), ref(4)])
    answer(ref(1), b"{1}", T0)
    newest = answer(ref(1), b"{2}", after(1))
    answer(ref(2), b"{3}", T0 - 20 * HOURS)  # too old to count
    answer(ref(3), b"{4}", T0, "refresh:3600")
    parsed = answer(ref(4), b"{5}", T0)
    with store.begin() as conn:
        raw_payloads.mark_parsed(conn, [("tiktok", ref(4).post_id, parsed)], parser_version="1", now=T0)
    found = claim(store, "you", [ref(1), ref(2), ref(3), ref(4)], now=after(2), dead="me")
    assert {item.ref: item.unparsed for item in found.claimed} == {
        ref(1): (newest, "rapid", after(1)),
        ref(2): None,
        ref(3): None,
        ref(4): None,
    }


def test_an_answer_of_a_killed_run_serves_the_next_however_young_it_wants_it(store: Store) -> None:
    """`retry` and `--max-age 0` want what is younger than themselves; what they paid for before a kill is not lost."""

    def answered(number: int, at: datetime) -> None:
        with store.begin() as conn:
            raw_payloads.save_raw(
                conn, [RawAnswer(ref(number), b"{%d}" % number, "rapid", ref(number).url, "enrich", at)]
            )

    claim(store, "killed", [ref(1), ref(2), ref(3)], now=T0, fresh_after=T0)
    answered(1, after(1))
    answered(2, after(1) - 2 * HOURS)
    answered(3, after(1))
    with store.begin() as conn:
        work.release(conn, "killed", [ref(3)], "enrich", now=after(2))
    found = claim(store, "you", [ref(1), ref(2), ref(3)], now=after(600), dead="killed", fresh_after=after(600))
    # The third was given back by one that lived: an answer that it left unparsed is no answer.
    assert [item.unparsed is not None for item in found.claimed] == [True, False, False]


def test_more_posts_than_one_statement_takes(store: Store) -> None:
    refs = [ref(number) for number in range(1201)]
    assert len(claim(store, "me", refs).claimed) == 1201
    assert len(claim(store, "you", refs).busy) == 1201
    assert claim(store, "you", []) == Claimed()


@pytest.mark.parametrize("noted", [False, True])
async def test_of_workers_that_race_each_post_goes_to_one(store: Store, database_url: str, noted: bool) -> None:
    refs = [ref(number) for number in range(200)]
    with store.begin() as conn:
        posts.ensure_posts(conn, [(one, None) for one in refs], T0, "r")
        if noted:
            work.enqueue(conn, refs, "enrich", now=T0)
    stores = [open_store(database_url) for _ in range(4)]

    async def worker(number: int) -> list[PostRef]:
        mine = []
        # Each has an order and batches of its own.
        order = refs[number * 50 :] + refs[: number * 50]
        for start in range(0, 200, 40 + number):
            batch = order[start : start + 40 + number]
            found = await stores[number].run(work.claim, f"w{number}", batch, "enrich", fresh_after=None, now=T0)
            assert len(found.claimed) + len(found.busy) == len(batch)
            mine += refs_of(found)
        return mine

    try:
        shares = await asyncio.gather(*(worker(number) for number in range(4)))
    finally:
        for one in stores:
            one.close()
    assert sorted(one.post_id for share in shares for one in share) == sorted(one.post_id for one in refs)
    owners = {post_id: row[2] for post_id, row in rows(store).items()}
    assert owners == {one.post_id: f"w{number}" for number, share in enumerate(shares) for one in share}


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_claim_does_not_wait_for_posts_that_are_being_stored(store: Store) -> None:
    claim(store, "me", [ref(1), ref(2)])
    with store.begin() as storing:
        storing.execute(sa.update(table_of(Work)).where(table_of(Work).c.post_id == ref(1).post_id).values(attempts=1))
        found = claim(store, "you", [ref(1), ref(2)], now=after(60))  # would wait 30 s, and fail
    assert (found.busy, refs_of(found)) == ([ref(1)], [ref(2)])


def tries(store: Store, owner: str, hours: float) -> list[dict[str, int]]:
    """What failed in vain for posts 1 and 2, as their claim tells it."""
    return [item.tries for item in claim(store, owner, [ref(1), ref(2)], now=T0 + hours * HOURS).claimed]


def test_failed_calls_count_over_runs_until_the_post_is_asked_for_anew(store: Store) -> None:
    one, two = ref(1), ref(2)
    assert tries(store, "me", 0) == [{}, {}]
    with store.begin() as conn:
        work.note_failed_calls(
            conn,
            [work.FailedCalls(one, "enrich", {"lost": 1}), work.FailedCalls(one, "enrich", {"lost": 2})],
            owner="me",
        )
        work.note_failed_calls(conn, [work.FailedCalls(two, "enrich", {"lost": 9})], owner="another")
        work.note_failed_calls(conn, [work.FailedCalls(two, "refresh:3600", {"lost": 9})], owner="me")
        work.release(conn, "me", [one, two], "enrich", now=T0)
    assert tries(store, "you", 1) == [{"lost": 2}, {}]
    assert tries(store, "after a kill", 2) == [{"lost": 2}, {}]
    given_up = [GivenUp.post(post, "metadata", ServerFault("down"), attempts=3) for post in (one, two)]
    with store.begin() as conn:
        posts.mark_failed(conn, given_up, T0 + 2 * HOURS)
    assert tries(store, "later", 20) == [{}, {}], "what had failed is asked for anew"
    with store.begin() as conn:
        work.note_failed_calls(conn, [work.FailedCalls(one, "enrich", {"ServerFault": 1})], owner="later")
        posts.mark_failed(conn, given_up, T0 + 20 * HOURS)
        assert work.requeue(conn, [one, two], "enrich", now=T0 + 21 * HOURS) == 2
    assert tries(store, "retry", 21) == [{}, {}]
