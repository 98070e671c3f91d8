"""The operator's valve: one Prefect limit that every group of calls passes; at 0 nothing more is bought."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.responses import ConcurrencyLimitWithLeaseResponse
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError

from blocks.errors import TagtrailError, ValveClosed

if TYPE_CHECKING:
    from flows.steps.run.lifecycle import Run

VALVE: Final = "tagtrail-inflight"
"""Name of the Prefect limit."""

VALVE_SLOTS: Final = 100
"""What it is made with: groups of calls (of up to 50 posts) under way at once, over all runs."""

CLOSED = "nothing is bought until it is raised again"

LEASE_SECONDS: Final = 60.0
"""How long a slot is held without being renewed, the least that Prefect grants: so long a killed run takes it along."""

CHECK_SECONDS = 10.0
"""A run that passed the valve longer ago looks at it again before its next call, once for all its groups."""

SAY_SECONDS: Final = 10.0
"""A run that waits for a free slot for longer says so."""

PATIENCE_SECONDS = 120.0
"""How long a Prefect server may fail to answer before the run gives up."""

FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.05, 0.4
"""Between two questions to a server where two writers met; each pause is twice the one before."""

SLOW_PAUSE_SECONDS = 5.0
"""Between two questions to a server that is away or broken: one that fails after it took the slot may keep it."""

ANSWER_SECONDS = 10.0
"""How long one question may take, Prefect's own retries among it."""

GIVING_BACK_SECONDS: Final = 3.0
"""How long a run waits at its end for slots that it could not give back yet."""

REFUSED, LOCKED, UNAVAILABLE = 422, 423, 503
"""Prefect's answers where more is asked for than the limit is, where all slots are taken, and where it cannot write."""


class _Full(Exception):
    """All slots are taken."""

    def __init__(self, retry_after_seconds: float) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(retry_after_seconds)


class _Unanswered(Exception):
    """No slot and no refusal; a moment later the server may answer."""

    def __init__(self, said: str, *, soon: bool = False) -> None:
        self.soon = soon
        super().__init__(said)


async def _say_at_once(response: Any) -> None:
    """A hook of the HTTP client: two writers met, which has passed before the client's rest of two seconds is over.

    A server that names a wait, or is under maintenance, is left to Prefect's client.
    """
    patient = "Retry-After" in response.headers or "Prefect-Maintenance" in response.headers
    if response.status_code == UNAVAILABLE and not patient:
        raise _Unanswered(f"{response.status_code} {response.reason_phrase}", soon=True)


async def ensure_valve() -> None:
    """Make the limit where there is none; one that stands is left as the operator set it."""
    async with get_client() as client:
        try:
            await client.read_global_concurrency_limit_by_name(VALVE)
        except ObjectNotFound:
            try:
                await client.create_global_concurrency_limit(
                    GlobalConcurrencyLimitCreate(name=VALVE, limit=VALVE_SLOTS)
                )
            except ObjectAlreadyExists:
                return  # another run made it at the same moment


class Valve:
    """One run's way through the operator's limit; a context, within which `slot` can be entered many times at once.

    It asks by Prefect's client instead of `prefect.concurrency`: where two writers meet, a Prefect server on SQLite
    answers 503 at once, after which the client rests for 2, 4, 8 … s (also with PREFECT_CLIENT_MAX_RETRIES=0), and all
    other acquisitions of the process with it. Here such an answer is followed by the next question within 50 ms.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._stack = AsyncExitStack()
        self._giving_back: set[asyncio.Task[None]] = set()
        self._seen_open_at = float("-inf")
        self._looking = asyncio.Lock()

    _client: PrefectClient

    async def __aenter__(self) -> Valve:
        await ensure_valve()
        hooks = {"response": [_say_at_once]}
        self._client = await self._stack.enter_async_context(get_client(httpx_settings={"event_hooks": hooks}))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._giving_back:
            _, late = await asyncio.wait(self._giving_back, timeout=GIVING_BACK_SECONDS)
            for each in late:
                each.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._stack.aclose()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[bool]:
        """Hold one slot of the limit; gives False where the run was halted while it waited, or by the limit itself.

        Raises:
            TagtrailError: Prefect's server gave neither a slot nor a refusal for PATIENCE_SECONDS.
        """
        lease_id = await self._acquire()
        if lease_id is None:
            yield False
            return
        renewing = asyncio.create_task(self._renew(lease_id))
        try:
            yield True
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing
            giving_back = asyncio.create_task(self._give_back(lease_id))
            self._giving_back.add(giving_back)
            giving_back.add_done_callback(self._giving_back.discard)

    async def still_open(self) -> None:
        """Halt the run where the valve was closed since it was last passed, or looked at, `CHECK_SECONDS` ago or more.

        A group may go on for hours: where its limit is slow, or pauses, or its channels rest. A server that does not
        answer says nothing: what has passed goes on.
        """
        if time.monotonic() - self._seen_open_at < CHECK_SECONDS:
            return
        async with self._looking:
            if time.monotonic() - self._seen_open_at < CHECK_SECONDS or self._run.halted is not None:
                return
            if await self._is_closed():
                self._halt()
            else:
                self._seen_open_at = time.monotonic()

    async def _is_closed(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                limit = await self._client.read_global_concurrency_limit_by_name(VALVE)
        except ObjectNotFound:
            return True
        except Exception:  # noqa: BLE001 - whatever keeps the server from answering; a new group waits for it
            return False
        return limit.active and limit.limit < 1

    def _halt(self) -> None:
        self._run.halt(ValveClosed(f"an operator set the Prefect limit {VALVE} to 0, or deleted it: {CLOSED}"))

    async def _acquire(self) -> UUID | None:
        """The lease of a slot; None where the run was halted while it waited, or is by the limit."""
        run, pause = self._run, FIRST_PAUSE_SECONDS
        asked_at = answered_at = time.monotonic()
        while run.halted is None:
            try:
                lease_id = await self._try()
            except _Full as full:
                answered_at = time.monotonic()
                if answered_at - asked_at >= SAY_SECONDS:
                    run.note(f"waiting: the Prefect limit {VALVE} has no free slot (an operator can raise it)")
                await run.pause(min(full.retry_after_seconds, SAY_SECONDS))
            except _Unanswered as error:
                if time.monotonic() - answered_at >= PATIENCE_SECONDS:
                    raise TagtrailError(
                        f"the Prefect server does not answer about its limit {VALVE}: {error}"
                    ) from None
                await run.pause(pause if error.soon else SLOW_PAUSE_SECONDS)
                pause = min(2 * pause, LAST_PAUSE_SECONDS)
            else:
                if lease_id is None:
                    self._halt()
                else:
                    self._seen_open_at = time.monotonic()
                return lease_id
        return None

    async def _try(self) -> UUID | None:
        """Ask for a slot once: its lease, or None where the limit is 0 or missing."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await self._client.increment_concurrency_slots_with_lease(
                    [VALVE], 1, mode="concurrency", lease_duration=LEASE_SECONDS
                )
            granted = ConcurrencyLimitWithLeaseResponse.model_validate(answer.json())
        except _Unanswered:
            raise
        except PrefectHTTPStatusError as error:
            status = error.response.status_code
            if status == REFUSED:
                return None
            if status == LOCKED:
                raise _Full(float(error.response.headers.get("Retry-After", 1.0))) from None
            raise _Unanswered(str(error)) from None
        except Exception as error:  # Whatever kept the server from answering: told if it goes on.
            raise _Unanswered(f"{type(error).__name__}: {error}") from error
        return granted.lease_id if granted.limits else None

    async def _renew(self, lease_id: UUID) -> None:
        renewed_at, pause = time.monotonic(), LEASE_SECONDS / 4
        while True:
            await asyncio.sleep(pause)
            try:
                await self._client.renew_concurrency_lease(lease_id, LEASE_SECONDS)
            except Exception as error:  # noqa: BLE001 - a lease that ends lets others buy beside this group, no worse
                pause = SLOW_PAUSE_SECONDS
                if time.monotonic() - renewed_at >= LEASE_SECONDS:
                    self._run.note(f"the Prefect limit {VALVE} could not be held all the time ({type(error).__name__})")
            else:
                renewed_at, pause = time.monotonic(), LEASE_SECONDS / 4
            # Also where all posts wait, so that the run ends soon.
            await self.still_open()

    async def _give_back(self, lease_id: UUID) -> None:
        """In the background, for nobody waits for it; a slot that is not given back ends with its lease."""
        pause, until = FIRST_PAUSE_SECONDS, time.monotonic() + LEASE_SECONDS
        while time.monotonic() < until:
            try:
                await self._client.release_concurrency_slots_with_lease(lease_id)
            except Exception:  # noqa: BLE001 - whatever it is, it is asked again, and the calls are paid for
                await asyncio.sleep(pause)
                pause = min(2 * pause, LAST_PAUSE_SECONDS)
            else:
                return
