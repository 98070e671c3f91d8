"""Keeps a flood from taking the receiver's time: what changes nothing is answered at a steady rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PER_SECOND = 200
"""Answers a second to all that was refused or known already, together.

Whoever floods waits for these answers, connection by connection, and the good callbacks do not: with the
connections bounded (see `server.MOST_CONNECTIONS`) nobody waits longer than two seconds.
"""

BURST = 100
"""So many are answered at once after a quiet time."""


class Pace:
    """A place for each answer in a row; good callbacks need none."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = float("-inf")

    def wait_seconds(self) -> float:
        """Take the next place; how long until it comes."""
        now = self._clock()
        place = max(self._next, now - BURST / PER_SECOND)
        self._next = place + 1 / PER_SECOND
        return max(0.0, place - now)

    async def turn(self) -> None:
        """Wait for the next place."""
        if (seconds := self.wait_seconds()) > 0:
            await asyncio.sleep(seconds)
