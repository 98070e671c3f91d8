"""Cases in which a plain count would mislead: each with the number that the rules ask for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from blocks.database.engine import Store
from blocks.database.store import erasure, import_planning, import_polls, imports, posts, runs
from blocks.database.store.import_polls import ItemSeen
from blocks.database.store.posts import EnrichedPost
from blocks.errors import UsageError
from blocks.posts.identity import parse_post_url
from blocks.posts.record import PostRecord, PostRef
from blocks.posts.snapshot_plan import SnapshotPlan
from flows.reporting import checking, figures
from flows.reporting.comparisons import Curve
from flows.reporting.figures import Section, gather
from flows.reporting.page_data import Leading
from flows.reporting.period import Period

from .conftest import HOUR, NOW

DAY = timedelta(days=1)
PLAN = SnapshotPlan()
WEEK = Period(NOW - 7 * DAY, NOW, NOW)


def tiktok(number: int) -> PostRef:
    return parse_post_url(f"https://www.tiktok.com/@w.{number}/video/{7_100_000_000_000_000_000 + number}")


def youtube(number: int) -> PostRef:
    return parse_post_url(f"https://www.youtube.com/watch?v=abcdefg{number:04d}")


@pytest.fixture
def conn(store: Store) -> Any:
    with store.begin() as conn:
        runs.start_run(conn, run_id="r", flow="track-hashtags", account="acc", collection="c", now=NOW - 21 * DAY)
        yield conn


def listed(
    conn: Connection, tag: str, refs: Sequence[PostRef], at: datetime, *, requested: int = 50, has_ended: bool = True
) -> None:
    """An import that lists posts."""
    ticket = import_planning.plan_import(
        conn, account="acc", kind="hashtag", hashtag=tag, wanted={"hashtag": tag}, dedup_key=f"{tag}{at}",
        collection="c", namespace="c", library="private", requested=requested, run_id="r", owner="o",
        reuse_after=None, fresh=True, now=at,
    )  # fmt: skip
    imports.mark_sending(conn, ticket.import_id, owner="o", now=at)
    imports.mark_submitted(conn, ticket.import_id, f"t-{ticket.import_id}", owner="o", now=at)
    seen = [ItemSeen(f"V{tag}{place}{at}", ref.url, "PARSE", ref) for place, ref in enumerate(refs)]
    import_polls.record_poll(conn, ticket.import_id, seen, now=at)
    if has_ended:
        imports.finish_import(conn, ticket.import_id, state="complete", now=at + timedelta(minutes=5))


def measure(conn: Connection, ref: PostRef, posted: datetime, at: datetime, **facts: Any) -> None:
    facts = {"author_id": f"a{ref.post_id}", "author_username": f"u{ref.post_id[-3:]}", "comments": 0} | facts
    record = PostRecord(
        platform=ref.platform, post_id=ref.post_id, url=ref.url, shape="x", shortcode=ref.shortcode,
        media_type="video", posted_at=posted, **facts,
    )  # fmt: skip
    saved = EnrichedPost(record=record, channel="apify", observed_at=at, run_id="r", plan=PLAN, parser_version="1")
    posts.save_posts(conn, [saved], at)


def section_of(conn: Connection, store: Store, plan: SnapshotPlan = PLAN) -> Section:
    conn.commit()
    return gathered(store, plan)


def gathered(store: Store, plan: SnapshotPlan = PLAN, period: Period = WEEK) -> Section:
    [section] = gather(store, collection="c", hashtag=None, period=period, plan=plan).sections
    return section


def plays_curve(section: Section) -> Curve:
    [curve] = [one for one in section.curves if one.metric == "plays" and one.posts == "posts of the last 90 days"]
    return curve


def test_a_rate_is_of_one_platform_and_media_type(conn: Connection, store: Store) -> None:
    refs = [*map(tiktok, range(3)), *map(youtube, range(2))]
    listed(conn, "linen", refs, NOW - 3 * DAY)
    for ref in refs:
        numbers = {"plays": 100, "likes": 50} if ref.platform == "tiktok" else {"plays": 1000, "likes": 10}
        measure(conn, ref, NOW - 3 * DAY, NOW - 2 * DAY + HOUR, **numbers)
    for line in section_of(conn, store).hashtags:
        assert (line.engagement_rate, line.rated, line.rated_stratum) == (0.5, 3, "tiktok video")


def every_day(conn: Connection, *, requested: int = 50, open_from: int = 9) -> None:
    """Five imports that overlap, of four posts each."""
    for day in range(5):
        refs = [tiktok(day * 2 + place) for place in range(4)]
        at = NOW - (5 - day) * DAY
        listed(conn, "linen", refs, at, requested=requested, has_ended=day < open_from)
    for number in range(12):
        posted = NOW - 6 * DAY + number * 8 * HOUR
        measure(conn, tiktok(number), posted, posted + 30 * HOUR, plays=1, likes=1)


def test_posts_a_day_are_told_of_whole_days_that_the_imports_cover(conn: Connection, store: Store) -> None:
    every_day(conn)
    [rate] = section_of(conn, store).rates
    # From noon of the 14th, when the oldest one was posted, to noon of the 19th, when the last import was sent.
    days = {"2026-11-15": 3, "2026-11-16": 3, "2026-11-17": 3, "2026-11-18": 1}
    assert (rate.by_day, rate.pace) == (days, None)


def test_a_full_import_stays_full_when_posts_are_erased(conn: Connection, store: Store) -> None:
    every_day(conn, requested=4)
    erasure.erase_posts(conn, [tiktok(number).key for number in (2, 6, 10)], now=NOW, on_request=True)
    [rate] = section_of(conn, store).rates
    assert (rate.full, rate.by_day) == (5, None)


def test_an_import_under_way_may_list_more(conn: Connection, store: Store) -> None:
    every_day(conn, open_from=4)
    [rate] = section_of(conn, store).rates
    assert (rate.full, rate.by_day) == (0, None)


def test_the_pace_is_of_posts_whose_time_is_known(conn: Connection, store: Store) -> None:
    refs = [tiktok(number) for number in range(25)]
    listed(conn, "linen", refs, NOW - 2 * DAY, requested=25)
    for number in (0, 1):
        measure(conn, refs[number], NOW - 3 * DAY + number * HOUR, NOW - 2 * DAY + 2 * HOUR, plays=1, likes=1)
    [rate] = section_of(conn, store).rates
    assert rate.pace is not None
    assert (rate.pace.posts, rate.pace.per_hour) == (2, 1)


def test_the_followers_are_those_of_the_measurement_that_is_shown(conn: Connection, store: Store) -> None:
    refs, posted = [tiktok(number) for number in range(40)], NOW - 6 * DAY
    listed(conn, "linen", refs, posted)
    for number, ref in enumerate(refs):
        plays = 1000 if number == 7 else 10 + number
        measure(conn, ref, posted, posted + DAY + HOUR, plays=plays, likes=1, author_followers=1000)
        measure(conn, ref, posted, posted + 3 * DAY + HOUR, plays=plays, likes=1, author_followers=999_000)
    section = section_of(conn, store)
    assert Leading.of(section, section.search.leading[0], section.baselines[0]).followers == 1000


def test_what_is_gone_is_not_due_at_a_checkpoint_that_lies_ahead(conn: Connection, store: Store) -> None:
    young, old = [tiktok(number) for number in range(40)], [tiktok(100 + number) for number in range(12)]
    listed(conn, "linen", young + old, NOW - 50 * DAY)
    for ref in old:
        measure(conn, ref, NOW - 40 * DAY, NOW - 33 * DAY + HOUR, plays=100, likes=1)
        measure(conn, ref, NOW - 40 * DAY, NOW - 10 * DAY + HOUR, plays=200, likes=1)
    for ref in young:
        measure(conn, ref, NOW - 8 * DAY, NOW - DAY + HOUR, plays=100, likes=1)
    posts.mark_gone(conn, young, "r", NOW - HOUR)
    step = plays_curve(section_of(conn, store)).steps[-1]
    assert step.growth is not None
    assert (step.name, step.due, step.growth.pairs, step.growth.selected) == ("7d to 30d", 12, 12, False)


def test_a_number_that_is_missing_later_was_due(conn: Connection, store: Store) -> None:
    refs, posted = [tiktok(number) for number in range(40)], NOW - 5 * DAY
    listed(conn, "linen", refs, posted + HOUR / 2)
    for number, ref in enumerate(refs):
        measure(conn, ref, posted, posted + 6 * HOUR, plays=100, likes=10)
        measure(conn, ref, posted, posted + 24 * HOUR, plays=300 if number < 12 else None, likes=10)
    step = plays_curve(section_of(conn, store)).steps[1]
    assert step.growth is not None
    assert (step.due, step.growth.pairs, step.growth.selected) == (40, 12, True)


def test_posts_of_one_name_are_of_one_creator_where_no_id_is_told(conn: Connection, store: Store) -> None:
    refs = [tiktok(number) for number in range(20)]
    listed(conn, "linen", refs, NOW - 3 * DAY)
    for ref in refs:
        facts = {"author_id": None, "author_username": "same"}
        measure(conn, ref, NOW - 3 * DAY, NOW - 2 * DAY + HOUR, plays=1, likes=1, **facts)
    assert section_of(conn, store).whole.creators == 1


def test_a_creators_posts_of_one_second_are_none_of_them_earlier(conn: Connection, store: Store) -> None:
    refs = [tiktok(number) for number in range(11)]
    listed(conn, "linen", refs, NOW - 3 * DAY)
    for ref in refs:
        plays = 1000 if ref == refs[-1] else 10
        measure(conn, ref, NOW - 3 * DAY, NOW - 2 * DAY + HOUR, plays=plays, likes=1, author_id="one")
    assert section_of(conn, store).search.leading == []


def test_followed_hashtags_are_not_those_beside_them(conn: Connection, store: Store) -> None:
    for number, tag in enumerate(("linen", "wool")):
        listed(conn, tag, [tiktok(number)], NOW - 3 * DAY)
        facts = {"hashtags": ["linen", "wool", "Loom"]}
        measure(conn, tiktok(number), NOW - 3 * DAY, NOW - 2 * DAY + HOUR, plays=1, likes=1, **facts)
    assert figures.cooccurring(section_of(conn, store)) == [("Loom", 2)]


def test_a_post_that_was_first_measured_later_is_told_as_it_was_known_then(conn: Connection, store: Store) -> None:
    refs = [tiktok(number) for number in range(3)]
    listed(conn, "linen", refs, NOW - 2 * DAY)
    measure(conn, refs[0], NOW - 3 * DAY, NOW - 2 * DAY, plays=5, likes=1)
    conn.commit()
    periods = (WEEK, Period(None, NOW, NOW))
    then = [gathered(store, period=period) for period in periods]
    with store.begin() as later:
        for ref in refs[1:]:
            measure(later, ref, NOW - 3 * DAY, NOW + DAY, plays=5, likes=1)
    again = [gathered(store, period=period) for period in periods]
    assert [one.whole.posts for one in then] == [one.whole.posts for one in again] == [1, 3]
    assert [one.rows_sha256 for one in then] == [one.rows_sha256 for one in again]


def test_a_creator_whom_another_hashtag_or_time_brought_is_not_new(conn: Connection, store: Store) -> None:
    long_ago = NOW - 120 * DAY
    listed(conn, "linen", [tiktok(number) for number in range(4)], NOW - 3 * DAY)
    for number, earlier in enumerate((None, long_ago, NOW - 9 * DAY, NOW - 5 * DAY)):
        measure(conn, tiktok(number), NOW - 3 * DAY, NOW - 2 * DAY, plays=1, likes=1, author_id=f"a{number}")
        if earlier is not None:
            old = tiktok(100 + number)
            listed(conn, "wool", [old], earlier)
            measure(conn, old, earlier, earlier + HOUR, plays=1, likes=1, author_id=f"a{number}")
    conn.commit()
    for hashtag in ("linen", None):
        [section] = gather(store, collection="c", hashtag=hashtag, period=WEEK, plan=PLAN).sections
        assert (section.creators.total, section.creators.new) == (4, 2)


@pytest.mark.parametrize("ages", [(3600, 7 * 86_400), ()])
def test_a_plan_without_24_hours_is_one_sentence(conn: Connection, store: Store, ages: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="TAGTRAIL_SNAPSHOT_AGES has to name 24h"):
        section_of(conn, store, SnapshotPlan(ages=ages))


@pytest.mark.parametrize(("typed", "read"), [("1000.0", 1000), ("1,000", 1000), ("1.000", 1000), ("1000,00", 1000)])
def test_a_checked_number_is_read_as_spreadsheets_write_it(tmp_path: Path, typed: str, read: int) -> None:
    path = tmp_path / "checked.csv"
    row = {"url": "u", "plays": typed, "seen_plays": "1000"}
    values = (f'"{row.get(name, "")}"' for name in checking.COLUMNS)
    path.write_text(f"{','.join(checking.COLUMNS)}\n{','.join(values)}\n")
    found = checking.agreement(path)
    assert found is not None
    assert found.numbers["plays"] == (1, 1, 1000 / read)
