"""Why a run buys nothing more: for all of its posts, for one collection, or for one request.

What is in flight then is paid for: it is awaited and stored, also where the run is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from blocks.errors import SpendCapReached, TagtrailError, ValveClosed

T = TypeVar("T")

ANSWER_SECONDS = 12.0
"""So long a cancelled run waits for an answer under way: less than what a worker, or `tagtrail down`, waits for it."""

MAX_AMBIGUOUS = 3
"""So many submissions in a row whose outcome is unknown, and a run sends no other: each is a decision for somebody."""

OUT_OF_ROOM = "a run's cap is used up: what it asked for and is not bought yet stays pending, out of room"


class Stopped(TagtrailError):
    """A person stopped the run; nothing more is bought."""

    halts = True


class Interrupted(TagtrailError):
    """The run was cut off from outside, and nobody decided that what is left is not to be bought."""


class HaltSwitch:
    """Ends the buying of one run; what is in flight is awaited and stored.

    `note` takes sentences for the summary; `cancelled` is called where a call under way meets a cancellation.
    """

    def __init__(self, note: Callable[[str], None], cancelled: Callable[[], None] = lambda: None) -> None:
        self.reason: TagtrailError | None = None
        """Why the run is halted: an error that halts, or a database or server that cannot be used. None: it goes on."""
        self.cut_off: TagtrailError | None = None
        """Set as soon as a stop or a cancellation is heard: from then on no call is made, not even a paid one."""
        self.pulled = asyncio.Event()
        self._no_more_calls = asyncio.Event()
        """Set where also no call is made that is paid for: the run is halted by anything but a cap."""
        self.full: set[str] = set()
        """Collections whose own cap is reached, in a run over all of them."""
        self._full_requests: set[str] = set()
        """Runs for whose requests this sweep buys nothing more: their caps are used up, or they were stopped."""
        self.ambiguity = AmbiguityLimit()
        self._note, self._cancelled = note, cancelled

    def pull(self, error: TagtrailError) -> None:
        """Buy nothing more in this run. A person's stop and the kill switch come before whatever halted it."""
        if self.reason is None or isinstance(error, Stopped | ValveClosed):
            self.reason = error
            self.pulled.set()
            if not isinstance(error, SpendCapReached):
                self._no_more_calls.set()

    def cut(self, error: TagtrailError) -> None:
        """Make no call any more, for the run is stopped or cancelled."""
        self.cut_off = self.cut_off or error
        self.pull(error)

    async def complete_even_if_cancelled(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a call that is paid for; a cancellation of its caller waits until it has ended.

        After ANSWER_SECONDS the call is cancelled as well.
        """
        task = EnduringTask(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():
                raise
            self._cancelled()
            self._note(f"cancelled: answers under way are taken in, for up to {ANSWER_SECONDS:.0f} s")
            await wait_even_if_cancelled(task, ANSWER_SECONDS)
            if not task.done():
                task.cancel()
                await wait_even_if_cancelled(task, ANSWER_SECONDS)
            if task.done() and not task.cancelled():
                task.exception()  # seen; whoever goes on with the work meets it again
            raise

    def limit_buying(self, error: TagtrailError, collection: str | None, asked_by: str | None) -> None:
        """Halt, or leave out the one request, or the one collection of a run over all, whose own cap is reached."""
        scope = error.scope if isinstance(error, SpendCapReached) else None
        if scope == "request" and asked_by is not None:
            self._full_requests.add(asked_by)
            self._note(OUT_OF_ROOM)
        elif scope != "collection" or collection is None:
            self.pull(error)
        elif collection not in self.full:
            self.full.add(collection)
            self._note(f"collection {collection}: {error}; its posts stay pending, those of the others are bought")

    def stops(self, collection: str | None, asked_by: str | None) -> bool:
        """Whether nothing more is bought for this collection and request."""
        return self.reason is not None or collection in self.full or asked_by in self._full_requests

    async def unless_halted(self, waiting: Coroutine[Any, Any, None], *, paid: bool = False) -> bool:
        """Wait for what a call needs, and for no longer than the run goes on; False where it is halted first.

        A call that is `paid`, which has its money already, is made also where a cap was reached since.
        """
        halted = self._no_more_calls if paid else self.pulled
        if halted.is_set():
            waiting.close()
            return False
        tasks = {asyncio.create_task(waiting), asyncio.create_task(halted.wait())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            return not halted.is_set()
        finally:
            for task in tasks:
                task.cancel()

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than until the run is halted."""
        # Not `wait_for`, which on Python 3.11 loses a cancellation that comes together with what it waits for.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.pulled.wait()


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


class EnduringTask(asyncio.Task[T]):
    """A task that the end of the event loop waits for, and does not cancel.

    A worker's SIGTERM breaks the loop off; `asyncio.run` then cancels all tasks, while the loop does not run. Whoever
    cancels this one in the running loop, such as a timeout, is heeded.
    """

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it, unless the loop has ended."""
        return self.get_loop().is_running() and super().cancel(msg)


async def wait_even_if_cancelled(task: asyncio.Task[Any], seconds: float) -> None:
    """Wait for a task, so long at most, however often its waiter is cancelled: the groups around it do so each once."""
    until = asyncio.get_running_loop().time() + seconds
    while not task.done() and (left := until - asyncio.get_running_loop().time()) > 0:
        try:
            await asyncio.wait({task}, timeout=left)
        except asyncio.CancelledError:
            continue
