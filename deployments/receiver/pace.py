"""Keeps a flood from taking the receiver's time: what changes nothing is answered at a steady rate, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable

PER_SECOND = 200
"""Answers a second to all that was refused or known already, together.

Whoever floods waits for these answers, connection by connection, and the good callbacks do not.
"""

BURST = 100
"""So many are answered at once after a quiet time."""

LONGEST_WAIT_SECONDS = 2.0
"""Who would wait longer is sent away at once: so no more than 400 wait at a time, however many come."""


class Pace:
    """A place for each answer in a row; good callbacks need none."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = float("-inf")
        self._full = False

    @property
    def is_full(self) -> bool:
        """Whether the next place is too far away to be waited for; then also until half of those places are free."""
        ahead_seconds = self._next - self._clock()
        # Without the half, each place that becomes free would let a whole batch of connections in.
        self._full = ahead_seconds > (LONGEST_WAIT_SECONDS / 2 if self._full else LONGEST_WAIT_SECONDS)
        return self._full

    def take(self) -> float | None:
        """Take the next place: the seconds until it comes; None: it is too far away, and is not taken.

        Whoever leaves before its turn does not give its place back: it has had its share of the receiver's time.
        """
        now = self._clock()
        if self.is_full:
            return None
        place = max(self._next, now - BURST / PER_SECOND)
        self._next = place + 1 / PER_SECOND
        return max(0.0, place - now)
