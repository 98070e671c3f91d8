"""Posts that no channel ever serves come to an end, also where they are many, or all that is left."""

from __future__ import annotations

from typing import Any

import pytest

LONE = {"channel": "apify"}

each = pytest.mark.parametrize(
    ("scenario", "error_class", "calls_each"),
    [("unreadable-always", "Unreadable", 3), ("html-always", "ServerFault", 4)],
)


@pytest.fixture(autouse=True)
def short_rests(weather: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGTRAIL_CHANNEL_REST_SECONDS", "0.3")
    monkeypatch.setenv("TAGTRAIL_RETRY_SECONDS", "0.1")
    monkeypatch.setenv("TAGTRAIL_METADATA_PER_SECOND", "20")


@each
async def test_beside_posts_that_are_served_they_fail_in_the_same_run(
    weather: Any, scenario: str, error_class: str, calls_each: int
) -> None:
    weather.play(scenario)
    summary = await weather.track("lvmh", posts_per_hashtag=30, posts_per_task=10, **LONE)
    assert (summary.outcome, summary.exit_status) == ("attention", 3)
    assert (summary.enriched, summary.failed, summary.pending) == (24, 6, 0)
    assert summary.failures == {error_class: 6}
    assert weather.asked() == 24 + 6 * calls_each


@each
async def test_where_nothing_else_is_left_what_was_tried_counts_over_runs(
    weather: Any, scenario: str, error_class: str, calls_each: int
) -> None:
    weather.play(scenario, every=1)
    urls = [f"https://www.tiktok.com/@someone/video/{7_311_000_000_000_000_000 + number}" for number in range(6)]
    outcomes = []
    for _ in range(6):
        summary = await weather.enrich(*urls, posts_per_task=10, **LONE)
        outcomes.append(summary.outcome)
        if summary.outcome != "halted":
            break
    assert outcomes[0] == "halted", "nobody can tell such posts from a service that is down"
    assert outcomes[-1] == "attention", outcomes
    assert (summary.failed, summary.pending, summary.failures) == (6, 0, {error_class: 6})
    assert weather.asked() <= 6 * calls_each


async def test_one_whose_last_call_a_kill_came_after_is_not_asked_for_again(weather: Any) -> None:
    weather.play("unreadable-always", every=1)
    url = "https://www.tiktok.com/@someone/video/7311000000000000000"
    assert (await weather.enrich(url, **LONE)).failures == {"Unreadable": 1}
    assert weather.asked() == 3
    with weather.store() as store, store.begin() as conn:
        conn.exec_driver_sql("UPDATE work SET state = 'pending'")
    weather.play("default")
    after_the_kill = await weather.enrich(url, **LONE)
    assert (after_the_kill.outcome, after_the_kill.failed) == ("attention", 1)
    assert weather.asked() == 3
