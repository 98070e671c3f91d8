"""Submissions whose outcome is unknown: which they are, and how many a run sends before it leaves the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from blocks.errors import Duplicate, NotSent, Refused, TagtrailError, Transient
from blocks.memories.error_codes import contradicts_itself

MAX_AMBIGUOUS = 3
"""So many submissions in a row whose outcome is unknown, and a run sends no other: each is a decision for somebody."""


def is_safe_to_resend(error: TagtrailError) -> bool:
    """Whether a submission that failed so has begun no import, for sure.

    "Network abnormal", and a code of success beside `success: false`, say neither yes nor no: a second bill is worse
    than a question. Nor does "repeated operation": an earlier submission may run.
    """
    if isinstance(error, Transient | Duplicate):
        return False
    return isinstance(error, NotSent) or (isinstance(error, Refused) and not contradicts_itself(error))


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
