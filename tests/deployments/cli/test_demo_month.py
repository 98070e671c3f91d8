"""The demo's simulated month: the real planning and storing, plausible numbers, and a report that is full."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from blocks.database.engine import Store
from blocks.database.store.statements import table_of
from blocks.database.tables import Import, Post, Snapshot, Spend
from blocks.posts.snapshot_plan import SnapshotPlan
from deployments.cli import demo_month
from flows.reporting.figures import gather
from flows.reporting.period import Period

END = datetime(2026, 11, 30, 6, tzinfo=UTC)
PLAN = SnapshotPlan(ages=(21_600, 86_400, 604_800))


def test_a_simulated_month_is_stored_as_a_real_one(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the month asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    month = demo_month.simulate(sqlite_store, PLAN, END, days=14, refresh_hours=12, posts_per_import=16)
    posts, snapshots, imports, spend = (table_of(model) for model in (Post, Snapshot, Import, Spend))
    with sqlite_store.connect() as conn:
        most = conn.execute(select(func.max(posts.c.plays))).scalar_one()
        first, last = conn.execute(select(func.min(posts.c.first_seen_at), func.max(posts.c.observed_at))).one()
        targets = set(conn.execute(select(snapshots.c.target_age).distinct()).scalars())
        states = set(conn.execute(select(imports.c.state).distinct()).scalars())
        called, paid = conn.execute(
            select(func.sum(spend.c.calls), func.sum(spend.c.spent_micros)).where(spend.c.kind == "metadata")
        ).one()
        measured = conn.execute(select(func.count()).select_from(snapshots)).scalar_one()
        gone = conn.execute(select(func.count()).where(posts.c.status == "gone")).scalar_one()
    assert 100_000 < most < 2**31
    assert END - timedelta(days=14) < first
    assert last < END
    assert set(PLAN.ages) <= targets
    assert states == {"complete"}
    assert called == measured + gone
    assert paid == called * demo_month.PRICE_MICROS

    [section] = gather(
        sqlite_store, collection=None, hashtag=None, period=Period(END - timedelta(days=7), END, END), plan=PLAN
    ).sections
    assert section.is_invented
    assert section.whole.compared > 20
    assert section.search.leading
    assert section.curves
    assert section.creators.top
    assert month.now <= END


def test_the_same_seed_is_the_same_month(sqlite_store: Store) -> None:
    demo_month.simulate(sqlite_store, PLAN, END, days=1)
    with sqlite_store.connect() as conn:
        posts = conn.execute(select(table_of(Post).c.post_id).order_by("post_id")).scalars().all()
    month = demo_month.Month(sqlite_store, PLAN, END - timedelta(days=1))
    month.jump_to(END - timedelta(days=1) + timedelta(minutes=1))
    again = month.catalog.newest(("tiktok", "instagram"), 24, tag=f"{demo_month.HASHTAG}{demo_month.SEED}")
    assert {post.post_id for post in again} <= set(posts)
