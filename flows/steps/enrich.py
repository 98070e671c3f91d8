"""Enrichment: posts are claimed, bought, stored raw, parsed and stored, one retryable task per post or batch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from blocks.database.store import work
from blocks.database.store.imports import FoundPost
from blocks.memories.errors import StoreError
from blocks.memories.identity import item_key
from flows.steps.buying import StillPending, enrich_one
from flows.steps.policy import MAX_RETRIES, retry_delays_seconds
from flows.steps.run import PostTask, Run, current_run
from flows.steps.valve import valve

GROUP_POSTS = 50
"""Posts that are claimed in one transaction and pass the operator's valve together."""

OPEN_GROUPS = 8


def _still_pending(task: Task[..., object], task_run: TaskRun, state: State[object]) -> bool:
    """Prefect's condition for a retry: some posts of the task may still succeed."""
    return isinstance(state.data, StillPending)


@task(
    name="enrich",
    retries=MAX_RETRIES,
    retry_delay_seconds=retry_delays_seconds(1),
    retry_condition_fn=_still_pending,
    persist_result=False,
    cache_policy=NO_CACHE,
)
async def enrich(keys: list[str]) -> dict[str, int]:
    """Enrich the posts of these keys (`platform:post_id`), claimed before; gives counts by outcome.

    Every answer is stored before the next step. A retry takes up only what is still pending.

    Raises:
        StillPending: some posts failed in a way that may pass; Prefect runs the task again after a while.
    """
    run = current_run()
    pending = [run.posts[key] for key in keys if run.posts[key].outcome is None]
    if len(pending) == 1:
        again = [await enrich_one(run, pending[0])]
    else:
        # All are awaited, also where one meets a fault: no call may go on unseen after its task has ended.
        ended = await asyncio.gather(*(enrich_one(run, post) for post in pending), return_exceptions=True)
        for fault in ended:
            if isinstance(fault, BaseException):
                raise fault
        again = [each is True for each in ended]
    if waiting := sum(again):
        raise StillPending(waiting)
    return dict(Counter(run.posts[key].outcome or "pending" for key in keys))


class Enrichment:
    """Takes posts while they are being found, and is done when each of them is settled."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._held: list[str] = []
        self._body: asyncio.Task[None] | None = None
        self._stopped_body = False
        # A few groups are open at once, so that the next one's tasks are ready when a call ends.
        self._groups = asyncio.Semaphore(OPEN_GROUPS)
        self._slots = asyncio.Semaphore(max(2, 2 * run.settings.tagtrail_in_flight // run.wish.batch_size))
        self._task = enrich.with_options(retry_delay_seconds=retry_delays_seconds(run.settings.tagtrail_retry_seconds))

    def add(self, posts: Sequence[FoundPost]) -> None:
        """Take posts in; one that is known to the run already is not taken twice."""
        for post in posts:
            key = item_key(post.ref)
            if key not in self.run.posts:
                # A run of one collection pays for all that it takes; one over all has each pay for what it found.
                payer = post.collection if self.run.wish.collection is None else None
                self.run.posts[key] = PostTask(post.ref, post.source_url, post.purpose, payer, post.ends_at)
                self.run.progress.found += 1
                self._queue.put_nowait(key)

    @property
    def busy(self) -> bool:
        """Whether a post is not settled yet."""
        return any(post.outcome is None for post in self.run.posts.values())

    @property
    def held(self) -> bool:
        """Whether another live run was buying a post of this one when it was last looked at."""
        return bool(self._held)

    async def try_held(self) -> None:
        """Take over what others were buying: its result, or the post itself where they died."""
        held, self._held = self._held, []
        for at in range(0, len(held), GROUP_POSTS):
            await self._run_group(held[at : at + GROUP_POSTS])

    async def __aenter__(self) -> Enrichment:
        self.run.found = self.add
        self._body = asyncio.current_task()
        self._dispatching = asyncio.create_task(self._dispatch())
        self._dispatching.add_done_callback(self._broke_off)
        return self

    def _broke_off(self, dispatching: asyncio.Task[None]) -> None:
        """A fault in the enrichment ends the imports too: nothing more is to be bought for nobody."""
        if self._body is not None and (dispatching.cancelled() or dispatching.exception() is not None):
            self._stopped_body = self._body.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        body, self._body = self._body, None
        self._queue.put_nowait(None)
        if self._stopped_body and body is not None:
            body.uncancel()
        elif isinstance(error, asyncio.CancelledError):
            self._dispatching.cancel()
        # What is in flight is awaited and stored, also where the imports ended in an error.
        await self._dispatching
        if error is None:
            await self._wait_for_others()

    async def _dispatch(self) -> None:
        async with asyncio.TaskGroup() as groups:
            open_ = True
            while open_:
                keys, open_ = await self._next_group()
                await self._groups.acquire()
                groups.create_task(self._run_group(keys)).add_done_callback(lambda _: self._groups.release())

    async def _next_group(self) -> tuple[list[str], bool]:
        keys: list[str] = []
        key = await self._queue.get()
        while key is not None:
            keys.append(key)
            if len(keys) == GROUP_POSTS or self._queue.empty():
                return keys, True
            key = self._queue.get_nowait()
        return keys, False

    async def _run_group(self, keys: list[str]) -> None:
        """Pass the valve, claim the posts, and run their tasks."""
        if not keys:
            return
        async with valve(self.run) as opened:
            if not opened:
                return
            claimed = await self._claim(keys)
            size = self.run.wish.batch_size
            async with asyncio.TaskGroup() as tasks:
                for at in range(0, len(claimed), size):
                    await self._slots.acquire()
                    tasks.create_task(self._run_task(claimed[at : at + size]))

    async def _claim(self, keys: list[str]) -> list[str]:
        claimed: list[str] = []
        for purpose, of_purpose in self._by_purpose(keys).items():
            claimed += await self._claim_for(purpose, of_purpose)
        return claimed

    def _by_purpose(self, keys: list[str]) -> dict[str, list[str]]:
        purposes: dict[str, list[str]] = {}
        for key in keys:
            purposes.setdefault(self.run.posts[key].purpose, []).append(key)
        return purposes

    async def _claim_for(self, purpose: str, keys: list[str]) -> list[str]:
        run = self.run
        of_plan = purpose != "enrich"
        claim = await run.store.run(
            work.claim,
            run.owner,
            [run.posts[key].ref for key in keys],
            purpose,
            # A checkpoint is answered once; whoever measured the post since the plan was read may have answered it.
            fresh_after=None if of_plan else run.fresh_after,
            measured_after=run.fresh_after if of_plan else None,
        )
        for item in claim.claimed:
            post = run.posts[item_key(item.ref)]
            post.source_url = item.source_url if item.source_url is not None else post.source_url
            post.unparsed = item.unparsed
            post.was_new = item.never_enriched
        for ref in claim.fresh:
            run.posts[item_key(ref)].outcome = "enriched"
            run.fresh.add(item_key(ref))
            run.progress.fresh += 1
        for ref, status in claim.ended:
            run.posts[item_key(ref)].outcome = status
            setattr(run.progress, status, getattr(run.progress, status) + 1)
        self._held += [item_key(ref) for ref in claim.held]
        return [item_key(item.ref) for item in claim.claimed]

    async def _run_task(self, keys: list[str]) -> None:
        try:
            await self._task(keys)
        except StoreError as error:
            # Nothing more is bought; the answers that are under way are still awaited, and stored if they can be.
            self.run.halt(error)
        finally:
            self._slots.release()
            left = [key for key in keys if self.run.posts[key].outcome in (None, "pending")]
            for purpose, of_purpose in self._by_purpose(left).items():
                refs = [self.run.posts[key].ref for key in of_purpose]
                # Where the database cannot be used their leases end by themselves.
                with suppress(StoreError):
                    await asyncio.shield(self.run.store.run(work.release, self.run.owner, refs, purpose))

    async def _wait_for_others(self) -> None:
        """Posts that another live run buys at this moment: wait for its result, or take over if it dies."""
        run = self.run
        until = run.clock().timestamp() + run.settings.tagtrail_import_deadline_seconds
        while self._held and run.halted is None and run.clock().timestamp() < until:
            await run.pause(1.0)
            await self.try_held()
