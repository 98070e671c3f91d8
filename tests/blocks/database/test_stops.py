"""Who asked for what, what it may still cost, and what a person's stop holds; on both databases."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from blocks.database import migrations
from blocks.database.engine import Store
from blocks.database.store import (
    accounts,
    import_polls,
    imports,
    leases,
    money,
    runs,
    stale_work,
    work,
)
from blocks.database.store.import_polls import ItemSeen
from blocks.database.store.posts import save_posts
from blocks.database.store.statements import table_of
from blocks.database.tables import Import, Post, Run, Work
from blocks.errors import Held, SpendCapReached
from blocks.posts.identity import parse_post_url
from blocks.posts.record import PostRef
from tests.stored import measured, plan, submit

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
PRICES = {"tiktok": 10, "instagram": 10}

SOMEBODY_WAITS = sa.text(
    "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()"
)
"""How many transactions wait for a lock, on Postgres."""


def ref(number: int) -> PostRef:
    return parse_post_url(f"https://www.tiktok.com/player/v1/{7000000000000000000 + number}")


def start(conn: Any, run: str, *, lives: bool = False, collection: str | None = "c", **more: Any) -> None:
    owner = f"holder of {run}" if lives else None
    runs.start_run(
        conn, run_id=run, flow="track-hashtags", account="acc", collection=collection, owner=owner, now=NOW, **more
    )


def give(conn: Any, run: str, numbers: Iterable[int], **more: Any) -> None:
    start(conn, run, **more)
    runs.take_posts(conn, run, [(ref(number), None) for number in numbers], now=NOW)


def listing(conn: Any, run: str, *numbers: int, **more: Any) -> str:
    """An import of a run, which listed posts."""
    import_id = submit(conn, run, now=NOW, **{"dedup_key": f"w of {run}", **more})
    imports.release_import(conn, import_id, owner=run)
    seen(conn, import_id, *numbers)
    return import_id


def seen(conn: Any, import_id: str, *numbers: int) -> None:
    import_polls.record_poll(conn, import_id, [ItemSeen(f"VI{n}", ref(n).url, None, ref(n)) for n in numbers], now=NOW)


def askers(conn: Any) -> dict[int, str | None]:
    table = table_of(Work)
    rows = conn.execute(sa.select(table.c.post_id, table.c.asked_by).where(table.c.purpose == "enrich"))
    return {int(row.post_id) - 7000000000000000000: row.asked_by for row in rows}


def stop(conn: Any, run: str) -> bool:
    return runs.stop(conn, run, by="ada@loom", why="Ctrl-C", at=NOW)


def taken(conn: Any, run: str = "sweep") -> list[int]:
    """What a sweep takes up."""
    start(conn, run, collection=None, sweeps=True)
    left = stale_work.take_up(conn, run_id=run, account="acc", now=NOW, cheapest_micros=PRICES)
    return sorted(int(post.ref.post_id) - 7000000000000000000 for post in left.posts)


def test_why_posts_are_pending(store: Store) -> None:
    with store.begin() as conn:
        give(conn, "stopped", (1, 2))
        give(conn, "poor", (3,), cap_micros=19)
        money.reserve(conn, money.Purpose("acc", "poor", "c", "metadata"), micros=10, caps=money.Caps(), now=NOW)
        give(conn, "rich", (4, 5), cap_micros=20)
        money.reserve(conn, money.Purpose("acc", "rich", "c", "metadata"), micros=10, caps=money.Caps(), now=NOW)
        give(conn, "unbounded", (6,))
        give(conn, "living", (7,), lives=True)
        assert stop(conn, "stopped")
        assert not stop(conn, "stopped"), "that is known"
        assert not stop(conn, "nobody")
        told = {(one.run_id, one.reason): one.posts for one in runs.pending(conn, PRICES)}
        assert told == {
            ("stopped", "held"): 2,
            ("poor", "out_of_room"): 1,
            ("rich", "waiting"): 2,
            ("unbounded", "waiting"): 1,
            ("living", "under_way"): 1,
        }
        keys = [("tiktok", ref(number).post_id) for number in range(1, 9)]
        assert runs.reasons(conn, keys, PRICES) == {"held": 2, "out_of_room": 1, "waiting": 3, "under_way": 1}
        assert runs.reasons(conn, keys, PRICES, ending="living")["waiting"] == 4
        assert taken(conn) == [4, 5, 6]


def test_another_s_request_counts_under_both_caps(store: Store) -> None:
    caps = money.Caps(run_micros=100)
    bought = money.Purpose("acc", "sweep", "c", "metadata", "tiktok", "apify", asked_by="asker")
    with store.begin() as conn:
        start(conn, "asker", cap_micros=25)
        spend_id = money.reserve(conn, bought, micros=10, caps=caps, now=NOW)
        money.reserve(conn, bought, micros=10, caps=caps, now=NOW)
        with pytest.raises(SpendCapReached) as reached:
            money.reserve(conn, bought, micros=10, caps=caps, now=NOW)
        assert reached.value.scope == "request"
        assert [money.used_micros(conn, f"run:{run}") for run in ("asker", "sweep")] == [20, 20]
        money.settle(conn, spend_id, spent_micros=4, calls=1, now=NOW)
        assert [money.used_micros(conn, f"run:{run}") for run in ("asker", "sweep")] == [14, 14]
        with pytest.raises(SpendCapReached) as reached:
            money.reserve(conn, bought, micros=10, caps=money.Caps(run_micros=20), now=NOW)
        assert reached.value.scope == "run", "the buyer's own holds besides"
        stop(conn, "asker")
        with pytest.raises(Held):
            money.reserve(conn, bought, micros=1, caps=caps, now=NOW)
        nobodys = money.Purpose("acc", "sweep", "c", "metadata", asked_by="purged")
        with pytest.raises(Held):
            money.reserve(conn, nobodys, micros=1, caps=caps, now=NOW)


def test_buyers_at_once_never_overstep_a_request(store: Store) -> None:
    with store.begin() as conn:
        start(conn, "asker", cap_micros=170)

    def buy(buyer: int) -> int:
        purpose = money.Purpose("acc", f"sweep {buyer}", "c", "metadata", "tiktok", "apify", asked_by="asker")
        bought = 0
        for _ in range(10):
            try:
                with store.begin() as conn:
                    money.reserve(conn, purpose, micros=10, caps=money.Caps(), now=NOW)
            except SpendCapReached:
                break
            bought += 1
        return bought

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(buy, range(4))) == 17
    with store.connect() as conn:
        assert money.used_micros(conn, "run:asker") == 170


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_stop_waits_for_who_is_buying_for_its_run_and_then_holds(store: Store) -> None:
    """Else money could be reserved for a run after its stop was written."""
    bought = money.Purpose("acc", "sweep", "c", "metadata", "tiktok", "apify", asked_by="asker")

    def stop_it() -> None:
        with store.begin() as conn:
            stop(conn, "asker")

    with store.begin() as conn:
        start(conn, "asker", cap_micros=100)
    with ThreadPoolExecutor(1) as threads:
        with store.begin() as conn:
            money.reserve(conn, bought, micros=10, caps=money.Caps(), now=NOW)
            stopping = threads.submit(stop_it)
            while not conn.execute(SOMEBODY_WAITS).scalar_one():
                assert not stopping.done()
        stopping.result()
    with store.begin() as conn, pytest.raises(Held):
        money.reserve(conn, bought, micros=10, caps=money.Caps(), now=NOW)


def test_a_stop_leaves_to_living_runs_what_they_ask_for_too(store: Store) -> None:
    with store.begin() as conn:
        give(conn, "living", (1, 2), lives=True)
        start(conn, "follows", lives=True)
        give(conn, "dead", (3, 9))
        start(conn, "stopped", lives=True)
        shared = listing(conn, "stopped", 1, 2, 3, 4, dedup_key="shared")
        listing(conn, "follows", 5, dedup_key="other")
        alone = listing(conn, "stopped", 6, dedup_key="alone")
        imports_of = table_of(Import)
        attached = plan(conn, "follows", dedup_key="shared", reuse_after=NOW - timedelta(hours=1), now=NOW)
        assert attached.import_id == shared
        # The run that is stopped asks for all of it again.
        runs.ask_for_import(conn, shared, "stopped")
        assert stop(conn, "stopped")
        assert askers(conn) == {
            1: "follows", 2: "follows", 3: "follows", 4: "follows", 5: "follows", 6: "stopped", 9: "dead",
        }  # fmt: skip
        asked = dict(conn.execute(sa.select(imports_of.c.import_id, imports_of.c.asked_by)).all())
        assert (asked[shared], asked[alone]) == ("follows", "stopped")
        assert taken(conn) == [9]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_who_asks_for_posts_that_another_holds_waits_for_them_in_their_order(store: Store) -> None:
    """Else one has the second post and waits for the first, the other the first and waits for the second."""
    keys = [("tiktok", ref(number).post_id) for number in (1, 2)]
    table = table_of(Work)

    def ask() -> None:
        with store.begin() as conn:
            # A plan that finds rows as they lie in the table, where the second lies before the first.
            for way in ("indexscan", "bitmapscan", "indexonlyscan"):
                conn.execute(sa.text(f"SET LOCAL enable_{way} = off"))
            work.ask(conn, keys, "enrich", "asker")

    def lock(conn: Any, number: int, **how: bool) -> None:
        row = table.c.post_id == ref(number).post_id
        conn.execute(sa.select(table.c.post_id).where(row).with_for_update(**how)).one()

    with store.begin() as conn:
        for number in (2, 1):
            give(conn, f"r{number}", [number])
    with ThreadPoolExecutor(1) as threads:
        with store.begin() as conn:
            lock(conn, 1)
            asking = threads.submit(ask)
            while not conn.execute(SOMEBODY_WAITS).scalar_one():
                assert not asking.done()
            lock(conn, 2, nowait=True)
        asking.result()
    with store.connect() as conn:
        assert askers(conn) == {1: "asker", 2: "asker"}


def test_what_is_listed_after_a_stop_is_held_unless_somebody_else_asks(store: Store) -> None:
    with store.begin() as conn:
        start(conn, "stopped")
        mine = listing(conn, "stopped", 1)
        give(conn, "dead", (2,))
        give(conn, "living", (3,), lives=True)
        stop(conn, "stopped")
        seen(conn, mine, 1, 2, 3, 4)
        assert askers(conn) == {1: "stopped", 2: "dead", 3: "living", 4: "stopped"}, "a stopped run takes nothing over"
        start(conn, "later")
        theirs = listing(conn, "later", 1, 3, 5)
        assert askers(conn) == {1: "later", 2: "dead", 3: "living", 4: "stopped", 5: "later"}
        assert taken(conn) == [1, 2, 5]
        runs.ask_for_import(conn, mine, "later")
        assert askers(conn)[4] == "later"
        assert theirs != mine


def test_a_claim_ends_a_hold_and_a_sweep_s_does_not(store: Store) -> None:
    with store.begin() as conn:
        give(conn, "stopped", (1, 2, 3), collection="fashion")
        give(conn, "dead", (4,), collection="scent")
        stop(conn, "stopped")
        found = work.claim(conn, "sweep", [ref(n) for n in (1, 2, 4)], "enrich", fresh_after=NOW, sweeps=True, now=NOW)
        assert found.held == [ref(1), ref(2)]
        assert [(item.ref, item.asked_by, item.collection) for item in found.claimed] == [(ref(4), "dead", "scent")]
        found = work.claim(conn, "me", [ref(1)], "enrich", fresh_after=NOW, asker="new", now=NOW)
        assert [item.asked_by for item in found.claimed] == ["new"]
        assert askers(conn) == {1: "new", 2: "stopped", 3: "stopped", 4: "dead"}


def test_a_stopped_sweep_holds_what_it_took_up(store: Store) -> None:
    with store.begin() as conn:
        give(conn, "dead", (1, 2))
        start(conn, "over")
        mine = listing(conn, "over", 3)
        leases.release_all(conn, "over")
        assert taken(conn) == [1, 2, 3]
        give(conn, "fresh", (7,), lives=True)
        runs.take_posts(conn, "fresh", [(ref(2), None)], now=NOW)
        assert stop(conn, "sweep")
        assert askers(conn) == {1: "sweep", 2: "fresh", 3: "sweep", 7: "fresh"}
        seen(conn, mine, 3, 4)
        assert askers(conn)[4] == "sweep", "what it followed lists held posts, too"
        assert taken(conn, "next") == []


def test_what_is_held_is_taken_up_or_given_up(store: Store) -> None:
    with store.begin() as conn:
        give(conn, "one", (1, 2), collection="fashion")
        give(conn, "two", (3, 4), collection="scent")
        save_posts(conn, [measured(ref(4), NOW)], NOW)
        work.claim(conn, "two", [ref(4)], "enrich", fresh_after=NOW + timedelta(days=1), asker="two", now=NOW)
        planned = plan(conn, "two", collection="scent", now=NOW).import_id
        leases.release_all(conn, "two")
        assert stop(conn, "one")
        assert stop(conn, "two")
        assert len(stale_work.find_held(conn).posts) == 4
        assert stale_work.find_held(conn, account="other") == stale_work.Held([], [])
        start(conn, "again", collection="fashion")
        tickets, posts = stale_work.take_up_held(conn, run_id="again", account="acc", collection="fashion", now=NOW)
        assert (tickets, [post.collection for post in posts]) == ([], ["fashion", "fashion"])
        assert askers(conn) == {1: "again", 2: "again", 3: "two", 4: "two"}
        with conn.begin_nested() as nested:
            tickets, _ = stale_work.take_up_held(conn, run_id="again", account="acc", collection=None, now=NOW)
            assert [(one.import_id, one.state, one.open_only) for one in tickets] == [(planned, "planned", True)]
            nested.rollback()

        assert stale_work.count_unsent(conn, stale_work.find_held(conn)) == 1
        assert stale_work.give_up_held(conn, collection="scent", now=NOW) == (2, 1)
        assert stale_work.give_up_held(conn, collection=None, now=NOW) == (0, 0)
        assert imports.get(conn, planned).state == "dropped"
        posts_of, work_of = table_of(Post), table_of(Work)
        status = dict(conn.execute(sa.select(posts_of.c.post_id, posts_of.c.status)).all())
        assert (status[ref(3).post_id], status[ref(4).post_id]) == ("failed", "enriched")
        states = dict(conn.execute(sa.select(work_of.c.post_id, work_of.c.state)).all())
        assert (states.get(ref(3).post_id), states[ref(4).post_id]) == (None, "done")
        # Who names it again has it, however soon.
        claim = work.claim(conn, "me", [ref(3)], "enrich", fresh_after=NOW - timedelta(hours=12), asker="x", now=NOW)
        assert [item.ref for item in claim.claimed] == [ref(3)]


def test_runs_without_an_end_are_asked_about_once_they_are_dead(store: Store) -> None:
    with store.begin() as conn:
        for run, lives in (("living", True), ("dead", False), ("stopped", False), ("ended", False)):
            start(conn, run, lives=lives)
        stop(conn, "stopped")
        runs.finish_run(conn, "ended", outcome="done", message="", summary=None, now=NOW)
        assert runs.without_end(conn, "acc") == ["dead"]
        assert runs.without_end(conn, "other") == []
        runs.crashed(conn, "dead", now=NOW)
        runs.crashed(conn, "ended", now=NOW)
        assert runs.without_end(conn, "acc") == []
        table = table_of(Run)
        outcomes = dict(conn.execute(sa.select(table.c.run_id, table.c.outcome)).all())
        assert outcomes == {"living": None, "dead": "failed", "stopped": None, "ended": "done"}
        # Its own run, started again, ends its stop.
        start(conn, "stopped")
        assert not runs.is_stopped(conn, "stopped")


def test_a_refusal_is_tried_once_an_hour(store: Store) -> None:
    def may_try(minutes: float) -> bool:
        return accounts.may_try_again(conn, "acc", NOW + timedelta(minutes=minutes))[1]

    with store.begin() as conn:
        assert accounts.may_try_again(conn, "acc", NOW) == (None, True)
        accounts.note_refusal(conn, "acc", why="no credits", now=NOW, by_sweep=False)
        assert [may_try(minutes) for minutes in (10, 20, 69)] == [True, False, False]
        assert [may_try(minutes) for minutes in (70, 80)] == [True, False]
        accounts.note_refusal(conn, "acc", why="no credits", now=NOW + timedelta(minutes=80), by_sweep=False)
        assert not may_try(90)
        assert accounts.may_try_again(conn, "other", NOW) == (None, True)
        accounts.forget_refusal(conn, "acc")
        assert accounts.may_try_again(conn, "acc", NOW + timedelta(minutes=90)) == (None, True)


def test_old_databases_know_who_asked_and_who_was_stopped(store: Store) -> None:
    """Filled as the revision before left it: caps stood in parameters, stops in messages."""
    config = migrations.config()
    with store.begin() as conn:
        config.attributes["connection"] = conn
        command.downgrade(config, "0008")
        start_at = "2026-03-01 09:00:00.000000+00:00" if not store.is_sqlite else "2026-03-01 09:00:00.000000"
        later = start_at.replace("09:00", "10:00")

        def put(table: str, **values: Any) -> None:
            names = ", ".join(values)
            marks = ", ".join(f":{name}" for name in values)
            conn.execute(sa.text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), values)

        facts = {"flow": "track-hashtags", "account": "acc", "collection": "c", "finished_at": later}
        capped = '{"max_spend_usd": 0.25}'
        cancelled = "cancelled; the same command goes on where it stopped. 2 posts"
        put("runs", run_id="halted", started_at=start_at, outcome="halted", message="m", parameters=capped, **facts)
        put("runs", run_id="gone", started_at=later, outcome="failed", message=cancelled, parameters=capped, **facts)
        put("runs", run_id="purged", started_at=start_at, outcome="halted", message="[erased]", **facts)
        put("runs", run_id="free", started_at=start_at, outcome="halted", message="m", parameters="{}", **facts)
        swept = facts | {"flow": "collect-imports"}
        put("runs", run_id="sweep", started_at=later, outcome="done", message="m", parameters=capped, **swept)
        put(
            "imports", import_id="i1", account="acc", kind="hashtag", wish="w", collection="c", namespace="c",
            library="private", requested=2, state="complete", planned_at=start_at, run_id="halted",
        )  # fmt: skip
        for run in ("halted", "sweep"):
            put("run_imports", run_id=run, import_id="i1", how="attached")
        for post, by in (("1", "listed"), ("2", "both"), ("3", "given"), ("4", "settled")):
            state = "done" if by == "settled" else "pending"
            put("work", platform="tiktok", post_id=post, purpose="enrich", state=state, updated_at=start_at)
            if by in ("listed", "both"):
                put(
                    "import_items", import_id="i1", item_key=f"tiktok:{post}", platform="tiktok", post_id=post,
                    was_new=True, first_seen_at=start_at, last_seen_at=start_at,
                )  # fmt: skip
            if by in ("given", "both"):
                put("run_posts", run_id="gone", platform="tiktok", post_id=post, purpose="enrich")
            put("run_posts", run_id="sweep", platform="tiktok", post_id=post, purpose="enrich")
        command.upgrade(config, "head")
        table, works, ledger = table_of(Run), table_of(Work), table_of(Import)
        known = {row.run_id: row for row in conn.execute(sa.select(table))}
        caps = {run: row.cap_micros for run, row in known.items()}
        assert caps == {"halted": 250_000, "gone": 250_000, "purged": 0, "free": None, "sweep": 250_000}
        assert [run for run, row in known.items() if row.sweeps] == ["sweep"]
        stopped = {run: (row.outcome, row.stopped_at) for run, row in known.items() if row.stopped_at is not None}
        assert stopped == {"gone": ("cancelled", NOW + timedelta(hours=1))}
        asked = dict(conn.execute(sa.select(works.c.post_id, works.c.asked_by)).all())
        assert asked == {"1": "halted", "2": "gone", "3": "gone", "4": None}
        assert conn.execute(sa.select(ledger.c.asked_by)).scalars().all() == ["halted"]
