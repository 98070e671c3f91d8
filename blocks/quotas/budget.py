"""A run's budget: money is reserved before a call and settled after it, under all caps of run, day and collection.

Calls are paid from blocks of ten that are reserved in the database at once (`blocks/database/store/money.py`), so that
a call costs a tenth of a transaction. Near a cap blocks shrink down to the single call, so that the cap is used up.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from blocks.database.store import money
from blocks.database.store.money import MICROS_PER_USD, Caps, Purpose
from blocks.errors import SpendCapReached
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import Channel, Platform

if TYPE_CHECKING:
    from blocks.database.engine import Store
    from blocks.settings import Prices

BLOCK_CALLS = 10
"""Calls reserved at once for a collection, platform and channel; a run that is killed leaves so many too many counted
as spent."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run is expected to cost, in millionths of a US dollar; prices are the settings' (estimates, too)."""

    import_micros: int
    metadata_micros: int

    @property
    def total_micros(self) -> int:
        return self.import_micros + self.metadata_micros

    @property
    def total_usd(self) -> float:
        return self.total_micros / MICROS_PER_USD


def estimate(
    hashtags: int,
    posts: int,
    prices: Prices,
    order: Sequence[Channel],
    *,
    platforms: Collection[Platform] | None = None,
) -> Estimate:
    """The cost of importing `posts` posts for each of so many hashtags and buying the metadata of each once.

    The first channel of `order` counts, at the dearest of `platforms` (None: where hashtag imports find posts). Imports
    that are used again and posts whose metadata is young enough cost less; posts that the first channel cannot serve
    may cost more.
    """
    calls = hashtags * posts
    if platforms is None:
        platforms = [spec.name for spec in PLATFORMS.values() if spec.is_found_by_hashtag]
    dearest = max(prices.metadata_micros(platform, order[0]) for platform in platforms)
    return Estimate(prices.import_micros(calls), calls * dearest)


def micros_of(usd: float | None) -> int | None:
    """US dollars in millionths; None (no cap) stays None."""
    return None if usd is None else round(usd * MICROS_PER_USD)


@dataclass(slots=True, eq=False)
class _Block:
    """Calls (of an import: posts) whose money was reserved together: `size` in all, `open` handed out and not settled.

    Of those that were settled `billed` cost money; the others can be handed out again.
    """

    spend_id: str
    collection: str | None
    day: str
    price_micros: int
    size: int
    open: int = 0
    billed: int = 0

    @property
    def left(self) -> int:
        return self.size - self.open - self.billed


@dataclass(slots=True, eq=False)
class _Tap:
    """One collection, platform, channel and request: the block that its calls are paid from."""

    purpose: Purpose
    price_micros: int
    block: _Block | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Reservation:
    """Money for a call that may now be made, or for an import; settle it once it is known what was made of it.

    One that is never settled counts as spent in full.
    """

    def __init__(self, budget: Budget, block: _Block, calls: int) -> None:
        self._budget, self._block, self._calls = budget, block, calls
        self._is_settled = False

    @property
    def spend_id(self) -> str:
        """The row that the money comes from."""
        return self._block.spend_id

    @property
    def is_of_today(self) -> bool:
        """Whether it still is the UTC day under whose cap the money counts."""
        return self._block.day == self._budget.today

    async def settle(self, calls: int) -> None:
        """So many calls (of an import: posts) cost their price: 0 where the API refused it, 1 where nobody knows.

        Settling again changes nothing.

        Raises:
            StoreError: it could not be written; the money goes on counting as spent until `Budget.close`.
        """
        if not self._is_settled:
            self._is_settled = True
            await self._budget.settle(self._block, self._calls, calls)

    async def release(self) -> None:
        """Nothing was called: give the money back."""
        await self.settle(0)


class Budget:
    """One run's spending, for one event loop; close it (or use it as a context) before the store.

    `collection` is the run's, if it has one; a run over all collections says for which one it buys. `caps` are
    shared with all other runs of the account (day) and collection.
    """

    def __init__(
        self,
        store: Store,
        account: str,
        run_id: str,
        collection: str | None,
        caps: Caps,
        prices: Prices,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        block_calls: int = BLOCK_CALLS,
    ) -> None:
        self._store, self._caps, self._prices, self._clock = store, caps, prices, clock
        self.billed_micros = 0
        """What metadata calls have cost so far, in millionths of a US dollar."""
        self._account, self._run_id, self._collection = account, run_id, collection
        self._block_calls = block_calls
        self._taps: dict[tuple[str | None, Platform, Channel, str | None], _Tap] = {}
        self._blocks: set[_Block] = set()
        self._unclaimed_imports: set[_Block] = set()
        """Reserved, and handed to nobody yet: whoever asked may have been cancelled meanwhile."""
        self._reserving: set[asyncio.Task[_Block]] = set()
        self._near_cap = asyncio.Lock()
        """One at a time: what one takes back from the others near a cap, no other may reserve ahead again."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def reserve(
        self, platform: Platform, channel: Channel, *, collection: str | None = None, asked_by: str | None = None
    ) -> Reservation:
        """Money for one metadata call.

        It is bought for `collection`, or by itself for the run's, and for the request of the run `asked_by`, or by
        itself this one's. For another run's request nothing is reserved ahead: each call asks whether it was stopped.

        Raises:
            SpendCapReached: a cap leaves no room for it; nothing was reserved.
            Held: a person stopped the run that asked for it; nothing was reserved.
        """
        tap = self._tap(
            self._collection if collection is None else collection,
            platform,
            channel,
            None if asked_by == self._run_id else asked_by,
        )
        async with tap.lock:
            # Again where another one, near a cap, took the new block back before this task went on.
            while (block := tap.block) is None or block.left == 0 or block.day != self.today:
                if block is not None:
                    tap.block = None
                    await self._trim(block)
                calls = self._block_calls if tap.purpose.asked_by is None else 1
                await self._reserve_or_reclaim(tap.purpose, tap.price_micros, calls=calls, at_least=1, tap=tap)
            block.open += 1
            if tap.purpose.asked_by is not None:
                tap.block = None
        return Reservation(self, block, 1)

    async def reserve_import(self, import_id: str, posts: int, *, collection: str | None = None) -> Reservation:
        """Money for an import of `posts` posts.

        `collection` pays where the run has none. It outlives this budget: an import that a later run finishes is
        settled by `money.settle_import`.

        Raises:
            SpendCapReached: a cap leaves no room for it; nothing was reserved.
        """
        payer = self._collection if self._collection is not None else collection
        purpose = Purpose(self._account, self._run_id, payer, "import", import_id=import_id)
        block = await self._reserve_or_reclaim(purpose, self._prices.import_micros(1), calls=posts, at_least=posts)
        self._unclaimed_imports.discard(block)
        block.open = posts
        return Reservation(self, block, posts)

    @property
    def today(self) -> str:
        """The UTC day, as YYYY-MM-DD."""
        return money.day_of(self._clock())

    async def close(self) -> None:
        """Settle all metadata: give back what was not used, and count calls of unknown outcome as spent.

        Imports outlive this budget, but for those whose money reached nobody: nothing was sent for it.
        """
        await asyncio.gather(*self._reserving, return_exceptions=True)
        for block in [*self._unclaimed_imports, *self._blocks]:
            block.billed, block.open = block.billed + block.open, 0
            await self._settle(block)
        self._taps.clear()

    async def settle(self, block: _Block, calls: int, billed: int) -> None:
        """Account for calls of a block; for reservations only."""
        block.open, block.billed = block.open - calls, block.billed + billed
        if block in self._blocks:
            self.billed_micros += billed * block.price_micros
        is_in_use = any(tap.block is block for tap in self._taps.values())
        if block.open == 0 and not (block.left and is_in_use):
            await self._settle(block)

    def _tap(self, collection: str | None, platform: Platform, channel: Channel, asked_by: str | None) -> _Tap:
        key = (collection, platform, channel, asked_by)
        if key not in self._taps:
            purpose = Purpose(self._account, self._run_id, collection, "metadata", platform, channel, asked_by=asked_by)
            self._taps[key] = _Tap(purpose, self._prices.metadata_micros(platform, channel))
        return self._taps[key]

    async def _reserve_or_reclaim(
        self, purpose: Purpose, price_micros: int, *, calls: int, at_least: int, tap: _Tap | None = None
    ) -> _Block:
        async with self._near_cap:
            # More than once where a cap comes to light behind the first one: the day's behind a collection's.
            while True:
                # A task of its own: the money is reserved also if the caller is cancelled, and is there for the next.
                task = asyncio.create_task(self._reserve_block(purpose, price_micros, calls, at_least, tap))
                self._reserving.add(task)
                task.add_done_callback(self._reserving.discard)
                try:
                    return await asyncio.shield(task)
                except SpendCapReached as reached:
                    if not await self._reclaim(reached.scope, purpose.collection):
                        raise
                    calls = at_least

    async def _reserve_block(
        self, purpose: Purpose, price_micros: int, calls: int, at_least: int, tap: _Tap | None
    ) -> _Block:
        now = self._clock()
        spend_id, size = await self._store.run(
            money.reserve_calls,
            purpose,
            price_micros=price_micros,
            calls=calls,
            at_least=at_least,
            caps=self._caps,
            now=now,
            spend_id=str(uuid.uuid4()),
        )
        block = _Block(spend_id, purpose.collection, money.day_of(now), price_micros, size)
        if tap is None:
            self._unclaimed_imports.add(block)
        else:
            self._blocks.add(block)
            tap.block = block
        return block

    async def _reclaim(self, scope: str, collection: str | None) -> bool:
        """Near a cap: give back all that others hold ahead and that counts under it; True if there was any."""
        if scope == "request":
            return False  # Nothing is held ahead for another run's request.
        idle = [
            block
            for block in self._blocks
            if block.left > 0 and (scope != "collection" or block.collection == collection)
        ]
        for block in idle:
            await self._trim(block)
        return bool(idle)

    async def _trim(self, block: _Block) -> None:
        """Hand nothing more out of a block, and give back what is left of it."""
        left = block.left
        block.size -= left
        if block.open == 0:
            await self._settle(block)
        elif left and block.price_micros:
            await self._store.run(money.shrink, block.spend_id, micros=left * block.price_micros)

    async def _settle(self, block: _Block) -> None:
        # In a transaction of its own: the day's total is shared by all workers, and must be the last lock taken.
        await self._store.run(
            money.settle,
            block.spend_id,
            spent_micros=block.billed * block.price_micros,
            calls=block.billed,
            now=self._clock(),
        )
        self._blocks.discard(block)
        self._unclaimed_imports.discard(block)
