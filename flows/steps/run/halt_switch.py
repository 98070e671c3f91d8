"""Why a run buys nothing more: for all of its posts, for one collection, or for one request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from blocks.errors import SpendCapReached, TagtrailError, ValveClosed
from flows.steps.run.cancellation import ANSWER_SECONDS

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

    def cancelled(self) -> None:
        """The run was cancelled while answers are under way, which are paid for."""
        self._cancelled()
        self._note(f"cancelled: answers under way are taken in, for up to {ANSWER_SECONDS:.0f} s")

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

    def ends(self, *, paid: bool) -> bool:
        """Whether a call is not to be made any more; one that is paid for is made also where a cap was reached."""
        return self._event(paid=paid).is_set()

    async def wait(self, *, paid: bool) -> None:
        """Wait until no such call is to be made any more."""
        await self._event(paid=paid).wait()

    def _event(self, *, paid: bool) -> asyncio.Event:
        return self._no_more_calls if paid else self.pulled

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than until the run is halted."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.pulled.wait(), timeout=seconds)
