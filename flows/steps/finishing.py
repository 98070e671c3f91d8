"""What has been paid for is taken in, also where the run is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

ANSWER_SECONDS = 12.0
"""So long a cancelled run waits for an answer under way: less than what a worker, or `tagtrail down`, waits for it."""


async def finished(work: Coroutine[Any, Any, T], *, cancelled: Callable[[], None] = lambda: None) -> T:
    """The result of a piece of work that no cancellation of its caller cuts off, for ANSWER_SECONDS.

    The caller is cancelled all the same, once the work has ended; `cancelled` is told before the wait for it.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    # A signal ends the whole event loop: `asyncio.run` then cancels all tasks that it knows of. This one ends by
    # itself, for the caller, which it does know of, waits for it.
    asyncio.tasks._unregister_task(task)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.done():
            raise
        cancelled()
        until = loop.time() + ANSWER_SECONDS
        await _ended(task, until)
        if not task.done():
            task.cancel()
            await _ended(task, until + ANSWER_SECONDS)
        if task.done() and not task.cancelled():
            task.exception()  # seen; whoever goes on with the work meets it again
        raise


async def _ended(task: asyncio.Task[Any], until: float) -> None:
    """Wait for a task however often its waiter is cancelled: the groups around it do so each once."""
    loop = asyncio.get_running_loop()
    while not task.done() and (left := until - loop.time()) > 0:
        try:
            await asyncio.wait({task}, timeout=left)
        except asyncio.CancelledError:
            continue
