"""The account's rates, kept together by all tasks, processes and workers that share the database.

Each limit is one row that holds the next free slot (`blocks/database/store/rate_limits.py`). Within a process the
callers of a limit queue up; the first of them reserves slots for all, a few at once, and goes when its own is due.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from blocks.database.store import rate_limits
from blocks.database.store.rate_limits import LONG_PAUSE_SECONDS
from blocks.errors import MemoriesError, ServicePaused, TooManyRequests
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import Channel

if TYPE_CHECKING:
    from blocks.database.engine import Store
    from blocks.settings import Settings

MARGIN = 0.01
"""Slots lie this much further apart than the rate says: two calls that swap a few milliseconds on the wire stay
within the server's count."""

AHEAD_SECONDS, BATCH_SECONDS = 0.2, 0.3
"""Slots are reserved that far ahead and for that long at once: a database that is busy for a moment costs none."""

SLOW_SECONDS = 0.25
"""Slots further apart than this are reserved one at a time, when they are due: who is killed takes none along."""

LATE_SECONDS = 0.1
"""By how much a slot may be missed and still be used."""

FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 1.0, 32.0
"""Pauses after refusals in a row that name no wait: 1, 2, 4 … 32 s, as the API's documentation asks."""

REFUSALS_THAT_TEACH, LESSON_SECONDS = 3, 60.0
LESSON_FACTOR, MAX_LESSON = 1.5, 8.0
"""Three refusals, apart from each other and within a minute (or ten slots), prove a lower rate: slots lie half as far
apart again, up to eight times as far."""


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


class _LimitQueue:
    """One limit within one process: who waits, and the slots that are reserved for them.

    All moments are by this process's clock.
    """

    def __init__(self, name: str, rate: float) -> None:
        self.name = name
        self.asked_interval = (1 + MARGIN) / rate
        self.learned_interval = 0.0
        self.is_slow = self.asked_interval > SLOW_SECONDS
        self.batch = 1 if self.is_slow else max(1, int(rate * BATCH_SECONDS))
        self.first = asyncio.Lock()
        """Held by the first of those who wait; the others wait for it in the order in which they came."""
        self.waiting = 0
        self.slots: deque[float] = deque()
        """Reserved, and used by nobody yet: when each is due."""
        self.reserving: asyncio.Task[None] | None = None
        self.closed_until = float("-inf")
        """Before this moment the database has no free slot."""
        self.paused_until = float("-inf")
        self.granted_at = self.refused_at = float("-inf")
        self.refusals_in_a_row = 0
        self.refusals: deque[float] = deque(maxlen=REFUSALS_THAT_TEACH)
        """When the last ones came, since a lower rate was proved."""

    @property
    def interval(self) -> float:
        return max(self.asked_interval, self.learned_interval)

    @property
    def late_seconds(self) -> float:
        return max(LATE_SECONDS, MARGIN * self.interval if self.is_slow else self.interval)

    def drop_missed(self, now: float) -> None:
        """Drop slots that were missed, or lie before the end of a pause: they are never made up for."""
        while self.slots and (self.slots[0] < now - self.late_seconds or self.slots[0] < self.paused_until - 0.01):
            self.slots.popleft()

    @property
    def is_new_burst(self) -> bool:
        """Whether a call left since the last refusal; until then answers are to calls that left before it."""
        return self.granted_at > self.refused_at

    def count_refusal(self, now: float) -> bool:
        """Count a refusal; True where it proves a lower rate."""
        self.refused_at = now
        self.refusals_in_a_row += 1
        self.refusals.append(now)
        window = max(LESSON_SECONDS, 10 * self.interval)
        if len(self.refusals) < REFUSALS_THAT_TEACH or now - self.refusals[0] > window:
            return False
        self.refusals.clear()
        self.learned_interval = min(self.interval * LESSON_FACTOR, self.asked_interval * MAX_LESSON)
        return True


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
        self._store, self._account = store, account
        self._clock, self._sleep, self._wall = clock, sleep, wall
        self._queues = {name: _LimitQueue(name, rate) for name, rate in rates.items()}
        self._behind: float | None = None
        """What is added to a moment of the database's clock to have it by this process's."""

    async def acquire(self, *names: str) -> None:
        """Wait for a slot of every limit named, and use it; first come, first served within this process.

        The scarcest is waited for first. Make the call at once afterwards: whatever may take time comes before this.

        Raises:
            ServicePaused: the service asked for a wait of more than `LONG_PAUSE_SECONDS`; nothing was acquired.
            StoreError: the database could not be used; nothing was acquired.
        """
        for queue in sorted((self._queues[name] for name in set(names)), key=lambda queue: -queue.interval):
            queue.waiting += 1
            try:
                async with queue.first:
                    await self._wait_for_slot(queue)
            finally:
                queue.waiting -= 1

    async def _wait_for_slot(self, queue: _LimitQueue) -> None:
        while True:
            now = self._clock()
            if queue.paused_until - now > LONG_PAUSE_SECONDS:
                raise ServicePaused(queue.name, self._utc(queue.paused_until))
            queue.drop_missed(now)
            opens_at = max(queue.slots[0] if queue.slots else queue.closed_until, queue.paused_until)
            if opens_at > now:
                await self._sleep(opens_at - now)
            elif queue.slots:
                queue.slots.popleft()
                queue.granted_at = now
                return
            else:
                await self._reserve(queue)

    async def _reserve(self, queue: _LimitQueue) -> None:
        """Reserve slots for those who wait; if the first of them is cancelled meanwhile, the next one has them."""
        if queue.reserving is None:
            queue.reserving = asyncio.create_task(self._reserve_slots(queue))
        await asyncio.shield(queue.reserving)

    async def _reserve_slots(self, queue: _LimitQueue) -> None:
        interval, ahead = queue.interval, 0.0 if queue.is_slow else AHEAD_SECONDS
        before = self._clock()
        try:
            got = await self._store.run(
                rate_limits.reserve_slots,
                account=self._account,
                name=queue.name,
                interval_seconds=interval,
                count=min(queue.batch, max(queue.waiting, 1)),
                ahead_seconds=ahead,
                late_seconds=0.0 if queue.is_slow else queue.late_seconds,
                now=self._wall_now(),
            )
        finally:
            queue.reserving = None
        behind = self._follow_clock(got.now, before, self._clock())
        queue.learned_interval = got.learned_interval or 0.0
        queue.slots.extend(got.first_at + number * interval + behind for number in range(got.count))
        queue.closed_until = got.next_at - ahead + behind
        if got.paused:
            queue.paused_until = max(queue.paused_until, got.next_at + behind)

    def _follow_clock(self, now: float, before: float, after: float) -> float:
        """The database's clock said `now` between these two moments: keep what is known, as far as that allows."""
        known = after - now if self._behind is None else self._behind
        self._behind = min(max(known, before - now), after - now)
        return self._behind

    async def apply_retry_after(self, name: str, error: MemoriesError) -> datetime | None:
        """What a failed call means for all of the account: until when (UTC) nobody calls; None where it means nothing.

        Too many requests: `back_off`. Any other failure that names a wait: that wait alone, for it says nothing of the
        rate.
        """
        if isinstance(error, TooManyRequests):
            await self.back_off(name, error.retry_after_seconds)
        elif error.retry_after_seconds:
            await self._pause(self._queues[name], error.retry_after_seconds)
        else:
            return None
        return self._utc(self._queues[name].paused_until)

    async def back_off(self, name: str, retry_after_seconds: float | None) -> float:
        """The API refused a call as one too many: nobody of the account goes on before the wait is over.

        `retry_after_seconds` is what `Retry-After` asked for; None (or no wait at all) doubles the wait for each
        refusal without a success in between. The refusals of one burst count once. Returns the pause in seconds.
        """
        queue = self._queues[name]
        is_new = queue.is_new_burst or queue.refusals_in_a_row == 0
        taught = is_new and queue.count_refusal(self._clock())
        wait = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(queue.refusals_in_a_row - 1, 10), MAX_BACKOFF_SECONDS)
        if retry_after_seconds is not None and retry_after_seconds > 0:
            wait = retry_after_seconds
        await self._pause(queue, wait, learned_interval=queue.learned_interval if taught else None)
        return wait

    async def _pause(self, queue: _LimitQueue, wait: float, *, learned_interval: float | None = None) -> None:
        longer_by = self._clock() + wait - queue.paused_until
        queue.paused_until = max(queue.paused_until, self._clock() + wait)
        # The fifty refusals of one burst need not all be written; other processes wait a tenth of a second less.
        if learned_interval is not None or longer_by > 0.1:
            await self._store.run(
                rate_limits.pause,
                account=self._account,
                name=queue.name,
                seconds=wait,
                learned_interval=learned_interval,
                now=self._wall_now(),
            )

    def succeeded(self, name: str) -> None:
        """A call under this limit was served: the next refusal backs off from the start again."""
        queue = self._queues[name]
        if queue.is_new_burst:
            queue.refusals_in_a_row = 0

    def learned(self) -> dict[str, float]:
        """The rates, in slots per second, that the server proved to be lower than the settings say."""
        queues = self._queues.values()
        return {queue.name: 1 / queue.interval for queue in queues if queue.learned_interval > queue.asked_interval}

    async def aclose(self) -> None:
        """Await what is under way in the database; nobody may wait for a slot any more."""
        reserving = [queue.reserving for queue in self._queues.values() if queue.reserving is not None]
        await asyncio.gather(*reserving, return_exceptions=True)

    def _utc(self, moment: float) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=moment - self._clock())

    def _wall_now(self) -> float | None:
        return None if self._wall is None else self._wall()
