"""What was tried for a post in vain stands in its work, from run to run, until it is asked for anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from blocks.database.engine import Store
from blocks.database.store import work
from blocks.database.store.failures import GivenUp
from blocks.database.store.posts import mark_failed
from blocks.database.store.work import FailedCalls, note_failed_calls
from blocks.errors import ServerFault
from blocks.posts.record import PostRef

T0 = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
ONE, TWO = (PostRef("tiktok", str(7000000000000000000 + n), f"https://example.org/{n}") for n in (1, 2))


def tries(store: Store, owner: str, hours: float) -> list[dict[str, int]]:
    now = T0 + timedelta(hours=hours)
    with store.begin() as conn:
        young = now - timedelta(hours=12)
        found = work.claim(conn, owner, [ONE, TWO], "enrich", fresh_after=young, now=now, alive=lambda name: None)
        return [item.tries for item in found.claimed]


def test_it_counts_over_runs_until_the_post_is_asked_for_anew(store: Store) -> None:
    assert tries(store, "me", 0) == [{}, {}]
    with store.begin() as conn:
        note_failed_calls(
            conn, [FailedCalls(ONE, "enrich", {"lost": 1}), FailedCalls(ONE, "enrich", {"lost": 2})], owner="me"
        )
        note_failed_calls(conn, [FailedCalls(TWO, "enrich", {"lost": 9})], owner="another")
        note_failed_calls(conn, [FailedCalls(TWO, "refresh:3600", {"lost": 9})], owner="me")
        work.release(conn, "me", [ONE, TWO], "enrich", now=T0)
    assert tries(store, "you", 1) == [{"lost": 2}, {}]
    assert tries(store, "after a kill", 2) == [{"lost": 2}, {}]
    given_up = [GivenUp.post(one, "metadata", ServerFault("down"), attempts=3) for one in (ONE, TWO)]
    with store.begin() as conn:
        mark_failed(conn, given_up, T0 + timedelta(hours=2))
    assert tries(store, "later", 20) == [{}, {}], "what had failed is asked for anew"
    with store.begin() as conn:
        note_failed_calls(conn, [FailedCalls(ONE, "enrich", {"ServerFault": 1})], owner="later")
        mark_failed(conn, given_up, T0 + timedelta(hours=20))
        assert work.requeue(conn, [ONE, TWO], "enrich", now=T0 + timedelta(hours=21)) == 2
    assert tries(store, "retry", 21) == [{}, {}]
