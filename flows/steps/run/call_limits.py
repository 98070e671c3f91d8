"""The account's rates as a run keeps to them: a call waits for its slot, and for no longer than the run goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from blocks.errors import MemoriesError
from blocks.quotas.rate_limiter import Limiter
from flows.steps.run.halt_switch import HaltSwitch
from flows.steps.run.progress import Progress

MAX_AMBIGUOUS = 3
"""So many submissions in a row whose outcome is unknown, and a run sends no other: each is a decision for somebody."""


class CallLimits:
    """The limits of one run; `in_flight` calls of one limit are under way at once, at most."""

    def __init__(self, limiter: Limiter, halt: HaltSwitch, progress: Progress, in_flight: int) -> None:
        self.limiter = limiter
        self.ambiguity = AmbiguityLimit()
        self._halt, self._progress, self._in_flight = halt, progress, in_flight
        self._places: dict[str, asyncio.Semaphore] = {}

    async def slot(self, *names: str, paid: bool = False) -> bool:
        """Wait for a slot of these limits, and make the call at once afterwards; False where the run is halted first.

        A call that is `paid`, which has its money already, is made also where a cap was reached since.
        """
        if self._halt.ends(paid=paid):
            return False
        acquiring = asyncio.create_task(self.limiter.acquire(*names))
        halted = asyncio.create_task(self._halt.wait(paid=paid))
        try:
            await asyncio.wait({acquiring, halted}, return_when=asyncio.FIRST_COMPLETED)
            if acquiring.done():
                acquiring.result()
            return acquiring.done() and not self._halt.ends(paid=paid)
        finally:
            halted.cancel()
            acquiring.cancel()

    def place(self, name: str) -> asyncio.Semaphore:
        """The places for calls under way of one limit; a slow or paused one holds up no other's."""
        return self._places.setdefault(name, asyncio.Semaphore(self._in_flight))

    def succeeded(self, *names: str) -> None:
        """A call under these limits was served."""
        for name in names:
            self.limiter.succeeded(name)

    async def apply_retry_after(self, name: str, error: MemoriesError) -> None:
        """A server that asks for a wait means all of the account, whatever else it says."""
        if (until := await self.limiter.apply_retry_after(name, error)) is not None:
            self._progress.paused_until = until


class AmbiguityLimit:
    """Lets so many submissions go at once that no more than `MAX_AMBIGUOUS` can end ambiguous one after another."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._under_way = 0
        self._moved = asyncio.Event()

    @property
    def too_many(self) -> bool:
        """Whether nothing more is sent by this run."""
        return self._in_a_row >= MAX_AMBIGUOUS

    @asynccontextmanager
    async def place(self) -> AsyncIterator[bool]:
        """Wait for a place to send one submission; gives False where nothing more is to be sent."""
        while not self.too_many and self._in_a_row + self._under_way >= MAX_AMBIGUOUS:
            self._moved.clear()
            await self._moved.wait()
        if self.too_many:
            yield False
            return
        self._under_way += 1
        try:
            yield True
        finally:
            self._under_way -= 1
            self._moved.set()

    def ended(self, state: str | None) -> None:
        """What a submission came to, as the ledger's state; an answer that can be read starts the count anew."""
        if state == "ambiguous":
            self._in_a_row += 1
        elif state in ("submitted", "failed"):
            self._in_a_row = 0
