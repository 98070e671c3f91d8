"""A ledger to play with: imports planned, sent and polled by runs whose clock and lives a test decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.database.store import import_polls
from blocks.database.store import imports as ledger
from blocks.database.store.import_planning import Ticket
from blocks.database.store.import_polls import ItemSeen
from blocks.database.tables import Import
from blocks.posts.identity import parse_post_url
from tests.stored import plan

T0 = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


def item(number: int) -> ItemSeen:
    url = f"https://www.tiktok.com/player/v1/{7000000000000000000 + number}"
    return ItemSeen(f"VI{number}", url, "UNPARSE", parse_post_url(url))


@dataclass
class Ledger:
    """The ledger with a clock of its own; holders live until they are named in `dead`."""

    store: Store
    now: datetime = T0
    dead: set[str] = field(default_factory=set)

    def alive(self, name: str) -> bool | None:
        return False if name in self.dead else None

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def plan(self, run: str, count: int = 25, *, reuse_hours: float | None = 6, **more: Any) -> Ticket:
        """Plan as run `run`, whose holder has the run's name."""
        asked = {"hashtag": "lvmh", "wanted": {"hashtag": "LVMH"}, "dedup_key": "w1", "requested": count, **more}
        reuse_after = None if reuse_hours is None else self.now - timedelta(hours=reuse_hours)
        with self.store.begin() as conn:
            return plan(conn, run, reuse_after=reuse_after, now=self.now, alive=self.alive, **asked)

    def do(self, step: Any, import_id: str, *args: Any, **more: Any) -> Any:
        with self.store.begin() as conn:
            return step(conn, import_id, *args, now=self.now, **more)

    def send(self, import_id: str, owner: str, **more: Any) -> bool:
        return bool(self.do(ledger.mark_sending, import_id, owner=owner, alive=self.alive, **more))

    def submit(self, run: str, count: int = 25, **more: Any) -> str:
        """Plan and submit a new import; its id."""
        ticket = self.plan(run, count, **more)
        assert ticket.action == "submit"
        assert self.send(ticket.import_id, run)
        assert self.do(ledger.mark_submitted, ticket.import_id, f"task-{ticket.import_id}", owner=run)
        return ticket.import_id

    def poll(self, import_id: str, *numbers: int) -> import_polls.PollResult:
        result: import_polls.PollResult = self.do(
            import_polls.record_poll, import_id, [item(number) for number in numbers]
        )
        return result

    def get(self, import_id: str) -> Import:
        with self.store.connect() as conn:
            return ledger.get(conn, import_id)


@pytest.fixture
def book(store: Store) -> Ledger:
    return Ledger(store)


@pytest.fixture
def sqlite_book(sqlite_store: Store) -> Ledger:
    return Ledger(sqlite_store)
