"""The snapshot plan in the database: targets, rests, what is due and what it comes to, on both kinds of database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from blocks.database.engine import Store
from blocks.database.store import export, leases, posts, runs, snapshots, stale_work, work
from blocks.database.store.failures import GivenUp
from blocks.database.store.filters import Filters
from blocks.database.store.raw_payloads import RawAnswer, save_raw
from blocks.errors import NotFound
from blocks.posts.identity import parse_post_url
from blocks.posts.record import PostRecord, PostRef
from blocks.posts.snapshot_plan import SnapshotPlan

T0 = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
PLAN = SnapshotPlan()
HOUR, DAY = 3600, 86_400


def ref_of(number: int) -> PostRef:
    return parse_post_url(f"https://www.tiktok.com/@loom/video/{7_500_000_000_000_000_000 + number}")


def after(hours: float) -> datetime:
    return T0 + timedelta(hours=hours)


@pytest.fixture
def measure(store: Store) -> Callable[..., None]:
    """Stores a measurement of post `number`, posted at T0, so many hours after it."""

    def save(number: int, hours: float, *, purpose: str = "enrich", plan: Any = PLAN, **facts: Any) -> None:
        ref = ref_of(number)
        known: dict[str, Any] = {"posted_at": T0, "plays": 100, "likes": 5, "author_followers": 10} | facts
        record = PostRecord(platform=ref.platform, post_id=ref.post_id, url=ref.url, shape="invented", **known)
        saved = posts.EnrichedPost(
            record=record, channel="apify", observed_at=after(hours), purpose=purpose, plan=plan, run_id="r"
        )
        with store.begin() as conn:
            posts.save_posts(conn, [saved], now=after(hours))

    return save


def rows(store: Store, number: int = 1) -> list[tuple[Any, ...]]:
    """(age in hours, target in hours, lateness in hours) of each snapshot of a post."""
    found = [row for row in export.rows(store, "snapshots") if row["post_id"] == ref_of(number).post_id]
    names = ("age_seconds", "target_age", "lateness_seconds")
    return [tuple(None if row[name] is None else row[name] / HOUR for name in names) for row in found]


def due(store: Store, hours: float, **filters: Any) -> list[snapshots.DuePost]:
    with store.connect() as conn:
        return snapshots.due(conn, PLAN, after(hours), Filters(**filters))


def numbers(found: list[snapshots.DuePost]) -> list[int]:
    return [int(one.ref.post_id) - 7_500_000_000_000_000_000 for one in found]


def outlook(store: Store, hours: float, plan: SnapshotPlan = PLAN) -> snapshots.Outlook:
    with store.connect() as conn:
        return snapshots.outlook(conn, plan, after(hours))


def test_a_checkpoint_is_answered_once_in_its_window_and_never_later(
    store: Store, measure: Callable[..., None]
) -> None:
    for hours in (0.5, 1.25, 2, 4, 16, 25):
        measure(1, hours)
    expected = [
        (0.5, None, None), (1.25, 1, 0.25), (2, None, None), (4, None, None), (16, None, None), (25, 24, 1),
    ]  # fmt: skip
    assert rows(store) == expected
    # An older measurement that is stored late answers what it was in time for.
    measure(1, 7)
    assert (7, 6, 1) in rows(store)
    # Again, and nothing changes.
    before = list(export.rows(store, "snapshots"))
    for hours in (1.25, 7, 25):
        measure(1, hours, plays=999)
    assert list(export.rows(store, "snapshots")) == before


def test_two_measurements_of_one_transaction_answer_one_checkpoint(store: Store) -> None:
    ref = ref_of(1)
    record = PostRecord(platform=ref.platform, post_id=ref.post_id, url=ref.url, shape="x", posted_at=T0, plays=1)
    saved = [
        posts.EnrichedPost(record=record, channel="apify", observed_at=after(hours), plan=PLAN) for hours in (1.5, 1.25)
    ]
    with store.begin() as conn:
        posts.save_posts(conn, saved, now=after(2))
    assert rows(store) == [(1.25, 1, 0.25), (1.5, None, None)]


def test_without_time_of_posting_or_plan_there_is_no_target(store: Store, measure: Callable[..., None]) -> None:
    measure(1, 1.5, posted_at=None)
    measure(2, 1.5, plan=None)
    measure(3, 1.5, posted_at=after(2))
    assert rows(store, 1) == [(None, None, None)]
    assert rows(store, 2) == [(1.5, None, None)]
    assert rows(store, 3) == [(-0.5, None, None)]
    assert outlook(store, 2).unknown_age == 1
    assert numbers(due(store, 2)) == [2]


def test_followers_are_those_of_the_snapshot(store: Store, measure: Callable[..., None]) -> None:
    measure(1, 1, author_followers=10)
    measure(1, 6, author_followers=70)
    assert [row["author_followers"] for row in export.rows(store, "snapshots")] == [10, 70]


def test_due_are_the_most_growing_first_then_the_nearest_end(store: Store, measure: Callable[..., None]) -> None:
    for number, (first, second) in enumerate([(100, 200), (100, 900), (100, 200), (0, 0)]):
        posted_at = T0 - timedelta(minutes=number == 2)
        measure(number, 1, plays=first, posted_at=posted_at)
        measure(number, 3, plays=second, posted_at=posted_at)
    found = due(store, 7)
    assert numbers(found) == [1, 2, 0, 3]
    assert {one.purpose for one in found} == {f"refresh:{6 * HOUR}"}
    assert found[0].ends_at == after(15)
    assert found[0].growth == 800 * 12
    assert due(store, 5) == due(store, 15) == []
    assert [one.purpose for one in due(store, 24)] == [f"refresh:{DAY}"] * 4


def test_gone_failed_and_answered_posts_are_not_due(store: Store, measure: Callable[..., None]) -> None:
    for number in range(4):
        measure(number, 1)
    purpose = f"refresh:{6 * HOUR}"
    failure = GivenUp.post(
        ref_of(1), "metadata", NotFound("no such post", endpoint="x"), attempts=1, channel="apify", run_id="r"
    )
    with store.begin() as conn:
        posts.mark_gone(conn, [ref_of(0)], "r", now=after(6))
        posts.mark_failed(conn, [failure], now=after(6), purpose=purpose)
    measure(2, 6.5)
    assert numbers(due(store, 7)) == [3]
    told = outlook(store, 7)
    assert (dict(told.due), told.failed) == ({"tiktok": 1}, 1)
    # The next checkpoint tries again.
    assert numbers(due(store, 25)) == [1, 3, 2], "1 and 3 grew, of 2 two snapshots are equal"
    assert due(store, 25, hashtag="linen") == due(store, 25, collection="nobody's") == []


def test_an_answer_that_was_paid_for_comes_first_also_after_its_window(
    store: Store, measure: Callable[..., None]
) -> None:
    measure(1, 1)
    purpose = f"refresh:{6 * HOUR}"
    answer = RawAnswer(
        ref=ref_of(1), body=b"{}", channel="apify", url="u", purpose=purpose, fetched_at=after(7), run_id="r"
    )
    with store.begin() as conn:
        work.claim(conn, "killed", [ref_of(1)], purpose, fresh_after=None, now=after(7))
        save_raw(conn, [answer])
    [found] = due(store, 24.5)
    assert (found.purpose, found.ends_at) == (purpose, None)
    with store.begin() as conn:
        claimed = work.claim(conn, "b", [ref_of(1)], purpose, fresh_after=None, now=after(24.5), alive=lambda _: False)
    assert claimed.claimed[0].unparsed is not None
    measure(1, 7, purpose=purpose)
    assert [one.purpose for one in due(store, 24.5)] == [f"refresh:{DAY}"]


def resting(store: Store) -> list[tuple[Any, Any]]:
    with store.connect() as conn:
        return [tuple(row) for row in conn.execute(sa.text("SELECT resting_since, rested_until FROM posts"))]


def test_a_post_whose_numbers_stand_still_rests_until_they_move(store: Store, measure: Callable[..., None]) -> None:
    for hours in (6, 24, 73):
        assert resting(store) in ([], [(None, None)])
        measure(1, hours, plays=100_000, likes=None, likes_hidden=True)
    [(since, until)] = resting(store)
    assert since is not None
    assert until is None
    [post] = export.rows(store, "posts")
    assert post["extra"] == {"resting_since": "2026-03-04T10:00:00Z"}
    # The same where the columns are moments, for it stands inside JSON.
    assert [typed["extra"] for typed in export.rows(store, "posts", moments=True)] == [post["extra"]]
    assert due(store, 8 * 24) == []
    told = outlook(store, 8 * 24)
    assert (told.resting_posts, told.spared, sum(told.due.values())) == (1, 2, 0)
    assert dict(outlook(store, 40 * 24).past)["resting"] == 1
    with store.connect() as conn:
        seen = snapshots.next_snapshots(conn, PLAN, after(8 * 24))
    assert (seen.due, seen.next_day, seen.next_at, seen.resting) == (0, 0, None, 1)
    # Somebody's run finds that it moves again.
    measure(1, 20 * 24, plays=250_000, likes=None, likes_hidden=True)
    [(_, until)] = resting(store)
    assert until is not None
    assert [row["extra"] for row in export.rows(store, "posts")] == [{}]
    assert [one.purpose for one in due(store, 31 * 24)] == [f"refresh:{30 * DAY}"]
    # The window of 6 h ended more than 30 days ago.
    assert dict(outlook(store, 31 * 24).past) == {"taken": 2, "resting": 1}


def test_a_post_of_which_no_count_is_known_does_not_rest(store: Store, measure: Callable[..., None]) -> None:
    for hours in (6, 24, 73, 170):
        measure(1, hours, plays=None, likes=None, likes_hidden=True)
    assert resting(store) == [(None, None)]


def test_the_outlook_adds_up(store: Store, measure: Callable[..., None]) -> None:
    measure(1, 1)
    measure(2, 2)
    measure(3, 30)
    told = outlook(store, 30)
    # 1 and 2 missed 6 h, 3 was found after it; 24 h is taken of 3 and due of the others.
    assert dict(told.past) == {"taken": 3, "missed": 2, "unseen": 2}
    assert dict(told.due) == {"tiktok": 2}
    days = {day: count for day, count in enumerate(told.upcoming["tiktok"]) if count}
    assert days == {1: 3, 5: 3, 28: 3}
    # A database of 29 hours says nothing of what will come, one of two days does.
    assert told.expected_new == {}
    assert outlook(store, 50).expected_new.keys() == {"tiktok"}
    with store.connect() as conn:
        seen = snapshots.next_snapshots(conn, PLAN, after(30))
    assert (seen.due, seen.next_day, seen.next_at, seen.resting) == (2, 0, after(72), 0)
    empty = outlook(store, 30, SnapshotPlan(ages=()))
    assert (sum(empty.due.values()), empty.upcoming, sum(empty.past.values())) == (0, {}, 0)


def test_what_is_due_is_paid_by_who_found_it_first(store: Store, measure: Callable[..., None]) -> None:
    for number in (1, 2, 3):
        measure(number, 0.5)
    with store.begin() as conn:
        for hours, name, found in ((3, "autumn", (1, 2)), (2, "spring", (2,)), (1, None, (1, 2, 3))):
            runs.start_run(conn, run_id=f"{name}", flow="x", collection=name, now=after(hours))
            runs.take_posts(conn, f"{name}", [(ref_of(number), None) for number in found], now=after(hours))
    assert {numbers([one])[0]: one.collection for one in due(store, 7)} == {1: "autumn", 2: "spring", 3: None}
    assert {one.collection for one in due(store, 7, collection="autumn")} == {"autumn"}


def test_work_on_a_missed_checkpoint_is_dropped(store: Store, measure: Callable[..., None]) -> None:
    for number in (1, 2, 3, 4):
        measure(number, 0.5)
    with store.begin() as conn:
        for number, run in ((1, "killed"), (2, "killed"), (3, "killed"), (4, "living")):
            runs.start_run(conn, run_id=run, flow="refresh-metrics", owner=run, now=after(7))
            runs.take_posts(conn, run, [(ref_of(number), None)], purpose="refresh:21600", now=after(7))
        runs.take_posts(conn, "killed", [(ref_of(1), None)], now=after(7))
        # 2 was being bought when the run was killed; 3 was bought, and not parsed.
        work.claim(conn, "nobody", [ref_of(2)], "refresh:21600", fresh_after=None, now=after(7))
        save_raw(conn, [RawAnswer(ref_of(3), b"{}", "apify", "u", "refresh:21600", after(7), "killed")])

    def left_at(hours: float) -> list[int]:
        with store.begin() as conn:
            stale_work.drop_missed(conn, PLAN, after(hours))
            query = "SELECT post_id FROM work WHERE purpose = 'refresh:21600' ORDER BY post_id"
            found = conn.exec_driver_sql(query).scalars().all()
            assert conn.exec_driver_sql("SELECT count(*) FROM work WHERE purpose = 'enrich'").scalar_one() >= 1
        return [int(post_id) - 7_500_000_000_000_000_000 for post_id in found]

    assert left_at(16) == [1, 2, 3, 4], "what a run under way counts stays"
    with store.begin() as conn:
        runs.finish_run(conn, "killed", outcome="halted", message="", summary=None, now=after(8))
    assert left_at(14) == [1, 2, 3, 4], "the window is open"
    assert left_at(31) == [3, 4], "what is paid for is kept, and what a run under way counts"
    assert left_at(31) == [3, 4]
    with store.begin() as conn:
        leases.release_all(conn, "living")
    assert left_at(31) == [3], "one that does not live any more counts nothing"
