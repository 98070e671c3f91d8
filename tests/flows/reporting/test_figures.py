"""What a report counts, against databases small enough to count by hand."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection

from blocks.database.engine import Store, open_store
from blocks.database.store import erasure, posts, runs
from blocks.database.store import report as rows
from blocks.errors import UsageError
from blocks.posts.identity import parse_post_url
from blocks.posts.snapshot_plan import SnapshotPlan
from flows.reporting import figures
from flows.reporting.figures import Figures, gather
from flows.reporting.period import Period, period_of
from flows.reporting.sample import STATES, load
from tests.blocks.posts.checkpoint_states import checkpoint_states
from tests.cases import each_case

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
PLAN = SnapshotPlan()


def gathered(
    store: Store, collection: str | None = None, hashtag: str | None = None, period: Period | None = None
) -> Figures:
    wanted = period or Period(NOW - WEEK, NOW, NOW)
    return gather(store, collection=collection, hashtag=hashtag, period=wanted, plan=PLAN)


@pytest.fixture(scope="module")
def weeks(
    migrated_sqlite: Path, fill_weeks: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    path = tmp_path_factory.mktemp("weeks") / "tagtrail.db"
    shutil.copyfile(migrated_sqlite, path)
    store = open_store(f"sqlite:///{path}")
    with store.begin() as conn:
        fill_weeks(conn)
    yield store
    store.close()


def test_two_weeks_side_by_side(weeks: Store) -> None:
    [section] = gathered(weeks).sections
    whole = section.whole
    assert (whole.posts, whole.posts_before, whole.creators) == (30, 30, 15)
    assert (whole.compared, whole.too_young, whole.late, whole.not_measured) == (30, 0, 0, 0)
    [stratum] = whole.strata
    assert (stratum.name, stratum.metric, stratum.change.verdict) == ("tiktok video", "plays", "up")
    assert stratum.change.ratio is not None
    assert 3.9 < stratum.change.ratio < 6
    assert section.sentences[0].startswith("#linen: ")
    assert "30 posts, 15 creators" in section.sentences[0]
    assert "corrected for 2 comparisons" in section.sentences[0]
    assert not section.is_invented


def test_growth_is_paired_and_counts_what_was_due(weeks: Store) -> None:
    [section] = gathered(weeks).sections
    [curve] = [one for one in section.curves if one.metric == "plays" and one.posts == "posts of the last 90 days"]
    first, second, third, *_ = curve.steps
    assert [step.growth and step.growth.median for step in (first, second, third)] == [
        2,
        1.5,
        pytest.approx(4 / 3, rel=0.01),
    ]
    assert first.growth is not None
    assert (first.growth.pairs, first.due, first.growth.selected) == (60, 60, False)
    # Of the last step nobody was measured: the week's posts have not come to it, those of the week before missed it.
    assert curve.steps[3].growth is None
    assert curve.steps[3].states["missed"] + curve.steps[3].states["due"] > 0


def test_a_post_that_outruns_its_peers_is_found_with_its_baseline(weeks: Store) -> None:
    [section] = gathered(weeks).sections
    first = section.search.leading[0]
    key = section.sample.keys[first.post]
    assert key == ("tiktok", str(7_100_000_000_000_000_057))
    # Fifteen creators of two posts a week: none has ten earlier ones.
    assert (first.outrun.baseline, first.outrun.posts, first.tag) == ("hashtag", 59, "#linen")
    values = section.sample.at("plays")
    others = np.delete(values, first.post)
    assert first.outrun.base == np.median(others)
    assert first.outrun.times == values[first.post] / np.median(others)
    assert section.search.searched == 30
    assert key not in section.baselines[0]
    assert "furthest above its peers" in section.sentences[1]
    assert "weaver" in section.sentences[1]
    assert not any("weaver" in sentence for sentence in section.nameless_sentences)


def test_a_creator_with_ten_earlier_posts_is_his_own_measure(
    sqlite_store: Store, fill_weeks: Callable[..., None]
) -> None:
    with sqlite_store.begin() as conn:
        fill_weeks(conn, creators=2, a_week=30, rise=1)
    [section] = gathered(sqlite_store).sections
    assert {one.outrun.baseline for one in section.search.leading} == {"creator"}
    assert section.search.leading[0].outrun.posts >= 10
    # Thirty posts, and yet of two people only.
    assert section.whole.strata[0].change.verdict == "too few"
    assert section.sentences[0].startswith("No hashtag's change can be stated")


def test_a_few_posts_are_counted_and_not_compared(sqlite_store: Store, fill: Callable[[Connection], None]) -> None:
    with sqlite_store.begin() as conn:
        fill(conn)
    autumn, rival = sorted(gathered(sqlite_store).sections, key=lambda one: one.collection)
    assert (autumn.collection, autumn.whole.posts, rival.whole.posts) == ("autumn", 3, 1)
    assert autumn.whole.too_young == 3
    assert autumn.whole.engagement is not None
    assert autumn.whole.engagement.now.posts == 0
    # Measured outside of any plan: no checkpoint, and so nothing to compare.
    assert autumn.search.searched == 0
    assert autumn.sentences[1].startswith("No post of the period was measured in time")
    assert autumn.failures == {("parse", "UnknownShape"): 1}
    assert [(one.calls, one.spent_micros) for one in autumn.spending] == [(3, 30_000)]
    assert dict(figures.statuses(autumn)) == {"gone": 0, "measured": 3, "never measured": 0}
    assert ("likes", 1, {"hidden_by_owner": 1}) in figures.missing_numbers(autumn)
    # Posts without a time of posting are in reports of all time only.
    everything = gathered(sqlite_store, "autumn", period=Period(None, NOW, NOW)).sections[0]
    assert everything.whole.posts == 4
    assert everything.before is None
    assert everything.sentences[0].startswith("This report is of all time")
    assert figures.statuses(everything)["never measured"] == 1


def test_a_post_of_two_hashtags_counts_in_each_and_the_overlap_is_told(
    sqlite_store: Store, fill: Callable[[Connection], None]
) -> None:
    with sqlite_store.begin() as conn:
        fill(conn)
    [autumn] = gathered(sqlite_store, "autumn").sections
    lines = {line.label: line for line in autumn.hashtags}
    assert {label: (line.posts, line.shared) for label, line in lines.items()} == {
        "#linen": (2, 1), "#wool": (2, 1), "all": (3, 1),
    }  # fmt: skip
    [wool] = gathered(sqlite_store, "autumn", "wool").sections
    assert [line.label for line in wool.hashtags] == ["#wool", "all"]
    assert wool.whole.posts == 2


def test_posts_given_by_url_stand_apart(sqlite_store: Store, fill_weeks: Callable[..., None]) -> None:
    with sqlite_store.begin() as conn:
        fill_weeks(conn)
        ref = parse_post_url("https://www.tiktok.com/@weaver.0/video/7100000000000000055")
        runs.start_run(conn, run_id="given", flow="enrich-posts", account="acc", collection="given", now=NOW - WEEK)
        runs.take_posts(conn, "given", [(ref, None)], now=NOW - WEEK)
    [section] = gathered(sqlite_store, "given").sections
    assert [(line.label, line.posts) for line in section.hashtags] == [("by URL or creator", 1), ("all", 1)]


def test_how_much_is_posted_is_told_where_imports_overlap_only(weeks: Store) -> None:
    [section] = gathered(weeks, period=Period(NOW - 3 * WEEK, NOW, NOW)).sections
    [rate] = section.rates
    assert (rate.imports, rate.full, rate.by_day) == (1, 0, None)
    assert rate.pace is not None
    assert rate.pace.posts == 60


def test_there_is_no_such_collection(sqlite_store: Store, fill: Callable[[Connection], None]) -> None:
    with pytest.raises(UsageError, match="no collection winter in the database; there is none yet"):
        gathered(sqlite_store, "winter")
    with sqlite_store.begin() as conn:
        fill(conn)
    with pytest.raises(UsageError, match="there are autumn, rival"):
        gathered(sqlite_store, "winter")


def test_what_sandboxes_said_is_invented(sqlite_store: Store, fill_weeks: Callable[..., None]) -> None:
    with sqlite_store.begin() as conn:
        fill_weeks(conn)
        runs.start_run(
            conn, run_id="sand", flow="track-hashtags", account="acc", collection="weeks",
            parameters={"service": "127.0.0.1:8787"}, now=NOW,
        )  # fmt: skip
    made = gathered(sqlite_store)
    assert made.is_invented
    assert made.sections[0].is_invented


def test_the_past_is_told_as_it_was_known_then(sqlite_store: Store, fill_weeks: Callable[..., None]) -> None:
    then = Period(NOW - WEEK, NOW, NOW)
    with sqlite_store.begin() as conn:
        fill_weeks(conn)
    before = gathered(sqlite_store, period=then).sections[0]
    with sqlite_store.begin() as conn:
        # Two weeks later: more posts, more measurements, and one that is gone.
        fill_weeks(conn, until=NOW + 2 * WEEK + timedelta(hours=1), number=1, rise=50)
        gone = parse_post_url("https://www.tiktok.com/@weaver.0/video/7100000000000000045")
        posts.mark_gone(conn, [gone], "r-weeks", NOW + WEEK)
    after = gathered(sqlite_store, period=then).sections[0]
    assert after.rows_sha256 == before.rows_sha256
    assert after.sentences == before.sentences
    assert after.hashtags == before.hashtags
    assert after.changed_since.erased == 0
    later = gathered(sqlite_store, period=Period(NOW - WEEK, NOW, NOW + WEEK)).sections[0]
    assert later.rows_sha256 != before.rows_sha256


def test_what_was_erased_since_is_told(sqlite_store: Store, fill_weeks: Callable[..., None]) -> None:
    with sqlite_store.begin() as conn:
        fill_weeks(conn)
    whole = gathered(sqlite_store).sections[0]
    with sqlite_store.begin() as conn:
        erase_post(conn, "tiktok", "7100000000000000045", NOW + WEEK)
    less = gathered(sqlite_store).sections[0]
    assert less.whole.posts == whole.whole.posts - 1
    assert less.changed_since.erased == 1
    assert less.rows_sha256 != whole.rows_sha256


def erase_post(conn: Connection, platform: str, post_id: str, now: datetime) -> None:
    erasure.erase_posts(conn, [(platform, post_id)], now=now, on_request=True)


NAMES = {"measured": "taken"}
PLANNED = ("posted_at", "first_seen_at", "resting_since", "rested_until")
HOUR, DAY = 3600, 86_400
POSTED = NOW - 2000 * timedelta(hours=1)


def states(hours: float, taken: Collection[int] = (), **known: datetime) -> list[str]:
    """How a post's checkpoints stand so many hours after it was posted."""
    moments = dict.fromkeys(rows.TIMES) | {"posted_at": POSTED, "first_seen_at": POSTED}
    sample = load([[row_of(1, moments | known, set(taken))]], PLAN, POSTED + timedelta(hours=hours))
    found = [STATES[sample.states(age)[0]] for age in PLAN.ages]
    return [NAMES.get(one, one) for one in found]


def test_checkpoints_become_due_and_are_missed() -> None:
    assert states(0.5) == ["upcoming"] * 6
    assert states(1) == ["due"] + ["upcoming"] * 5
    assert states(3.5) == ["missed"] + ["upcoming"] * 5
    assert states(30, taken={HOUR, DAY}) == ["taken", "missed", "taken", "upcoming", "upcoming", "upcoming"]
    assert states(2000, taken={HOUR}) == ["taken"] + ["missed"] * 5


def test_what_was_over_before_the_post_was_found_is_not_missed() -> None:
    found = POSTED + timedelta(hours=100)
    assert states(100, first_seen_at=found) == ["unseen", "unseen", "unseen", "due", "upcoming", "upcoming"]
    assert states(300, first_seen_at=found)[3] == "missed"


def test_a_rest_is_neither_due_nor_missed_and_ends() -> None:
    since = POSTED + timedelta(hours=72)
    taken = {HOUR, 6 * HOUR, DAY, 3 * DAY}
    assert states(100, taken=taken, resting_since=since)[4:] == ["resting", "resting"]
    assert states(2000, taken=taken, resting_since=since)[4:] == ["resting", "resting"]
    # Moving again in the window of the last one: that one is due, and the one before was left out.
    moved = POSTED + timedelta(days=29)
    assert states(31 * 24, taken=taken, resting_since=since, rested_until=moved)[4:] == ["resting", "due"]
    assert states(2000, taken=taken, resting_since=since, rested_until=moved)[4:] == ["resting", "missed"]


@each_case("seed", range(3))
def test_the_states_of_checkpoints_are_the_plans(seed: int) -> None:
    rng = np.random.default_rng(seed)
    moments: list[dict[str, datetime | None]] = []
    taken: list[set[int]] = []
    for _ in range(200):
        posted_at = NOW - timedelta(seconds=float(rng.integers(0, 40 * 86_400)))
        seen = posted_at + timedelta(seconds=float(rng.integers(0, 86_400 * 3)))
        rest = posted_at + timedelta(seconds=float(rng.integers(86_400, 86_400 * 20)))
        rests = bool(rng.integers(0, 2)) and rest <= NOW
        wakes = rests and bool(rng.integers(0, 2)) and rest + timedelta(days=2) <= NOW
        moments.append({
            "posted_at": posted_at, "first_seen_at": min(seen, NOW), "resting_since": rest if rests else None,
            "rested_until": rest + timedelta(days=2) if wakes else None, "enriched_at": None, "gone_at": None,
        })  # fmt: skip
        taken.append({age for age in PLAN.ages if rng.integers(0, 4) == 0})
    batch = [row_of(number, one, ages) for number, (one, ages) in enumerate(zip(moments, taken, strict=True))]
    sample = load([batch], PLAN, NOW)
    for place, age in enumerate(PLAN.ages):
        found = [NAMES.get(STATES[state], STATES[state]) for state in sample.states(age)]
        planned = [
            checkpoint_states(PLAN, NOW, taken=ages, **{name: one[name] for name in PLANNED})[place]  # type: ignore[arg-type]
            for one, ages in zip(moments, taken, strict=True)
        ]
        assert found == planned


def row_of(number: int, moments: dict[str, datetime | None], taken: set[int]) -> Any:
    values: dict[str, Any] = {
        "platform": "tiktok", "post_id": str(number), "author_id": "a", "author_username": "a", "media_type": "video",
        **{name: one and one.timestamp() for name, one in moments.items()}, "likes_hidden": False,
        "is_paid_partnership": None, "hashtags": None, "null_reasons": None,
        "tags": None, **{f"late_{age}": 0 if age in taken else None for age in PLAN.ages},
    }  # fmt: skip
    return namedtuple("Row", values)(**values)


def test_an_hour_posted_in_without_anything(sqlite_store: Store, fill: Callable[[Connection], None]) -> None:
    with sqlite_store.begin() as conn:
        fill(conn)
    for section in gathered(sqlite_store, period=Period(NOW - timedelta(hours=1), NOW, NOW)).sections:
        assert section.whole.posts == 0
        assert section.search.searched == 0


def test_periods() -> None:
    week = period_of(now=NOW)
    assert (week.begin, week.end, week.as_of, week.words) == (NOW - WEEK, NOW, NOW, "7 days")
    assert week.before == Period(NOW - 2 * WEEK, NOW - WEEK, NOW)
    assert period_of(days=0, now=NOW).begin is None
    assert period_of(days=0, now=NOW).words == "all time"
    earlier = period_of(days=1, as_of=NOW - WEEK, now=NOW)
    assert (earlier.begin, earlier.end) == (NOW - WEEK - timedelta(days=1), NOW - WEEK)
    given = period_of(since=NOW - WEEK, until=NOW - timedelta(days=1), now=NOW)
    assert (given.begin, given.end, given.as_of) == (NOW - WEEK, NOW - timedelta(days=1), NOW)


@each_case(
    ("asked", "said"),
    [
        ({"days": 7, "since": NOW}, "--days or --since, not both"),
        ({"days": -1}, "--days is from 1 to"),
        ({"as_of": NOW + WEEK}, "lies ahead"),
        ({"until": NOW, "as_of": NOW - WEEK}, "--until lies behind --as-of"),
        ({"since": NOW}, "is not before the period's end"),
    ],
)
def test_what_is_no_period_is_one_sentence(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        period_of(now=NOW, **asked)


def test_a_window_has_what_was_listed_from_a_day_before_it_on(
    sqlite_store: Store, fill_weeks: Callable[..., None]
) -> None:
    with sqlite_store.begin() as conn:
        fill_weeks(conn)
        # All are listed at once, two weeks ago: clocks differ, but not by a day.
        for begin, count in ((NOW - 2 * WEEK + timedelta(hours=23), 56), (NOW - 2 * WEEK + timedelta(hours=25), 0)):
            scope = rows.Scope("weeks", None, begin, NOW, NOW)
            assert sum(map(len, rows.post_rows(conn, scope, PLAN.ages, 86_400))) == count


def test_the_sample_is_the_same_on_both_engines(store: Store, weeks: Store, fill_weeks: Callable[..., None]) -> None:
    with store.begin() as conn:
        fill_weeks(conn)
    [found], [wanted] = gathered(store).sections, gathered(weeks).sections
    assert found.hashtags == wanted.hashtags
    assert found.sentences == wanted.sentences
    assert found.rows_sha256 == wanted.rows_sha256
    with store.connect() as conn:
        scope = rows.Scope("weeks", "linen", None, NOW, NOW)
        assert sum(map(len, rows.post_rows(conn, scope, PLAN.ages, 86_400))) == 60
