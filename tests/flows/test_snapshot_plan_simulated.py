"""Some days of one hashtag by a clock of our own (the whole month: `tests/benchmarks/snapshot_plan.py`)."""

from __future__ import annotations

from typing import Any

from blocks.database.engine import Store
from blocks.database.store import export
from blocks.posts.snapshot_plan import SnapshotPlan
from tests.benchmarks.snapshot_plan import simulate

HOUR = 3600
SHORT = SnapshotPlan(ages=(HOUR, 6 * HOUR, 24 * HOUR, 48 * HOUR, 72 * HOUR, 96 * HOUR), rest_percent=8)


def taken_by_post(store: Store) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    ends = {one.age_seconds: one.ends_seconds for one in SHORT.checkpoints}
    for row in export.rows(store, "snapshots"):
        if row["target_age"] is not None:
            assert row["target_age"] <= row["age_seconds"] < ends[row["target_age"]]
            assert row["lateness_seconds"] == row["age_seconds"] - row["target_age"]
            found.setdefault(row["post_id"], []).append(row["target_age"])
    return found


def test_followed_every_hour_nothing_is_missed_and_still_posts_rest(sqlite_store: Store) -> None:
    asked: dict[str, Any] = {"days": 5, "refresh_hours": 1, "import_hours": 24, "posts_per_import": 6, "plan": SHORT}
    found, month = simulate(sqlite_store, **asked)
    assert found.states["missed"] == 0
    assert found.states["measured"] > 60
    assert found.resting_posts > 3
    assert found.states["resting"] > 0
    assert found.refresh_calls * 2 < found.naive_calls
    by_post = taken_by_post(sqlite_store)
    assert all(len(ages) == len(set(ages)) for ages in by_post.values())
    assert sum(map(len, by_post.values())) == found.states["measured"]
    before = list(export.rows(sqlite_store, "snapshots"))

    # Again at the same moment, and the counts are the same.
    assert month.refresh() == 0
    assert list(export.rows(sqlite_store, "snapshots")) == before


def test_followed_once_a_day_or_with_little_money_checkpoints_are_missed_and_stay_empty(sqlite_store: Store) -> None:
    asked: dict[str, Any] = {"days": 4, "refresh_hours": 24, "import_hours": 24, "posts_per_import": 8, "plan": SHORT}
    found, _ = simulate(sqlite_store, usd_per_day=0.05, **asked)
    assert found.states["missed"] > 0
    assert 0 < found.refresh_calls <= 4 * 5
    taken_by_post(sqlite_store)
