"""Submissions that nobody can answer for: how many a run sends before it leaves the others to a later one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MAX_AMBIGUOUS = 3
"""So many submissions in a row whose outcome is unknown, and a run sends no other: each is a decision for somebody."""


class AmbiguityLimit:
    """Lets so many submissions go at once that no more than `MAX_AMBIGUOUS` can end in doubt one after another."""

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
