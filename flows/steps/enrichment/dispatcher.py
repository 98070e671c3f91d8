"""Enrichment: posts are claimed, bought, stored raw, parsed and stored, one retryable task per post or batch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from blocks.database.store import work
from blocks.database.store.imports import FoundPost
from blocks.errors import StoreError, TagtrailError
from blocks.posts.identity import item_key
from blocks.quotas.rate_limiter import limits_for
from flows.steps.enrichment.fetch import Fetcher, StillPending
from flows.steps.enrichment.post_state import PostTask
from flows.steps.enrichment.verdict import MAX_RETRIES, retry_delays_seconds
from flows.steps.prefect_side.run_names import posts_named
from flows.steps.run.context import RunContext
from flows.steps.run.lease_health import awake_seconds

GROUP_POSTS = 50
"""Posts that are claimed in one transaction, at most."""

GATHER_SECONDS = 5.0
"""So long a group waits for the slots of all its tasks; then it begins with those that it has."""


def _still_pending(task: Task[..., object], task_run: TaskRun, state: State[object]) -> bool:
    """Prefect's condition for a retry: some posts of the task may still succeed."""
    return isinstance(state.data, StillPending)


@task(
    name="enrich",
    task_run_name="enrich {what}",
    retries=MAX_RETRIES,
    retry_delay_seconds=retry_delays_seconds(1),
    retry_condition_fn=_still_pending,
    persist_result=False,
    cache_policy=NO_CACHE,
)
async def enrich(fetcher: Fetcher, posts: list[FoundPost], what: str) -> dict[str, int]:
    """Enrich posts that were claimed before; gives counts by outcome.

    `what` is their name in Prefect: `instagram/CODE`, or `50 posts`.

    Every answer is stored before the next step. A retry takes up only what is still pending.

    Raises:
        StillPending: some posts failed in a way that may pass; Prefect runs the task again after a while.
    """
    tasks = [fetcher.posts[item_key(post.ref)] for post in posts]
    pending = [post for post in tasks if post.outcome is None]
    if len(pending) == 1:
        again = [await fetcher.enrich(pending[0])]
    else:
        # All are awaited, also where one meets a fault: no call may go on unseen after its task has ended.
        ended = await asyncio.gather(*(fetcher.enrich(post) for post in pending), return_exceptions=True)
        for fault in ended:
            if isinstance(fault, BaseException):
                raise fault
        again = [each is True for each in ended]
    if waiting := [post for post, again_ in zip(pending, again, strict=True) if again_]:
        raise StillPending([post.last_failure for post in waiting], what)
    return dict(Counter(post.outcome or "pending" for post in tasks))


class _Share:
    """Posts under the same limits: their queue, and slots of their own, so that those of a slow limit (YouTube through
    rapid) keep none from the others."""

    def __init__(self, slots: int) -> None:
        self.queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.slots = asyncio.Semaphore(slots)
        self.gathering = asyncio.Lock()

    async def next_group(self, most: int) -> tuple[list[str], bool]:
        """Posts that can begin together, and whether others may come after them."""
        keys: list[str] = []
        key = await self.queue.get()
        while key is not None:
            keys.append(key)
            if len(keys) == most or self.queue.empty():
                return keys, True
            key = self.queue.get_nowait()
        return keys, False

    async def gather_slots(self, most: int) -> int:
        """Slots for one group, at least one; how many there are."""
        # One group at a time: two that have half of their slots each would wait for each other.
        async with self.gathering:
            await self.slots.acquire()
            slots = 1
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(GATHER_SECONDS):
                        while slots < most:
                            await self.slots.acquire()
                            slots += 1
            except BaseException:
                self.release(slots)
                raise
        return slots

    def release(self, slots: int) -> None:
        for _ in range(slots):
            self.slots.release()


class Enrichment:
    """Takes posts while they are being found, and is done when each of them is settled."""

    def __init__(self, run: RunContext, *, expected_posts: int | None = None) -> None:
        self._store, self._run_id, self._owner = run.store, run.run_id, run.owner
        self._request, self._channels, self._halt = run.request, run.channels, run.halt
        self._journal, self._progress, self._clock = run.journal, run.progress, run.clock
        self._fresh_after = run.fresh_after
        self._deadline_seconds = run.settings.tagtrail_import_deadline_seconds
        self._posts = run.journal.posts
        self._fetcher = Fetcher(run)
        self._found: dict[str, FoundPost] = {}
        self._size = run.request.batch_size(expected_posts)
        self._shares: dict[tuple[tuple[str, ...], ...], _Share] = {}
        """By the limits of all channels; platforms under the same ones have one together."""
        self._groups = asyncio.TaskGroup()
        self._elsewhere: list[str] = []
        # Twice what can be in flight, so that the next tasks are ready when a call ends.
        in_flight = run.settings.tagtrail_in_flight
        self._share_slots = max(2, 2 * in_flight // self._size)
        # Never more tasks than there are slots.
        self._group_posts = min(GROUP_POSTS, max(in_flight, self._size))
        self._task = enrich.with_options(retry_delay_seconds=retry_delays_seconds(run.settings.tagtrail_retry_seconds))

    def add(self, posts: Sequence[FoundPost]) -> None:
        """Take posts in; one that is known to the run already is not taken twice."""
        for post in posts:
            key = item_key(post.ref)
            if key not in self._posts:
                # A run of one collection pays for all that it takes; one over all has each pay for what it found.
                payer = post.collection if self._request.collection is None else None
                self._found[key] = post
                self._posts[key] = PostTask(post.ref, post.source_url, post.purpose, payer, post.ends_at)
                self._progress.found += 1
                self._share_of(post.ref.platform).queue.put_nowait(key)

    def _share_of(self, platform: str) -> _Share:
        limits = tuple(limits_for(platform, channel) for channel in self._channels.order)
        if limits not in self._shares:
            share = self._shares[limits] = _Share(self._share_slots)
            self._groups.create_task(self._dispatch(share))
        return self._shares[limits]

    @property
    def busy(self) -> bool:
        """Whether a post is not settled yet."""
        return any(post.outcome is None for post in self._posts.values())

    @property
    def elsewhere(self) -> bool:
        """Whether another live run was buying a post of this one when it was last looked at."""
        return bool(self._elsewhere)

    async def try_elsewhere(self) -> None:
        """Take over what others were buying: its result, or the post itself where they died."""
        elsewhere, self._elsewhere = self._elsewhere, []
        async with asyncio.TaskGroup() as groups:
            for share in self._shares.values():
                keys = [key for key in elsewhere if self._share_of(self._posts[key].ref.platform) is share]
                groups.create_task(self._start(groups, share, keys))

    async def __aenter__(self) -> Self:
        # A fault in the enrichment cancels the imports too: nothing more is to be bought for nobody.
        await self._groups.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for share in self._shares.values():
            share.queue.put_nowait(None)
        # What is in flight is awaited and stored, also where the imports ended in an error.
        cancelled = error if isinstance(error, asyncio.CancelledError) else None
        await self._groups.__aexit__(None if cancelled is None else kind, cancelled, trace)
        if error is None:
            await self._wait_for_others()
            if self._channels.unserved is not None:
                # Only now: other posts were served meanwhile.
                self._halt.pull(self._channels.unserved)

    async def _dispatch(self, share: _Share) -> None:
        open_ = True
        while open_:
            keys, open_ = await share.next_group(self._group_posts)
            await self._start(self._groups, share, keys)

    async def _start(self, groups: asyncio.TaskGroup, share: _Share, keys: list[str]) -> None:
        """Begin with the posts as soon as there are slots for their tasks: in as few groups as can be, in more where
        tasks that wait to be tried again keep slots for long."""
        size = self._size
        while keys and self._halt.reason is None:
            slots = await share.gather_slots(-(-min(len(keys), self._group_posts) // size))
            most = min(slots * size, self._group_posts)
            groups.create_task(self._run_group(share, keys[:most], slots))
            keys = keys[most:]

    async def _run_group(self, share: _Share, keys: list[str], slots: int) -> None:
        """Claim the posts, and run their tasks; each slot is given back as soon as it can be."""
        size = self._size
        try:
            # Before the group of tasks, which would wrap its error in another.
            claimed = await self._claim(keys) if self._halt.reason is None else []
            async with asyncio.TaskGroup() as tasks:
                for at in range(0, len(claimed), size):
                    slots -= 1
                    task = tasks.create_task(self._run_task(claimed[at : at + size]))
                    task.add_done_callback(lambda _: share.release(1))
                share.release(slots)
                slots = 0
        except TagtrailError as error:
            # No database: what other groups have bought is awaited, and stored.
            self._halt.pull(error)
        finally:
            share.release(slots)

    async def _claim(self, keys: list[str]) -> list[str]:
        claimed: list[str] = []
        for purpose, of_purpose in self._by_purpose(keys).items():
            claimed += await self._claim_for(purpose, of_purpose)
        return claimed

    def _by_purpose(self, keys: list[str]) -> dict[str, list[str]]:
        purposes: dict[str, list[str]] = {}
        for key in keys:
            purposes.setdefault(self._posts[key].purpose, []).append(key)
        return purposes

    async def _claim_for(self, purpose: str, keys: list[str]) -> list[str]:
        of_plan = purpose != "enrich"
        claimed_at = awake_seconds()
        claim = await self._store.run(
            work.claim,
            self._owner,
            [self._posts[key].ref for key in keys],
            purpose,
            # A checkpoint is answered once; whoever measured the post since the plan was read may have answered it.
            fresh_after=None if of_plan else self._fresh_after,
            measured_after=self._fresh_after if of_plan else None,
            asker=self._request.asker(self._run_id),
            sweeps=self._request.sweeps,
        )
        for item in claim.claimed:
            post = self._posts[item_key(item.ref)]
            post.claimed_at = claimed_at
            post.source_url = item.source_url if item.source_url is not None else post.source_url
            post.unparsed = item.unparsed
            post.failures_ever = Counter(item.tries)
            if self._request.sweeps:
                post.asked_by, post.collection = item.asked_by, item.collection or post.collection
        for ref in claim.held:
            self._posts[item_key(ref)].outcome = "pending"
        for ref in claim.fresh:
            self._posts[item_key(ref)].outcome = "enriched"
            self._journal.fresh.add(item_key(ref))
            self._progress.fresh += 1
        for ref, status in claim.ended:
            self._posts[item_key(ref)].outcome = status
            setattr(self._progress, status, getattr(self._progress, status) + 1)
            if status == "failed" and not of_plan:
                self._journal.failed_before.add(item_key(ref))
        self._elsewhere += [item_key(ref) for ref in claim.busy]
        return [item_key(item.ref) for item in claim.claimed]

    async def _run_task(self, keys: list[str]) -> None:
        try:
            posts = [self._found[key] for key in keys]
            await self._task(self._fetcher, posts, posts_named([post.ref for post in posts]))
        except StoreError as error:
            # Nothing more is bought; the answers that are under way are still awaited, and stored if they can be.
            self._halt.pull(error)
        finally:
            lost = [key for key in keys if self._posts[key].lost]
            for key in lost:
                self._posts[key].lost = False
            self._elsewhere += lost
            unsettled = [key for key in keys if self._posts[key].outcome in (None, "pending")]
            for purpose, of_purpose in self._by_purpose(unsettled).items():
                refs = [self._posts[key].ref for key in of_purpose]
                # Where the database cannot be used their leases end by themselves.
                with suppress(StoreError):
                    await asyncio.shield(self._store.run(work.release, self._owner, refs, purpose))

    async def _wait_for_others(self) -> None:
        """Posts that another live run buys at this moment: wait for its result, or take over if it dies."""
        until = self._clock().timestamp() + self._deadline_seconds
        while self._elsewhere and self._halt.reason is None and self._clock().timestamp() < until:
            await self._halt.pause(1.0)
            await self.try_elsewhere()
