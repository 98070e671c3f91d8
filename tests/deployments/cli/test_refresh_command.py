"""`refresh --dry-run` and the plan's line of `status`: what is due, what it costs, and nothing is called."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.database.store import posts
from blocks.posts.snapshot_plan import SnapshotPlan
from deployments.cli.commands.status import next_line

HOUR = timedelta(hours=1)


@pytest.fixture
def followed(home_store: Store, record: Callable[..., Any]) -> Store:
    """Three posts of seven hours ago, measured an hour after they were posted, and one that has no time."""
    posted_at = datetime.now(UTC) - 7 * HOUR
    saved = [
        posts.EnrichedPost(
            record=record(number, posted_at=None if number == 3 else posted_at),
            channel="apify",
            observed_at=posted_at + 1.1 * HOUR,
            run_id="r1",
            plan=SnapshotPlan(),
        )
        for number in range(4)
    ]
    with home_store.begin() as conn:
        posts.save_posts(conn, saved, now=posted_at + 1.1 * HOUR)
    return home_store


def test_a_dry_run_tells_what_is_due_and_the_next_30_days(
    followed: Store, tagtrail: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_PRICES", '{"metadata": {"tiktok/apify": 0.02}}')
    called = tagtrail("refresh", "--dry-run", "--json", "--max-spend", "0.05")
    assert called.status == 0
    told = called.json
    assert told["due"] == {"tiktok": {"posts": 3, "usd": 0.06}}
    assert told["plan"] == ["1h", "6h", "24h", "72h", "7d", "30d"]
    coming = told["next_30_days"]
    assert (coming["calls"], coming["usd"]) == (15, 0.3)
    by_day = {day["day"]: day["calls"] for day in coming["days"] if day["calls"]}
    assert by_day == {0: 6, 2: 3, 6: 3, 29: 3}
    assert told["last_30_days"] == {"taken": 3, "missed": 0, "resting": 0, "unseen": 0}
    assert told["posts_of_unknown_age"] == 1
    assert coming["new_posts"]["calls"] is None

    text = tagtrail("refresh", "--dry-run", "--max-spend", "0.05")
    assert "Due now: 3 posts (tiktok 3), 0.06 USD." in text.out
    assert "The cap of 0.05 USD per run would halt a refresh now; what is left stays due." in text.out
    assert "Days  1 to  7: 12 snapshots (tiktok 12), 0.24 USD" in text.out
    assert "Days 29 to 30: 3 snapshots (tiktok 3), 0.06 USD" in text.out
    assert "What they will add can be told once posts have come in for two days." in text.out
    assert "Outside the plan: 1 post whose time of posting is not known." in text.out
    assert "Nothing was called." in text.err
    assert tagtrail("refresh", "--dry-run", "--collection", "nobody's", "--json").json["due"] == {}


def test_status_says_what_comes_next(followed: Store, tagtrail: Callable[..., Any]) -> None:
    assert "Next snapshots: 3 due now (`tagtrail refresh` buys them), 3 more within 24 h, the next at" in (
        tagtrail("status").out
    )
    coming = tagtrail("status", "--json").json["next_snapshots"]
    assert (coming["due"], coming["next_day"], coming["resting"]) == (3, 3, 0)


def test_without_a_plan_nothing_is_due(
    followed: Store, tagtrail: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_SNAPSHOT_AGES", "none")
    assert tagtrail("refresh", "--dry-run").out == "There is no snapshot plan: TAGTRAIL_SNAPSHOT_AGES is none.\n"
    assert tagtrail("refresh", "--dry-run", "--json").json["due_posts"] == 0
    assert "There is no snapshot plan" in tagtrail("status").out


def test_an_empty_home_has_nothing_due(tagtrail: Callable[..., Any]) -> None:
    called = tagtrail("refresh", "--dry-run")
    assert called.status == 0
    assert "Due now: 0 posts, 0.00 USD." in called.out


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("TAGTRAIL_SNAPSHOT_AGES", "6h,1h", "TAGTRAIL_SNAPSHOT_AGES: the ages of the plan are in ascending order"),
        ("TAGTRAIL_SNAPSHOT_AGES", "soon", "TAGTRAIL_SNAPSHOT_AGES: ages are written like 30m, 6h or 7d"),
        ("TAGTRAIL_REST_SNAPSHOTS", "1", "TAGTRAIL_REST_SNAPSHOTS: it has to be 2 or more"),
    ],
)
def test_wrong_settings_are_one_sentence(
    tagtrail: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, setting: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(setting, value)
    called = tagtrail("refresh", "--dry-run")
    assert called.status == 2
    assert called.err.startswith(f"tagtrail: {sentence}")


def test_wrong_input_is_one_sentence(tagtrail: Callable[..., Any]) -> None:
    for words in (["--hashtag", "two words"], ["--max-spend", "much"], ["--collection", "x" * 300]):
        called = tagtrail("refresh", "--dry-run", *words)
        assert (called.status, called.err.count("\n")) == (2, 1)


def test_a_line_without_anything_to_come() -> None:
    from blocks.database.store.snapshots import NextSnapshots

    assert next_line(NextSnapshots(0, 0, None, 2), SnapshotPlan()) == ("0 due now, 0 more within 24 h; 2 posts at rest")
