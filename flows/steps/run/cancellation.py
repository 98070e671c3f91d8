"""What has been paid for is taken in, also where the run is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

ANSWER_SECONDS = 12.0
"""So long a cancelled run waits for an answer under way: less than what a worker, or `tagtrail down`, waits for it."""


def protected(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that no signal cancels: those end the whole event loop, and `asyncio.run` then cancels all tasks that it
    knows of. This one ends by itself, and somebody whom it does know of is to wait for it."""
    task = asyncio.get_running_loop().create_task(work)
    asyncio.tasks._unregister_task(task)
    return task


async def ended(task: asyncio.Task[Any], seconds: float) -> None:
    """Wait for a task, so long at most, however often its waiter is cancelled: the groups around it do so each once."""
    until = asyncio.get_running_loop().time() + seconds
    while not task.done() and (left := until - asyncio.get_running_loop().time()) > 0:
        try:
            await asyncio.wait({task}, timeout=left)
        except asyncio.CancelledError:
            continue


async def finished(work: Coroutine[Any, Any, T], *, cancelled: Callable[[], None] = lambda: None) -> T:
    """The result of a piece of work that no cancellation of its caller cuts off, for ANSWER_SECONDS.

    The caller is cancelled all the same, once the work has ended; `cancelled` is told before the wait for it.
    """
    task = protected(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.done():
            raise
        cancelled()
        await ended(task, ANSWER_SECONDS)
        if not task.done():
            task.cancel()
            await ended(task, ANSWER_SECONDS)
        if task.done() and not task.cancelled():
            task.exception()  # seen; whoever goes on with the work meets it again
        raise
