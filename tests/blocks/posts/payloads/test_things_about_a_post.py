"""What stands under a post, or tells of another one, is not the asked post: neither its numbers nor its end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from blocks.errors import PostGone, UnknownShape, WrongPost
from blocks.posts.identity import parse_post_url
from blocks.posts.payloads.mapping import map_post
from tests.cases import each_case

INSTAGRAM = parse_post_url("https://www.instagram.com/p/DQk1lnGlaz3/")
TIKTOK = parse_post_url("https://www.tiktok.com/@reed.mill/video/7424231161578810163")
YOUTUBE = parse_post_url("https://www.youtube.com/watch?v=zo7i8VTpfNM")
X = parse_post_url("https://x.com/reed/status/1849191520250245121")
POSTS = {"instagram": INSTAGRAM, "tiktok": TIKTOK, "youtube": YOUTUBE, "x": X}

_COMMENT_OF_DATA_API = {
    "videoId": YOUTUBE.post_id,
    "textDisplay": "lovely",
    "authorDisplayName": "@moth",
    "likeCount": 99,
    "publishedAt": "2025-09-28T16:00:04Z",
}
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "a comment's row on TikTok": (
        "tiktok",
        {"id": "7424231161578810999", "video_id": TIKTOK.post_id, "text": "lovely", "likes": 99, "username": "moth"},
    ),
    "a comment's row on Instagram": (
        "instagram",
        {
            "pk": "17991234567890123",
            "media_id": INSTAGRAM.post_id,
            "text": "lovely",
            "like_count": 99,
            "user": {"pk": 9},
        },
    ),
    "a comment's row on YouTube": (
        "youtube",
        {
            "id": "UgxAbCdEfGhIjKlMnOp4AaABAg",
            "videoId": YOUTUBE.post_id,
            "likeCount": 99,
            "title": "t",
            "author": "@moth",
        },
    ),
    "a reply on X": (
        "x",
        {
            "id": "1849191520250249999",
            "tweet_id": X.post_id,
            "text": "@reed",
            "likeCount": 9,
            "author": {"userName": "m"},
        },
    ),
    "a comment thread of the Data API": (
        "youtube",
        {
            "kind": "youtube#commentThread",
            "id": "UgxA",
            "snippet": {"topLevelComment": {"snippet": _COMMENT_OF_DATA_API}},
        },
    ),
    "a playlist's item": (
        "youtube",
        {
            "id": "UExx",
            "snippet": {
                "publishedAt": "2025-10-01T00:00:00Z",
                "channelId": "UCzzzzzzzzzzzzzzzzzzzzzz",
                "channelTitle": "A curator",
                "resourceId": {"videoId": YOUTUBE.post_id},
            },
            "contentDetails": {"videoId": YOUTUBE.post_id},
        },
    ),
}


@each_case("what", PARTS)
def test_what_only_refers_to_the_post_is_not_it(what: str) -> None:
    platform, node = PARTS[what]
    with pytest.raises((UnknownShape, WrongPost)):
        map_post({"items": [node]}, POSTS[platform])


def test_a_row_number_beside_the_posts_id_is_no_other_post() -> None:
    record = map_post({"id": 12, "video_id": TIKTOK.post_id, "likes": 4, "author": {"username": "reed"}}, TIKTOK)
    assert record.likes == 4


def test_an_id_of_another_space_of_numbers_leaves_the_shortcode_to_decide() -> None:
    node = {"id": "18012345678901234", "media_id": INSTAGRAM.post_id, "code": "DQk1lnGlaz3", "like_count": 4}
    assert map_post(node, INSTAGRAM).likes == 4


MARKS_OF_ANOTHER: list[tuple[str, Any]] = [
    ("x", [{"id": "1849191520250249999", "error": "tweet not found"}]),
    ("x", {"error": "Tweet with id 1849191520250249999 not found"}),
    ("x", {"errors": [{"detail": "Could not find tweet with id.", "resource_id": "1849191520250249999"}]}),
    ("tiktok", [{"id": "7424231161578810999", "errorCode": "POST_NOT_FOUND_OR_PRIVATE"}]),
    ("instagram", [{"shortCode": "DRqAYKuAIUx", "error": "Post does not exist"}]),
    ("youtube", [{"videoId": "dQw4w9WgXcQ", "error": "Video unavailable"}]),
    ("youtube", {"error": "Video dQw4w9WgXcQ is unavailable"}),
]


@each_case(("platform", "data"), MARKS_OF_ANOTHER)
def test_a_mark_that_names_another_post_ends_nothing(platform: str, data: Any) -> None:
    with pytest.raises((UnknownShape, WrongPost)):
        map_post(data, POSTS[platform])


@each_case(
    ("platform", "data"),
    [
        ("x", [{"id": X.post_id, "error": "tweet not found"}]),
        ("x", {"error": f"Tweet with id {X.post_id} not found"}),
        ("x", {"error": "Tweet 1849191520250249999 not found", "id": X.post_id}),
        ("instagram", [{"shortCode": "DQk1lnGlaz3", "error": "Post does not exist"}]),
        ("instagram", [{"id": "no-such-run", "error": "Post does not exist"}]),
        ("youtube", {"error": "Video zo7i8VTpfNM is unavailable"}),
        ("youtube", {"error": "Video is unavailable"}),
    ],
)
def test_a_mark_that_names_the_post_or_none_ends_it(platform: str, data: Any) -> None:
    with pytest.raises(PostGone):
        map_post(data, POSTS[platform])


@each_case(
    ("platform", "node"),
    [
        ("instagram", {"shortcode": "DQk1lnGlaz3", "likes": 4, "user_posted": "reed"}),
        ("x", {"id": X.post_id, "likes": 4, "user_posted": "reed", "replies": 1}),
        ("tiktok", {"post_id": TIKTOK.post_id, "digg_count": 4, "profile_username": "reed"}),
        ("youtube", {"video_id": YOUTUBE.post_id, "likes": 4, "youtuber": "@reed"}),
    ],
)
def test_when_the_service_looked_is_not_when_the_post_came(platform: str, node: dict[str, Any]) -> None:
    item = {"timestamp": "2025-11-30T09:00:00.000Z", **node, "date_posted": "2025-11-01T12:26:40.000Z"}
    assert map_post([item], POSTS[platform]).posted_at == datetime(2025, 11, 1, 12, 26, 40, tzinfo=UTC)


@each_case(
    "node",
    [
        {"video": {"duration": 13651}, "stats": {"playCount": 5}, "desc": "d"},
        {"videoMeta": {"duration": 13651}, "playCount": 5, "diggCount": 4},
        {"duration": 13651, "play_count": 5, "digg_count": 4, "music_info": {"id": "1"}},
        {"duration": 13651, "views": 5, "channel": {"username": "reed"}},
    ],
)
def test_no_tiktok_lasts_hours(node: dict[str, Any]) -> None:
    record = map_post({"id": TIKTOK.post_id, **node}, TIKTOK)
    assert record.duration_seconds is None
    assert record.null_reasons["duration_seconds"] == "unknown_shape"
    assert map_post({"id": TIKTOK.post_id, **_with_duration(node, 14)}, TIKTOK).duration_seconds == 14


def _with_duration(node: dict[str, Any], seconds: int) -> dict[str, Any]:
    return {
        key: _with_duration(value, seconds) if isinstance(value, dict) else seconds if key == "duration" else value
        for key, value in node.items()
    }


@each_case(
    ("said", "media_type", "plays"),
    [
        ({"media_name": "album"}, "carousel", None),
        ({"content_type": "Carousel"}, "carousel", None),
        ({"content_type": "Image"}, "image", None),
        ({"media_name": "reel"}, "video", 0),
        ({"content_type": "Reel"}, "video", 0),
    ],
)
def test_what_a_flat_item_calls_its_kind(said: dict[str, Any], media_type: str, plays: int | None) -> None:
    record = map_post({"code": "DQk1lnGlaz3", "like_count": 4, "play_count": 0, **said}, INSTAGRAM)
    assert (record.media_type, record.plays) == (media_type, plays)
