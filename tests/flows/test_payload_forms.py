"""Answers in the forms that services may give, bought and exported: the asked post's numbers, or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from blocks.database.store import export
from blocks.database.store.filters import Filters
from blocks.posts.identity import parse_post_url
from blocks.posts.record import PostRef
from deployments.sandbox.server import SandboxServer

FIXTURES = Path(__file__).parent.parent / "blocks" / "posts" / "payloads" / "invented"

REEL = "https://www.instagram.com/p/DQk1lnGlaz3/"
CAROUSEL = "https://www.instagram.com/p/DQcarous3l_/"
CLIP = "https://www.tiktok.com/@harbour.kiln/video/7560000000000000123"
VIDEO = "https://www.youtube.com/watch?v=k1lnV1deo_0"
STATUS = "https://x.com/HarbourKiln/status/1989000000000000001"

OF_REEL = {"plays": 5_000_000_000, "views": None, "likes": 731, "comments": 2, "posted_at": "2025-11-01T12:26:40Z"}
OF_CLIP = {"likes": 1460, "comments": 29, "shares": 0, "saves": 50, "posted_at": "2025-11-01T12:26:40Z"}
OF_VIDEO = {"views": 35_582_192, "likes": 0, "duration_seconds": 3797, "author_name": "Harbour Kiln"}
OF_STATUS = {"likes": 5002, "comments": 0, "author_username": "HarbourKiln", "posted_at": "2025-11-16T03:42:05Z"}
TAGGED = {"hashtags": ["Keramik", "GlazeDay", "陶芸"], "mentions": ["mo.clay"], "tagged_users": ["mo.clay"]}

ENRICHED: list[tuple[str, str, dict[str, Any]]] = [
    ("video_instagrapi", REEL, OF_REEL | TAGGED | {"location_name": "Old Harbour", "is_paid_partnership": True}),
    ("video_metrics", REEL, OF_REEL | TAGGED | {"shares": 7, "saves": 11, "width": 640, "height": 1136}),
    ("video_typed_keys", REEL, OF_REEL | TAGGED | {"duration_seconds": 12.5}),
    ("carousel_instagrapi", CAROUSEL, {"plays": None, "views": None, "likes": 0, "tagged_users": []}),
    (
        "tiktok_item_aweme",
        CLIP,
        OF_CLIP | {"plays": 4_300_000_000, "duration_seconds": 36, "author_followers": 3 * 10**9},
    ),
    ("tiktok_item_tikwm", CLIP, OF_CLIP | {"plays": 4_300_000_000, "duration_seconds": 36}),
    ("tiktok_item_channel", CLIP, OF_CLIP | {"plays": None, "views": 4_300_000_000, "coauthors": ["studio.nord"]}),
    ("youtube_data_api", VIDEO, OF_VIDEO | {"comments": 12, "author_id": "UCaaaaaaaaaaaaaaaaaaaaaa"}),
    ("youtube_player", VIDEO, OF_VIDEO | {"author_username": "HarbourKiln"}),
    ("youtube_invidious", VIDEO, OF_VIDEO | {"posted_at": "2025-11-01T12:26:40Z"}),
    (
        "x_graphql",
        STATUS,
        OF_STATUS | {"views": 43_099_524, "shares": 257, "saves": 607, "author_followers": 1_077_295},
    ),
    ("x_v2", STATUS, OF_STATUS | {"views": 43_099_524, "shares": 257, "duration_seconds": 15.25}),
    ("x_flat", STATUS, OF_STATUS | {"views": 43_099_524, "shares": 257, "saves": 607}),
]

REFUSED: list[tuple[str, str, Any]] = [
    (
        "another post",
        REEL,
        [{"url": "https://www.instagram.com/p/DQother0000/", "type": "Video", "likesCount": 5, "ownerUsername": "u"}],
    ),
    (
        "a placeholder",
        STATUS,
        [{"type": "mock_tweet", "id": -1, "url": STATUS, "text": "no results", "likeCount": 104_121, "viewCount": 9}],
    ),
    (
        "nobody's numbers",
        CLIP,
        {"data": {"id": "7560000000000000123", "desc": "x", "createTime": 1_762_000_000, "tally": {"play_count": 7}}},
    ),
]


def fixture(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_bytes())


def serve(folder: Path, ref: PostRef, data: Any) -> None:
    """Put a payload where the sandbox finds it for this post."""
    folder.mkdir()
    body = {"code": "0000", "msg": "success", "data": data, "success": True, "failed": False}
    (folder / f"{ref.platform}_{ref.post_id}.json").write_text(json.dumps(body))


async def answer(weather: Any, folder: Path, url: str, data: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The post's row in `export posts` after `enrich URL` was answered with this payload."""
    ref = parse_post_url(url)
    serve(folder, ref, data)
    with SandboxServer(payloads=folder) as sandbox:
        monkeypatch.setenv("MEMORIES_V2_BASE_URL", sandbox.v2_base_url)
        await weather.enrich(url, max_age_hours=0)
    with weather.store() as store:
        rows = [row for row in export.rows(store, "posts", Filters()) if row["post_id"] == ref.post_id]
    [row] = rows
    return row


async def test_every_form_reaches_the_export(weather: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, url, expected in ENRICHED:
        row = await answer(weather, tmp_path / name, url, fixture(name), monkeypatch)
        assert row["status"] == "enriched", name
        assert {column: row[column] for column in expected} == expected, name


@pytest.mark.parametrize(("name", "url", "data"), REFUSED, ids=[name for name, _, _ in REFUSED])
async def test_what_is_not_the_asked_posts_never_ends_enriched(
    weather: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, url: str, data: Any
) -> None:
    row = await answer(weather, tmp_path / "payloads", url, data, monkeypatch)
    assert (row["status"], row["likes"], row["views"]) == ("failed", None, None)
    with weather.store() as store:
        [failure] = export.rows(store, "failures", Filters())
    assert failure["stage"] == "parse"
    assert failure["raw_sha256"] is not None
