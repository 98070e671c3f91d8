"""Takes callbacks in: many at once share one transaction, and what the ledger does not know yet waits for a while."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from blocks.callbacks import Callback
from blocks.database.engine import Store
from blocks.database.store import inbox
from blocks.errors import StoreError
from deployments.receiver.refusals import Refusals

T = TypeVar("T")

ANSWER_SECONDS = 0.06
"""An answer waits for the database no longer than this; the callback is then stored after it."""

BATCH = 200
"""Callbacks in one transaction, at most."""

MOST_WAITING = 2_000
"""Callbacks that wait for the database at most; more are refused, for the sender (or the sweep) to come again."""

MOST_STRANGERS = 1_000
STRANGER_SECONDS = 600.0
"""A callback about an unknown task is kept in memory so long: it may be quicker than the answer to the submission.

At most 1,000 are; the oldest gives way. One that is lost by that, or by a restart, is covered by the sweep.
"""

MOST_RECENT = 10_000
LOOK_SECONDS = 1.0


class Verdict(Enum):
    """What became of a callback."""

    STORED = "stored"
    KNOWN = "known"
    """It was stored before."""
    HELD = "held"
    """It is going to be stored: the database takes its time."""
    UNKNOWN = "unknown"
    """No import has that task (yet)."""
    FULL = "full"
    """Too many wait for the database already."""


@dataclass(slots=True)
class _Waiting:
    callback: Callback
    verdict: asyncio.Future[Verdict]


class Intake:
    """Stores callbacks by `run`, which has to go on in the background; `on_stored` is called after each batch."""

    def __init__(
        self,
        store: Store,
        refusals: Refusals,
        *,
        on_stored: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._refusals, self._on_stored, self._clock = store, refusals, on_stored, clock
        self._queue: OrderedDict[str, _Waiting] = OrderedDict()
        self._strangers: OrderedDict[str, tuple[Callback, float]] = OrderedDict()
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._wake = asyncio.Event()

    async def put(self, callback: Callback) -> Verdict:
        """Store a callback, or say why not; within a few milliseconds, or `ANSWER_SECONDS` where the database waits."""
        if callback.event_id in self._recent:
            return Verdict.KNOWN
        if callback.event_id in self._strangers:
            return Verdict.UNKNOWN
        waiting = self._queue.get(callback.event_id)
        if waiting is None:
            if len(self._queue) >= MOST_WAITING:
                return Verdict.FULL
            waiting = self._queue[callback.event_id] = _Waiting(callback, asyncio.get_running_loop().create_future())
            self._wake.set()
        done, _ = await asyncio.wait([waiting.verdict], timeout=ANSWER_SECONDS)
        return waiting.verdict.result() if done else Verdict.HELD

    async def run(self) -> None:
        """Store what comes in, for ever; a database that is away is asked again every second."""
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), LOOK_SECONDS)
            except TimeoutError:
                self._refusals.flush()
            self._wake.clear()
            try:
                await self._meet_strangers()
                while self._queue:
                    await self._store_batch()
            except StoreError as error:
                self._refusals.note("callbacks wait for the database", str(error))
                await asyncio.sleep(LOOK_SECONDS)

    async def close(self) -> None:
        """Store what still waits, if the database can be used."""
        try:
            while self._queue:
                await self._store_batch()
        except StoreError as error:
            self._refusals.note(f"{len(self._queue)} callbacks could not be stored; the sweep covers them", str(error))

    async def _store_batch(self) -> None:
        batch = [waiting for _, waiting in zip(range(BATCH), self._queue.values(), strict=False)]
        callbacks = [waiting.callback for waiting in batch]
        # Looked up first: what is unknown, and may be a flood, is not to take the database's one writer.
        known = await self._store.read(inbox.known_tasks, [one.task_id for one in callbacks])
        if good := [one for one in callbacks if one.task_id in known]:
            await self._store.run(inbox.receive, good)
            self._on_stored()
        for waiting in batch:
            event_id = waiting.callback.event_id
            del self._queue[event_id]
            if waiting.callback.task_id in known:
                _remember(self._recent, event_id, None, MOST_RECENT)
                verdict = Verdict.STORED
            else:
                until = self._clock() + STRANGER_SECONDS
                _remember(self._strangers, event_id, (waiting.callback, until), MOST_STRANGERS)
                verdict = Verdict.UNKNOWN
            if not waiting.verdict.done():
                waiting.verdict.set_result(verdict)

    async def _meet_strangers(self) -> None:
        """Take in the callbacks whose task is in the ledger by now, and forget the old ones."""
        now = self._clock()
        while self._strangers and next(iter(self._strangers.values()))[1] <= now:
            self._strangers.popitem(last=False)
        if not self._strangers:
            return
        tasks = {callback.task_id for callback, _ in self._strangers.values()}
        known = await self._store.read(inbox.known_tasks, tasks)
        for event_id, (callback, _) in list(self._strangers.items()):
            if callback.task_id in known:
                del self._strangers[event_id]
                self._queue[event_id] = _Waiting(callback, asyncio.get_running_loop().create_future())


def _remember(book: OrderedDict[str, T], key: str, value: T, most: int) -> None:
    book[key] = value
    if len(book) > most:
        book.popitem(last=False)
