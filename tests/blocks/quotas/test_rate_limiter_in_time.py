"""The limiter where time does not run as it should: missed turns, clocks that were set, waits that servers name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from blocks.database.engine import Store
from blocks.errors import Busy, MemoriesError, ServerFault
from blocks.quotas.rate_limiter import Limiter


class FakeTime:
    """A clock that only sleeping moves, once everybody else has had a turn."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        self.now += max(seconds, 1e-6)


@pytest.fixture
def fake() -> FakeTime:
    return FakeTime()


@pytest.fixture
async def limiter(sqlite_store: Store, fake: FakeTime) -> AsyncIterator[Limiter]:
    made = make(sqlite_store, fake)
    yield made
    await made.aclose()


def make(store: Store, fake: FakeTime, **rates: float) -> Limiter:
    rates = rates or {"fast": 10.0, "slow": 1 / 60, "hourly": 12 / 3600}
    return Limiter(store, "a", rates, clock=fake, sleep=fake.sleep, wall=fake)


async def times(limiter: Limiter, fake: FakeTime, count: int, name: str) -> list[float]:
    """When `count` waiting tasks were let go, in seconds after now."""
    start, went = fake.now, []

    async def call() -> None:
        await limiter.acquire(name)
        went.append(fake.now - start)

    await asyncio.gather(*(call() for _ in range(count)))
    return went


@pytest.mark.parametrize("error", [ServerFault, Busy])
async def test_a_failure_that_names_a_wait_pauses_all_and_teaches_nothing(
    sqlite_store: Store, limiter: Limiter, fake: FakeTime, error: type[MemoriesError]
) -> None:
    other = make(sqlite_store, fake)
    for _ in range(6):
        await limiter.acquire("fast")
        start = fake.now
        assert await limiter.heed("fast", error("down", retry_after_seconds=2))
        await other.acquire("fast")
        assert fake.now - start >= 2
    assert limiter.learned() == other.learned() == {}
    assert not await limiter.heed("fast", error("down"))
    assert await limiter.penalise("fast", None) == 1, "and no backing off was begun"
    await other.aclose()


class SetTime(FakeTime):
    """A database's clock, beside that of this process."""

    def __init__(self, beside: FakeTime) -> None:
        self.beside, self.set_by = beside, 0.0

    def __call__(self) -> float:
        return self.beside.now + self.set_by


@pytest.mark.parametrize("set_by", [61.0, 3600.0, -20.0, -840.0])
async def test_a_databases_clock_that_is_set_gives_no_slot_and_stops_nobody(
    sqlite_store: Store, fake: FakeTime, set_by: float
) -> None:
    rows = SetTime(fake)
    limiter = Limiter(sqlite_store, "a", {"fast": 10.0, "slow": 1 / 60}, clock=fake, sleep=fake.sleep, wall=rows)
    await limiter.acquire("slow")
    start = fake.now
    went = await times(limiter, fake, 20, "fast")
    rows.set_by = set_by
    then = fake.now - start
    went += [then + after for after in await times(limiter, fake, 20, "fast")]
    assert max(sum(at <= one < at + 1 for one in went) for at in went) <= 11
    assert went[-1] < 5
    await limiter.acquire("slow")
    assert 60 <= fake.now - start < 125
    assert bool(limiter.remark) == (set_by < 0)
    await limiter.aclose()


@pytest.mark.parametrize("set_by", [61.0, -840.0])
async def test_another_run_of_the_process_notices_it_too(sqlite_store: Store, fake: FakeTime, set_by: float) -> None:
    rows = SetTime(fake)
    one, two = (Limiter(sqlite_store, "a", {"slow": 1 / 60}, clock=fake, sleep=fake.sleep, wall=rows) for _ in range(2))
    two.row_clock = one.row_clock
    await one.acquire("slow")
    start = fake.now
    rows.set_by = set_by
    await two.acquire("slow")
    assert 59 < fake.now - start < 62 if set_by > 0 else 59 < fake.now - start <= 961, "never sooner, and bounded"
    await asyncio.gather(one.aclose(), two.aclose())


async def test_runs_of_one_process_see_the_database_by_one_clock(sqlite_store: Store) -> None:
    one, two = Limiter(sqlite_store, "a", {"fast": 10.0}), Limiter(sqlite_store, "b", {"fast": 10.0})
    assert one.row_clock is two.row_clock
    await asyncio.gather(one.aclose(), two.aclose())


async def test_a_turn_that_waited_too_long_is_not_used(limiter: Limiter, fake: FakeTime) -> None:
    turn = await limiter.acquire("fast")
    fake.now += 0.09
    assert turn.use()
    turn = await limiter.acquire("fast")
    fake.now += 0.12
    assert not turn.use()
    assert turn.use(1.0), "where the caller says that so much is no harm"
    assert (await limiter.acquire("fast", missed=turn)).use()


async def test_a_pause_takes_a_turn_that_was_not_used_yet(limiter: Limiter) -> None:
    turn = await limiter.acquire("fast")
    await limiter.penalise("fast", 5)
    assert not turn.use()


async def test_a_scarce_slot_that_is_used_late_moves_the_next_one(
    sqlite_store: Store, limiter: Limiter, fake: FakeTime
) -> None:
    other = make(sqlite_store, fake)
    turn = await limiter.acquire("slow")
    fake.now += 40
    assert turn.use()
    await asyncio.gather(*limiter._spawned)
    used_at = fake.now
    for gone, which in enumerate((other, limiter), start=1):
        turn = await which.acquire("slow")
        assert fake.now - used_at >= 60 * gone
        assert turn.use()
    turn = await other.acquire("slow")
    fake.now += 61
    assert not turn.use(), "missed by more than its own length"
    await other.aclose()


async def test_the_scarce_slot_of_a_missed_turn_is_kept(limiter: Limiter, fake: FakeTime) -> None:
    turn = await limiter.acquire("fast", "hourly")
    fake.now += 2
    assert not turn.use()
    start = fake.now
    assert (await limiter.acquire("fast", "hourly", missed=turn)).use()
    assert fake.now - start < 1
