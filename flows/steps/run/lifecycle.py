"""A run from its request to its end: `async with open_run(flow) as opened: run = await opened.accept(request)`.

It holds open a database, a client, limits, money and leases; they are closed in the opposite order.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from blocks.database.engine import Store
from blocks.database.store import accounts, meta, runs
from blocks.errors import BadKey, StoreError, TagtrailError
from blocks.memories.client import MemoriesClient
from blocks.quotas.budget import Budget
from blocks.quotas.rate_limiter import Limiter, rates_from
from blocks.settings import Settings, get_settings
from flows.steps.enrichment.circuit_breaker import REFUSALS, Channels
from flows.steps.imports.plan import without_erased
from flows.steps.prefect_side.artifacts import look_into_books, show, shown_under_way
from flows.steps.prefect_side.kill_switch import watch_kill_switch
from flows.steps.prefect_side.run_names import name_of_run
from flows.steps.run.accounts import ensure_one_service, name_account, open_client, open_database
from flows.steps.run.context import RunContext
from flows.steps.run.garbage import fewer_collections
from flows.steps.run.halt_switch import HaltSwitch
from flows.steps.run.journal import Journal
from flows.steps.run.lease_health import LeaseHealth
from flows.steps.run.outcome import RunEnd, never_opened
from flows.steps.run.progress import current_progress
from flows.steps.run.request import RunRequest
from flows.steps.run.stops import StopListener, termination_in
from flows.steps.run.summary import RunSummary


def utc_now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


class open_run:
    """A run as an async context manager: it opens on `accept`, and ends with a state, whatever happened inside.

    Tagtrail's own errors become the run's outcome; anything else is a fault of ours and goes on upwards. With a
    `task_run_id` the run is that task's: one of several in a flow run that is somebody else's.
    """

    def __init__(
        self,
        flow: str,
        *,
        credentials: str = "default",
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        task_run_id: str | None = None,
    ) -> None:
        self.summary: RunSummary | None = None
        """What came of the run, once it is closed."""
        self._flow, self._credentials, self._clock, self._monotonic = flow, credentials, clock, monotonic
        self._run_id = str(task_run_id or flow_run.id or uuid4())
        self._owns_flow_run = task_run_id is None and flow_run.id is not None
        """Whether the flow run is Tagtrail's own, and shows what this run is and does."""
        self._stack = AsyncExitStack()
        self._progress = current_progress()
        self._journal = Journal(self._progress, clock)
        self._halt = HaltSwitch(self._journal.note, lambda: self._stops.interrupted())
        self._stops = StopListener(str(flow_run.id or self._run_id), halt=self._halt, write=self._write_stop)
        self._store: Store | None = None
        """The database, once there is one."""
        self._run: RunContext | None = None
        """The run, once it is written down."""

    async def accept(self, request: RunRequest) -> RunContext:
        """Open what the request needs, and write the run down.

        Raises:
            UsageError: a setting cannot be used, there is no key, or the database is not for this service.
            StoreError: the database cannot be used as it is.
        """
        settings = get_settings()
        store = await self._stack.enter_async_context(open_database())
        client = await self._stack.enter_async_context(await open_client(self._credentials, settings))
        await ensure_one_service(store, client.hosts)
        run = await self.accept_on(store, client, request.by_settings(settings), settings)
        await self._stack.enter_async_context(watch_kill_switch(self._halt.pull))
        self._journal.log.accepted(
            name_of_run(self._flow, flow_run.parameters or {}) if self._owns_flow_run else self._flow,
            where=f"API {' and '.join(client.hosts)}, {store.engine.dialect.name} database",
            cap_usd=run.request.cap_usd,
            imports=len(run.request.imports),
            posts=run.request.expected_posts,
        )
        if self._owns_flow_run:
            look = partial(look_into_books, store, run.budget, self._run_id, self._progress)
            await self._stack.enter_async_context(shown_under_way(self._flow, run.request, self._progress, look))
        return run

    async def accept_on(
        self, store: Store, client: MemoriesClient, request: RunRequest, settings: Settings
    ) -> RunContext:
        """The same on a database and a client of the caller's, who closes them; the kill switch is not read."""
        self._store = store
        await name_account(store, client, self._credentials, self._journal.note)
        limiter = Limiter(store, client.account, rates_from(settings))
        self._stack.push_async_callback(limiter.aclose)
        caps = request.caps(settings)
        budget = Budget(store, client.account, self._run_id, request.collection, caps, settings.tagtrail_prices)
        self._stack.push_async_callback(_settle, budget)
        health = await self._stack.enter_async_context(LeaseHealth(store))
        self._progress.started_at = self._clock()
        # Before anything is written down: what was erased is named nowhere again.
        request = await without_erased(store, request, self._journal.note)
        await store.run(
            runs.start_run,
            run_id=self._run_id,
            flow=self._flow,
            account=client.account,
            collection=request.collection,
            parameters=request.parameters() | {accounts.SERVICE: " and ".join(client.hosts)},
            cap_micros=caps.run_micros,
            sweeps=request.sweeps,
            owner=health.owner,
            now=self._clock(),
        )
        comment_key = bytes.fromhex(await store.run(meta.comment_key))
        self._run = RunContext(
            run_id=self._run_id,
            owner=health.owner,
            request=request,
            settings=settings,
            comment_key=comment_key,
            store=store,
            client=client,
            limiter=limiter,
            budget=budget,
            channels=Channels(
                request.channels(settings.tagtrail_channel_order),
                rest_seconds=settings.tagtrail_channel_rest_seconds,
                monotonic=self._monotonic,
            ),
            halt=self._halt,
            leases=health,
            journal=self._journal,
            progress=self._progress,
            clock=self._clock,
            fresh_after=self._clock() - timedelta(hours=request.max_age_hours),
        )
        return self._run

    async def _write_stop(self, by: str, why: str) -> bool:
        if self._store is None:
            return False  # Stopped before it was opened: nothing was asked for.
        return await self._store.run_durable(runs.stop, self._run_id, by=by, why=why, at=self._clock())

    async def __aenter__(self) -> Self:
        self._stack.enter_context(fewer_collections())
        self._stops.begin()
        self._stack.push_async_callback(self._stops.end)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        ours = _only_ours(error)
        if ours is not None and ours.halts:
            self._halt.pull(ours)
        failed = None if ours is None or ours.halts else ours
        broken = None if ours is not None else error
        try:
            # Before the run's end is written: what a person stopped is held.
            await self._stops.settle(broken)
            self._progress.ended_by = self._stops.signal
            self.summary = self._progress.summary = await self._close(failed, broken)
            self._journal.log.ended(self.summary.message, needs_you=self.summary.outcome != "done")
            with suppress(StoreError):
                await self._note_service(failed=failed is not None)
        finally:
            await self._stack.aclose()
        signal = termination_in(error)
        if signal is not None and signal is not error:
            # Wrapped in a group it would be a fault to Prefect, and a cancelled run would end as Crashed.
            raise signal
        return ours is not None

    async def _close(self, failed: TagtrailError | None, broken: BaseException | None) -> RunSummary:
        if self._run is None:
            return never_opened(self._run_id, self._flow, failed or self._halt.reason, self._clock())
        summary = await RunEnd(self._run, self._flow).close(self._stops, error=failed, broken=broken)
        if self._owns_flow_run:
            await show(summary)
        return summary

    async def _note_service(self, *, failed: bool) -> None:
        """Note whether the service refused the key, for whoever comes with another one, or the account, for the sweeps:
        they try again once an hour."""
        if self._run is None:
            return
        store, account, halted = self._run.store, self._run.client.account, self._halt.reason
        if isinstance(halted, BadKey):
            await store.run(accounts.key_was_refused, account, self._credentials)
        elif halted is None and not failed:
            await store.run(accounts.key_was_taken, self._credentials)
        if isinstance(halted, REFUSALS):
            by_sweep = self._run.request.sweeps
            await store.run(accounts.note_refusal, account, why=str(halted), now=self._clock(), by_sweep=by_sweep)
        elif self._journal.served:
            await store.run(accounts.forget_refusal, account)

    @property
    def state(self) -> State[Any]:
        """The run's end as Prefect takes it: Completed with the typed summary, Failed with an error that holds it, or
        Cancelled.

        So a flow that calls this one gets a `RunSummary`, or `RunHalted` or `RunFailed` is raised in it.
        """
        assert self.summary is not None, "a run has a state once it is closed"
        if self.summary.outcome == "cancelled":
            return Cancelled(message=self.summary.message)
        if (error := self.summary.error) is not None:
            return Failed(message=self.summary.message, data=error)
        return Completed(message=self.summary.message, data=self.summary)

    @property
    def result(self) -> RunSummary:
        """The summary of a run that is done.

        Raises:
            RunHalted, RunFailed: it is not; each has the summary.
        """
        assert self.summary is not None, "a run has a result once it is closed"
        if (error := self.summary.error) is not None:
            raise error
        return self.summary


async def _settle(budget: Budget) -> None:
    # Where the database cannot be used, reservations end by themselves.
    with suppress(StoreError):
        await budget.close()


def _only_ours(error: BaseException | None) -> TagtrailError | None:
    """The first error of Tagtrail's own, if there are no others in it."""
    if isinstance(error, TagtrailError):
        return error
    if isinstance(error, BaseExceptionGroup):
        found = [_only_ours(inner) for inner in error.exceptions]
        if found and all(inner is not None for inner in found):
            return next((inner for inner in found if inner is not None and inner.halts), found[0])
    return None
