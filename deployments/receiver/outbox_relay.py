"""Relays the inbox to Prefect: one event for each callback, with the callback's own id, until the server takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID, uuid5

from blocks.completion import kind_of
from blocks.database.engine import Store
from blocks.database.store import inbox
from blocks.database.store.inbox import Unemitted
from blocks.errors import StoreError
from deployments.receiver.limits import Limits, ThrottledLog

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

EVENTS = {
    "succeeded": "tagtrail.import.succeeded",
    "failed": "tagtrail.import.failed",
    "indexed": "tagtrail.video.indexed",
}

UNATTENDED = "tagtrail.import.unattended"
"""Sent beside an import's end where there is something to collect and no living run follows the import; the automation
that collects listens to this one."""


class Sender(Protocol):
    """Hands events to a Prefect server; raises whatever its client does where the server did not take them."""

    async def send(self, events: Sequence[dict[str, Any]]) -> None: ...

    async def close(self) -> None: ...


class PrefectSender:
    """Sends to the server that Prefect's settings name, by one call that the server has to answer.

    Prefect's own `emit_event` works in the background and does not say whether anything arrived.
    """

    def __init__(self) -> None:
        # Prefect takes seconds to import: here, and not while somebody waits for an answer.
        from prefect.client.orchestration import get_client

        self._get_client = get_client
        self._stack = AsyncExitStack()
        self._client: PrefectClient | None = None

    async def send(self, events: Sequence[dict[str, Any]]) -> None:
        """Send them; a client whose call failed is not used again."""
        # Making a client takes tens of milliseconds: one for all calls.
        client = self._client or await self._open()
        try:
            await client.request("POST", "/events", json=list(events))
        except BaseException:
            await self.close()
            raise

    async def _open(self) -> PrefectClient:
        self._client = await self._stack.enter_async_context(self._get_client())
        return self._client

    async def close(self) -> None:
        """Close the connection, if there is one."""
        self._client = None
        await self._stack.aclose()


class OutboxRelay:
    """Sends what stands in the inbox unemitted, oldest first, by `run`; a server that is away is asked again."""

    def __init__(
        self,
        store: Store,
        log: ThrottledLog,
        sender: Sender,
        limits: Limits = Limits(),
    ) -> None:
        # As above: it imports Prefect.
        from flows.steps.prefect_side.events import related_to

        self._related_to = related_to
        self._store, self._log, self._sender = store, log, sender
        self._limits = limits
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is something new in the inbox."""
        self._wake.set()

    async def run(self) -> None:
        """Send for ever; also what an earlier receiver left."""
        first, longest = self._limits.backoff_seconds
        backoff = first
        while True:
            self._wake.clear()
            try:
                rows = await self._store.read(inbox.unemitted, limit=self._limits.events)
                sent = not rows or await self._send(rows)
            except StoreError as error:
                self._log.note("events wait for the database", str(error))
                sent, rows = False, []
            if not sent:
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, longest)
                continue
            backoff = first
            if rows:
                await asyncio.sleep(self._limits.pause_seconds)
            else:
                # Not `wait_for`, which on Python 3.11 loses a cancellation that comes together with what it waits for.
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.idle_seconds):
                        await self._wake.wait()

    async def close(self) -> None:
        """Close the connection to the server."""
        await self._sender.close()

    async def _send(self, rows: Sequence[Unemitted]) -> bool:
        """Whether the server took the events of these; then they are marked so."""
        now = datetime.now(UTC)
        events = [event for row in rows for event in self._events(row, now)]
        sending = asyncio.wait_for(self._sender.send(events), self._limits.call_seconds)
        # Whatever Prefect's client has against it: the rows stay as they are, and are sent again.
        [fault] = await asyncio.gather(sending, return_exceptions=True)
        if isinstance(fault, Exception):
            self._log.note("the Prefect server took no events; callbacks wait in the inbox", type(fault).__name__)
            return False
        if isinstance(fault, BaseException):
            raise fault
        await self._store.run(inbox.mark_emitted, [row.event_id for row in rows])
        return True

    def _events(self, row: Unemitted, now: datetime) -> list[dict[str, Any]]:
        """A callback's events as Prefect's server reads them; ids only, and the same again for the same callback."""
        kind = kind_of(row.status, row.video_no)
        payload = {"import_id": row.import_id, "task_id": row.task_id, "kind": row.import_kind, "status": row.status}
        if row.video_no is not None:
            payload["video_no"] = row.video_no
        event = {
            "id": row.event_id,
            "occurred": row.received_at.isoformat(),
            "event": EVENTS[kind],
            "resource": {"prefect.resource.id": f"tagtrail.import.{row.import_id}"},
            "related": self._related_to(collection=row.collection, hashtags=[row.hashtag]),
            "payload": payload,
        }
        followed = row.followed_until is not None and row.followed_until > now
        if kind == "indexed" or followed or row.handled:
            return [event]
        return [event, event | {"id": str(uuid5(UUID(row.event_id), UNATTENDED)), "event": UNATTENDED}]
