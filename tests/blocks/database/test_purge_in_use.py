"""Retention while runs are under way: what a run has in hand is not erased for its age."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from blocks.database.engine import Store
from blocks.database.purge import Target, purge
from blocks.database.store import import_polls, posts, runs, work
from blocks.database.store.import_polls import ItemSeen
from blocks.database.store.statements import table_of
from blocks.database.tables import Post, Run, Work
from blocks.posts.record import PostRef
from blocks.processes import name_holder
from tests.stored import measured, submit

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
OLD = NOW - 100 * DAY
CUTOFF = Target(cutoff=NOW - 90 * DAY)

POST = PostRef("tiktok", "7000000000000000001", "https://www.tiktok.com/@a/video/7000000000000000001")
OTHER = PostRef("tiktok", "7000000000000000002", "https://www.tiktok.com/@a/video/7000000000000000002")


@pytest.fixture
def filled(store: Store) -> Store:
    """Two posts that were measured 100 days ago, by a run that ended then."""
    with store.begin() as conn:
        runs.start_run(conn, run_id="then", flow="enrich-posts", now=OLD)
        runs.take_posts(conn, "then", [(POST, None), (OTHER, None)], now=OLD)
        posts.save_posts(conn, [measured(one, OLD, run_id="then") for one in (POST, OTHER)], OLD)
        runs.finish_run(conn, "then", outcome="done", message="done", summary=None, now=OLD)
    return store


def claimed(conn: Any) -> None:
    found = work.claim(conn, name_holder(), [POST], "refresh:86400", fresh_after=None)
    assert len(found.claimed) == 1


def given(conn: Any) -> None:
    runs.start_run(conn, run_id="now", flow="enrich-posts", owner="o", now=NOW)
    runs.take_posts(conn, "now", [(POST, None)], now=NOW)


def listed(conn: Any) -> None:
    runs.start_run(conn, run_id="now", flow="track-hashtags", owner="o", now=NOW)
    import_polls.record_poll(conn, submit(conn, "now"), [ItemSeen("VI1", POST.url, "PARSE", POST)])


def left(store: Store) -> list[str]:
    with store.connect() as conn:
        return list(conn.execute(sa.select(table_of(Post).c.post_id)).scalars())


@pytest.mark.parametrize("in_hand", [claimed, given, listed])
async def test_a_post_that_a_run_has_in_hand_stays(filled: Store, in_hand: Callable[[Any], None]) -> None:
    with filled.begin() as conn:
        in_hand(conn)
    dry = await purge(filled, CUTOFF, dry_run=True)
    done = await purge(filled, CUTOFF)
    assert (left(filled), done.erased["posts"], dry.erased["posts"]) == ([POST.post_id], 1, 1)
    assert done.erased == dry.erased
    # On request it goes all the same.
    assert (await purge(filled, Target(post=POST))).erased["posts"] == 1


@pytest.mark.parametrize("in_hand", [claimed, given, listed])
@pytest.mark.parametrize("ended", [True, False])
async def test_what_is_over_keeps_no_post(filled: Store, in_hand: Callable[[Any], None], ended: bool) -> None:
    """Ended, or killed: its lease is over."""
    with filled.begin() as conn:
        in_hand(conn)
        conn.execute(sa.update(table_of(Work)).values(lease_until=NOW - DAY))
        over: dict[str, Any] = {"finished_at": NOW} if ended else {"lease_until": NOW - DAY}
        conn.execute(sa.update(table_of(Run)).where(table_of(Run).c.run_id == "now").values(**over))
    await purge(filled, CUTOFF)
    assert left(filled) == []
