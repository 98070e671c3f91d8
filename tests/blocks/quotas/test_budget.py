"""The budget of a run: what is taken, accounted for and given back, and the estimate before it."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.database.store import money, runs
from blocks.database.store.money import Caps, RunSpend
from blocks.errors import Held, SpendCapReached, StoreError
from blocks.quotas.budget import Budget, Reservation, estimate, micros_of
from blocks.settings import Prices

CENT = 10_000
PRICES = Prices(import_post=0.01, metadata_default=0.01, metadata={"rapid": 0.03, "youtube/apify": 0.0})


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 23, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def make(store: Store, caps: Caps | None = None, run_id: str = "r1", **more: Any) -> Budget:
    return Budget(store, "acc", run_id, "spring", caps or Caps(), PRICES, more.pop("clock", Clock()), **more)


async def used(store: Store, scope: str = "run:r1") -> int:
    return await store.read(money.used_micros, scope)


async def totals(store: Store, run_id: str = "r1") -> RunSpend:
    return await store.read(money.totals, run_id)


async def test_calls_are_reserved_ahead_and_what_was_not_used_comes_back(store: Store) -> None:
    budget = make(store)
    reservation = await budget.reserve("tiktok", "apify")
    assert await used(store) == 10 * CENT
    await reservation.settle(1)
    await budget.close()
    assert await used(store) == await used(store, "day:acc:2026-03-01") == await used(store, "collection:spring")
    assert await used(store) == CENT
    run = await totals(store)
    assert (run.calls("metadata"), run.spent_micros("metadata"), run.open_micros) == (1, CENT, 0)


async def test_a_block_serves_ten_calls(sqlite_store: Store) -> None:
    async with make(sqlite_store) as budget:
        for reservation in await asyncio.gather(*(budget.reserve("tiktok", "apify") for _ in range(50))):
            await reservation.settle(1)

    def rows(conn: Any) -> int:
        return int(conn.exec_driver_sql("SELECT count(*) FROM spend").scalar_one())

    assert await sqlite_store.read(rows) == 5
    assert (await totals(sqlite_store)).calls("metadata") == 50


async def test_refused_calls_cost_nothing_and_a_second_settling_changes_nothing(store: Store) -> None:
    async with make(store) as budget:
        billed, refused, dropped = [await budget.reserve("tiktok", "apify") for _ in range(3)]
        await billed.settle(1)
        await billed.settle(0)
        await refused.settle(0)
        await dropped.release()
    run = await totals(store)
    assert (run.calls("metadata"), run.spent_micros()) == (1, CENT)


async def test_a_call_that_nobody_accounted_for_counts_as_spent(store: Store) -> None:
    async with make(store) as budget:
        reservation = await budget.reserve("tiktok", "rapid")
    run = await totals(store)
    assert (run.calls("metadata"), run.spent_micros(), run.open_micros) == (1, 3 * CENT, 0)
    await reservation.settle(0)
    assert (await totals(store)).spent_micros() == 3 * CENT, "too late"


async def test_a_killed_run_leaves_its_reservations_counted_and_visible(store: Store) -> None:
    budget = make(store, Caps(day_micros=25 * CENT))
    await (await budget.reserve("tiktok", "apify")).settle(1)
    await budget.reserve_import("i1", 5)
    # Nothing is closed here: the process is gone.
    run = await totals(store)
    assert (run.spent_micros(), run.open_micros, run.counted_micros) == (0, 15 * CENT, 15 * CENT)
    async with make(store, Caps(day_micros=25 * CENT), "r2") as again:
        for _ in range(10):
            await again.reserve("tiktok", "apify")
        with pytest.raises(SpendCapReached):
            await again.reserve("tiktok", "apify")


async def test_a_cap_is_used_up_to_the_last_call(store: Store) -> None:
    budget = make(store, Caps(run_micros=23 * CENT))
    reservations = [await budget.reserve("tiktok", "apify") for _ in range(23)]
    with pytest.raises(SpendCapReached) as reached:
        await budget.reserve("tiktok", "apify")
    assert reached.value.scope == "run"
    assert "raise the cap" in str(reached.value)
    for reservation in reservations:
        await reservation.settle(1)
    await budget.close()
    assert await used(store) == 23 * CENT


async def test_several_platforms_at_once_spend_a_cap_to_its_last_cent(sqlite_store: Store) -> None:
    dice = random.Random(7)
    for round_ in range(25):
        run_id = f"r{round_}"
        async with make(sqlite_store, Caps(run_micros=12 * CENT), run_id=run_id) as budget:

            async def buy(platform: Any, budget: Budget = budget) -> None:
                for _ in range(2):
                    reservation = await budget.reserve(platform, "apify")
                    await asyncio.sleep(dice.random() / 500)
                    await reservation.settle(1)

            await asyncio.gather(*(buy(platform) for platform in ["tiktok", "instagram", "x"] * 2))
        assert await used(sqlite_store, f"run:{run_id}") == 12 * CENT


async def test_an_import_takes_back_what_metadata_holds_ahead_near_the_cap(sqlite_store: Store) -> None:
    async with make(sqlite_store, Caps(run_micros=10 * CENT)) as budget:
        await (await budget.reserve("tiktok", "apify")).settle(1)
        assert await used(sqlite_store) == 10 * CENT
        listed = await budget.reserve_import("i1", 9)
        with pytest.raises(SpendCapReached):
            await budget.reserve("tiktok", "apify")
        await listed.settle(9)
    assert await used(sqlite_store) == 10 * CENT


async def test_what_one_channel_holds_ahead_is_there_for_another_near_the_cap(store: Store) -> None:
    async with make(store, Caps(run_micros=10 * CENT)) as budget:
        await budget.reserve("tiktok", "apify")
        for _ in range(3):
            await budget.reserve("tiktok", "rapid")
        with pytest.raises(SpendCapReached):
            await budget.reserve("tiktok", "rapid")
        with pytest.raises(SpendCapReached):
            await budget.reserve("instagram", "apify")
    assert await used(store) == 10 * CENT


async def test_for_another_runs_request_nothing_is_reserved_ahead(store: Store) -> None:
    def start(conn: Any) -> None:
        now = datetime(2026, 3, 1, tzinfo=UTC)
        runs.start_run(conn, run_id="asker", flow="x", account="acc", collection=None, now=now)

    await store.run(start)
    async with make(store) as budget:
        refused = await budget.reserve("tiktok", "apify", asked_by="asker")
        assert await used(store, "run:asker") == CENT
        await refused.release()
        assert await used(store, "run:asker") == 0
        await store.run(runs.stop, "asker", by="somebody", why="Ctrl-C", at=datetime(2026, 3, 1, tzinfo=UTC))
        with pytest.raises(Held):
            await budget.reserve("tiktok", "apify", asked_by="asker")


async def test_calls_that_cost_nothing_are_counted_also_under_a_cap_of_nothing(store: Store) -> None:
    async with make(store, Caps(run_micros=0)) as budget:
        await (await budget.reserve("youtube", "apify")).settle(1)
    run = await totals(store)
    assert (run.calls("metadata"), run.counted_micros) == (1, 0)


async def test_an_import_is_paid_by_the_posts_that_it_listed_and_outlives_the_run(store: Store) -> None:
    async with make(store, Caps(run_micros=40 * CENT)) as budget:
        reservation = await budget.reserve_import("i1", 25)
        with pytest.raises(SpendCapReached):
            await budget.reserve_import("i2", 16)
        await budget.reserve_import("i3", 15)
        await reservation.settle(20)
    run = await totals(store)
    assert (run.calls("import"), run.spent_micros("import"), run.open_micros) == (20, 20 * CENT, 15 * CENT)
    await store.run(money.settle_import, "i3", spent_micros=CENT, posts=1, now=datetime.now(UTC))
    assert await used(store) == 21 * CENT


async def test_a_new_day_is_paid_from_its_own_cap(store: Store) -> None:
    clock = Clock()
    async with make(store, Caps(day_micros=10 * CENT), clock=clock) as budget:
        reservation = await budget.reserve("tiktok", "apify")
        assert reservation.is_of_today
        await reservation.settle(1)
        clock.now += timedelta(hours=2)
        assert not reservation.is_of_today
        for _ in range(10):
            await (await budget.reserve("tiktok", "apify")).settle(1)
        with pytest.raises(SpendCapReached):
            await budget.reserve("tiktok", "apify")
    assert await used(store, "day:acc:2026-03-01") == CENT
    assert await used(store, "day:acc:2026-03-02") == 10 * CENT


async def test_a_cancelled_taker_leaves_no_money_behind(store: Store) -> None:
    async with make(store) as budget:
        takers = [asyncio.create_task(budget.reserve("tiktok", "apify")) for _ in range(5)]
        await asyncio.sleep(0)
        for taker in takers[:4]:
            taker.cancel()
        await (await takers[4]).settle(1)
    assert await used(store) == CENT


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_an_import_whose_taker_was_cancelled_costs_nothing(store: Store, turns: int) -> None:
    budget = make(store)
    taker = asyncio.create_task(budget.reserve_import("i1", 25))
    for _ in range(turns):
        await asyncio.sleep(0)
    taker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taker
    kept = await budget.reserve_import("i2", 5)
    await budget.close()
    assert await used(store) == await used(store, "collection:spring") == 5 * CENT
    await kept.settle(4)
    assert await used(store) == 4 * CENT


async def test_what_could_not_be_settled_counts_until_the_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = make(store, block_calls=1)
    reservation = await budget.reserve("tiktok", "apify")

    async def broken(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "run", broken)
        with pytest.raises(StoreError):
            await reservation.settle(1)
    assert (await totals(store)).open_micros == CENT
    await budget.close()
    run = await totals(store)
    assert (run.spent_micros(), run.open_micros, await used(store)) == (CENT, 0, CENT)


@pytest.mark.parametrize("seed", range(6))
async def test_random_runs_side_by_side_stay_under_their_caps(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    caps = Caps(run_micros=70 * CENT, day_micros=101 * CENT)
    made = 0

    async def run(number: int) -> None:
        nonlocal made
        budget = make(store, caps, f"r{number}", block_calls=chance.choice([1, 3, 10]))
        waiting: list[Reservation] = []
        for _ in range(chance.randrange(60)):
            try:
                platform, channel = chance.choice([("tiktok", "apify"), ("x", "rapid"), ("instagram", "memories.ai")])
                waiting.append(await budget.reserve(platform, channel))
            except SpendCapReached:
                pass
            while waiting and chance.random() < 0.5:
                reservation = waiting.pop(chance.randrange(len(waiting)))
                await reservation.settle(chance.randint(0, 1))
        if chance.random() < 0.7:  # the others are killed
            await budget.close()
            assert (await totals(store, f"r{number}")).open_micros == 0

    await asyncio.gather(*(run(number) for number in range(4)))
    counted = 0
    for number in range(4):
        counted += (await totals(store, f"r{number}")).counted_micros
        assert await used(store, f"run:r{number}") == (await totals(store, f"r{number}")).counted_micros <= 70 * CENT
    assert await used(store, "day:acc:2026-03-01") == counted <= 101 * CENT


def test_the_estimate_takes_the_first_channel_at_its_dearest_platform() -> None:
    got = estimate(3, 25, PRICES, ("rapid", "apify"))
    assert (got.import_micros, got.metadata_micros) == (75 * CENT, 75 * 3 * CENT)
    assert got.total_usd == pytest.approx(3.0)
    uneven = Prices(metadata={"tiktok/apify": 0.002, "instagram/apify": 0.004})
    assert estimate(1, 10, uneven, ("apify",)).metadata_micros == 40_000
    assert estimate(1, 10, uneven, ("apify",), platforms=("tiktok",)).metadata_micros == 20_000
    assert estimate(0, 25, PRICES, ("apify",)).total_micros == 0


def test_dollars_are_whole_millionths() -> None:
    assert (micros_of(None), micros_of(0), micros_of(0.1)) == (None, 0, 100_000)


async def test_a_run_over_all_collections_spends_each_ones_own_money(store: Store) -> None:
    budget = Budget(store, "acc", "r1", None, Caps(day_micros=12 * CENT, collection_micros=5 * CENT), PRICES, Clock())
    async with budget:
        for _ in range(5):
            await (await budget.reserve("tiktok", "apify", collection="spring")).settle(1)
        await budget.reserve("instagram", "apify", collection="autumn")
        with pytest.raises(SpendCapReached) as reached:
            await budget.reserve("instagram", "rapid", collection="spring")
        assert reached.value.scope == "collection"
        assert await used(store, "collection:autumn") == 5 * CENT, "what the others hold ahead does not help"
        for _ in range(2):
            await budget.reserve("tiktok", "apify", collection="winter")
        # The day's cap comes to light behind the collection's: both take back what counts under them.
        await budget.reserve("tiktok", "rapid", collection="winter")
    assert await used(store, "collection:spring") == await used(store, "collection:winter") == 5 * CENT
    assert await used(store, "collection:autumn") == CENT
    assert await used(store) == await used(store, "day:acc:2026-03-01") == 11 * CENT


async def test_calls_that_cost_nothing_can_be_made_again_under_the_same_cap(store: Store) -> None:
    budget = make(store, Caps(run_micros=10 * CENT))
    reservations = [await budget.reserve("tiktok", "apify") for _ in range(10)]
    for refused in reservations[:9]:
        await refused.settle(0)
    # One is under way: nine more fit, and no tenth.
    again = [await budget.reserve("tiktok", "apify") for _ in range(9)]
    with pytest.raises(SpendCapReached):
        await budget.reserve("tiktok", "apify")
    for reservation in (reservations[9], *again):
        await reservation.settle(1)
    await budget.close()
    run = await totals(store)
    assert (run.calls("metadata"), run.spent_micros(), run.open_micros) == (10, 10 * CENT, 0)
    assert await used(store) == 10 * CENT
