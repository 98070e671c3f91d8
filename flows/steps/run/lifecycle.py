"""A run from its request to its end: `async with open_run(flow) as opened: run = await opened.accept(…)`."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, ParamSpec, Self

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from blocks.database.engine import Store
from blocks.database.store import runs as stops_store
from blocks.errors import StoreError, TagtrailError
from blocks.memories.client import MemoriesClient
from blocks.settings import Settings
from flows.steps.prefect_side import artifacts
from flows.steps.run import outcome
from flows.steps.run.accounts import note_service
from flows.steps.run.context import RunContext
from flows.steps.run.garbage import fewer_collections
from flows.steps.run.opening import Opening
from flows.steps.run.request import RunRequest
from flows.steps.run.stops import Stop, StopListener, termination_in
from flows.steps.run.summary import RunEnded, RunFailed, RunHalted, RunSummary

P = ParamSpec("P")


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
        self._opening = Opening(flow, credentials, clock, monotonic, task_run_id=task_run_id, cancelled=self._cancelled)
        self._stops = StopListener(self._opening.flow_run_id, halt=self._opening.halt, write=self._write_stop)

    async def accept(self, check: Callable[P, RunRequest], *asked: P.args, **terms: P.kwargs) -> RunContext:
        """Check what is asked for, then open what the run needs, and write the run down.

        Raises:
            UsageError: what is asked for, or a setting, cannot be used.
            StoreError: the database cannot be used as it is.
        """
        return await self._opening.open(check(*asked, **terms))

    async def accept_on(
        self, store: Store, client: MemoriesClient, request: RunRequest, settings: Settings
    ) -> RunContext:
        """The same on a database and a client of the caller's, who closes them; the operator's limit is not passed."""
        return await self._opening.open_on(store, client, request, settings)

    def _cancelled(self) -> None:
        self._stops.interrupted()

    async def _write_stop(self, stop: Stop) -> bool:
        opening = self._opening
        if opening.store is None:
            return False  # Stopped before it was opened: nothing was asked for.
        return await opening.store.run_durable(
            stops_store.stop, opening.run_id, by=stop.by, why=stop.why, at=opening.clock()
        )

    async def __aenter__(self) -> Self:
        self._opening.stack.enter_context(fewer_collections())
        self._stops.begin()
        self._opening.stack.push_async_callback(self._stops.end)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        opening, ours = self._opening, _only_ours(error)
        if ours is not None and ours.halts:
            opening.halt.pull(ours)
        failed = None if ours is None or ours.halts else ours
        broken = None if ours is not None else error
        try:
            # Before the run's end is written: what a person stopped is held.
            await self._stops.settle(broken)
            opening.progress.ended_by = self._stops.signal
            self.summary = opening.progress.summary = await self._close(failed, broken)
            opening.journal.log.ended(self.summary.message, needs_you=self.summary.outcome != "done")
            await self._note_service(failed)
        finally:
            await opening.stack.aclose()
        signal = termination_in(error)
        if signal is not None and signal is not error:
            # Wrapped in a group it would be a fault to Prefect, and a cancelled run would end as Crashed.
            raise signal
        return ours is not None

    async def _close(self, failed: TagtrailError | None, broken: BaseException | None) -> RunSummary:
        opening = self._opening
        if opening.run is None:
            why = failed or opening.halt.reason
            return outcome.never_opened(opening.run_id, opening.flow, why, opening.clock())
        summary = await outcome.RunEnd(opening.run, opening.flow).close(self._stops, error=failed, broken=broken)
        if opening.owns_flow_run:
            await artifacts.show(summary)
        return summary

    async def _note_service(self, failed: TagtrailError | None) -> None:
        run = self._opening.run
        if run is not None:
            with suppress(StoreError):
                await note_service(run, self._opening.credentials, failed=failed is not None)

    @property
    def state(self) -> State[Any]:
        """The run's end as Prefect takes it: Completed with the typed summary, Failed with an error that holds it, or
        Cancelled.

        So a flow that calls this one gets a `RunSummary`, or `RunHalted` or `RunFailed` is raised in it.
        """
        assert self.summary is not None, "a run has a state once it is closed"
        if self.summary.outcome == "cancelled":
            return Cancelled(message=self.summary.message)
        error = _error_of(self.summary)
        if error is not None:
            return Failed(message=self.summary.message, data=error)
        return Completed(message=self.summary.message, data=self.summary)

    @property
    def result(self) -> RunSummary:
        """The summary of a run that is done.

        Raises:
            RunHalted, RunFailed: it is not; each has the summary.
        """
        assert self.summary is not None, "a run has a result once it is closed"
        error = _error_of(self.summary)
        if error is not None:
            raise error
        return self.summary


def _error_of(summary: RunSummary) -> RunEnded | None:
    if summary.outcome in ("done", "attention"):
        return None
    return RunFailed(summary) if summary.outcome == "failed" else RunHalted(summary)


def _only_ours(error: BaseException | None) -> TagtrailError | None:
    """The first error of Tagtrail's own, if there are no others in it."""
    if isinstance(error, TagtrailError):
        return error
    if isinstance(error, BaseExceptionGroup):
        found = [_only_ours(inner) for inner in error.exceptions]
        if found and all(inner is not None for inner in found):
            return next((inner for inner in found if inner is not None and inner.halts), found[0])
    return None
