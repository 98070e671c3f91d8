"""One run of a flow: what it holds open (store, client, limits, budget), and how it ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from contextvars import ContextVar, Token
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any
from uuid import UUID, uuid4

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from blocks.database.engine import Store, open_store
from blocks.database.store import accounts, catalog, leases, meta, runs
from blocks.database.store import stops as stops_store
from blocks.database.store.imports import FoundPost
from blocks.database.store.spend import Caps
from blocks.errors import BadKey, MemoriesError, SpendCapReached, StoreError, TagtrailError, ValveClosed
from blocks.memories.client import MemoriesClient
from blocks.outside_words import for_log
from blocks.quotas.budget import Budget, micros_of
from blocks.quotas.limit_queues import Turn
from blocks.quotas.rate_limiter import Limiter, rates_from
from blocks.settings import Settings, get_settings
from flows.steps.enrichment.circuit_breaker import REFUSALS, Channels
from flows.steps.enrichment.post_state import PostTask
from flows.steps.imports.ambiguity_limit import Doubts
from flows.steps.prefect_side import artifacts
from flows.steps.prefect_side.artifacts import ProgressBar
from flows.steps.prefect_side.kill_switch import watch_kill_switch
from flows.steps.prefect_side.run_log import RunLog
from flows.steps.prefect_side.run_names import name_of_run, tags_of_run
from flows.steps.prefect_side.schedule import reuse_hours_for_this_run
from flows.steps.run import cancellation, outcome, sandbox_guard
from flows.steps.run.accounts import callback_of, open_client, saved_database_url
from flows.steps.run.defaults import by_settings
from flows.steps.run.garbage import fewer_collections
from flows.steps.run.lease_health import Holding
from flows.steps.run.progress import Progress, current_progress
from flows.steps.run.request import NO_CAP_USD, Wish
from flows.steps.run.stops import Stop, StopListener, Stopped
from flows.steps.run.summary import RunFailed, RunHalted, RunSummary
from flows.steps.upkeep.erasure_filter import without_erased

HEARTBEAT_SECONDS = 5.0
"""How often a run renews its leases; they end 15 s after the last renewal."""


OUT_OF_ROOM = "a run's cap is used up: what it asked for and is not bought yet stays pending, out of room"


def utc_now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


class Run:
    """A run as an async context manager: opens on `accept`, and ends with a state, whatever happened inside.

    Tagtrail's own errors become the run's outcome; anything else is a fault of ours and goes on upwards.
    """

    def __init__(
        self,
        flow: str,
        *,
        credentials: str = "default",
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.flow = flow
        self.credentials = credentials
        self.clock = clock
        self.run_id = str(flow_run.id or uuid4())
        self.owner = leases.holder()
        self.progress: Progress = current_progress()
        self.posts: dict[str, PostTask] = {}
        self.error: TagtrailError | None = None
        self.halted: TagtrailError | None = None
        self.halting = asyncio.Event()
        self.notes: list[str] = []
        self.fresh: set[str] = set()
        self.continues = False
        """It goes on with an import whose other posts an earlier run measured."""
        self.failed_before: set[str] = set()
        """Posts that were given up lately, and are not asked for again in this run."""
        self.full: set[str] = set()
        """Collections for which nothing more is bought in a run over all of them: their own cap is reached."""
        self.full_requests: set[str] = set()
        """Runs for whose requests this sweep buys nothing more: their caps are used up, or they were stopped."""
        self.served = False
        """Whether a paid call was answered: the service does not refuse this account (any more)."""
        self.on_trial = False
        """A sweep where the service refused lately: one call, and the others only once that is answered."""
        self.poll_errors: Counter[str] = Counter()
        self.callback_url: str | None = None
        """Where the service may report an import's end, with the secret as its last part; None if not set up."""
        self._acquiring: set[asyncio.Future[Turn]] = set()
        self._calls: dict[str, asyncio.Semaphore] = {}
        self.doubts = Doubts()
        self.log = RunLog()
        self.opened = False
        self.holding = Holding()
        self.stops = StopListener(self.run_id, halt=self.halt, write=self._write_stop)
        self.summary: RunSummary | None = None
        self._stack = AsyncExitStack()
        self._token: Token[Run | None] | None = None

    settings: Settings
    store: Store
    client: MemoriesClient
    limiter: Limiter
    budget: Budget
    channels: Channels
    wish: Wish
    comment_key: bytes
    fresh_after: datetime
    """Metadata measured at or after this moment is young enough not to be bought again."""
    found: Callable[[Sequence[FoundPost]], None]
    """Takes posts as they are listed; set by the enrichment that is under way."""

    async def accept(self, make_wish: Callable[[], Wish]) -> Wish:
        """Check the wish, then open what the run needs and write the run down.

        Raises:
            UsageError: the wish or a setting cannot be used.
            StoreError: the database cannot be used as it is.
        """
        wish = make_wish()
        self.settings = get_settings()
        wish = by_settings(wish, self.settings)
        self.wish = replace(wish, reuse_hours=await reuse_hours_for_this_run(wish.reuse_hours))
        url = await saved_database_url() or self.settings.database_url
        store = await asyncio.to_thread(open_store, url, create=True)
        self._stack.callback(store.close)
        client = await self._stack.enter_async_context(await open_client(self.credentials, self.settings))
        await sandbox_guard.must_not_mix(store, client)
        self.callback_url = await callback_of(self.credentials, self.settings)
        await self.begin(store, client)
        await self._stack.enter_async_context(watch_kill_switch(self.halt))
        self.opened = True
        await self._tell_prefect_what_it_is()
        bar = ProgressBar(self)
        await bar.start()
        self._stack.push_async_callback(bar.stop)
        return self.wish

    async def _tell_prefect_what_it_is(self) -> None:
        """Tag the flow run, so that the UI's list can be filtered, and log what was accepted."""
        wish = self.wish
        hashtags = [one.hashtag for one in wish.imports if one.hashtag]
        if flow_run.id is not None:
            with artifacts.best_effort("the run's tags"):
                async with get_client() as prefect:
                    tags = dict.fromkeys([*flow_run.tags, *tags_of_run(wish.collection, hashtags)])
                    await prefect.update_flow_run(UUID(flow_run.id), tags=list(tags))
        self.log.accepted(
            name_of_run(self.flow, flow_run.parameters or {}),
            where=f"API {' and '.join(self.client.hosts)}, {self.store.engine.dialect.name} database",
            cap_usd=None if wish.max_spend_usd >= NO_CAP_USD else wish.max_spend_usd,
            imports=len(wish.imports),
            posts=wish.expected_posts,
        )

    async def begin(self, store: Store, client: MemoriesClient) -> None:
        """Take up limits, money and leases on an open database and client, and write the run down.

        `wish` and `settings` are set; the caller says when the run counts as `opened`, and closes what it gave.
        """
        self.store, self.client = store, client
        await self._name_account()
        self.limiter = Limiter(self.store, self.client.account, rates_from(self.settings))
        self._stack.push_async_callback(self.limiter.aclose)
        self.budget = Budget(
            self.store,
            self.client.account,
            self.run_id,
            self.wish.collection,
            self.caps(),
            self.settings.tagtrail_prices,
        )
        self._stack.push_async_callback(_as_far_as_it_goes, self.budget.close)
        self._stack.push_async_callback(_as_far_as_it_goes, self._release)
        # Once for the whole run: what another run measures meanwhile is young enough, whatever its age is to be.
        self.fresh_after = self.clock() - timedelta(hours=self.wish.max_age_hours)
        self.channels = Channels(self.wish.channels(self.settings.tagtrail_channel_order))
        self.progress.started_at = self.clock()
        # Before anything is written down: what was erased is named nowhere again.
        self.wish = await without_erased(self)
        await self.store.run(
            runs.start_run,
            run_id=self.run_id,
            flow=self.flow,
            account=self.client.account,
            collection=self.wish.collection,
            parameters=outcome.parameters_of(self.wish) | {catalog.SERVICE: " and ".join(self.client.hosts)},
            cap_micros=self.caps().run_micros,
            sweeps=self.wish.sweeps,
            owner=self.owner,
            now=self.clock(),
        )
        self.comment_key = bytes.fromhex(await self.store.run(meta.comment_key))
        beat = asyncio.create_task(self._heartbeat())
        self._stack.push_async_callback(self._stop_heartbeat, beat)

    async def _name_account(self) -> None:
        """A new key goes on with the account of the one that was refused, unless the account was given a name."""
        if not self.client.account_was_given:
            mine = self.client.account
            self.client.account = await self.store.run(accounts.account_of, mine, self.credentials)
            if self.client.account != mine:
                self.note(f"the key is another one of account {self.client.account}; TAGTRAIL_ACCOUNT names accounts")

    @property
    def asker(self) -> str | None:
        """The run that asks for what this one buys: itself, or, of a sweep, whoever asked for it."""
        return None if self.wish.sweeps else self.run_id

    def cheapest_micros(self) -> dict[str, int]:
        """What the cheapest metadata call of this run costs, by platform."""
        channels = self.wish.channels(self.settings.tagtrail_channel_order)
        return self.settings.tagtrail_prices.cheapest_micros(channels)

    async def _write_stop(self, stop: Stop) -> bool:
        store: Store | None = getattr(self, "store", None)  # Stopped before it was opened: nothing was asked for.
        if store is None:
            return False
        return await store.run_durable(stops_store.stop, self.run_id, by=stop.by, why=stop.why, at=self.clock())

    async def _note_refusal(self) -> None:
        """Whether the service refused the account, for the sweeps: they try again once an hour."""
        if isinstance(self.halted, REFUSALS):
            why, by_sweep = str(self.halted), self.wish.sweeps
            await self.store.run(
                accounts.note_refusal, self.client.account, why=why, now=self.clock(), by_sweep=by_sweep
            )
        elif self.served:
            await self.store.run(accounts.forget_refusal, self.client.account)

    async def _note_key(self) -> None:
        """Whether the service refused the key, for whoever comes with another one."""
        if isinstance(self.halted, BadKey):
            await self.store.run(accounts.key_was_refused, self.client.account, self.credentials)
        elif self.halted is None and self.error is None:
            await self.store.run(accounts.key_was_taken, self.credentials)

    def caps(self) -> Caps:
        """What this run may spend, by the wish and the settings."""
        per_run = self.wish.max_spend_usd
        per_day = self.settings.tagtrail_max_spend_usd_per_day
        return Caps(
            run_micros=None if per_run >= NO_CAP_USD else round(per_run * 1_000_000),
            day_micros=None if per_day is None else round(per_day * 1_000_000),
            collection_micros=micros_of(self.settings.tagtrail_max_spend_usd_per_collection),
        )

    def halt(self, error: TagtrailError) -> None:
        """Buy nothing more in this run; what is in flight is awaited and stored.

        A person's stop and the kill switch come before whatever halted it. `error` is one that halts, or says that the
        database or Prefect's server cannot be used: then the run ends failed.
        """
        if self.halted is None or isinstance(error, Stopped | ValveClosed):
            self.halted = error
            self.halting.set()
            for acquiring in list(self._acquiring):
                acquiring.cancel()

    def stop_buying(self, error: TagtrailError, collection: str | None, asked_by: str | None = None) -> None:
        """Halt, or leave out the one request, or the one collection of a run over all, whose own cap is reached."""
        if isinstance(error, SpendCapReached) and error.scope == "request" and asked_by is not None:
            self.full_requests.add(asked_by)
            self.note(OUT_OF_ROOM)
            return
        only_one = isinstance(error, SpendCapReached) and error.scope == "collection"
        if not only_one or self.wish.collection is not None or collection is None:
            self.halt(error)
        elif collection not in self.full:
            self.full.add(collection)
            self.note(f"collection {collection}: {error}; its posts stay pending, those of the others are bought")

    def ends(self, *, paid: bool) -> bool:
        """Whether a call is not to be made any more; one that is paid for is made also where a cap was reached."""
        return self.halted is not None and not (paid and isinstance(self.halted, SpendCapReached))

    async def slot(self, *names: str, missed: Turn | None = None, paid: bool = False) -> Turn | None:
        """Wait for a slot of these limits; None, and no slot used, where the run is halted first.

        A call that is `paid`, which has its money already, is made also where a cap was reached since. What is to come
        before the call has its place before this, or is followed by `Turn.use`; `missed` is a turn for which that came
        too late.
        """
        if self.ends(paid=paid):
            return None
        if self.halted is not None:
            return await self.limiter.acquire(*names, missed=missed)
        acquiring = asyncio.ensure_future(self.limiter.acquire(*names, missed=missed))
        self._acquiring.add(acquiring)
        turn: Turn | None = None
        try:
            turn = await acquiring
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.halted is None or (task is not None and task.cancelling()):
                raise
        finally:
            self._acquiring.discard(acquiring)
        return None if self.halting.is_set() else turn

    async def heed(self, name: str, error: MemoriesError) -> None:
        """A server that asks for a wait means all of the account, whatever else it says."""
        if await self.limiter.heed(name, error):
            self.progress.paused_until = self.limiter.paused_until(name)

    async def may_still_buy(self, *, paid: bool = False) -> bool:
        """Whether a call that has its slot may be made: the wait for it may have been long. `paid` as in `slot`."""
        return not self.ends(paid=paid)

    def calls_of(self, name: str) -> asyncio.Semaphore:
        """The places for calls under way of one limit; a slow or paused one holds up no other's."""
        return self._calls.setdefault(name, asyncio.Semaphore(self.settings.tagtrail_in_flight))

    def note(self, sentence: str) -> None:
        """Say something in the summary and to whoever watches; never a caption or a person's name."""
        if (said := for_log(sentence)) not in self.notes:
            self.notes.append(said)
            self.progress.notes.append(said)

    def tell_progress(self, post: PostTask) -> None:
        """Log that a post is settled, and every so many posts how far the run is."""
        self.log.post_settled(f"{post.ref.platform}/{post.shown}", post.outcome or "pending")
        done = self.progress
        self.log.progress(
            done.settled, done.found, per_second=done.rate_per_second(self.clock()), spent_usd=done.spent_usd
        )

    def say_it_ends(self) -> None:
        """The run was cancelled while answers are under way, which are paid for."""
        self.stops.interrupted()
        self.note(f"cancelled: answers under way are taken in, for up to {cancellation.ANSWER_SECONDS:.0f} s")

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than until the run is halted."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.halting.wait(), timeout=seconds)

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            # A database that is away or locked for a moment must not end the renewing for good.
            await _as_far_as_it_goes(self._renew)

    async def _renew(self) -> None:
        await self.store.run(leases.renew_all, self.owner)
        self.holding.renewed()

    async def _release(self) -> None:
        """Leave nothing leased behind: the next run may follow within seconds, in this very process."""
        await self.store.run(leases.release_all, self.owner)

    @staticmethod
    async def _stop_heartbeat(beat: asyncio.Task[None]) -> None:
        beat.cancel()
        with suppress(asyncio.CancelledError):
            await beat

    async def __aenter__(self) -> Run:
        self._token = _current.set(self)
        self._stack.enter_context(fewer_collections())
        self.stops.begin()
        self._stack.push_async_callback(self.stops.end)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        ours = _only_ours(error)
        if ours is not None:
            if ours.halts:
                self.halt(ours)
            else:
                self.error = ours
        try:
            broken = None if error is None or ours is not None else error
            # Before the run's end is written: what a person stopped is held.
            await self.stops.settle(broken)
            self.progress.ended_by = self.stops.signal
            self.summary = await outcome.close(self, broken=broken)
            self.progress.summary = self.summary
            self.log.ended(self.summary.message, needs_you=self.summary.outcome != "done")
            if self.opened:
                await _as_far_as_it_goes(self._note_key)
                await _as_far_as_it_goes(self._note_refusal)
        finally:
            await self._stack.aclose()
            if self._token is not None:
                _current.reset(self._token)
        return ours is not None

    @property
    def state(self) -> State[Any]:
        """The run's end as Prefect takes it: Completed with the typed summary, Failed with an error that holds it, or
        Cancelled.

        So a flow that calls this one gets a `RunSummary`, or `RunHalted` or `RunFailed` is raised in it.
        """
        assert self.summary is not None, "a run has a state once it is closed"
        if self.summary.outcome in ("done", "attention"):
            return Completed(message=self.summary.message, data=self.summary)
        if self.summary.outcome == "cancelled":
            return Cancelled(message=self.summary.message)
        error = RunHalted if self.summary.outcome == "halted" else RunFailed
        return Failed(message=self.summary.message, data=error(self.summary))


async def _as_far_as_it_goes(work: Callable[[], Awaitable[None]]) -> None:
    """Writing that helps the next run; where the database cannot be used, leases and reservations end by themselves."""
    with suppress(StoreError):
        await work()


def _only_ours(error: BaseException | None) -> TagtrailError | None:
    """The first error of Tagtrail's own, if there are no others in it."""
    if isinstance(error, TagtrailError):
        return error
    if isinstance(error, BaseExceptionGroup):
        found = [_only_ours(inner) for inner in error.exceptions]
        if found and all(inner is not None for inner in found):
            return next((inner for inner in found if inner is not None and inner.halts), found[0])
    return None


_current: ContextVar[Run | None] = ContextVar("tagtrail_run", default=None)


def current_run() -> Run:
    """The run around the caller; tasks use it, so that neither client nor secret is ever a parameter."""
    run = _current.get()
    if run is None:
        raise RuntimeError("this step works inside a run only")
    return run
