"""Posts far above their peers: found by the run that measured them, told once per threshold, without anybody's name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from blocks.database.engine import Store
from blocks.posts.snapshot_plan import SnapshotPlan
from blocks.settings import Settings
from flows.reporting import trending
from flows.reporting.trending import rising

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PLAN = SnapshotPlan()
BEGIN = NOW - timedelta(days=14)


def found(store: Store, run_id: str = "r-weeks", thresholds: tuple[float, ...] = (10.0, 50.0), peers: int = 30) -> Any:
    with store.connect() as conn:
        return rising(conn, run_id, BEGIN, NOW, PLAN, thresholds, peers)


def test_the_run_that_measured_it_finds_it_on_both_engines(store: Store, fill_weeks: Callable[..., None]) -> None:
    with store.begin() as conn:
        fill_weeks(conn)
    [one] = found(store)
    assert (one.post.platform, one.post.post_id) == ("tiktok", "7100000000000000057")
    assert one.times > 100
    assert (one.metric, one.baseline, one.peers, one.thresholds) == ("plays", "hashtag", 59, (10.0, 50.0))
    assert found(store, thresholds=(10.0, 1000.0))[0].thresholds == (10.0,)
    assert found(store, run_id="another") == []
    assert found(store, thresholds=(1000.0,)) == []
    # Sixty posts are too few for whoever asks for more.
    assert found(store, peers=60) == []


def test_each_threshold_is_one_event_whoever_tells_it(
    sqlite_store: Store, fill_weeks: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite_store.begin() as conn:
        fill_weeks(conn)
    told: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(trending, "announce", lambda event, **words: told.append((event, words)))
    [one] = found(sqlite_store)
    trending._announce(one, "first")
    trending._announce(one, "second")
    assert [event for event, _ in told] == ["tagtrail.post.trending"] * 4
    assert [words["payload"]["threshold"] for _, words in told] == [10.0, 50.0] * 2
    ids = [words["event_id"] for _, words in told]
    assert ids[:2] == ids[2:]
    assert ids[0] != ids[1]
    first = told[0][1]
    assert first["resource_id"] == "tagtrail.post.tiktok.7100000000000000057"
    assert first["payload"]["link"] == "https://www.tiktok.com/player/v1/7100000000000000057"
    assert "weaver" not in str(told)
    assert "woven" not in str(told)
    assert {one["prefect.resource.id"] for one in first["related"]} == {
        "tagtrail.collection.weeks", "tagtrail.hashtag.linen",
    }  # fmt: skip


def test_thresholds_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().tagtrail_trending_times == (100.0, 500.0)
    monkeypatch.setenv("TAGTRAIL_TRENDING_TIMES", "3, 7.5")
    assert Settings().tagtrail_trending_times == (3.0, 7.5)
    monkeypatch.setenv("TAGTRAIL_TRENDING_TIMES", "none")
    assert Settings().tagtrail_trending_times == ()
    for wrong in ("1", "many"):
        monkeypatch.setenv("TAGTRAIL_TRENDING_TIMES", wrong)
        with pytest.raises(ValidationError):
            Settings()
