"""A run's purse: money is taken from it before a call and accounted for after, under all caps of run, day, collection.

Calls are drawn from small blocks that are reserved in the database at once (`blocks/database/store/money.py`), so
that a call costs a tenth of a transaction; near a cap blocks shrink down to the single call, so that it is used up.
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
    from blocks.settings import Prices, Settings

BLOCK_CALLS = 10
"""Calls reserved ahead for a collection, platform and channel; a run that is killed leaves so many too many counted
as spent."""

MOST_BLOCK_CALLS = 50
"""Where more calls than a block wait, they are reserved together, up to so many."""


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


def caps_from(settings: Settings) -> Caps:
    """The settings' caps on a run and on a UTC day; a collection has none there."""
    return Caps(micros_of(settings.tagtrail_max_spend_usd_per_run), micros_of(settings.tagtrail_max_spend_usd_per_day))


@dataclass(slots=True, eq=False)
class _Block:
    """Calls reserved together: `size` reserved, `taken` handed out, of which `ended` were accounted for and billed.

    What was handed out and cost nothing can be handed out again; `made` counts it too.
    """

    spend_id: str
    collection: str | None
    day: str
    price_micros: int
    size: int
    taken: int = 0
    ended: int = 0
    made: int = 0

    @property
    def left(self) -> int:
        return self.size - self.taken


@dataclass(slots=True, eq=False)
class _Cell:
    """One collection, platform and channel: the block that calls are drawn from, and who waits for the next."""

    purpose: Purpose
    price_micros: int
    block: _Block | None = None
    wanting: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Voucher:
    """Money for calls that may now be made; settle it once it is known what was made of it.

    A voucher that is never settled counts as spent in full.
    """

    def __init__(self, budget: Budget, block: _Block, calls: int) -> None:
        self._budget, self._block, self.calls = budget, block, calls
        self.settled = False

    @property
    def spend_id(self) -> str:
        """The reservation that the money comes from."""
        return self._block.spend_id

    @property
    def is_of_today(self) -> bool:
        """Whether it still is the UTC day under whose cap the money counts."""
        return self._block.day == self._budget.today

    async def settle(self, calls_made: int, *, billed: int | None = None) -> None:
        """`calls_made` calls were made (an import: posts were listed), of which `billed` (all) cost money.

        A call that the API refused costs nothing; one whose outcome is unknown may have cost its price. Settling
        again changes nothing.

        Raises:
            StoreError: it could not be written; the money goes on counting as spent until `Budget.close`.
        """
        if self.settled:
            return
        self.settled = True
        await self._budget.ended(self._block, self.calls, calls_made, calls_made if billed is None else billed)

    async def release(self) -> None:
        """Nothing was called: give the money back."""
        await self.settle(0)


class Budget:
    """One run's spending, for one event loop; close it (or use it as a context) before the store.

    `collection` is the run's, if it has one; a run over all collections says for which one it takes. `caps` are
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
        self._cells: dict[tuple[str | None, Platform, Channel, str | None], _Cell] = {}
        self._blocks: set[_Block] = set()
        self._for_nobody: set[_Block] = set()
        """Reserved for imports, and handed to nobody yet: whoever asked may have been cancelled meanwhile."""
        self._reserving: set[asyncio.Task[_Block]] = set()
        self._near_cap = asyncio.Lock()
        """One at a time: what one takes back from the others near a cap, no other may reserve ahead again."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def take(
        self,
        platform: Platform,
        channel: Channel,
        calls: int = 1,
        *,
        collection: str | None = None,
        asked_by: str | None = None,
    ) -> Voucher:
        """Money for `calls` metadata calls; ask for as many as may be made, and settle for what was.

        They are bought for `collection`, or by itself for the run's, and for the request of the run `asked_by`, or by
        itself this one's. For another run's request nothing is reserved ahead: each call asks whether it was stopped.

        Raises:
            SpendCapReached: a cap leaves no room for them; nothing was taken. Fewer may still fit.
            Held: a person stopped the run that asked for them; nothing was taken.
        """
        other = None if asked_by == self._run_id else asked_by
        cell = self._cell(self._collection if collection is None else collection, platform, channel, other)
        cell.wanting += calls
        try:
            async with cell.lock:
                block = cell.block
                if block is not None and (block.left == 0 or block.day != self.today):
                    cell.block = None
                    await self._trim(block)
                    block = None
                # Again where another cell, near a cap, took it back before this task went on.
                while block is None or block.left < calls:
                    block = await self._block_for(cell, calls)
                block.taken += calls
                return Voucher(self, block, calls)
        finally:
            cell.wanting -= calls

    async def take_import(self, import_id: str, posts: int, *, collection: str | None = None) -> Voucher:
        """Money for an import of `posts` posts; settle it with the number of posts that it listed.

        `collection` pays where the run has none. It outlives this budget: an import that a later run finishes is
        settled by `money.settle_import`.

        Raises:
            SpendCapReached: a cap leaves no room for it; nothing was taken.
        """
        payer = self._collection if self._collection is not None else collection
        purpose = Purpose(self._account, self._run_id, payer, "import", import_id=import_id)
        block = await self._reserve_or_reclaim(purpose, self._prices.import_micros(1), posts, posts, None)
        self._for_nobody.discard(block)
        block.taken = posts
        return Voucher(self, block, posts)

    @property
    def today(self) -> str:
        """The UTC day, as YYYY-MM-DD."""
        return money.day_of(self._clock())

    async def close(self) -> None:
        """Settle all metadata: give back what was not used, and count calls of unknown outcome as spent.

        Imports outlive this budget, but for those whose money reached nobody: nothing was sent for it.
        """
        await asyncio.gather(*self._reserving, return_exceptions=True)
        for block in list(self._for_nobody):
            await self._settle(block)
        for block in list(self._blocks):
            block.made += block.taken - block.ended
            block.size = block.ended = block.taken
            await self._settle(block)
        self._cells.clear()

    def _cell(self, collection: str | None, platform: Platform, channel: Channel, asked_by: str | None) -> _Cell:
        key = (collection, platform, channel, asked_by)
        if key not in self._cells:
            purpose = Purpose(self._account, self._run_id, collection, "metadata", platform, channel, asked_by=asked_by)
            self._cells[key] = _Cell(purpose, self._prices.metadata_micros(platform, channel))
        return self._cells[key]

    async def _block_for(self, cell: _Cell, calls: int) -> _Block:
        """A block with room for `calls`: a new one to draw from, or one for a large batch alone."""
        alone = calls >= self._block_calls or cell.purpose.asked_by is not None
        if alone:
            wanted, into = calls, None
        else:
            wanted, into = min(max(self._block_calls, cell.wanting), MOST_BLOCK_CALLS), cell
            if cell.block is not None:
                await self._trim(cell.block)
        return await self._reserve_or_reclaim(cell.purpose, cell.price_micros, wanted, calls, into)

    async def _reserve_or_reclaim(
        self, purpose: Purpose, price_micros: int, calls: int, at_least: int, cell: _Cell | None
    ) -> _Block:
        async with self._near_cap:
            # More than once where a cap comes to light behind the first one: the day's behind a collection's.
            while True:
                try:
                    return await self._reserve(purpose, price_micros, calls, at_least, cell)
                except SpendCapReached as reached:
                    if not await self._reclaim(reached.scope, purpose.collection):
                        raise
                    calls = at_least

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
        left, block.size = block.left, block.taken
        if block.ended == block.taken:
            await self._settle(block)
        elif left and block.price_micros:
            await self._store.run(money.shrink, block.spend_id, micros=left * block.price_micros)

    async def _reserve(
        self, purpose: Purpose, price_micros: int, calls: int, at_least: int, cell: _Cell | None
    ) -> _Block:
        # A task of its own: the money is reserved even if the caller is cancelled, and then is there for the next.
        task = asyncio.create_task(self._reserve_block(purpose, price_micros, calls, at_least, cell))
        self._reserving.add(task)
        task.add_done_callback(self._reserved)
        return await asyncio.shield(task)

    def _reserved(self, task: asyncio.Task[_Block]) -> None:
        self._reserving.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also where the caller was cancelled

    async def _reserve_block(
        self, purpose: Purpose, price_micros: int, calls: int, at_least: int, cell: _Cell | None
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
        (self._blocks if purpose.kind == "metadata" else self._for_nobody).add(block)
        if cell is not None:
            cell.block = block
        return block

    async def ended(self, block: _Block, calls: int, made: int, billed: int) -> None:
        """Account for calls of a block; for vouchers only."""
        block.taken, block.ended, block.made = block.taken - (calls - billed), block.ended + billed, block.made + made
        if block in self._blocks:
            self.billed_micros += billed * block.price_micros
        drawn_from = any(cell.block is block for cell in self._cells.values())
        if block.ended == block.taken and not (block.left and drawn_from):
            await self._settle(block)

    async def _settle(self, block: _Block) -> None:
        spent_micros = block.ended * block.price_micros
        # In a transaction of its own: the day's total is shared by all workers, and must be the last lock taken.
        await self._store.run(
            money.settle, block.spend_id, spent_micros=spent_micros, calls=block.made, now=self._clock()
        )
        self._blocks.discard(block)
        self._for_nobody.discard(block)
