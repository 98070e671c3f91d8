"""The snapshot plan: windows, states, rest and growth, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.posts.snapshot_plan import (
    COUNTS,
    Measured,
    SnapshotPlan,
    age_text,
    growth_per_day,
    parse_ages,
)
from tests.cases import each_case

T0 = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
HOUR, DAY = 3600, 86_400
PLAN = SnapshotPlan()


def at(hours: float, **counts: int | None) -> Measured:
    return Measured(T0 + timedelta(hours=hours), counts)


def test_the_default_plan_and_its_windows() -> None:
    assert parse_ages("1h,6h,24h,72h,7d,30d") == PLAN.ages
    assert ",".join(age_text(age) for age in PLAN.ages) == "1h,6h,24h,72h,7d,30d"
    ends = {age_text(one.age_seconds): one.ends_seconds / HOUR for one in PLAN.checkpoints}
    assert ends == {"1h": 3.5, "6h": 15, "24h": 48, "72h": 120, "7d": 18.5 * 24, "30d": 41.5 * 24}


@each_case("text", ["1", "6h,1h", "1h,1h", "0h", "1w", "1h,,2h", "-1h", "1.5h"])
def test_ages_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ages"):
        parse_ages(text)


def test_no_plan_and_a_plan_of_one_age() -> None:
    assert parse_ages("none") == parse_ages(" ") == ()
    assert SnapshotPlan(ages=()).checkpoints == ()
    assert SnapshotPlan(ages=()).at_age(5) is None
    assert [one.ends_seconds for one in SnapshotPlan(ages=(DAY,)).checkpoints] == [DAY + DAY // 2]


@given(
    ages=st.lists(st.integers(60, 10**8), min_size=1, max_size=12, unique=True).map(sorted),
    tolerance=st.floats(0.1, 100),
    age=st.integers(-(10**6), 2 * 10**8),
)
def test_a_snapshot_answers_one_checkpoint_at_most_and_none_before_its_age(
    ages: list[int], tolerance: float, age: int
) -> None:
    plan = SnapshotPlan(ages=tuple(ages), tolerance_percent=tolerance)
    open_then = [one for one in plan.checkpoints if one.age_seconds <= age < one.ends_seconds]
    assert len(open_then) <= 1
    assert plan.at_age(age) == (open_then[0] if open_then else None)


def test_an_unknown_age_answers_nothing() -> None:
    assert PLAN.at_age(None) is None
    assert PLAN.at_age(-5) is None


def test_numbers_that_stand_still_for_a_day_and_three_snapshots() -> None:
    still = [at(hour, plays=1000, likes=50, comments=0, views=None) for hour in (80, 60, 50)]
    assert PLAN.stands_still(still)
    assert not PLAN.stands_still(still[:2]), "two snapshots are not enough"
    assert not PLAN.stands_still([at(80, plays=5), at(79, plays=5), at(78, plays=5)]), "two hours say nothing"
    assert PLAN.stands_still([at(80, plays=5), at(79, plays=5), at(78, plays=5), at(50, plays=5)])
    assert not PLAN.stands_still([at(80, plays=5), at(79, plays=5), at(78, plays=5), at(50, plays=4)])


@each_case(
    ("newest", "oldest", "still"),
    [
        ({"plays": 1009}, {"plays": 1000}, True),
        ({"plays": 1010}, {"plays": 1000}, False),
        ({"plays": 990}, {"plays": 1000}, False),
        ({"plays": 0}, {"plays": 0}, True),
        ({"plays": 1}, {"plays": 0}, False),
        ({"plays": 1000, "comments": 6}, {"plays": 1000, "comments": 5}, False),
        ({"plays": 1000, "likes": None}, {"plays": 1000, "likes": 5}, True),
        ({"likes": None}, {"likes": None}, False),
        ({"likes": 5}, {"likes": None}, False),
        ({}, {}, False),
        ({"plays": 3_000_000_000}, {"plays": 2_999_999_000}, True),
    ],
)
def test_each_known_count_decides(newest: dict[str, int], oldest: dict[str, int], still: bool) -> None:
    assert PLAN.stands_still([at(90, **newest), at(60, **oldest), at(50, **oldest)]) is still


def test_with_zero_percent_nothing_rests() -> None:
    measured = [at(hour, **dict.fromkeys(COUNTS, 7)) for hour in (90, 60, 50)]
    assert PLAN.stands_still(measured)
    assert not SnapshotPlan(rest_percent=0).stands_still(measured)


def test_growth_is_what_both_snapshots_know_by_the_day() -> None:
    assert growth_per_day([at(36, plays=300, likes=9), at(24, plays=100, likes=None)], T0) == 400
    assert growth_per_day([at(12, plays=100, likes=None)], T0) == 200
    assert growth_per_day([at(36, plays=50), at(24, plays=100)], T0) == -100
    assert growth_per_day([at(0, plays=50)], T0) == 0
    assert growth_per_day([], T0) == 0
