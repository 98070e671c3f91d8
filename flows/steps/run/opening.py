"""What a run holds open: database, client, limits, money, leases. It is closed in the opposite order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from uuid import UUID, uuid4

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from blocks.database.engine import Store
from blocks.database.store import accounts, leases, meta, runs
from blocks.errors import StoreError
from blocks.memories.client import MemoriesClient
from blocks.processes import name_holder
from blocks.quotas.budget import Budget
from blocks.quotas.rate_limiter import Limiter, rates_from
from blocks.settings import Settings, get_settings
from flows.steps.enrichment.circuit_breaker import Channels
from flows.steps.imports.plan import without_erased
from flows.steps.prefect_side.artifacts import ProgressBar, artifact_key, best_effort, look_into_books
from flows.steps.prefect_side.kill_switch import watch_kill_switch
from flows.steps.prefect_side.run_names import name_of_run, tags_of_run
from flows.steps.prefect_side.schedule import reuse_hours_for_this_run
from flows.steps.run.accounts import ensure_one_service, name_account, open_client, open_database
from flows.steps.run.call_limits import CallLimits
from flows.steps.run.context import RunContext
from flows.steps.run.halt_switch import HaltSwitch
from flows.steps.run.journal import Journal
from flows.steps.run.lease_health import LeaseHealth
from flows.steps.run.outcome import parameters_of
from flows.steps.run.progress import current_progress
from flows.steps.run.request import NO_CAP_USD, RunRequest


class Opening:
    """Makes a run's context, one thing after another; `stack` closes them in the opposite order.

    `cancelled` is called where a call under way meets a cancellation.
    """

    def __init__(
        self,
        flow: str,
        credentials: str,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        *,
        task_run_id: str | None,
        cancelled: Callable[[], None],
    ) -> None:
        self.flow, self.credentials, self.clock = flow, credentials, clock
        self._monotonic = monotonic
        self.run_id = str(task_run_id or flow_run.id or uuid4())
        self.flow_run_id = str(flow_run.id or self.run_id)
        """The flow run whose cancellation ends this run."""
        self.owns_flow_run = task_run_id is None and flow_run.id is not None
        """Whether the flow run is Tagtrail's own, and shows what this run is and does."""
        self.stack = AsyncExitStack()
        self.progress = current_progress()
        self.journal = Journal(self.progress, clock)
        self.halt = HaltSwitch(self.journal.note, cancelled)
        self.store: Store | None = None
        """The database, once there is one."""
        self.run: RunContext | None = None
        """The run, once it is written down."""

    async def open(self, request: RunRequest) -> RunContext:
        """Open everything for a request that was checked.

        Raises:
            UsageError: there is no key, or the database is not for this service.
            StoreError: the database cannot be used as it is.
        """
        settings = get_settings()
        request = request.by_settings(settings)
        request = request.changed(reuse_hours=await reuse_hours_for_this_run(request.reuse_hours))
        store = await self.stack.enter_async_context(open_database())
        client = await self.stack.enter_async_context(await open_client(self.credentials, settings))
        await ensure_one_service(store, client.hosts)
        run = await self.open_on(store, client, request, settings)
        await self.stack.enter_async_context(watch_kill_switch(self.halt.pull))
        await self._show_in_prefect(run)
        return run

    async def open_on(
        self, store: Store, client: MemoriesClient, request: RunRequest, settings: Settings
    ) -> RunContext:
        """Take up limits, money and leases on an open database and client, and write the run down.

        Raises:
            StoreError: the database cannot be used.
        """
        self.store = store
        owner = name_holder()
        await name_account(store, client, self.credentials, self.journal.note)
        limiter = Limiter(store, client.account, rates_from(settings))
        self.stack.push_async_callback(limiter.aclose)
        caps = request.caps(settings)
        budget = Budget(store, client.account, self.run_id, request.collection, caps, settings.tagtrail_prices)
        self.stack.push_async_callback(_settle, budget)
        self.stack.push_async_callback(_release, store, owner)
        self.progress.started_at = self.clock()
        # Before anything is written down: what was erased is named nowhere again.
        request = await without_erased(store, request, self.journal.note)
        await store.run(
            runs.start_run,
            run_id=self.run_id,
            flow=self.flow,
            account=client.account,
            collection=request.collection,
            parameters=parameters_of(request) | {accounts.SERVICE: " and ".join(client.hosts)},
            cap_micros=caps.run_micros,
            sweeps=request.sweeps,
            owner=owner,
            now=self.clock(),
        )
        comment_key = bytes.fromhex(await store.run(meta.comment_key))
        health = LeaseHealth(store, owner)
        self.stack.push_async_callback(_end, asyncio.create_task(health.keep_renewing()))
        self.run = RunContext(
            run_id=self.run_id,
            owner=owner,
            request=request,
            settings=settings,
            comment_key=comment_key,
            store=store,
            client=client,
            limits=CallLimits(limiter, self.halt, self.progress, settings.tagtrail_in_flight),
            budget=budget,
            channels=Channels(request.channels(settings.tagtrail_channel_order), monotonic=self._monotonic),
            halt=self.halt,
            leases=health,
            journal=self.journal,
            progress=self.progress,
            clock=self.clock,
        )
        return self.run

    async def _show_in_prefect(self, run: RunContext) -> None:
        """Log what was accepted; tag the flow run, so that the UI's list can be filtered, and keep a progress bar."""
        request = run.request
        self.journal.log.accepted(
            name_of_run(self.flow, flow_run.parameters or {}) if self.owns_flow_run else self.flow,
            where=f"API {' and '.join(run.client.hosts)}, {run.store.engine.dialect.name} database",
            cap_usd=None if request.max_spend_usd >= NO_CAP_USD else request.max_spend_usd,
            imports=len(request.imports),
            posts=request.expected_posts,
        )
        if not self.owns_flow_run:
            return
        hashtags = [one.hashtag for one in request.imports if one.hashtag]
        with best_effort("the run's tags"):
            async with get_client() as prefect:
                tags = dict.fromkeys([*flow_run.tags, *tags_of_run(request.collection, hashtags)])
                await prefect.update_flow_run(UUID(self.flow_run_id), tags=list(tags))
        bar = ProgressBar(run.progress, lambda: look_into_books(run.store, run.budget, run.run_id, run.progress))
        await bar.start(artifact_key(f"{self.flow}-progress", request.collection))
        self.stack.push_async_callback(bar.stop)


async def _settle(budget: Budget) -> None:
    # Where the database cannot be used, reservations and leases end by themselves.
    with suppress(StoreError):
        await budget.close()


async def _release(store: Store, owner: str) -> None:
    """Leave nothing leased behind: the next run may follow within seconds, in this very process."""
    with suppress(StoreError):
        await store.run(leases.release_all, owner)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
