"""The limiter: rates that hold for all, pauses that hold for all, and no slot lost on the way."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from blocks.database.engine import Store
from blocks.errors import Busy, MemoriesError, NoAnswer, ServerFault, ServicePaused, StoreError, TooManyRequests
from blocks.quotas.rate_limiter import Limiter, limits_for, rates_from
from blocks.settings import get_settings

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "limiter.py"


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


async def until(true: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


async def times(limiter: Limiter, fake: FakeTime, count: int, name: str) -> list[float]:
    """When `count` waiting tasks were let go, in seconds after now."""
    start, went = fake.now, []

    async def call() -> None:
        await limiter.acquire(name)
        went.append(fake.now - start)

    await asyncio.gather(*(call() for _ in range(count)))
    return went


async def test_calls_go_one_interval_apart(limiter: Limiter, fake: FakeTime) -> None:
    went = await times(limiter, fake, 30, "fast")
    gaps = [after - before for before, after in pairwise(went)]
    assert min(gaps) > 0.095
    assert went[-1] == pytest.approx(29 * 0.101, abs=0.02)


async def test_a_slow_limit_is_kept_too(limiter: Limiter, fake: FakeTime) -> None:
    went = await times(limiter, fake, 4, "slow")
    gaps = [after - before for before, after in pairwise(went)]
    assert all(60 <= gap < 61 for gap in gaps)


async def test_first_come_first_served(limiter: Limiter) -> None:
    order = []

    async def call(number: int) -> None:
        await limiter.acquire("fast")
        order.append(number)

    await asyncio.gather(*(call(number) for number in range(20)))
    assert order == list(range(20))


async def test_two_limiters_share_the_rate(sqlite_store: Store, fake: FakeTime) -> None:
    one, two = make(sqlite_store, fake), make(sqlite_store, fake)
    start = fake.now
    await asyncio.gather(*(limiter.acquire("slow") for limiter in (one, two) for _ in range(3)))
    assert fake.now - start >= 5 * 60
    await asyncio.gather(one.aclose(), two.aclose())


async def test_who_was_stuck_drops_the_slots_that_passed(sqlite_store: Store, fake: FakeTime) -> None:
    stuck: list[float] = []

    async def sleep(seconds: float) -> None:
        await fake.sleep(seconds)
        if not stuck:
            fake.now += 5.0
            stuck.append(fake.now)

    limiter = Limiter(sqlite_store, "a", {"fast": 10.0}, clock=fake, sleep=sleep, wall=fake)
    await asyncio.gather(*(limiter.acquire("fast") for _ in range(13)))
    assert fake.now - stuck[0] > 11 * 0.101 - 0.11, "twelve calls cannot make up for the five seconds"
    await limiter.aclose()


async def test_a_cancelled_waiter_takes_no_slot_along(limiter: Limiter, fake: FakeTime) -> None:
    await limiter.acquire("slow")
    start = fake.now
    waiting = [asyncio.create_task(limiter.acquire("slow")) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait(waiting[1:])
    assert fake.now - start < 2 * 60 + 3, "two calls, two slots: the cancelled one's is not left out"
    assert waiting[0].cancelled()


async def test_who_is_cancelled_while_slots_are_reserved_leaves_them_to_the_next(
    limiter: Limiter, fake: FakeTime
) -> None:
    start = fake.now
    first = asyncio.create_task(limiter.acquire("slow"))
    second = asyncio.create_task(limiter.acquire("slow"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
    assert fake.now - start < 1


async def test_both_limits_hold_where_two_are_named(limiter: Limiter, fake: FakeTime) -> None:
    start = fake.now
    await asyncio.gather(*(limiter.acquire("fast", "hourly") for _ in range(3)))
    assert fake.now - start >= 600


async def test_a_refusal_pauses_the_whole_account(sqlite_store: Store, limiter: Limiter, fake: FakeTime) -> None:
    other = make(sqlite_store, fake)
    await limiter.acquire("fast")
    start = fake.now
    assert await limiter.back_off("fast", 30) == 30
    await other.acquire("fast")
    assert fake.now - start >= 30
    await other.aclose()


async def test_slots_in_hand_do_not_outlive_a_pause(limiter: Limiter, fake: FakeTime) -> None:
    went: list[float] = []

    async def call() -> None:
        await limiter.acquire("fast")
        went.append(fake.now)

    waiting = [asyncio.create_task(call()) for _ in range(3)]
    await until(lambda: bool(went))
    paused_at = fake.now
    await limiter.back_off("fast", 7)
    await asyncio.gather(*waiting)
    late = [at for at in went if at > paused_at]
    assert late
    assert min(late) >= paused_at + 7 - 0.01


async def test_back_off_doubles_and_a_success_ends_it(limiter: Limiter) -> None:
    waits = []
    for _ in range(7):
        await limiter.acquire("hourly")
        waits.append(await limiter.back_off("hourly", None))
    assert waits == [1, 2, 4, 8, 16, 32, 32]
    limiter.succeeded("hourly")
    await limiter.acquire("hourly")
    limiter.succeeded("hourly")
    assert await limiter.back_off("hourly", None) == 1


async def test_the_refusals_of_one_burst_count_once(limiter: Limiter) -> None:
    await asyncio.gather(*(limiter.acquire("fast") for _ in range(5)))
    assert [await limiter.back_off("fast", None) for _ in range(5)] == [1] * 5
    assert limiter.learned() == {}


async def test_a_wait_of_a_quarter_of_an_hour_is_waited_out_by_all(
    sqlite_store: Store, limiter: Limiter, fake: FakeTime
) -> None:
    assert await limiter.back_off("fast", 900) == 900
    assert min(await times(limiter, fake, 2, "fast")) >= 900
    await limiter.back_off("fast", 900)
    other = make(sqlite_store, fake)
    assert min(await times(other, fake, 1, "fast")) >= 899.9
    await other.aclose()


@pytest.mark.parametrize("name", ["fast", "slow", "hourly"])
async def test_a_longer_wait_is_nobodys_and_says_when_it_is_over(
    name: str, sqlite_store: Store, limiter: Limiter, fake: FakeTime
) -> None:
    await limiter.acquire(name)
    waiting = [asyncio.create_task(limiter.acquire(name)) for _ in range(3)]
    await limiter.back_off(name, 7200)
    said = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(error, ServicePaused) for error in said), said
    other = make(sqlite_store, fake)
    for one in (limiter, other):
        with pytest.raises(ServicePaused) as caught:
            await one.acquire(name)
        assert caught.value.limit == name
        left = (caught.value.until - datetime.now(UTC)).total_seconds()
        assert 6000 < left < 7201
    await other.aclose()
    fake.now += 7200
    another = make(sqlite_store, fake)
    await another.acquire(name)
    await another.aclose()


async def test_a_lower_rate_of_before_is_no_pause(sqlite_store: Store, fake: FakeTime) -> None:
    rare = make(sqlite_store, fake, slow=1 / 86_400)
    await rare.acquire("slow")
    await rare.aclose()
    often = make(sqlite_store, fake)
    assert await times(often, fake, 1, "slow") == [pytest.approx(0, abs=1)]
    await often.aclose()


async def test_a_lower_limit_is_learned_told_and_shared(sqlite_store: Store, limiter: Limiter, fake: FakeTime) -> None:
    for _ in range(3):
        assert limiter.learned() == {}
        await limiter.acquire("fast")
        await limiter.back_off("fast", 2)
    assert limiter.learned() == {"fast": pytest.approx(10 / 1.01 / 1.5)}
    other = make(sqlite_store, fake)
    await other.acquire("fast")
    assert other.learned() == limiter.learned()
    went = await times(other, fake, 10, "fast")
    assert (went[-1] - went[0]) / 9 == pytest.approx(0.1515, abs=0.02)
    fake.now += 3601
    await other.acquire("fast")
    assert other.learned() == {}
    await other.aclose()


@pytest.mark.parametrize("wait", [None, 0.0, -5.0])
async def test_a_refusal_that_names_no_wait_backs_off(limiter: Limiter, wait: float | None) -> None:
    waits = []
    for _ in range(4):
        await limiter.acquire("fast")
        waits.append(await limiter.back_off("fast", wait))
    assert waits == [1, 2, 4, 8]


async def test_refusals_far_apart_teach_nothing(limiter: Limiter, fake: FakeTime) -> None:
    for _ in range(6):
        await limiter.acquire("fast")
        await limiter.back_off("fast", 1)
        fake.now += 40
    assert limiter.learned() == {}


async def test_a_pause_tells_the_user_until_when(limiter: Limiter) -> None:
    before = datetime.now(UTC)
    until = await limiter.apply_retry_after("fast", TooManyRequests("slow down", retry_after_seconds=60))
    assert until is not None
    rounded = timedelta(milliseconds=1)
    assert before - rounded <= until - timedelta(seconds=60) <= datetime.now(UTC) + rounded
    assert await limiter.apply_retry_after("fast", NoAnswer("lost")) is None


@pytest.mark.parametrize("error", [ServerFault, Busy])
async def test_a_failure_that_names_a_wait_pauses_all_and_teaches_nothing(
    sqlite_store: Store, limiter: Limiter, fake: FakeTime, error: type[MemoriesError]
) -> None:
    other = make(sqlite_store, fake)
    for _ in range(6):
        await limiter.acquire("fast")
        start = fake.now
        assert await limiter.apply_retry_after("fast", error("down", retry_after_seconds=2)) is not None
        await other.acquire("fast")
        assert fake.now - start >= 2
    assert limiter.learned() == other.learned() == {}
    assert await limiter.apply_retry_after("fast", error("down")) is None
    assert await limiter.back_off("fast", None) == 1, "and no backing off was begun"
    await other.aclose()


class OtherClock(FakeTime):
    """A database's clock, which goes by its own time."""

    def __init__(self, beside: FakeTime, rate: float) -> None:
        self.beside, self.began, self.rate = beside, beside.now, rate

    def __call__(self) -> float:
        return 1_700_000_000.0 + (self.beside.now - self.began) * self.rate


@pytest.mark.parametrize("rate", [0.998, 1.002])
async def test_a_clock_that_drifts_from_the_databases_costs_no_slot(
    sqlite_store: Store, fake: FakeTime, rate: float
) -> None:
    limiter = Limiter(sqlite_store, "a", {"fast": 10.0}, clock=fake, sleep=fake.sleep, wall=OtherClock(fake, rate))
    went = await times(limiter, fake, 1250, "fast")
    assert went[-1] == pytest.approx(1249 * 0.101 / rate, rel=0.002)
    assert max(len([at for at in went[n : n + 13] if at < went[n] + 1]) for n in range(1230)) <= 11
    await limiter.aclose()


async def test_a_broken_database_reaches_who_waits_and_is_tried_again_later(
    sqlite_store: Store, limiter: Limiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_store, "run", broken)
        got = await asyncio.gather(*(limiter.acquire("fast") for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in got] == ["the disk is full"] * 3
    await limiter.acquire("fast")


def test_every_call_has_its_limit() -> None:
    rates = rates_from(get_settings())
    assert rates["imports"] == pytest.approx(1 / 60)
    assert rates["status"] == 1
    assert rates["metadata/rapid/youtube"] * 3600 == pytest.approx(12)
    for platform in ("instagram", "tiktok", "youtube", "x"):
        for channel in ("apify", "rapid", "memories.ai"):
            assert f"metadata/{channel}" in limits_for(platform, channel)
            assert set(limits_for(platform, channel)) <= set(rates)
    assert limits_for("youtube", "rapid")[0] == "metadata/rapid/youtube"
    assert limits_for("tiktok", "rapid") == ("metadata/rapid",)


def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("limiter_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.integration
@pytest.mark.parametrize("processes", [1, 2])
def test_real_processes_use_the_rate_and_no_more(database_url: str, processes: int) -> None:
    got = benchmark().measure(database_url, 10.0, processes, seconds=2.0, warm_up_seconds=0.5)
    # The promise is 97 %; one slot of these two dozen may be lost, and those of the time in which nobody was served.
    assert got["percent"] > 94 - got["stuck_percent"]
    # 11 by the limiter; a slot may be used late, and who woke up late is counted late. Two that share nothing: 20.
    assert got["most"] <= 13
    assert got["cpu_ms"] < 8
