"""Writes callbacks into the inbox: many share one transaction, and what the ledger does not know yet waits."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from blocks.completion import Callback
from blocks.database.engine import Store
from blocks.database.store import inbox
from blocks.errors import StoreError
from deployments.receiver.limits import Limits, ThrottledLog

T = TypeVar("T")


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


class InboxWriter:
    """Stores callbacks by `run`, which has to go on in the background; `on_stored` is called after each batch."""

    def __init__(
        self,
        store: Store,
        log: ThrottledLog,
        *,
        on_stored: Callable[[], None],
        limits: Limits = Limits(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._log, self._on_stored, self._clock = store, log, on_stored, clock
        self._limits = limits
        self._queue: OrderedDict[str, _Waiting] = OrderedDict()
        self._unknown: OrderedDict[str, tuple[Callback, float]] = OrderedDict()
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._wake = asyncio.Event()

    async def put(self, callback: Callback) -> Verdict:
        """Store a callback, or say why not; within a few milliseconds, or `answer_seconds` where the database waits."""
        if callback.event_id in self._recent:
            return Verdict.KNOWN
        if callback.event_id in self._unknown:
            return Verdict.UNKNOWN
        waiting = self._queue.get(callback.event_id)
        if waiting is None:
            if len(self._queue) >= self._limits.max_waiting:
                return Verdict.FULL
            waiting = self._queue[callback.event_id] = _Waiting(callback, asyncio.get_running_loop().create_future())
            self._wake.set()
        done, _ = await asyncio.wait([waiting.verdict], timeout=self._limits.answer_seconds)
        return waiting.verdict.result() if done else Verdict.HELD

    async def run(self) -> None:
        """Store what comes in, for ever; a database that is away is asked again every second."""
        while True:
            try:
                # Not `wait_for`, which on Python 3.11 loses a cancellation that comes together with what it waits for.
                async with asyncio.timeout(self._limits.look_seconds):
                    await self._wake.wait()
            except TimeoutError:
                self._log.flush()
            self._wake.clear()
            try:
                await self._write_unknown()
                while self._queue:
                    await self._store_batch()
            except StoreError as error:
                self._log.note("callbacks wait for the database", str(error))
                await asyncio.sleep(self._limits.look_seconds)

    async def close(self) -> None:
        """Store what still waits, if the database can be used."""
        try:
            while self._queue:
                await self._store_batch()
        except StoreError as error:
            self._log.note(f"{len(self._queue)} callbacks could not be stored; the sweep covers them", str(error))

    async def _store_batch(self) -> None:
        batch = [waiting for _, waiting in zip(range(self._limits.batch), self._queue.values(), strict=False)]
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
                _remember(self._recent, event_id, None, self._limits.max_recent)
                verdict = Verdict.STORED
            else:
                until = self._clock() + self._limits.unknown_seconds
                _remember(self._unknown, event_id, (waiting.callback, until), self._limits.max_unknown)
                verdict = Verdict.UNKNOWN
            if not waiting.verdict.done():
                waiting.verdict.set_result(verdict)

    async def _write_unknown(self) -> None:
        """Take in the callbacks whose task is in the ledger by now, and forget the old ones."""
        now = self._clock()
        while self._unknown and next(iter(self._unknown.values()))[1] <= now:
            self._unknown.popitem(last=False)
        if not self._unknown:
            return
        tasks = {callback.task_id for callback, _ in self._unknown.values()}
        known = await self._store.read(inbox.known_tasks, tasks)
        for event_id, (callback, _) in list(self._unknown.items()):
            if callback.task_id in known:
                del self._unknown[event_id]
                self._queue[event_id] = _Waiting(callback, asyncio.get_running_loop().create_future())


def _remember(book: OrderedDict[str, T], key: str, value: T, most: int) -> None:
    book[key] = value
    if len(book) > most:
        book.popitem(last=False)
