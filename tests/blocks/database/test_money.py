"""Money: caps that no race oversteps, and totals that always are the sum of the rows."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.database.engine import Store
from blocks.database.store import money
from blocks.database.store.money import Caps, Purpose, SpendLine
from blocks.errors import SpendCapReached

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAY = "2026-03-01"
CENT = 10_000


def purpose(run_id: str = "r1", collection: str | None = "spring", **more: Any) -> Purpose:
    kind, platform, channel = more.pop("kind", "metadata"), "tiktok", "apify"
    return Purpose("acc", run_id, collection, kind, platform, channel, **more)


def reserve(store: Store, micros: int, caps: Caps | None = None, *, now: datetime = NOW, **who: Any) -> str:
    with store.begin() as conn:
        return money.reserve(conn, purpose(**who), micros=micros, caps=caps or Caps(), now=now)


def settle(store: Store, spend_id: str, micros: int, calls: int = 1) -> bool:
    with store.begin() as conn:
        return money.settle(conn, spend_id, spent_micros=micros, calls=calls, now=NOW)


def used(store: Store, scope: str) -> int:
    with store.connect() as conn:
        return money.used_micros(conn, scope)


def everything(store: Store) -> list[Any]:
    with store.connect() as conn:
        return [conn.execute(sa.text(f"SELECT * FROM {table} ORDER BY 1")).fetchall() for table in ("spend", "budgets")]


def check_sums(store: Store) -> None:
    """Each running total is the sum of its rows: what was spent, or what is reserved where that is unknown."""
    with store.connect() as conn:
        rows = conn.execute(sa.text("SELECT * FROM spend")).fetchall()
        totals = {row.scope: row.used_micros for row in conn.execute(sa.text("SELECT * FROM budgets"))}
    sums: dict[str, int] = {}
    for row in rows:
        counted = row.reserved_micros if row.spent_micros is None else row.spent_micros
        for scope in (f"run:{row.run_id}", f"day:{row.account}:{row.day}", f"collection:{row.collection}"):
            sums[scope] = sums.get(scope, 0) + counted
    assert {scope: total for scope, total in totals.items() if total} == {
        scope: total for scope, total in sums.items() if total and scope != "collection:None"
    }


def test_a_reservation_counts_for_run_day_and_collection_and_settling_gives_back_the_rest(store: Store) -> None:
    spend_id = reserve(store, 5 * CENT)
    scopes = ("run:r1", f"day:acc:{DAY}", "collection:spring")
    assert [used(store, scope) for scope in scopes] == [5 * CENT] * 3
    assert settle(store, spend_id, 2 * CENT, 2)
    assert [used(store, scope) for scope in scopes] == [2 * CENT] * 3
    assert not settle(store, spend_id, 0), "settled once, settled for ever"
    assert [used(store, scope) for scope in scopes] == [2 * CENT] * 3
    check_sums(store)


def test_a_released_reservation_leaves_nothing(store: Store) -> None:
    spend_id = reserve(store, 5 * CENT, collection=None)
    with store.begin() as conn:
        assert money.release(conn, spend_id, now=NOW)
    assert used(store, "run:r1") == used(store, f"day:acc:{DAY}") == 0


def test_more_than_was_reserved_is_written_down_as_it_is(store: Store) -> None:
    assert settle(store, reserve(store, CENT), 3 * CENT, 3)
    assert used(store, "run:r1") == 3 * CENT
    check_sums(store)


@pytest.mark.parametrize(
    ("scope", "caps"),
    [
        ("run", Caps(run_micros=10 * CENT)),
        ("day", Caps(day_micros=10 * CENT)),
        ("collection", Caps(collection_micros=10 * CENT)),
    ],
)
def test_a_cap_is_used_up_to_the_last_and_never_overstepped(store: Store, scope: str, caps: Caps) -> None:
    reserve(store, 9 * CENT, caps)
    before = everything(store)
    with pytest.raises(SpendCapReached) as reached:
        reserve(store, 2 * CENT, caps)
    error = reached.value
    assert (error.scope, error.cap_usd, error.reserved_usd, error.wanted_usd) == (scope, 0.1, 0.09, 0.02)
    assert everything(store) == before
    reserve(store, CENT, caps)
    with pytest.raises(SpendCapReached):
        reserve(store, 1, caps)


def test_the_very_first_reservation_is_held_to_the_cap_too(store: Store) -> None:
    with pytest.raises(SpendCapReached):
        reserve(store, 2, Caps(day_micros=1))
    with pytest.raises(SpendCapReached):
        reserve(store, 1, Caps(run_micros=0))
    reserve(store, 0, Caps(run_micros=0))


def test_a_refusal_leaves_the_callers_transaction_as_it_was(store: Store) -> None:
    with store.begin() as conn:
        with pytest.raises(SpendCapReached):
            money.reserve(conn, purpose(), micros=5, caps=Caps(run_micros=9, day_micros=4), now=NOW)
        money.reserve(conn, purpose(), micros=4, caps=Caps(run_micros=9, day_micros=4), now=NOW)
    assert used(store, "run:r1") == 4
    check_sums(store)


def test_other_runs_days_and_collections_have_their_own_room(store: Store) -> None:
    caps = Caps(run_micros=CENT, day_micros=CENT, collection_micros=CENT)
    reserve(store, CENT, caps)
    with pytest.raises(SpendCapReached, match="per day"):
        reserve(store, CENT, caps, run_id="r2", collection="autumn")
    reserve(store, CENT, caps, run_id="r2", collection="autumn", now=NOW + timedelta(days=1))


def test_a_reservation_belongs_to_the_utc_day_on_which_it_was_made(store: Store) -> None:
    late = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)
    spend_id = reserve(store, 3 * CENT, now=late.astimezone(datetime.fromisoformat("2026-03-02T09:00+09:00").tzinfo))
    with store.begin() as conn:
        money.settle(conn, spend_id, spent_micros=CENT, calls=1, now=late + timedelta(seconds=2))
    with store.connect() as conn:
        assert money.day_total(conn, "acc", DAY) == CENT
        assert money.day_total(conn, "acc", "2026-03-02") == 0


def test_calls_shrink_to_what_a_cap_leaves_room_for(store: Store) -> None:
    def calls(wanted: int, at_least: int) -> int:
        with store.begin() as conn:
            asked = {"price_micros": 3, "calls": wanted, "at_least": at_least, "caps": Caps(day_micros=20), "now": NOW}
            return money.reserve_calls(conn, purpose(), **asked)[1]

    assert calls(4, 1) == 4
    with pytest.raises(SpendCapReached):
        calls(10, 3)
    assert calls(10, 2) == 2
    with pytest.raises(SpendCapReached):
        calls(10, 1)
    check_sums(store)


def test_an_open_reservation_can_be_made_smaller(store: Store) -> None:
    spend_id = reserve(store, 5 * CENT)
    with store.begin() as conn:
        assert money.shrink(conn, spend_id, micros=3 * CENT)
        assert not money.shrink(conn, spend_id, micros=3 * CENT)
    assert used(store, "run:r1") == 2 * CENT
    settle(store, spend_id, CENT)
    with store.begin() as conn:
        assert not money.shrink(conn, spend_id, micros=1)
    check_sums(store)


def test_an_import_is_settled_by_whoever_finishes_it_and_a_doubtful_one_goes_on_counting(store: Store) -> None:
    reserve(store, 25 * CENT, kind="import", import_id="i1")
    reserve(store, 25 * CENT, kind="import", import_id="i1", run_id="r2", now=NOW + timedelta(minutes=5))
    with store.begin() as conn:
        assert money.settle_import(conn, "i1", spent_micros=20 * CENT, posts=20, now=NOW)
        assert not money.settle_import(conn, "other", spent_micros=0, posts=0, now=NOW)
        assert money.totals(conn, "r1").open_micros == 25 * CENT
        assert money.totals(conn, "r2").calls("import") == 20
        # Finished again: what it has listed since is added, and nothing is ever taken off.
        assert not money.settle_import(conn, "i1", spent_micros=19 * CENT, posts=19, now=NOW)
        assert money.settle_import(conn, "i1", spent_micros=22 * CENT, posts=22, now=NOW)
        assert (money.totals(conn, "r2").calls("import"), money.used_micros(conn, "run:r2")) == (22, 22 * CENT)
    check_sums(store)


def test_a_runs_totals_tell_what_is_spent_and_what_is_open(store: Store) -> None:
    settle(store, reserve(store, 5 * CENT), 4 * CENT, 4)
    settle(store, reserve(store, 5 * CENT), 5 * CENT, 5)
    reserve(store, 2 * CENT)
    settle(store, reserve(store, 9 * CENT, kind="import", import_id="i"), 9 * CENT, 9)
    reserve(store, CENT, run_id="other")
    with store.connect() as conn:
        run = money.totals(conn, "r1")
        assert money.totals(conn, "nobody").counted_micros == 0
    assert run.lines == (
        SpendLine("import", "tiktok", "apify", 9, 9 * CENT, 0),
        SpendLine("metadata", "tiktok", "apify", 9, 9 * CENT, 2 * CENT),
    )
    assert (run.calls("metadata"), run.spent_micros("import"), run.spent_micros()) == (9, 9 * CENT, 18 * CENT)
    assert (run.open_micros, run.counted_micros) == (2 * CENT, 20 * CENT)


def test_the_cost_of_a_thousand_new_posts() -> None:
    assert money.cost_per_1000_new(500_000, 25) == pytest.approx(20.0)
    assert money.cost_per_1000_new(0, 25) == 0
    assert money.cost_per_1000_new(500_000, 0) is None


def test_racing_threads_share_a_cap_exactly_and_never_lock_each_other_out(store: Store) -> None:
    caps = Caps(run_micros=60 * CENT, day_micros=97 * CENT, collection_micros=70 * CENT)

    def worker(number: int) -> int:
        chance, kept = random.Random(number), 0
        who = {"run_id": f"r{number % 3}", "collection": ("spring", "autumn", None)[number % 3]}
        for _ in range(40):
            try:
                spend_id = reserve(store, CENT, caps, **who)
            except SpendCapReached:
                continue
            match chance.randrange(3):
                case 0:
                    settle(store, spend_id, 0)
                    continue
                case 1:
                    settle(store, spend_id, CENT)
            kept += 1
        return kept

    with ThreadPoolExecutor(8) as threads:
        kept = sum(threads.map(worker, range(8)))
    assert used(store, f"day:acc:{DAY}") == kept * CENT <= 97 * CENT
    # A cent that came back after everybody's last try is there still, and none beside it.
    with suppress(SpendCapReached):
        while True:
            reserve(store, CENT, caps, run_id="the last", collection=None)
            kept += 1
    assert used(store, f"day:acc:{DAY}") == kept * CENT == 97 * CENT
    check_sums(store)


RACER = """
import sys
from datetime import UTC, datetime
from blocks.database.engine import open_store
from blocks.database.store import money
from blocks.errors import SpendCapReached
store, taken = open_store(sys.argv[1]), 0
who = money.Purpose("acc", sys.argv[2], "spring", "metadata", "tiktok", "apify")
print("ready", flush=True)
sys.stdin.readline()
try:
    while True:
        with store.begin() as conn:
            money.reserve(conn, who, micros=7, caps=money.Caps(day_micros=1000), now=datetime(2026, 3, 1, tzinfo=UTC))
        taken += 1
except SpendCapReached:
    print(taken)
store.close()
"""


@pytest.mark.integration
def test_racing_processes_cannot_overstep_a_cap(store: Store, database_url: str) -> None:
    command = [sys.executable, "-c", RACER, database_url]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racers = [subprocess.Popen([*command, f"r{number}"], **pipes) for number in range(3)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    taken = [int(racer.communicate(timeout=150)[0]) for racer in racers]
    assert sum(taken) == 1000 // 7
    assert used(store, f"day:acc:{DAY}") == 7 * sum(taken)
    check_sums(store)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "calls", "settle", "shrink", "crash"]),
        st.integers(0, 3),
        st.integers(0, 12),
        st.integers(0, 48),
    ),
    max_size=40,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS, caps=st.tuples(*[st.none() | st.integers(0, 30)] * 3))
def test_whatever_happens_totals_are_the_rows_and_stay_under_the_caps(
    store: Store, steps: list[tuple[str, int, int, int]], caps: tuple[int | None, ...]
) -> None:
    limits, example = Caps(*caps), uuid4().hex[:8]
    still_open: list[tuple[str, int]] = []
    scopes = set()
    for what, which, amount, hour in steps:
        now = NOW + timedelta(hours=hour)
        who = Purpose(example, f"{example}{which % 2}", f"{example}{which // 2}", "metadata", "x", "apify")
        scopes |= {f"run:{who.run_id}", f"collection:{who.collection}", f"day:{example}:{money.day_of(now)}"}
        with store.begin() as conn:
            try:
                if what == "reserve":
                    spend_id = money.reserve(conn, who, micros=amount, caps=limits, now=now)
                    still_open.append((spend_id, amount))
                elif what == "calls":
                    spend_id, calls = money.reserve_calls(
                        conn, who, price_micros=2, calls=amount + 1, at_least=1, caps=limits, now=now
                    )
                    assert 1 <= calls <= amount + 1
                    still_open.append((spend_id, 2 * calls))
                elif still_open and what == "settle":
                    spend_id, reserved = still_open.pop(which % len(still_open))
                    assert money.settle(conn, spend_id, spent_micros=min(amount, reserved), calls=1, now=now)
                elif still_open and what == "shrink":
                    spend_id, reserved = still_open.pop(which % len(still_open))
                    assert money.shrink(conn, spend_id, micros=min(amount, reserved))
                elif still_open:  # killed: nobody knows of the reservation any more
                    still_open.pop()
            except SpendCapReached:
                pass
    check_sums(store)
    most = {"run": limits.run_micros, "day": limits.day_micros, "collection": limits.collection_micros}
    for scope in scopes:
        cap = most[scope.partition(":")[0]]
        assert used(store, scope) >= 0
        assert cap is None or used(store, scope) <= cap
