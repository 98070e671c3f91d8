"""One limit within one process: the queue of those who wait, and the slots that are held for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from blocks.database.store.limits import LONG_PAUSE_SECONDS

if TYPE_CHECKING:
    from blocks.quotas.rate_limiter import Limiter

MARGIN = 0.01
"""Slots lie this much further apart than the rate says: two calls that swap a few milliseconds on the wire stay
within the server's count."""

AHEAD_SECONDS, BATCH_SECONDS = 0.2, 0.3
"""Slots are reserved that far ahead and for that long at once: a database that is busy for a moment costs none, and
each trip to it (1.5 ms of CPU from a cold start) serves several calls."""

SLOW_SECONDS = 0.25
"""Slots further apart than this are never reserved ahead: who is killed while waiting takes none along."""

BLOCK_SECONDS = 0.1
"""Above ten a second, slots shorter than a timer's grain are missed or used by blocks of this length."""

SET_SECONDS, DRIFT = 1.0, 0.0005
"""Two clocks that come apart by more than this, and this share of the time between, were set."""

REFUSALS_THAT_TEACH = 3
LESSON_FACTOR, LESSON_BOUND = 1.5, 8.0
"""So many refusals apart from each other, within a minute or ten slots, make the interval half as long again."""


class Slot(NamedTuple):
    due: float
    """By this process's clock."""
    first_at: float
    next_at: float
    """By the row's clock: the slot itself, and the one after it."""


class Turn:
    """Slots of all limits of one call; to be used when the call leaves, for what comes before it may take time."""

    def __init__(self, slots: Mapping[Lane, Slot]) -> None:
        self.slots = slots

    def use(self, late_seconds: float = 0.0) -> bool:
        """The call leaves now; False where it may not: a slot was missed meanwhile, or the account paused.

        Then another turn has to be waited for, with this one in hand: its other slots are kept. `late_seconds` are
        allowed however short the slots are.
        """
        if self.missed(late_seconds):
            return False
        for lane, slot in self.slots.items():
            lane.used(slot)
        return True

    def missed(self, late_seconds: float = 0.0) -> list[Lane]:
        """The limits whose slot can be used no more."""
        return [lane for lane, slot in self.slots.items() if not lane.may_use(slot, late_seconds)]


class RowClock:
    """Turns the row's times into this process's; errs to the late side, by the quickest round trip at most."""

    def __init__(self) -> None:
        self._least, self._most, self._seen_at = float("-inf"), float("inf"), 0.0
        self.set_by = 0.0
        """By how much the row's clock was set since it was first seen: forward is more than 0, back is less."""

    def seen(self, now: float, before: float, after: float) -> None:
        """The row's clock said `now` at some moment between `before` and `after`."""
        least, most = max(self._least, now - after), min(self._most, now - before)
        if least > most:  # one of the clocks was set, or drifted
            moved = now - after - self._most if now - after > self._most else now - before - self._least
            if abs(moved) > SET_SECONDS + DRIFT * (after - self._seen_at):
                self.set_by += moved
            least, most = now - after, now - before
        self._least, self._most, self._seen_at = least, most, after

    def here(self, moment: float) -> float:
        return moment - self._least


class Lane:
    """One limit in this process: who waits, and the slots that are held for them."""

    def __init__(self, name: str, rate: float, limiter: Limiter) -> None:
        self.name, self.limiter = name, limiter
        self.asked_interval = (1 + MARGIN) / rate
        self.learned_interval = 0.0
        self.slow = self.asked_interval > SLOW_SECONDS
        self.at_once = 1 if self.slow else max(1, int(rate * BATCH_SECONDS))
        self.waiters: deque[asyncio.Future[Slot]] = deque()
        self.slots: deque[Slot] = deque()
        self.closed_until = self.paused_until = self.written_until = self.not_before = float("-inf")
        self.refusals_in_a_row = 0
        self.refused_at: deque[float] = deque(maxlen=REFUSALS_THAT_TEACH)
        self.used_since_refusal = True
        self.fetching: asyncio.Task[None] | None = None
        self.serving: asyncio.Task[None] | None = None
        self.fault: BaseException | None = None
        self.row_next_at: float | None = None
        """What the row said last, when its clock had been set by so much."""
        self.row_set_by = limiter.row_clock.set_by

    @property
    def interval(self) -> float:
        return max(self.asked_interval, self.learned_interval)

    @property
    def late(self) -> float:
        """By how much a slot may be missed and still be used; a slow one by little, for the next comes on time."""
        return max(0.1, MARGIN * self.interval) if self.slow else max(self.interval, BLOCK_SECONDS)

    def usable(self, slot: Slot) -> bool:
        """Whether a slot may be handed over: not missed, and not before the end of a pause."""
        return self.limiter.clock() - slot.due <= self.late and self._open_at(slot)

    def _open_at(self, slot: Slot) -> bool:
        return slot.due >= max(self.paused_until, self.not_before) - 0.01

    def may_use(self, slot: Slot, late_seconds: float) -> bool:
        """Whether a call may still leave on this slot, which was handed over some time ago.

        One of a slow limit may be late by its own length (or `late_seconds`), for it moves the next one (`used`).
        """
        most = max(self.late, self.interval, late_seconds) if self.slow else max(self.late, late_seconds)
        return self.limiter.clock() - slot.due <= most and self._open_at(slot)

    def used(self, slot: Slot) -> None:
        """A call leaves now; where that is late, the next slot is a whole interval after it."""
        now = self.limiter.clock()
        if self.slow and now - slot.due > self.late:
            self.not_before = now + self.interval
            self.closed_until = max(self.closed_until, self.not_before)
            self.limiter.spawn(self.limiter.push(self.name, self.interval))

    async def take(self) -> Slot:
        first = False
        while True:
            waiter: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
            if first:
                self.waiters.appendleft(waiter)
            else:
                self.waiters.append(waiter)
            self.wake()
            try:
                slot = await waiter
            except asyncio.CancelledError:
                if waiter in self.waiters:
                    self.waiters.remove(waiter)
                elif waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                    self.give_back(waiter.result())
                raise
            if self.usable(slot):
                self.used_since_refusal = True
                return slot
            first = True  # the loop was stuck, or the account paused, since the slot was handed over

    def give_back(self, slot: Slot) -> None:
        """Take an unused slot back: for the next who waits here, else for anybody of the account."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(slot)
                return
        if self.slow:
            self.limiter.spawn(self.limiter.return_slot(self.name, slot))
            self.closed_until = max(self.paused_until, self.not_before)
        else:
            self.slots.appendleft(slot)

    def wake(self) -> None:
        if self.waiters and (self.serving is None or self.serving.done()):
            self.fault = None  # of a time when nobody waited
            self.serving = asyncio.create_task(self._serve())
            self.serving.add_done_callback(self._served)
        self.top_up()

    def top_up(self) -> None:
        """Reserve what the waiters lack, unless that is under way already or nothing can be free yet."""
        lacking = len(self.waiters) - len(self.slots)
        if lacking > 0 and self.fetching is None and self.limiter.clock() >= self.closed_until:
            self.fetching = asyncio.create_task(self._fetch(min(self.at_once, lacking)))
            self.fetching.add_done_callback(self._fetched)

    async def _fetch(self, count: int) -> None:
        interval = self.interval
        ahead, late = (0.0, 0.0) if self.slow else (AHEAD_SECONDS, self.late)
        got = await self.limiter.reserve(self, interval, count, ahead, late)
        here = self.limiter.row_clock.here
        self.learned_interval = got.learned_interval or 0.0
        for number in range(got.count):
            at = got.first_at + number * interval
            self.slots.append(Slot(here(at), at, at + interval))
        if got.paused:
            self.paused_until = max(self.paused_until, here(got.next_at))
        self.closed_until = max(here(got.next_at) - ahead, self.paused_until, self.not_before)

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self.fetching = None
        self.fault = None if task.cancelled() else task.exception()
        if self.fault is None and not task.cancelled():
            self.top_up()

    async def _serve(self) -> None:
        while self.waiters:
            while self.slots and not self.usable(self.slots[0]):
                self.slots.popleft()  # missed, or before the end of a pause: dropped, never made up
            if self.paused_until - self.limiter.clock() > LONG_PAUSE_SECONDS:
                raise self.limiter.paused(self)
            if self.fault is not None and not self.slots:
                fault, self.fault = self.fault, None
                raise fault
            self.top_up()
            now = self.limiter.clock()
            if self.waiters[0].done():
                self.waiters.popleft()  # cancelled a moment ago
            elif self.slots and self.slots[0].due <= now:
                self.waiters.popleft().set_result(self.slots.popleft())
            elif self.slots:
                await self.limiter.sleep(self.slots[0].due - now)
            elif self.fetching is not None:
                await asyncio.wait([self.fetching])
            else:
                await self.limiter.sleep(max(self.closed_until - now, 0.0))

    def _served(self, task: asyncio.Task[None]) -> None:
        fault = None if task.cancelled() else task.exception()
        while self.waiters and (fault is not None or task.cancelled()):
            waiter = self.waiters.popleft()
            if not waiter.done() and fault is not None:
                waiter.set_exception(fault)
            waiter.cancel()
        self.wake()

    def refused(self) -> bool:
        """Count a refusal; True when it taught a longer interval. Answers to calls of one burst count once."""
        now = self.limiter.clock()
        if self.refusals_in_a_row and (now < self.paused_until or not self.used_since_refusal):
            return False
        self.refusals_in_a_row += 1
        self.used_since_refusal = False
        self.refused_at.append(now)
        window = max(60.0, 10 * self.interval)
        if len(self.refused_at) < REFUSALS_THAT_TEACH or now - self.refused_at[0] > window:
            return False
        self.refused_at.clear()
        self.learned_interval = min(self.interval * LESSON_FACTOR, self.asked_interval * LESSON_BOUND)
        return True
