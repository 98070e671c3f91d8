"""What a sweep takes up: imports under way and posts that nobody bought, of one account only."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from blocks.database.store import import_planning, leases, money, runs, stale_work, work
from blocks.database.store import imports as ledger
from blocks.database.store.posts import save_posts
from blocks.database.store.statements import table_of
from blocks.database.tables import RunImport
from blocks.posts.record import PostRef
from tests.stored import measured

from .conftest import item


def ref(number: int) -> PostRef:
    return PostRef("instagram", str(number), f"https://www.instagram.com/p/{number}/")


def give(book: Any, run: str, account: str, *numbers: int, purpose: str = "enrich") -> None:
    """A run of `tagtrail enrich` (or of the snapshot plan) that was given posts and bought none of them."""
    with book.store.begin() as conn:
        runs.start_run(conn, run_id=run, flow="enrich-posts", account=account, now=book.now)
        runs.take_posts(
            conn, run, [(ref(number), f"given {number}") for number in numbers], now=book.now, purpose=purpose
        )


PRICES = {"instagram": 10, "tiktok": 10}


def sweep(book: Any, run: str = "sweep", **more: Any) -> stale_work.StaleWork:
    with book.store.begin() as conn:
        return stale_work.take_up(conn, run_id=run, account="acc", now=book.now, cheapest_micros=PRICES, **more)


def started(book: Any, run: str, **more: Any) -> None:
    """A run is written down; it lives where it has an `owner`."""
    with book.store.begin() as conn:
        runs.start_run(conn, run_id=run, flow="track-hashtags", account="acc", now=book.now, **more)


def keys(left: stale_work.StaleWork) -> list[str]:
    return [f"{post.ref.platform}:{post.ref.post_id}" for post in left.posts]


def test_imports_under_way_are_followed_and_planned_ones_left(book: Any) -> None:
    started(book, "r1")
    submitted, collecting = book.submit("r1", dedup_key="a"), book.submit("r1", dedup_key="b")
    book.poll(collecting, 1)
    planned = book.plan("r1", dedup_key="c").import_id
    with book.store.begin() as conn:
        ledger.release_import(conn, planned, owner="r1")
    book.submit("r1", dedup_key="d", account="other")
    doubtful = book.plan("r2", dedup_key="e").import_id
    assert book.send(doubtful, "r2")
    book.wait(60)

    left = sweep(book)
    assert {one.import_id: (one.action, one.state) for one in left.tickets} == {
        submitted: ("attached", "submitted"),
        collecting: ("attached", "collecting"),
    }
    assert (book.get(planned).state, book.get(doubtful).state) == ("planned", "ambiguous")
    linked = table_of(RunImport)
    with book.store.connect() as conn:
        taken = conn.execute(select(linked.c.import_id).where(linked.c.run_id == "sweep")).scalars().all()
    assert set(taken) == {submitted, collecting}


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_who_follows_an_import_is_told_by_the_database_s_clock_not_the_sweep_s(book: Any) -> None:
    with book.store.begin() as conn:
        book.now = leases.clock(conn) + timedelta(hours=1)  # the lease outlasts the test on the slowest machine
    started(book, "r1")
    followed = book.submit("r1")
    book.wait(3600)
    left = sweep(book)
    assert (left.tickets, set(left.held)) == ([], {followed})


def test_posts_that_were_listed_or_given_and_never_bought(book: Any) -> None:
    started(book, "r1")
    listing = book.submit("r1")
    book.poll(listing, 1, 2)
    with book.store.begin() as conn:
        ledger.release_import(conn, listing, owner="r1")
    give(book, "r2", "acc", 5, 6, 7)
    give(book, "r3", "acc", 5)
    give(book, "r4", "other", 8)
    give(book, "r5", "acc", 9, purpose="refresh:60")
    with book.store.begin() as conn:
        save_posts(conn, [measured(ref(6), book.now)], book.now)
        work.claim(conn, "somebody", [ref(7)], "enrich", fresh_after=None, now=book.now)

    listed = ["tiktok:7000000000000000001", "tiktok:7000000000000000002"]
    left = sweep(book)
    assert keys(left) == ["instagram:5", "instagram:7", *listed]
    assert [post.source_url for post in left.posts[:2]] == ["given 5", "given 7"]
    assert keys(sweep(book, most_posts=1)) == ["instagram:5"]
    with book.store.connect() as conn:
        sums = runs.reconcile(conn, "sweep")
    assert (sums.requested, sums.pending, sums.agree) == (4, 4, True)


def test_nothing_is_left(book: Any) -> None:
    assert sweep(book) == stale_work.StaleWork([], [])


def test_each_post_is_paid_by_the_collection_that_asked_for_it_last(book: Any) -> None:
    for name in ("spring", "autumn"):
        started(book, name, collection=name)
    later, first = book.submit("spring", dedup_key="a"), book.submit("autumn", dedup_key="b")
    book.poll(first, 1)
    book.wait(60)
    book.poll(later, 1, 2)
    with book.store.begin() as conn:
        runs.start_run(conn, run_id="given", flow="enrich-posts", account="acc", collection="winter", now=book.now)
        runs.take_posts(conn, "given", [(ref(5), None)], now=book.now)
    found = {key.partition(":")[2]: post.collection for key, post in zip(*_found(book), strict=True)}
    assert found == {
        "5": "winter",
        "7000000000000000001": "spring",
        "7000000000000000002": "spring",
    }
    # Again, by a run over all that wrote them down itself: it asks for nothing.
    assert _found(book, "another")[1] == _found(book, "third")[1]
    assert {post.collection for post in _found(book, "fourth")[1]} == {"winter", "spring"}


def test_where_the_run_that_asked_has_no_collection_the_one_that_found_a_post_first_pays(book: Any) -> None:
    started(book, "autumn", collection="autumn")
    book.poll(book.submit("autumn", collection="autumn"), 1)
    book.wait(60)
    with book.store.begin() as conn:
        runs.start_run(conn, run_id="held", flow="collect-imports", account="acc", now=book.now)
        runs.take_posts(conn, "held", [(item(1).ref, None)], now=book.now)
    assert [post.collection for post in sweep(book).posts] == ["autumn"]


def _found(book: Any, run: str = "sweep") -> tuple[list[str], list[Any]]:
    with book.store.begin() as conn:
        runs.start_run(conn, run_id=run, flow="collect-imports", account="acc", sweeps=True, now=book.now)
    left = sweep(book, run)
    return keys(left), left.posts


def test_no_request_takes_the_place_of_the_others(book: Any) -> None:
    for name, numbers in (("autumn", range(1, 31)), ("spring", (98, 99))):
        with book.store.begin() as conn:
            runs.start_run(conn, run_id=name, flow="enrich-posts", account="acc", collection=name, now=book.now)
            runs.take_posts(conn, name, [(ref(number), None) for number in numbers], now=book.now)
    taken = sweep(book, most_posts=4).posts
    assert sorted(post.collection or "" for post in taken) == ["autumn", "autumn", "spring", "spring"]


def test_money_for_an_import_that_an_ended_run_never_sent_is_given_back(book: Any) -> None:
    def reserve(run: str, import_id: str, collection: str = "c") -> str:
        purpose = money.Purpose("acc", run, collection, "import", import_id=import_id)
        with book.store.begin() as conn:
            return money.reserve(conn, purpose, micros=10, caps=money.Caps(), now=book.now)

    def left() -> dict[str, int]:
        book.wait(1)
        sweep(book)
        with book.store.connect() as conn:
            return {run: money.used_micros(conn, f"run:{run}") for run in ("ended", "killed", "living")}

    with book.store.begin() as conn:
        for run in ("killed", "ended", "living"):
            owner = None if run == "ended" else run
            runs.start_run(conn, run_id=run, flow="track-hashtags", account="acc", owner=owner, now=book.now)
        runs.finish_run(conn, "ended", outcome="failed", message="cancelled", summary=None, now=book.now)
    unsent, doubtful, sent = (book.plan("ended", dedup_key=dedup_key).import_id for dedup_key in "abc")
    paid = {import_id: reserve("ended", import_id) for import_id in (unsent, doubtful, sent)}
    reserve("ended", unsent, "other")
    for run in ("killed", "living"):
        reserve(run, unsent)
    assert book.send(doubtful, "ended", spend_id=paid[doubtful])
    book.do(ledger.mark_ambiguous, doubtful, note="lost", owner="ended")
    assert book.do(import_planning.resolve, doubtful, "resubmit")
    assert book.send(sent, "ended", spend_id=paid[sent])
    assert book.do(ledger.mark_submitted, sent, "task", owner="ended")

    assert left() == {"ended": 30, "killed": 10, "living": 10}
    assert left() == left() == {"ended": 20, "killed": 10, "living": 10}
    with book.store.begin() as conn:
        leases.release_all(conn, "killed")
    left()
    assert left() == {"ended": 20, "killed": 0, "living": 10}


def test_money_of_a_run_killed_before_it_sent_an_import_again_is_given_back(book: Any) -> None:
    def reserve(run: str, import_id: str) -> str:
        with book.store.begin() as conn:
            runs.start_run(conn, run_id=run, flow="track-hashtags", account="acc", now=book.now)
            purpose = money.Purpose("acc", run, "c", "import", import_id=import_id)
            return money.reserve(conn, purpose, micros=10, caps=money.Caps(), now=book.now)

    def used() -> dict[str, int]:
        with book.store.connect() as conn:
            return {run: money.used_micros(conn, f"run:{run}") for run in ("doubt", "killed", "sent", "too late")}

    import_id = book.plan("doubt").import_id
    assert book.send(import_id, "doubt", spend_id=reserve("doubt", import_id))
    assert book.do(ledger.mark_ambiguous, import_id, note="lost", owner="doubt")
    assert book.do(import_planning.resolve, import_id, "resubmit")
    book.wait(60)
    reserve("killed", import_id)
    book.wait(60)
    assert book.send(import_id, "doubt", spend_id=reserve("sent", import_id))
    assert book.do(ledger.mark_submitted, import_id, "task", owner="doubt")
    book.wait(1)
    reserve("too late", import_id)
    assert used() == {"doubt": 10, "killed": 10, "sent": 10, "too late": 10}
    for _ in range(4):
        sweep(book)
    assert used() == {"doubt": 10, "killed": 0, "sent": 10, "too late": 0}, "what was sent stays, also the doubtful"

    with book.store.begin() as conn:
        money.settle_import(conn, import_id, spent_micros=7, posts=7, now=book.now)
    assert used() == {"doubt": 10, "killed": 0, "sent": 7, "too late": 0}


def test_an_import_is_settled_with_the_money_that_it_was_sent_with(book: Any) -> None:
    import_id = book.plan("r1").import_id
    ids = {}
    with book.store.begin() as conn:
        for run in ("r1", "too late"):
            purpose = money.Purpose("acc", run, "c", "import", import_id=import_id)
            ids[run] = money.reserve(conn, purpose, micros=10, caps=money.Caps(), now=book.now)
            book.wait(1)
    assert book.send(import_id, "r1", spend_id=ids["r1"])
    with book.store.begin() as conn:
        assert money.settle_import(conn, import_id, spent_micros=4, posts=4, now=book.now)
        assert [money.used_micros(conn, f"run:{run}") for run in ids] == [4, 10]
