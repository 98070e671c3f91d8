"""Given posts are enriched without an import, in whatever form their URLs came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from blocks.database.store import export
from blocks.database.store.filters import Filters
from deployments.sandbox.server import SandboxServer

CODE = "DKr4Zt0sQ1x"

REEL = {
    "__typename": "XDTGraphVideo",
    "id": "3651234567890123456",
    "shortcode": CODE,
    "dimensions": {"height": 1136, "width": 640},
    "has_audio": True,
    "video_view_count": 0,
    "video_play_count": 4_300_000_001,
    "product_type": "clips",
    "video_duration": 41.125,
    "clips_music_attribution_info": {
        "artist_name": "the lamp choir",
        "song_name": "Original audio",
        "uses_original_audio": True,
        "audio_id": "99000111222333",
    },
    "is_video": True,
    "owner": {
        "id": "55500011",
        "username": "lamp.choir",
        "is_verified": True,
        "full_name": "The Lamp Choir",
        "edge_followed_by": {"count": 12_345},
    },
    "edge_media_to_caption": {"edges": [{"node": {"text": "Evening #lamps with @moth", "created_at": "1751404145"}}]},
    "edge_media_to_parent_comment": {
        "count": 487,
        "edges": [
            {
                "node": {
                    "id": "18000000000000001",
                    "text": "so bright",
                    "created_at": 1762011704,
                    "owner": {"username": "a.moth"},
                }
            }
        ],
    },
    "edge_media_preview_like": {"count": 27_791},
    "taken_at_timestamp": 1751404144,
}


@pytest.fixture
def own_payload(tmp_path: Path) -> Path:
    folder = tmp_path / "payloads"
    folder.mkdir()
    identity = {**REEL, "id": shortcode_id(CODE)}
    body = {"code": "0000", "msg": "success", "data": {"data": {"xdt_shortcode_media": identity}, "status": "ok"}}
    (folder / f"instagram_{CODE}.json").write_text(json.dumps(body))
    return folder


def shortcode_id(code: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    number = 0
    for letter in code:
        number = number * 64 + alphabet.index(letter)
    return str(number)


async def test_every_value_of_a_payload_reaches_the_database(
    weather: Any, own_payload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_COMMENTS", "keep")
    with SandboxServer(payloads=own_payload) as sandbox:
        monkeypatch.setenv("MEMORIES_V2_BASE_URL", sandbox.v2_base_url)
        summary = await weather.enrich(f"instagram.com/reels/{CODE}/?igsh=x")
    assert (summary.outcome, summary.enriched) == ("done", 1)
    with weather.store() as store:
        [post] = export.rows(store, "posts", Filters())
        [comment] = export.rows(store, "comments", Filters())
        [creator] = export.rows(store, "creators", Filters())
    expected = {
        "platform": "instagram",
        "post_id": shortcode_id(CODE),
        "shortcode": CODE,
        "url": f"https://www.instagram.com/p/{CODE}/",
        "author_id": "55500011",
        "author_username": "lamp.choir",
        "author_name": "The Lamp Choir",
        "author_verified": True,
        "author_followers": 12_345,
        "caption": "Evening #lamps with @moth",
        "hashtags": ["lamps"],
        "mentions": ["moth"],
        "posted_at": "2025-07-01T21:09:04Z",
        "media_type": "video",
        "product_type": "clips",
        "duration_seconds": 41.125,
        "width": 640,
        "height": 1136,
        "audio_id": "99000111222333",
        "audio_title": "Original audio",
        "audio_artist": "the lamp choir",
        "audio_is_original": True,
        "has_audio": True,
        "plays": 4_300_000_001,
        "views": 0,
        "likes": 27_791,
        "likes_hidden": False,
        "comments": 487,
        "status": "enriched",
        "channel": "apify",
        "source_hashtags": [],
    }
    assert {column: post[column] for column in expected} == expected
    assert (comment["comment_id"], comment["author"], comment["text"]) == ("18000000000000001", "a.moth", "so bright")
    assert (creator["author_username"], creator["followers"]) == ("lamp.choir", 12_345)


async def test_commenters_are_pseudonymised_by_default_in_the_raw_payload_too(
    weather: Any, own_payload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SandboxServer(payloads=own_payload) as sandbox:
        monkeypatch.setenv("MEMORIES_V2_BASE_URL", sandbox.v2_base_url)
        await weather.enrich(f"https://www.instagram.com/p/{CODE}/")
    with weather.store() as store:
        [comment] = export.rows(store, "comments", Filters())
        with store.connect() as conn:
            from blocks.database.store.raw_payloads import load_raw

            [post] = export.rows(store, "posts", Filters())
            raw = load_raw(conn, post["raw_sha256"])
    assert comment["author"].startswith("anon-")
    assert b"a.moth" not in raw
    assert b"lamp.choir" in raw


async def test_all_four_platforms_and_again_buys_nothing(weather: Any) -> None:
    urls = (
        "https://www.instagram.com/p/CxYz012abcD/",
        "https://www.tiktok.com/@moss.bot/video/7300000000000000001",
        "https://youtu.be/abcDEF12345",
        "https://twitter.com/moss_bot/status/1700000000000000001",
    )
    first = await weather.enrich(*urls)
    assert (first.outcome, first.enriched) == ("done", 4)
    assert first.platforms == {"instagram": 1, "tiktok": 1, "x": 1, "youtube": 1}
    again = await weather.enrich(*reversed(urls))
    assert (again.fresh, again.cost_usd) == (4, 0)
    assert weather.asked() == 4


async def test_another_channel_serves_what_the_first_refuses(weather: Any) -> None:
    weather.play("apify-down")
    summary = await weather.enrich(*(f"https://www.instagram.com/p/CxYz012ab{n}D/" for n in range(8)))
    assert (summary.outcome, summary.enriched) == ("done", 8)
    with weather.store() as store:
        assert {row["channel"] for row in export.rows(store, "posts", Filters())} == {"rapid"}


async def test_a_post_that_no_channel_serves_is_a_failure_that_can_be_read(weather: Any) -> None:
    weather.play("unreadable-always")
    urls = [f"https://www.instagram.com/p/CxYz012ab{n}D/" for n in range(10)]
    summary = await weather.enrich(*urls, channel="apify")
    assert (summary.outcome, summary.exit_status) == ("attention", 3)
    assert (summary.enriched, summary.failed) == (8, 2)
    with weather.store() as store:
        failures = list(export.rows(store, "failures", Filters()))
    assert [(row["error_class"], row["attempts"], row["stage"]) for row in failures] == [
        ("Unreadable", 3, "metadata")
    ] * 2
    assert not any("failed less than" in note for note in summary.notes)
    asked = weather.asked()
    again = await weather.enrich(*urls, channel="apify")
    assert (again.failed, weather.asked()) == (2, asked)
    assert (
        "2 posts failed less than 12 h ago, and nothing was bought for them again: `tagtrail retry` takes failures up"
        in again.notes
    )


async def test_a_url_that_is_no_post_is_refused_before_anything_is_bought(weather: Any) -> None:
    summary = await weather.enrich("https://www.instagram.com.evil.example/p/CxYz012abcD/")
    assert summary.outcome == "failed"
    assert weather.asked() == 0


async def test_an_operator_who_sets_the_kill_switch_stops_all_buying(weather: Any) -> None:
    from prefect.client.orchestration import get_client

    from flows.steps.prefect_side.kill_switch import KILL_SWITCH, ON

    url = "https://www.instagram.com/p/CxYz012abcD/"
    async with get_client() as client:
        await client.upsert_global_concurrency_limit_by_name(KILL_SWITCH, 0)
        try:
            halted = await weather.enrich(url)
        finally:
            await client.upsert_global_concurrency_limit_by_name(KILL_SWITCH, ON)
    assert (halted.outcome, halted.exit_status, halted.pending) == ("halted", 4, 1)
    assert "tagtrail-inflight" in halted.message
    assert weather.asked() == 0
    assert (await weather.enrich(url)).outcome == "done"
