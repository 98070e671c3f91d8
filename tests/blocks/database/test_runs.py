"""Runs: what each has to account for, and sums that agree or say that they do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from blocks.database.engine import Store
from blocks.database.store import failures, runs
from blocks.database.store.failures import GivenUp
from blocks.database.store.posts import ensure_posts, mark_failed, mark_gone, save_posts
from blocks.database.store.statements import table_of
from blocks.database.store.work import enqueue
from blocks.database.tables import Collection, Import, ImportItem, Post, RunImport, Work
from blocks.errors import NoAnswer, NotFound
from blocks.posts.record import PostRef
from tests.stored import measured

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def ref(number: int) -> PostRef:
    return PostRef("instagram", str(number), f"https://www.instagram.com/p/{number}/")


def add_import(conn: Connection, import_id: str, state: str, listed: list[int], nameless: int = 0) -> None:
    row: dict[str, Any] = {
        "import_id": import_id, "account": "a", "kind": "hashtag", "dedup_key": import_id, "collection": "default",
        "namespace": "n", "library": "private", "requested": 9, "state": state, "planned_at": T0, "run_id": "r1",
    }  # fmt: skip
    conn.execute(insert(table_of(Import)).values(row))
    conn.execute(insert(table_of(RunImport)).values(run_id="r1", import_id=import_id, how="submit"))
    ensure_posts(conn, [(ref(number), None) for number in listed], T0, "r1")
    enqueue(conn, [ref(number) for number in listed], "enrich", now=T0)
    seen = {"import_id": import_id, "was_new": True, "first_seen_at": T0, "last_seen_at": T0}
    named = [
        seen | {"item_key": f"instagram:{number}", "platform": "instagram", "post_id": str(number)} for number in listed
    ]
    without = [seen | {"item_key": f"no:V{number}", "platform": None, "post_id": None} for number in range(nameless)]
    if named + without:
        conn.execute(insert(table_of(ImportItem)), named + without)


def test_a_run_is_written_down_and_its_end_too(store: Store) -> None:
    with store.begin() as conn:
        for _ in range(2):
            runs.start_run(
                conn, run_id="r1", flow="track-hashtags", account="a", collection="dior", parameters={"n": 1}, now=T0
            )
        started = runs.get(conn, "r1")
        assert started is not None
        assert (started.outcome, started.parameters, started.started_at) == (None, {"n": 1}, T0)
        later = T0 + timedelta(minutes=1)
        runs.finish_run(conn, "r1", outcome="done", message="2 enriched", summary={"at": "x"}, now=later)
        ended = runs.get(conn, "r1")
        assert ended is not None
        assert (ended.outcome, ended.message, ended.summary, ended.finished_at) == (
            "done",
            "2 enriched",
            {"at": "x"},
            later,
        )
        assert conn.execute(select(table_of(Collection).c.name)).scalars().all() == ["dior"]
        assert runs.get(conn, "r2") is None


def test_every_requested_post_is_in_one_of_four(store: Store) -> None:
    with store.begin() as conn:
        add_import(conn, "i1", "complete", [1, 2, 3, 4], nameless=2)
        add_import(conn, "i2", "collecting", [4, 5], nameless=1)
        assert runs.take_posts(conn, "r1", [(ref(5), "u"), (ref(6), "u"), (ref(6), "u")], now=T0) == {"instagram:6"}
        add_import(conn, "i9", "complete", [90])
        conn.execute(update(table_of(RunImport)).where(table_of(RunImport).c.import_id == "i9").values(run_id="r9"))
        save_posts(conn, [measured(ref(1), T0), measured(ref(4), T0), measured(ref(90), T0)], T0)
        mark_failed(conn, [GivenUp.post(ref(2), "metadata", NotFound("?"), attempts=1)], T0)
        identify = GivenUp(
            item_key="i1/no:V0", stage="identify", error_class="NotAPostUrl", message="m", attempts=0, import_id="i1"
        )
        of_import = GivenUp(
            item_key="i1", stage="poll", error_class="ServerFault", message="m", attempts=1, import_id="i1"
        )
        failures.give_up(conn, [identify, of_import], T0)
        mark_gone(conn, [ref(3)], "r1", T0)
        sums = runs.reconcile(conn, "r1")
    # Posts 1 to 6, each once, and three items without a URL: of a finished import they failed.
    assert sums == runs.Sums(
        requested=9, enriched=2, failed=3, gone=1, pending=3, no_url=3, failures={"NotAPostUrl": 1, "NotFound": 1}
    )
    assert sums.agree


def test_the_latest_attempt_counts_not_the_metadata_of_last_week(store: Store) -> None:
    with store.begin() as conn:
        save_posts(conn, [measured(ref(1), T0), measured(ref(2), T0), measured(ref(3), T0)], T0)
        runs.take_posts(conn, "r1", [(ref(number), None) for number in (1, 2, 3)], now=T0)
        work = table_of(Work)
        conn.execute(update(work).where(work.c.post_id == "1").values(state="claimed"))
        mark_failed(conn, [GivenUp.post(ref(2), "metadata", NoAnswer(""), attempts=2)], T0)
        sums = runs.reconcile(conn, "r1")
    assert sums == runs.Sums(requested=3, enriched=1, failed=1, gone=0, pending=1, failures={"NoAnswer": 1})


def test_a_run_that_measures_again_goes_by_that_work(store: Store) -> None:
    with store.begin() as conn:
        save_posts(conn, [measured(ref(1), T0), measured(ref(2), T0)], T0)
        runs.take_posts(conn, "r1", [(ref(1), None), (ref(2), None)], now=T0, purpose="refresh:60")
        save_posts(conn, [measured(ref(1), T0, purpose="refresh:60")], T0)
        assert runs.reconcile(conn, "r1") == runs.Sums(requested=2, enriched=1, failed=0, gone=0, pending=1)


def test_an_unknown_state_shows_in_the_sums(store: Store) -> None:
    with store.begin() as conn:
        runs.take_posts(conn, "r1", [(ref(1), None)], now=T0)
        conn.execute(update(table_of(Work)).values(state="lost"))
        sums = runs.reconcile(conn, "r1")
        assert (sums.requested, sums.agree) == (1, False)
        assert runs.reconcile(conn, "nobody") == runs.Sums(0, 0, 0, 0, 0)


def test_a_post_without_work_shows_in_the_sums(store: Store) -> None:
    work = table_of(Work)
    with store.begin() as conn:
        add_import(conn, "i1", "complete", [1, 2])
        save_posts(conn, [measured(ref(1), T0), measured(ref(2), T0)], T0)
        assert runs.reconcile(conn, "r1").agree
        conn.execute(delete(work).where(work.c.post_id == "2"))
        sums = runs.reconcile(conn, "r1")
    assert (sums.requested, sums.enriched, sums.agree) == (2, 1, False)


def test_given_posts_keep_work_that_has_an_outcome(store: Store) -> None:
    with store.begin() as conn:
        save_posts(conn, [measured(ref(1), T0)], T0)
        assert runs.take_posts(conn, "r1", [(ref(1), "u"), (ref(2), "u")], now=T0) == {"instagram:2"}
        states = dict(conn.execute(select(table_of(Work).c.post_id, table_of(Work).c.state)).all())
    assert states == {"1": "done", "2": "pending"}


def test_collections_of_runs(store: Store) -> None:
    with store.begin() as conn:
        runs.start_run(conn, run_id="a", flow="enrich-posts", collection="fibres", now=T0)
        runs.start_run(conn, run_id="b", flow="collect-imports", now=T0)
        assert runs.collections_of(conn, {"a", "b", "unknown"}) == {"a": "fibres"}
        assert runs.collections_of(conn, set()) == {}


def test_a_post_measured_in_the_run_counts_also_where_another_takes_it_up_anew(store: Store) -> None:
    with store.begin() as conn:
        runs.start_run(conn, run_id="r1", flow="enrich-posts", now=T0)
        runs.take_posts(conn, "r1", [(ref(1), None), (ref(2), None)], now=T0)
        save_posts(conn, [measured(ref(1), T0)], T0)
        conn.execute(update(table_of(Post)).where(table_of(Post).c.post_id == "2").values(observed_at=T0 - HOUR))
        conn.execute(update(table_of(Work)).values(state="claimed"))
        assert runs.reconcile(conn, "r1") == runs.Sums(requested=2, enriched=1, failed=0, gone=0, pending=1)
