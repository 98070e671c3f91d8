"""Invented collections: four posts of #linen and #wool, one measured twice, one failed; a rival's one; two weeks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from blocks.database.store import import_planning, import_polls, imports, money, posts, runs
from blocks.database.store.failures import GivenUp
from blocks.database.store.import_polls import ItemSeen
from blocks.database.store.money import Caps, Purpose
from blocks.database.store.posts import EnrichedPost
from blocks.errors import UnknownShape
from blocks.posts.identity import parse_post_url
from blocks.posts.record import PostRecord, PostRef
from blocks.posts.snapshot_plan import SnapshotPlan

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
POSTED = NOW - 5 * HOUR

REFS = [
    *(parse_post_url(f"https://www.tiktok.com/@loom.{n}/video/{7_500_000_000_000_000_000 + n}") for n in range(3)),
    parse_post_url("https://www.instagram.com/p/DTagtrail01/"),
    parse_post_url("https://www.tiktok.com/@flax/video/7600000000000000000"),
]


@pytest.fixture(scope="session")
def fill() -> Callable[[Connection], None]:
    """Puts all of it into a database; it is five hours old at noon of 2026-11-20."""
    return _fill


def _fill(conn: Connection) -> None:
    for collection in ("autumn", "rival"):
        run_id = f"r-{collection}"
        runs.start_run(conn, run_id=run_id, flow="track-hashtags", account="acc", collection=collection, now=POSTED)
    _import(conn, "linen", "autumn", [REFS[0], REFS[1], REFS[3]])
    _import(conn, "wool", "autumn", [REFS[1], REFS[2]])
    _import(conn, "flax", "rival", [REFS[4]])
    caption = '<script>alert("x")</script> & more'
    _measure(conn, REFS[0], POSTED + HOUR, plays=100, likes=3, caption=caption)
    _measure(conn, REFS[0], POSTED + 4 * HOUR, plays=1200, likes=30, caption=caption)
    _measure(conn, REFS[0], POSTED + 4 * HOUR + timedelta(minutes=1), plays=1000, likes=30, caption=caption)
    _measure(conn, REFS[1], NOW - 3 * HOUR, plays=0, likes=None, likes_hidden=True, null_reasons={
        "likes": "hidden_by_owner"
    })  # fmt: skip
    _measure(conn, REFS[2], NOW - HOUR, plays=200, likes=6)
    _measure(conn, REFS[4], NOW - HOUR, plays=9, likes=9)
    failure = GivenUp.post(REFS[3], "parse", UnknownShape(["odd"]), attempts=1, channel="apify", run_id="r-autumn")
    posts.mark_failed(conn, [failure], NOW)
    purpose = Purpose(
        account="acc", run_id="r-autumn", collection="autumn", kind="metadata", platform="tiktok", channel="apify"
    )
    reserved = money.reserve(conn, purpose, micros=30_000, caps=Caps(), now=NOW)
    money.settle(conn, reserved, spent_micros=30_000, calls=3, now=NOW)


def _import(
    conn: Connection, hashtag: str, collection: str, refs: list[PostRef], *, at: datetime = POSTED, requested: int = 5
) -> None:
    ticket = import_planning.plan_import(
        conn, account="acc", kind="hashtag", hashtag=hashtag, wanted={"hashtag": hashtag}, dedup_key=hashtag,
        collection=collection, namespace=collection, library="private", requested=requested, run_id=f"r-{collection}",
        owner="o", reuse_after=None, fresh=False, now=at,
    )  # fmt: skip
    imports.mark_sending(conn, ticket.import_id, owner="o", now=at)
    imports.mark_submitted(conn, ticket.import_id, f"task-{hashtag}", owner="o", now=at)
    seen = [ItemSeen(f"V{hashtag}{place}", ref.url, "PARSE", ref) for place, ref in enumerate(refs)]
    import_polls.record_poll(conn, ticket.import_id, seen, now=at)
    imports.finish_import(conn, ticket.import_id, state="complete", now=at)


def _measure(conn: Connection, ref: PostRef, at: datetime, **facts: Any) -> None:
    record = PostRecord(
        platform=ref.platform, post_id=ref.post_id, url=ref.url, shape="invented", shortcode=ref.shortcode,
        author_id="a", author_username="loom", posted_at=POSTED, media_type="video", **facts,
    )  # fmt: skip
    posts.save_posts(
        conn, [EnrichedPost(record=record, channel="apify", observed_at=at, run_id="r-autumn", parser_version="1")], at
    )


PLAN = SnapshotPlan()
MEASURED_AT = {3600: 60, 21_600: 60, 86_400: 600, 259_200: 600}
"""Checkpoints of the plan, and how many seconds late they were measured."""


@pytest.fixture(scope="session")
def fill_weeks() -> Callable[..., None]:
    """Puts two weeks of posts into a database; see `_fill_weeks`."""
    return _fill_weeks


def _fill_weeks(
    conn: Connection,
    *,
    until: datetime = NOW,
    hashtags: tuple[str, ...] = ("linen",),
    a_week: int = 30,
    creators: int = 15,
    rise: float = 4.0,
    collection: str = "weeks",
    name: str = "weaver",
    caption: str = "woven #Loom",
    number: int = 0,
) -> None:
    """TikTok videos by so many creators, as many in each of two weeks; the later ones have `rise` times the numbers.

    Each was measured at each checkpoint that it has come to. The last of them has a hundred times its peers' plays.
    """
    begin = until - timedelta(days=14)
    runs.start_run(
        conn, run_id=f"r-{collection}", flow="track-hashtags", account="acc", collection=collection, now=begin
    )
    of_tag: dict[str, list[PostRef]] = {tag: [] for tag in hashtags}
    measured: dict[int, list[EnrichedPost]] = {age: [] for age in MEASURED_AT}
    for at in range(2 * a_week):
        post_id = 7_100_000_000_000_000_000 + number * 100_000 + at
        ref = parse_post_url(f"https://www.tiktok.com/@weaver.{at % creators}/video/{post_id}")
        posted_at = begin + timedelta(days=14) * ((at + 0.5) / (2 * a_week))
        if posted_at > until - timedelta(days=1, hours=1):
            posted_at = until - timedelta(days=2)
        posts.ensure_posts(conn, [(ref, None)], posted_at + timedelta(minutes=30), f"r-{collection}")
        plays = (1000 + 13 * at) * (rise if at >= a_week else 1) * (100 if at == 2 * a_week - 3 else 1)
        for place, (age, late) in enumerate(MEASURED_AT.items(), 1):
            observed_at = posted_at + timedelta(seconds=age + late)
            if observed_at >= until:
                continue
            record = PostRecord(
                platform=ref.platform, post_id=ref.post_id, url=ref.url, shape="invented",
                author_id=f"a{at % creators}",
                author_username=f"{name}.{at % creators}", posted_at=posted_at, media_type="video", caption=caption,
                hashtags=["Loom"], plays=round(plays * place), likes=round(plays * place / 10), comments=at,
                author_followers=1000 + at,
            )  # fmt: skip
            saved = EnrichedPost(
                record=record, channel="apify", observed_at=observed_at, run_id=f"r-{collection}", plan=PLAN,
                raw_sha256=f"{at:064x}", parser_version="1",
            )  # fmt: skip
            measured[age].append(saved)
        of_tag[hashtags[at % len(hashtags)]].append(ref)
    for of_one_age in measured.values():
        posts.save_posts(conn, of_one_age, until)
    for tag, refs in of_tag.items():
        _import(conn, tag, collection, refs, at=begin, requested=len(refs) + 5)
