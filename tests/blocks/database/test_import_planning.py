"""Plans: equal requests share an import, however many want it at once; larger and fresh ones get their own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.database.engine import open_store
from blocks.database.store import import_planning
from blocks.database.store import imports as ledger
from blocks.database.store.import_planning import Ticket
from tests.stored import plan

Ledger = Any  # the class of the fixture `book`, see conftest.py

T0 = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
HOUR = 3600.0

# -- equal requests


def test_a_second_run_attaches_to_what_is_under_way(book: Ledger) -> None:
    first = book.plan("r1")
    for move in (
        lambda: None,
        lambda: book.send(first.import_id, "r1"),
        lambda: book.do(ledger.mark_submitted, first.import_id, "T1", owner="r1"),
        lambda: book.poll(first.import_id, 1),
    ):
        move()
        ticket = book.plan("r2", 25)
        assert (ticket.import_id, ticket.action) == (first.import_id, "attached")
    assert book.get(ticket.import_id).task_id == "T1"
    with book.store.connect() as conn:
        assert [(row.import_id, how) for row, how in ledger.of_run(conn, "r1")] == [(first.import_id, "submitted")]
        assert [(row.import_id, how) for row, how in ledger.of_run(conn, "r2")] == [(first.import_id, "attached")]


def test_a_finished_import_is_used_again_for_a_while(book: Ledger) -> None:
    first = book.submit("r1")
    book.poll(first, 1)
    book.do(ledger.finish_import, first, state="complete")
    book.wait(6 * HOUR)
    ticket = book.plan("r2")
    assert (ticket.import_id, ticket.action, ticket.state, ticket.since) == (first, "reused", "complete", T0)
    book.wait(1)
    assert book.plan("r3").action == "submit"


def test_the_age_counts_from_the_submission(book: Ledger) -> None:
    ticket = book.plan("r1")
    book.wait(5 * HOUR)  # waited for its turn, its lease renewed
    book.send(ticket.import_id, "r1")
    book.do(ledger.mark_submitted, ticket.import_id, "T1", owner="r1")
    book.wait(5 * HOUR)
    for run in ("r2", "r3"):
        again = book.plan(run)
        assert (again.import_id, again.since) == (ticket.import_id, T0 + timedelta(hours=5))
        book.poll(ticket.import_id, 1)
        book.do(ledger.finish_import, ticket.import_id, state="complete")


def test_an_old_import_under_way_is_left_to_the_sweep(book: Ledger) -> None:
    first = book.submit("r1")
    book.wait(7 * HOUR)
    assert book.plan("r2").action == "submit"
    with book.store.connect() as conn:
        assert first in {row.import_id for row in ledger.open_imports(conn, "acc", now=book.now)}


def test_without_reuse_only_what_is_about_to_be_sent_is_shared(book: Ledger) -> None:
    first = book.plan("r1", reuse_hours=None)
    assert book.plan("r2", reuse_hours=None).import_id == first.import_id
    book.send(first.import_id, "r1")
    assert book.plan("r3", reuse_hours=None).import_id == first.import_id
    book.do(ledger.mark_submitted, first.import_id, "T1", owner="r1")
    assert book.plan("r4", reuse_hours=None).import_id != first.import_id


@pytest.mark.parametrize("other", [{"dedup_key": "w2"}, {"account": "acc2"}])
def test_other_requests_and_accounts_share_nothing(book: Ledger, other: dict[str, str]) -> None:
    first = book.plan("r1")
    ticket = book.plan("r2", **other)
    assert (ticket.action, ticket.import_id != first.import_id) == ("submit", True)


def test_a_failed_import_is_never_used_again(book: Ledger) -> None:
    first = book.plan("r1")
    book.do(ledger.mark_failed, first.import_id, note="refused")
    assert book.plan("r2").action == "submit"
    assert book.plan("r1").import_id != first.import_id  # nor by its own run


def test_fresh_buys_beside_whatever_there_is(book: Ledger) -> None:
    first = book.plan("r1")
    second = book.plan("r2", fresh=True)
    third = book.plan("r3", fresh=True)
    assert [ticket.action for ticket in (first, second, third)] == ["submit"] * 3
    assert len({first.import_id, second.import_id, third.import_id}) == 3
    assert [book.get(ticket.import_id).forced for ticket in (first, second)] == [False, True]
    book.send(second.import_id, "r2")
    book.wait(1)
    assert book.plan("r4").action == "attached"


@pytest.mark.parametrize("fresh", [False, True])
def test_a_run_that_is_repeated_finds_its_own_import(book: Ledger, fresh: bool) -> None:
    first = book.submit("r1", fresh=fresh)
    book.wait(48 * HOUR)
    again = book.plan("r1", fresh=fresh, reuse_hours=None)
    assert (again.import_id, again.action) == (first, "attached")
    with book.store.connect() as conn:
        assert [how for _, how in ledger.of_run(conn, "r1")] == ["submitted"]


# -- counts


def test_a_smaller_count_is_served_by_a_larger_import(book: Ledger) -> None:
    first = book.plan("r1", 25)
    assert book.plan("r2", 10).import_id == first.import_id


@pytest.mark.parametrize("sent", [False, True])
def test_a_larger_count_is_an_import_of_its_own_and_shared_too(book: Ledger, sent: bool) -> None:
    small = book.plan("r1", 25)
    if sent:
        book.send(small.import_id, "r1")
    large = book.plan("r2", 50)
    assert (large.action, large.import_id != small.import_id, large.requested) == ("submit", True, 50)
    for run, count in (("r3", 50), ("r4", 30)):
        ticket = book.plan(run, count)
        assert (ticket.import_id, ticket.action) == (large.import_id, "attached")
    assert book.get(small.import_id).requested == 25
    assert book.plan("r5", 51).action == "submit"


# -- leases of plans


def test_a_plan_whose_holder_died_is_taken_over_with_the_new_request(book: Ledger) -> None:
    first = book.plan("r1", 1000)
    assert book.plan("r2", 10).action == "attached"
    book.dead.add("r1")
    ticket = book.plan("r3", 10, wanted={"hashtag": "lvmh"})
    assert (ticket.import_id, ticket.action, ticket.requested) == (first.import_id, "submit", 10)
    row = book.get(first.import_id)
    assert (row.run_id, row.lease_owner, row.wanted) == ("r3", "r3", {"hashtag": "lvmh"})
    assert not book.send(first.import_id, "r1")  # should it live after all
    assert book.send(first.import_id, "r3")


@pytest.mark.parametrize("fresh", [False, True])
def test_of_several_abandoned_plans_one_is_sent(book: Ledger, fresh: bool) -> None:
    small, large = book.plan("r1", 25), book.plan("r2", 50)
    book.dead |= {"r1", "r2"}
    ticket = book.plan("r3", 50, fresh=fresh)
    states = {one.import_id: book.get(one.import_id).state for one in (small, large)}
    assert ticket.action == "submit"
    assert sorted(states.values()) == ["dropped", "planned"]
    assert states[ticket.import_id] == "planned"


def test_a_plan_that_stood_beside_a_smaller_one_still_does_when_taken_over(book: Ledger) -> None:
    book.plan("r1", 25)
    large = book.plan("r2", 50)
    book.dead.add("r2")
    ticket = book.plan("r3", 50)
    assert (ticket.import_id, ticket.action) == (large.import_id, "submit")


def test_a_plan_is_sent_by_its_holder_alone(book: Ledger) -> None:
    first = book.plan("r1").import_id
    assert not book.send(first, "r2")
    assert not book.do(ledger.lease_import, first, owner="r2", alive=book.alive)
    book.wait(15)
    assert book.do(ledger.lease_import, first, owner="r2", alive=book.alive)
    assert not book.send(first, "r1")
    assert book.send(first, "r2")
    assert not book.send(first, "r2")


def test_a_lease_is_given_back_but_not_while_sending(book: Ledger) -> None:
    first = book.plan("r1").import_id
    with book.store.begin() as conn:
        assert not ledger.release_import(conn, first, owner="r2")
        assert ledger.release_import(conn, first, owner="r1")
    assert book.send(first, "r2")
    with book.store.begin() as conn:
        assert not ledger.release_import(conn, first, owner="r2")


def test_a_follower_that_died_is_replaced_at_once(book: Ledger) -> None:
    first = book.submit("r1")
    assert not book.do(ledger.lease_import, first, owner="r2", alive=book.alive)
    book.dead.add("r1")
    assert book.do(ledger.lease_import, first, owner="r2", alive=book.alive)


# -- races


async def racing(url: str, count: int, step: Any) -> list[Any]:
    """`step(conn, number)` in `count` transactions at once, each on a store (and so a connection) of its own."""
    stores = [open_store(url) for _ in range(count)]
    try:
        return list(await asyncio.gather(*(one.run(step, number) for number, one in enumerate(stores))))
    finally:
        for one in stores:
            one.close()


@pytest.mark.parametrize("abandoned", [False, True])
async def test_of_runs_that_want_the_same_at_once_one_submits(book: Ledger, database_url: str, abandoned: bool) -> None:
    for turn in range(4):
        if abandoned:
            book.plan(f"killed {turn}", dedup_key=f"w{turn}")
            book.dead.add(f"killed {turn}")

        def want(conn: Any, number: int, turn: int = turn) -> Ticket:
            asked = {"dedup_key": f"w{turn}", "requested": (25, 50)[number % 2], "alive": book.alive}
            return plan(conn, f"r{turn}-{number}", owner=f"o{number}", now=T0, **asked)

        tickets = await racing(database_url, 6, want)
        submitting = [ticket for ticket in tickets if ticket.action == "submit"]
        # Where the smaller request came first, the larger ones share a second import.
        assert len(submitting) == len({ticket.import_id for ticket in tickets}) <= 2
        assert len({ticket.requested for ticket in submitting}) == len(submitting)


async def test_of_those_who_send_one_does(book: Ledger, database_url: str) -> None:
    for turn in range(4):
        import_id = book.plan("r1", dedup_key=f"w{turn}").import_id
        with book.store.begin() as conn:
            ledger.release_import(conn, import_id, owner="r1")

        def send(conn: Any, number: int, import_id: str = import_id) -> bool:
            return ledger.mark_sending(conn, import_id, owner=f"o{number}", now=T0) is not None

        assert sorted(await racing(database_url, 6, send)) == [False] * 5 + [True]


@pytest.mark.parametrize(("count", "sent"), [(10, 25), (50, 50)])
def test_what_is_sent_again_by_hand_keeps_its_collection_and_no_smaller_count(
    book: Ledger, count: int, sent: int
) -> None:
    doubt = book.plan("r1", 25).import_id
    book.send(doubt, "r1")
    book.do(ledger.mark_ambiguous, doubt, note="no answer", owner="r1")
    assert book.do(import_planning.resolve, doubt, "resubmit")
    ticket = book.plan("r2", count, collection="other")
    row = book.get(doubt)
    assert (ticket.import_id, ticket.action, row.requested, row.collection) == (doubt, "submit", sent, "c")
