"""Each rule for numbers, with the case that would have misled without it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from flows.reporting import statistics as rules
from flows.reporting.statistics import Listing

NAN = float("nan")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def numbers(*values: float) -> rules.Numbers:
    return np.array(values, dtype=np.float64)


def people(*codes: int) -> rules.Codes:
    return np.array(codes, dtype=np.int64)


def group(seed: int, posts: int, creators: int, times: float = 1.0) -> tuple[rules.Numbers, rules.Codes]:
    """Invented posts whose creators differ from one another, as real ones do."""
    rng = np.random.default_rng(seed)
    of = np.concatenate([np.arange(creators), rng.integers(0, creators, posts - creators)])
    habit = rng.lognormal(0, 0.7, creators)
    return np.round(np.exp(rng.normal(8, 0.7, posts)) * habit[of] * times), of


def test_posts_that_were_measured_late_are_not_compared_as_if_they_were_in_time() -> None:
    # At 30 hours a post has had a quarter more time than at 24; one of 31 hours would look better than its peers.
    late = numbers(0, 6 * 3600, 6 * 3600 + 1, NAN)
    assert rules.at_checkpoint(late).tolist() == [True, True, False, False]
    assert rules.at_checkpoint(numbers(900, 901), 3600).tolist() == [True, False]


def test_engagement_over_platforms_is_unknown_where_a_part_is() -> None:
    # Hidden likes counted as 0 would make a celebrity's post a failure.
    found = rules.engagement(numbers(10, NAN, 0), numbers(2, 5, 0))
    assert found[0] == 12
    assert np.isnan(found[1])
    assert found[2] == 0


def test_a_rate_is_the_median_of_rates_and_not_the_ratio_of_sums() -> None:
    # One clip of a billion plays would decide a ratio of sums: 1.1 % instead of 10 %.
    parts, whole = numbers(10, 10, 11, 10_000_000, 5), numbers(100, 100, 110, 1_000_000_000, 0)
    assert rules.rate(parts, whole) == pytest.approx(0.1)
    assert np.nansum(parts) / np.nansum(whole) == pytest.approx(0.01, rel=0.01)
    assert rules.rate(numbers(1, NAN), numbers(0, 5)) is None


def test_a_median_of_few_stands_without_an_interval() -> None:
    few = rules.middle(numbers(1, 2, 3, NAN), people(0, 1, 2, 3))
    assert (few.median, few.posts, few.creators, few.low, few.high) == (2, 3, 3, None, None)
    many = rules.middle(*group(1, 40, 20))
    assert many.low is not None
    assert many.median is not None
    assert many.high is not None
    assert many.low <= many.median <= many.high
    assert rules.middle(numbers(NAN), people(0)).median is None


def test_many_posts_of_few_creators_are_not_many() -> None:
    # Thirty posts by three creators: resampling posts would call this certain.
    values, of = group(2, 60, 3)
    found = rules.change(values * 3, of, values, of)
    assert found.verdict == "too few"
    assert found.ratio is None


def test_a_change_is_stated_where_the_interval_excludes_1_and_else_there_is_no_clear_change() -> None:
    before = group(3, 80, 40)
    assert rules.change(*group(4, 80, 40, times=4), *before).verdict == "up"
    assert rules.change(*group(4, 80, 40, times=0.25), *before).verdict == "down"
    # A third more, by the medians, and yet nothing that chance does not do.
    slight = rules.change(*group(5, 30, 15, times=1.2), *group(6, 30, 15))
    assert slight.verdict == "no clear change"
    assert slight.low is not None
    assert slight.high is not None
    assert slight.low < 1 < slight.high
    one_short = group(4, 19, 15, times=4)
    assert rules.change(*one_short, *before).verdict == "too few"
    assert rules.change(*before, *one_short).verdict == "too few"


def test_the_same_numbers_give_the_same_interval() -> None:
    now, before = group(7, 40, 20, times=1.5), group(8, 40, 20)
    assert rules.change(*now, *before) == rules.change(*now, *before)


def test_whoever_searches_many_comparisons_needs_more_to_be_sure_of_one() -> None:
    # Of 100 comparisons of posts that are alike some ten come out as a change by chance, or none where 300 are made.
    plain = corrected = 0
    for seed in range(0, 200, 2):
        now, before = group(1000 + seed, 40, 20), group(1001 + seed, 40, 20)
        found = rules.change(*now, *before)
        plain += found.verdict in ("up", "down")
        if found.verdict in ("up", "down"):
            corrected += rules.change(*now, *before, comparisons=300).verdict in ("up", "down")
    assert 1 <= plain <= 15
    assert corrected == 0


def test_a_median_of_zero_is_no_base() -> None:
    zeros = numbers(*([0] * 30)), people(*range(30))
    assert rules.change(*group(9, 30, 30), *zeros).verdict == "too few"


def test_growth_compares_each_post_with_itself() -> None:
    # Old posts are the large ones here: medians of whoever was measured would say 400 to 400,000, at 0 % growth.
    small, large = [400.0] * 12, [400_000.0] * 12
    earlier = numbers(*small, *large, *([NAN] * 5))
    later = numbers(*small, *large, *([9e6] * 5))
    found = rules.growth(earlier, later, 24, ages_seconds=(3600, 86_400))
    assert found is not None
    assert (found.pairs, found.median, found.low, found.high, found.selected) == (24, 1, 1, 1, False)


def test_growth_from_few_pairs_or_near_ages_or_from_zero_says_nothing() -> None:
    nine, ten = numbers(*([5] * 9)), numbers(*([5] * 10))
    assert rules.growth(nine, nine * 2, 9, ages_seconds=(3600, 86_400)) is None
    assert rules.growth(ten, ten * 2, 10, ages_seconds=(86_400, 90_000)) is None
    assert rules.growth(ten * 0, ten, 10, ages_seconds=(3600, 86_400)) is None
    doubled = rules.growth(ten, ten * 2, 10, ages_seconds=(3600, 86_400))
    assert doubled is not None
    assert doubled.median == 2


def test_growth_of_those_that_were_measured_is_called_selected() -> None:
    ten = numbers(*([5] * 10))
    for due, selected in ((12, False), (13, True)):
        found = rules.growth(ten, ten, due, ages_seconds=(3600, 86_400))
        assert found is not None
        assert found.selected is selected
    assert not rules.is_selected(0, 0)


def test_a_creators_baseline_is_ten_earlier_posts_at_least_and_never_the_post_itself() -> None:
    values = numbers(*range(1, 12), NAN, 1000)
    found, counts = rules.creators_baseline(values, numbers(*range(13)))
    assert np.isnan(found[:10]).all()
    assert found[10] == 5.5
    # The hidden one before it counts for nothing, and what came later neither.
    assert (found[12], counts[12]) == (6, 11)
    assert rules.times(values, found)[12] == pytest.approx(1000 / 6)
    # Of two posts of one second neither is the earlier one.
    found, _ = rules.creators_baseline(values, numbers(*range(10), 10, 10, 10))
    assert found[10:].tolist() == [5.5, 5.5, 5.5]
    found, _ = rules.creators_baseline(values, numbers(*[7] * 13))
    assert np.isnan(found).all()


def test_a_hashtags_baseline_is_thirty_others_at_least() -> None:
    assert np.isnan(rules.peers_baseline(numbers(*range(30)))).all()
    rng = np.random.default_rng(10)
    for size in (31, 32, 60):
        values = rng.integers(0, 20, size).astype(np.float64)
        found = rules.peers_baseline(values)
        assert found.tolist() == [float(np.median(np.delete(values, at))) for at in range(size)]


def test_nothing_is_a_multiple_of_zero() -> None:
    found = rules.times(numbers(5, 5, 5), numbers(0, NAN, 2))
    assert np.isnan(found[:2]).all()
    assert found[2] == 2.5


def listing(requested: int, listed: int, shared: int | None, hours: float = 10) -> Listing:
    return Listing(requested, listed, shared, NOON - timedelta(hours=hours), NOON, listed)


def test_the_newest_posts_measure_our_schedule_unless_imports_overlap_and_none_is_full() -> None:
    # 25 posts a day, every day: so many were asked for.
    assert not rules.tells_the_world([listing(25, 25, None), listing(25, 25, 5)])
    assert not rules.tells_the_world([listing(25, 20, None), listing(25, 20, 0)])
    assert not rules.tells_the_world([listing(25, 20, None)])
    assert not rules.tells_the_world([])
    assert rules.tells_the_world([listing(25, 20, None), listing(25, 21, 3)])
    # One that is under way, or failed, may list more.
    unfinished = replace(listing(25, 21, 3), is_complete=False)
    assert not rules.tells_the_world([listing(25, 20, None), unfinished])


def test_the_pace_is_told_with_its_window() -> None:
    found = rules.pace(listing(25, 21, 0, hours=10))
    assert found is not None
    assert (found.posts, found.hours, found.per_hour) == (21, 10, 2)
    assert rules.pace(listing(25, 1, None)) is None
    assert rules.pace(listing(25, 5, None, hours=0)) is None
    assert rules.pace(Listing(25, 5, None, None, None, 0)) is None
    # 25 listed, and of two of them it is known when they were posted: an hour apart.
    found = rules.pace(replace(listing(25, 25, None, hours=1), timed=2))
    assert found is not None
    assert (found.posts, found.per_hour) == (2, 1)


def test_resampled_medians_are_those_of_resampled_creators() -> None:
    # One creator with all posts: each resample is the same, however many posts there are.
    values = numbers(*range(50))
    assert set(rules.resampled_medians(values, people(*([0] * 50)), 1, 20)) == {24.5}
    spread = rules.resampled_medians(values, people(*range(50)), 1, 400)
    assert 2 < np.std(spread) < 12
    many = rules.resampled_medians(np.arange(5000.0), np.arange(5000), 1, 50)
    assert abs(np.median(many) - 2500) < 200
