"""The numbers of a report: each with the values it rests on, collections apart, growth only where it was measured."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from blocks.database.engine import Store
from blocks.database.store import runs
from blocks.memories.errors import UsageError
from blocks.memories.identity import parse_post_url
from flows.reporting.figures import BY_OTHER_MEANS, Figures, gather
from flows.reporting.growth import Growth
from flows.reporting.plots import growth as growth_plot
from flows.reporting.plots import posting_days, spread
from flows.reporting.points import open_points

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SHARED = "https://www.tiktok.com/@loom.0/video/7500000000000000000"
Read = Callable[..., Figures]


@pytest.fixture
def read(store: Store, fill: Callable[[Connection], None]) -> Read:
    with store.begin() as conn:
        fill(conn)

    def gathered(**more: Any) -> Figures:
        return gather(store, **({"collection": "autumn", "hashtag": None, "since": None, "now": NOW} | more))

    return gathered


def test_sums_say_how_many_values_they_rest_on(read: Read) -> None:
    [section] = read().sections
    whole = section.whole
    assert (whole.posts, dict(whole.platforms)) == (4, {"tiktok": 3, "instagram": 1})
    plays, likes = whole.figure("plays"), whole.figure("likes")
    assert (plays.total, plays.median, plays.known, plays.posts) == (1200, 200, 3, 4)
    assert (likes.total, likes.known) == (36, 2)
    assert whole.figure("saves").median is None
    assert list(section.hashtags) == ["linen", "wool"]
    assert [group.posts for group in section.hashtags.values()] == [3, 2]
    assert [row["post_id"][-1] for row in section.leading["plays"]] == ["0", "2", "1"]
    assert section.coverage.by_column()[-1].name == "raw_sha256"
    assert dict(section.failures) == {("parse", "UnknownShape"): 1}
    assert [line.spent_micros for line in section.spending] == [30_000]


def test_collections_are_kept_apart(read: Read) -> None:
    both = read(collection=None).sections
    assert [(section.collection, section.whole.posts) for section in both] == [("autumn", 4), ("rival", 1)]
    rival = both[1]
    assert len(read(collection=None).posts) == 5
    assert (list(rival.hashtags), rival.spending, len(rival.imports)) == (["flax"], [], 1)
    with pytest.raises(UsageError, match="there is no collection winter in the database; there are autumn, rival"):
        read(collection="winter")


def test_a_hashtag_or_a_period_narrows_all_parts(read: Read) -> None:
    [wool] = read(hashtag="wool").sections
    assert (wool.whole.posts, list(wool.hashtags), len(wool.imports)) == (2, ["wool"], 1)
    [recent] = read(since=NOW - timedelta(hours=2)).sections
    assert recent.whole.posts == 2
    assert recent.measured_from == NOW - timedelta(hours=1)


def test_what_another_collection_found_by_the_hashtag_is_left_out(read: Read, store: Store) -> None:
    with store.begin() as conn:
        runs.take_posts(conn, "r-rival", [(parse_post_url(SHARED), None)], now=NOW)
    [rival] = read(collection="rival").sections
    assert (rival.whole.posts, rival.hashtags[BY_OTHER_MEANS].posts) == (2, 1)
    [narrowed] = read(collection="rival", hashtag="linen").sections
    assert (narrowed.whole.posts, narrowed.hashtags, narrowed.growth.measured) == (0, {}, 0)


def test_growth_is_drawn_from_posts_measured_twice(read: Read) -> None:
    growth = read().sections[0].growth
    assert (growth.measured, growth.measured_twice) == (3, 1)
    assert growth.series() == [("tiktok", "plays"), ("tiktok", "likes")]
    points = growth.points("tiktok", "plays")
    assert [(point.span, point.median, point.posts) for point in points] == [
        ("under 2 h", 100, 1),
        ("2 to 12 h", 1000, 1),
    ]
    plot = growth_plot(growth, "plays")
    assert plot is not None
    assert "under 2 h: 100 (of 1 posts)" in plot.words


def test_one_post_and_span_is_one_value_its_last() -> None:
    growth = Growth()
    for post, age, plays in (("a", 10, 1), ("a", 20, 5), ("a", 90_000, 9), ("b", 30, 7), ("b", None, 8)):
        growth.add({"platform": "x", "post_id": post, "age_seconds": age, "plays": plays, "views": None, "likes": None})
    growth.close()
    assert [(point.median, point.posts) for point in growth.points("x", "plays")] == [(5, 1), (9, 1)]
    assert (growth.measured, growth.measured_twice) == (2, 1)
    assert growth.leading["x", "plays"] == [[(10, 1), (20, 5), (90_000, 9)]]


@pytest.mark.parametrize(
    ("ages", "plays", "named"),
    [
        ((90_000, 90_020), (3000, 3000), ["1 day", "7 days", "1k", "10k"]),
        ((70, 75), (0, 0), ["1 min", "10 min"]),
        ((3_000, 4_000_000), (2, 50_000), ["1 h", "30 days", "10k"]),
        ((3_600, 3_600), (10**6, 10**6 + 1), ["1 h", "1m"]),
    ],
)
def test_both_axes_have_names_also_where_measurements_are_close(
    ages: tuple[int, ...], plays: tuple[int, ...], named: list[str]
) -> None:
    growth = Growth()
    for age, count in zip(ages, plays, strict=True):
        growth.add(
            {"platform": "tiktok", "post_id": "a", "age_seconds": age, "plays": count, "views": None, "likes": None}
        )
    growth.close()
    plot = growth_plot(growth, "plays")
    assert plot is not None
    texts = re.findall(r">([^<>]+)</text>", plot.svg)
    assert set(named) <= set(texts)
    of_ages = [text for text in texts if re.fullmatch(r"\d+ (s|min|h|days?|years)", text)]
    assert len(of_ages) >= 2
    assert len(texts) >= 2 + 2 + len(of_ages)


def test_plots_are_the_same_each_time_and_take_any_text() -> None:
    values = {"#日本": [0, 5, 10**12], "#$x$ <b>": [3], "#nothing": []}
    first, second = spread(values, "plays"), spread(values, "plays")
    assert first is not None
    assert first == second
    assert "<b>" not in first.svg
    assert "日本" in first.svg
    assert "#nothing" not in first.words
    assert "currentColor" in first.svg
    assert "(of 3 posts)" in first.words
    assert 'role="img"' in first.svg
    assert spread({"#nothing": []}, "plays") is None
    assert posting_days({}) is None
    assert growth_plot(Growth(), "plays") is None


def test_a_point_is_unconfirmed_until_doctor_found_it() -> None:
    found = {"gone": {"verdict": "contradicted", "said": "an error", "at": "2026-11-20T12:00:00Z"}}
    points = open_points(found, [("tiktok", "apify")])
    assert [point.verdict for point in points if "removed" in point.assumed] == ["contradicted on 2026-11-20: an error"]
    assert points[-1].assumed == "Metadata of tiktok through apify has the form that was read."
    assert points[-1].verdict == "unconfirmed"
