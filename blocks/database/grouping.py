"""Group commit: small writes of many tasks that come at about the same moment share one transaction.

A transaction costs the same for one post as for ten, and most of a post's cost is the statements' overhead: so
functions that take a list of things may also be merged, the lists of several callers into one call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection

from blocks.errors import StoreError

F = TypeVar("F", bound=Callable[..., Any])

# How long a write waits for others to join it: little beside a call of the API, and long enough for a few.
LINGER_SECONDS = 0.01
# Writes that share one transaction at most; more would only make each of them wait longer.
GROUP_SIZE = 200

_MERGEABLE: set[Callable[..., Any]] = set()


def mergeable(fn: F) -> F:
    """Mark a store function whose calls may be merged: `fn(conn, things, …)` must do for several callers' things at
    once what it does for each, and return None, or a list with one entry for each thing.

    Only calls with equal further arguments are merged, but for `now`, of which the latest is taken.
    """
    _MERGEABLE.add(fn)
    return fn


@dataclass(slots=True)
class Write:
    """A function and what to call it with; `future` is settled once its transaction is committed."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    future: Future[Any] = field(default_factory=Future)

    def __call__(self, conn: Connection) -> Any:
        return self.fn(conn, *self.args, **self.kwargs)


class WriteQueue:
    """Carries out what was put in, as much together as waits when a transaction begins.

    `transact(work)` runs `work(conn)` in one transaction with retries of its own; `executor` is where that happens.
    """

    def __init__(self, executor: Executor, transact: Callable[[Callable[[Connection], Any]], Any]) -> None:
        self._executor = executor
        self._transact = transact
        self._waiting: list[Write] = []
        self._under_way = False
        self._changed = threading.Condition()

    def put(self, write: Write) -> None:
        """Queue a write; its future is settled, from another thread, after the next `flush`."""
        # From here on nobody can cancel it: a settled queue is worth more than a spared write.
        write.future.set_running_or_notify_cancel()
        with self._changed:
            self._waiting.append(write)

    def flush(self) -> None:
        """Begin with what waits, unless a group is under way (then what waits comes right after it)."""
        with self._changed:
            if self._under_way or not self._waiting:
                return
            self._under_way = True
        self._executor.submit(self._begin)

    def join(self) -> None:
        """Carry out all that waits; returns when it is done."""
        self.flush()
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way)

    def _begin(self) -> None:
        with self._changed:
            group, self._waiting = self._waiting[:GROUP_SIZE], self._waiting[GROUP_SIZE:]
        together = self._executor.submit(self._transact, lambda conn: _carry_out(conn, group))
        together.add_done_callback(lambda done: self._settle(done, group))

    def _settle(self, together: Future[list[Any]], group: Sequence[Write]) -> None:
        error = together.exception()
        if error is None:
            for write, result in zip(group, together.result(), strict=True):
                write.future.set_result(result)
        elif len(group) == 1 or _met_by_all(error):
            for write in group:
                write.future.set_exception(error)
        else:
            # One of them is at fault, and it must not take the others with it.
            for write in group:
                alone = self._executor.submit(self._transact, write)
                alone.add_done_callback(_into(write.future))
        with self._changed:
            self._under_way = bool(self._waiting)
            if not self._under_way:
                self._changed.notify_all()
                return
        # By way of the executor's queue, so that other writes come between two groups.
        self._executor.submit(self._begin)


def _carry_out(conn: Connection, group: Sequence[Write]) -> list[Any]:
    """The result of each write of a group; calls that can be merged are."""
    results: list[Any] = [None] * len(group)
    alike: dict[Any, list[int]] = {}
    for place, write in enumerate(group):
        alike.setdefault(_likeness(write) if write.fn in _MERGEABLE else place, []).append(place)
    for places in alike.values():
        first = group[places[0]]
        if len(places) == 1:
            results[places[0]] = first(conn)
            continue
        things = [thing for place in places for thing in group[place].args[0]]
        kwargs = dict(first.kwargs)
        if "now" in kwargs:
            kwargs["now"] = max(group[place].kwargs["now"] for place in places)
        merged = first.fn(conn, things, *first.args[1:], **kwargs)
        if merged is not None:
            parts = iter(merged)
            for place in places:
                results[place] = [next(parts) for _ in group[place].args[0]]
    return results


def _likeness(write: Write) -> tuple[Any, ...]:
    """Equal for calls that differ in their things and their time only."""
    rest = sorted((name, value) for name, value in write.kwargs.items() if name != "now")
    return write.fn, repr(write.args[1:]), repr(rest), "now" in write.kwargs


def _met_by_all(error: BaseException) -> bool:
    return isinstance(error, StoreError) and error.met_by_all


def _into(future: Future[Any]) -> Callable[[Future[Any]], None]:
    def hand_over(done: Future[Any]) -> None:
        error = done.exception()
        if error is None:
            future.set_result(done.result())
        else:
            future.set_exception(error)

    return hand_over
