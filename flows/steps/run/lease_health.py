"""Whether this run still holds the posts that it claimed: a process that was stopped for a while may have lost them."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Self

from blocks.database.engine import Store
from blocks.database.store import leases, work
from blocks.errors import StoreError, TagtrailError
from blocks.processes import name_holder
from flows.steps.enrichment.post_state import PostTask

HEARTBEAT_SECONDS = 5.0
"""How often a run renews its leases; they end 15 s after the last renewal."""

MAX_UNRENEWED_SECONDS = leases.LEASE_SECONDS * 2 / 3
"""Leases that were renewed longer ago than this are looked at before anything is bought: twice the heartbeat."""


class LeaseLost(TagtrailError):
    """Another run took the post over meanwhile; nothing was bought by this one."""


def awake_seconds() -> float:
    """A clock that no setting of the time moves, and that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class LeaseHealth:
    """The leases of one run, renewed until it ends: when they were, and whether that ever came too late."""

    def __init__(self, store: Store) -> None:
        self.owner = name_holder()
        """In whose name posts and imports are leased."""
        self.renewed_at = awake_seconds()
        self._late_until = 0.0
        self._store = store

    async def __aenter__(self) -> Self:
        self._renewing = asyncio.create_task(self._keep_renewing())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._renewing.cancel()
        with suppress(asyncio.CancelledError):
            await self._renewing
        # The next run may follow within seconds, in this very process. Without a database leases end by themselves.
        with suppress(StoreError):
            await self._store.run(leases.release_all, self.owner)

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            # A database that is away or locked for a moment must not end the renewing for good.
            with suppress(StoreError):
                await self.renew()

    async def renew(self) -> None:
        await self._store.run(leases.renew_all, self.owner)
        self.renewed()

    def renewed(self) -> None:
        """All that the run still holds is its own for LEASE_SECONDS."""
        now = awake_seconds()
        if now - self.renewed_at > MAX_UNRENEWED_SECONDS:
            self._late_until = now
        self.renewed_at = now

    def may_be_lost(self, claimed_at: float) -> bool:
        """Whether somebody may have taken what was claimed (or looked at) at this moment."""
        last = max(self.renewed_at, claimed_at)
        return claimed_at <= self._late_until or awake_seconds() - last > MAX_UNRENEWED_SECONDS

    async def ensure(self, post: PostTask) -> bool:
        """Look, where it may be lost, whether the post is still this run's to buy; whether it was looked up.

        Raises:
            LeaseLost: it is another's by now.
            StoreError: nobody can say.
        """
        if post.claimed_at is None or not self.may_be_lost(post.claimed_at):
            return False
        looked_at = awake_seconds()
        if not await self._store.run(work.still_mine, self.owner, [post.ref], post.purpose):
            raise LeaseLost("another run took the post over")
        post.claimed_at = looked_at
        return True
