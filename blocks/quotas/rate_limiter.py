"""The account's rates, kept together by all tasks, loops, processes and workers that share the database.

Each limit is one row that holds the next free slot (`blocks/database/store/limits.py`); a `Limiter` queues the
callers of its process and lets one go at each slot that it could reserve. No caller waits in the database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from blocks.database.store import limits
from blocks.errors import MemoriesError, ServicePaused, TooManyRequests
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import Channel
from blocks.quotas.limit_queues import Lane, RowClock, Slot, Turn

if TYPE_CHECKING:
    from blocks.database.engine import Store
    from blocks.settings import Settings

FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 1.0, 32.0
"""Pauses after refusals in a row that name no wait: 1, 2, 4 … 32 s, as the API's documentation asks."""


_ROW_CLOCKS: dict[str, RowClock] = {}


def rates_from(settings: Settings) -> dict[str, float]:
    """All limits of an account, in slots per second, by name."""
    metadata = settings.tagtrail_metadata_per_second
    of_platforms = {
        f"metadata/{channel}/{spec.name}": calls / 3600
        for spec in PLATFORMS.values()
        for channel, calls in spec.calls_per_hour.items()
    }
    return {
        "imports": settings.tagtrail_imports_per_minute / 60,
        "status": settings.tagtrail_status_per_second,
        "metadata/apify": metadata,
        "metadata/rapid": metadata,
        "metadata/memories.ai": metadata,
        **of_platforms,
    }


def limits_for(platform: str, channel: Channel) -> tuple[str, ...]:
    """The limits under which one metadata call falls; a refusal of the call is a refusal by the first."""
    of_channel = f"metadata/{channel}"
    return (f"{of_channel}/{platform}", of_channel) if channel in PLATFORMS[platform].calls_per_hour else (of_channel,)


class Limiter:
    """Lets calls go at the account's rates; one per run, used in one event loop.

    Limiters of other loops, processes and workers keep the same rates through the shared database. `rates` are
    slots per second by name (see `rates_from`); `clock` is monotonic, `wall` replaces the database's clock in
    tests. Close it before the store.
    """

    def __init__(
        self,
        store: Store,
        account: str,
        rates: Mapping[str, float],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        wall: Callable[[], float] | None = None,
    ) -> None:
        self.store, self.account = store, account
        self.clock, self.sleep, self.wall = clock, sleep, wall
        # One for all runs of a process, which are to notice that a clock was set between them.
        real = wall is None and clock is time.monotonic
        self.row_clock = _ROW_CLOCKS.setdefault(store.url_shown, RowClock()) if real else RowClock()
        self.remark = ""
        """What the user should know about the clocks."""
        self._lanes = {name: Lane(name, rate, self) for name, rate in rates.items()}
        self._spawned: set[asyncio.Task[None]] = set()
        self._closed = False

    async def acquire(self, *names: str, missed: Turn | None = None) -> Turn:
        """Wait for a slot of every limit named; first come, first served within this process.

        The scarcest is waited for first, so that no slot of it passes while another one is waited for. A caller
        that is cancelled takes no slot along. `missed` is an earlier turn that could not be used.

        Raises:
            ServicePaused: the service asked for a wait of more than `LONG_PAUSE_SECONDS`; nothing was acquired.
            StoreError: the database could not be used; nothing was acquired.
        """
        if self._closed:
            raise RuntimeError("this limiter is closed")
        lanes = sorted((self._lanes[name] for name in set(names)), key=lambda lane: -lane.interval)
        taken: dict[Lane, Slot] = {}
        if missed is not None:
            gone = missed.missed()
            taken = {lane: slot for lane, slot in missed.slots.items() if lane not in gone}
        try:
            for lane in lanes:
                if lane not in taken:
                    taken[lane] = await lane.take()
        finally:
            if len(taken) < len(lanes):
                for lane, slot in taken.items():
                    lane.give_back(slot)
        return Turn(taken)

    async def heed(self, name: str, error: MemoriesError) -> bool:
        """What a failed call means for all of the account; True if nobody goes on for a while.

        Too many requests: a pause, and a lesson. Any other failure that names a wait: a pause alone, for it says
        nothing of the rate.
        """
        if isinstance(error, TooManyRequests):
            await self.penalise(name, error.retry_after_seconds)
        elif error.retry_after_seconds:
            await self._pause(self._lanes[name], error.retry_after_seconds, lesson_seconds=None)
        else:
            return False
        return True

    async def penalise(self, name: str, retry_after_seconds: float | None) -> float:
        """The API refused a call as one too many: nobody of the account goes on before the wait is over.

        `retry_after_seconds` is what `Retry-After` asked for; None (or no wait at all) backs off, twice as long for
        each refusal without a success in between. Returns the pause in seconds.
        """
        lane = self._lanes[name]
        taught = lane.refused()
        wait = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(lane.refusals_in_a_row - 1, 10), LAST_BACKOFF_SECONDS)
        if retry_after_seconds is not None and retry_after_seconds > 0:
            wait = retry_after_seconds
        await self._pause(lane, wait, lesson_seconds=lane.learned_interval if taught else None)
        return wait

    async def _pause(self, lane: Lane, wait: float, *, lesson_seconds: float | None) -> None:
        lane.paused_until = max(lane.paused_until, self.clock() + wait)
        lane.closed_until = max(lane.closed_until, lane.paused_until)
        # The fifty refusals of one burst need not all be written; other processes wait a tenth of a second less.
        if lesson_seconds is not None or lane.paused_until > lane.written_until + 0.1:
            lane.written_until = lane.paused_until
            await self.store.run(
                limits.pause,
                account=self.account,
                name=lane.name,
                seconds=wait,
                lesson_seconds=lesson_seconds,
                now=self._wall_now(),
            )

    def succeeded(self, name: str) -> None:
        """A call under this limit was served: the next refusal backs off from the start again."""
        lane = self._lanes[name]
        if lane.refusals_in_a_row and lane.used_since_refusal and self.clock() >= lane.paused_until:
            lane.refusals_in_a_row = 0

    def paused_until(self, name: str) -> datetime | None:
        """When calls under this limit go on (UTC), where the account is paused; None where it is not."""
        lane, now = self._lanes[name], self.clock()
        # A row that is closed for longer than slots ever are was paused by another process.
        until = max(lane.paused_until, lane.closed_until if lane.closed_until > now + 2 * lane.interval else now)
        return datetime.now(UTC) + timedelta(seconds=until - now) if until > now else None

    def paused(self, lane: Lane) -> ServicePaused:
        """The error of who waits while the service wants no calls for longer than a run waits."""
        until = datetime.now(UTC) + timedelta(seconds=lane.paused_until - self.clock())
        return ServicePaused(lane.name, until)

    def learned(self) -> dict[str, float]:
        """The rates, in slots per second, that the server proved to be lower than the settings say."""
        lanes = self._lanes.values()
        return {lane.name: 1 / lane.interval for lane in lanes if lane.learned_interval > lane.asked_interval}

    async def aclose(self) -> None:
        """Let nobody go any more: who still waits is cancelled; what is under way in the database is awaited."""
        self._closed = True
        tasks = [task for lane in self._lanes.values() for task in (lane.serving, lane.fetching) if task is not None]
        for lane in self._lanes.values():
            if lane.serving is not None:
                lane.serving.cancel()
        await asyncio.gather(*tasks, *self._spawned, return_exceptions=True)

    # What follows is for the lanes.

    async def reserve(self, lane: Lane, interval: float, count: int, ahead: float, late: float) -> limits.Slots:
        got, before, after = await self.store.run(
            limits.reserve_timed,
            self.clock,
            account=self.account,
            name=lane.name,
            interval_seconds=interval,
            count=count,
            ahead_seconds=ahead,
            late_seconds=late,
            now=self._wall_now(),
        )
        last, lane.row_next_at = lane.row_next_at, got.next_at
        self.row_clock.seen(got.now, before, after)
        set_by = self.row_clock.set_by - lane.row_set_by
        lane.row_set_by = self.row_clock.set_by
        if set_by > 0:
            # Set forward: these slots may be free for that alone. Unused, they part what went before from what comes.
            return replace(got, count=0)
        if set_by < 0 and got.count == 0 and got.next_at == last and not got.paused:
            # Set back: the row is as it was before, and would hold everybody for as long. Whoever knows moves it along.
            to = max(got.next_at + set_by, got.now)
            whose = self.account
            if await self.store.run(limits.move_slot, account=whose, name=lane.name, seen=got.next_at, to=to):
                lane.row_next_at = to
                got = replace(got, next_at=to)
        if set_by < 0 or got.set_back:
            self.remark = "the clock of the database was set back; the limits went on by the time before"
        return got

    def _wall_now(self) -> float | None:
        return None if self.wall is None else self.wall()

    async def return_slot(self, name: str, slot: Slot) -> None:
        await self.store.run(
            limits.give_back_slot, account=self.account, name=name, first_at=slot.first_at, next_at=slot.next_at
        )

    async def push(self, name: str, seconds: float) -> None:
        """Let nobody of the account have a slot before `seconds` from now."""
        await self.store.run(
            limits.pause, account=self.account, name=name, seconds=seconds, lesson_seconds=None, now=self._wall_now()
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._spawned.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._spawned.discard(task)
        if not task.cancelled():
            # A slot that cannot be returned passes unused; of one that cannot be pushed this process knows by itself.
            task.exception()
