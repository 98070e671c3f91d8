"""Two invented collections: four posts of #linen and #wool, one measured twice, one failed; and a rival's one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from blocks.database.store import imports, posts, runs, spend
from blocks.database.store.failures import GivenUp
from blocks.database.store.imports import ItemSeen
from blocks.database.store.post_rows import EnrichedPost
from blocks.database.store.spend import Caps, Purpose
from blocks.memories.errors import UnknownShape
from blocks.memories.identity import parse_post_url
from blocks.memories.posts.record import PostRecord, PostRef

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
    reserved = spend.reserve(conn, purpose, micros=30_000, caps=Caps(), now=NOW)
    spend.settle(conn, reserved, spent_micros=30_000, calls=3, now=NOW)


def _import(conn: Connection, hashtag: str, collection: str, refs: list[PostRef]) -> None:
    ticket = imports.plan_import(
        conn, account="acc", kind="hashtag", hashtag=hashtag, wanted={"hashtag": hashtag}, wish=hashtag,
        collection=collection, namespace=collection, library="private", requested=5, run_id=f"r-{collection}",
        owner="o", reuse_after=None, fresh=False, now=POSTED,
    )  # fmt: skip
    imports.mark_sending(conn, ticket.import_id, owner="o", now=POSTED)
    imports.mark_submitted(conn, ticket.import_id, f"task-{hashtag}", owner="o", now=POSTED)
    seen = [ItemSeen(f"V{hashtag}{at}", ref.url, "PARSE", ref) for at, ref in enumerate(refs)]
    imports.record_poll(conn, ticket.import_id, seen, now=POSTED)
    imports.finish_import(conn, ticket.import_id, state="complete", now=POSTED)


def _measure(conn: Connection, ref: PostRef, at: datetime, **facts: Any) -> None:
    record = PostRecord(
        platform=ref.platform, post_id=ref.post_id, url=ref.url, shape="invented", shortcode=ref.shortcode,
        author_id="a", author_username="loom", posted_at=POSTED, media_type="video", **facts,
    )  # fmt: skip
    posts.save_posts(
        conn, [EnrichedPost(record=record, channel="apify", observed_at=at, run_id="r-autumn", parser_version="1")], at
    )
