"""The account's rates as a run keeps to them: a call waits for its slot, and for no longer than the run goes on."""

from __future__ import annotations

import asyncio

from blocks.errors import MemoriesError
from blocks.quotas.rate_limiter import Limiter
from flows.steps.imports.ambiguity_limit import AmbiguityLimit
from flows.steps.run.halt_switch import HaltSwitch
from flows.steps.run.progress import Progress


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
