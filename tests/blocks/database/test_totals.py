"""What a day and a run called, cost and brought."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from blocks.database.engine import Store
from blocks.database.store import import_polls, money, overview, runs
from blocks.database.store.import_polls import ItemSeen
from blocks.database.store.overview import Totals
from blocks.database.store.posts import save_posts
from blocks.posts.identity import parse_post_url
from blocks.posts.record import PostRef
from tests.stored import measured, submit

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
YESTERDAY = NOON - timedelta(days=1)


def ref(number: int) -> PostRef:
    return parse_post_url(f"https://www.tiktok.com/@loom/video/750000000000000000{number}")


def measure(conn: Connection, number: int, run_id: str, at: datetime) -> None:
    save_posts(conn, [measured(ref(number), at, run_id=run_id)], at)


def listed(conn: Connection, run_id: str, numbers: tuple[int, ...], at: datetime) -> None:
    """An import of a run that lists these posts, paid for."""
    import_id = submit(conn, run_id, dedup_key=run_id, now=at)
    items = [ItemSeen(f"V{number}", ref(number).url, "PARSE", ref(number)) for number in numbers]
    import_polls.record_poll(conn, import_id, [*items, ItemSeen("V9", None, None, None)], now=at)
    paid(conn, run_id, "import", 10_000 * len(numbers), len(numbers), at, import_id=import_id)


def paid(conn: Connection, run_id: str, kind: Any, micros: int, calls: int, at: datetime, **more: Any) -> None:
    purpose = money.Purpose("a", run_id, "c", kind, **more)
    spend_id = money.reserve(conn, purpose, micros=micros, caps=money.Caps(), now=at)
    money.settle(conn, spend_id, spent_micros=micros, calls=calls, now=at)


def test_a_day_and_a_run(store: Store) -> None:
    with store.begin() as conn:
        assert overview.totals_of_day(conn, NOON) == Totals()
        runs.start_run(conn, run_id="r0", flow="track-hashtags", collection="c", now=YESTERDAY)
        listed(conn, "r0", (1, 2), YESTERDAY)
        measure(conn, 1, "r0", YESTERDAY)
        runs.start_run(conn, run_id="r1", flow="track-hashtags", collection="c", now=NOON)
        listed(conn, "r1", (1, 3, 4), NOON)
        for number in (1, 3):
            measure(conn, number, "r1", NOON)
        paid(conn, "r1", "metadata", 30_000, 3, NOON, platform="tiktok", channel="apify")
        # What the day before left pending is new among the enriched, and known among the posts.
        runs.start_run(conn, run_id="r2", flow="collect-imports", now=NOON + timedelta(hours=1))
        runs.take_posts(conn, "r2", [(ref(2), None)], now=NOON + timedelta(hours=1))
        measure(conn, 2, "r2", NOON + timedelta(hours=1))
        money.reserve(
            conn, money.Purpose("a", "r2", "c", "metadata", "tiktok", "rapid"), micros=5_000, caps=money.Caps(),
            now=NOON + timedelta(hours=1),
        )  # fmt: skip
        first = overview.totals_of_run(conn, "r1", NOON)
        seen = overview.overview(conn, NOON + timedelta(hours=2))
    calls = {"imported posts": 3, "tiktok/apify": 3}
    assert first == Totals(calls, 60_000, new_posts=2, known_posts=1, new_enriched=1, usd_per_1000_new=60.0)
    assert seen.today == Totals(calls, 65_000, new_posts=2, known_posts=2, new_enriched=2, usd_per_1000_new=32.5)
    assert seen.last_run is not None
    assert seen.last_run.tally == Totals({}, 5_000, new_posts=0, known_posts=1, new_enriched=1, usd_per_1000_new=5.0)
    assert seen.last_run.spent_micros == 5_000


def test_a_run_that_measured_nothing_new_has_no_price_for_it(store: Store) -> None:
    with store.begin() as conn:
        measure(conn, 1, "r0", YESTERDAY)
        runs.start_run(conn, run_id="r1", flow="refresh-metrics", now=NOON)
        runs.take_posts(conn, "r1", [(ref(1), None)], now=NOON, purpose="refresh:3600")
        measure(conn, 1, "r1", NOON)
        paid(conn, "r1", "metadata", 10_000, 1, NOON, platform="tiktok", channel="apify")
        told = overview.totals_of_run(conn, "r1", NOON)
    assert told == Totals({"tiktok/apify": 1}, 10_000, known_posts=1)


def test_a_post_that_several_bring_counts_once(store: Store) -> None:
    later = NOON + timedelta(minutes=5)
    with store.begin() as conn:
        runs.start_run(conn, run_id="r1", flow="track-hashtags", collection="c", now=NOON)
        runs.start_run(conn, run_id="r2", flow="import-posts", collection="c", now=NOON)
        listed(conn, "r1", (1, 2), NOON)
        # Given by URL as well as listed, listed by both runs, and listed by two imports of one run.
        runs.take_posts(conn, "r2", [(ref(3), None)], now=later)
        listed(conn, "r2", (2, 3), later)
        first, second = overview.totals_of_run(conn, "r1", NOON), overview.totals_of_run(conn, "r2", NOON)
        assert (first.new_posts, first.known_posts) == (2, 0)
        # Seen for the first time since the run began, whichever of the two was quicker.
        assert (second.new_posts, second.known_posts) == (2, 0)
        assert overview.totals_of_run(conn, "r2", later).known_posts == 1
        day = overview.totals_of_day(conn, later)
        assert (day.new_posts, day.known_posts) == (3, 0)
        tomorrow = NOON + timedelta(days=1)
        runs.start_run(conn, run_id="r3", flow="import-posts", collection="c", now=tomorrow)
        runs.take_posts(conn, "r3", [(ref(1), None), (ref(4), None)], now=tomorrow)
        day = overview.totals_of_day(conn, tomorrow)
        assert (day.new_posts, day.known_posts) == (1, 1)
