"""Numbers that are there, numbers that are not, and the reason for each that is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from blocks.errors import UnknownShape
from blocks.posts.payloads.locate import locate
from blocks.posts.payloads.mapping import NULLABLE, map_post
from blocks.posts.record import PostRecord, PostRef
from tests.cases import each_case

Load, Asked, Mapped, Media = (
    Callable[[str], Any],
    Callable[[str], PostRef],
    Callable[[str], PostRecord],
    Callable[..., Any],
)

ALL = (
    "video_graphql",
    "video_v1",
    "video_flat_camel",
    "video_flat_snake",
    "carousel_graphql",
    "carousel_v1",
    "carousel_flat_camel",
    "image_graphql",
    "image_v1",
    "image_flat_camel",
    "tiktok_item",
    "tiktok_item_struct",
    "tiktok_slideshow_item",
    "tiktok_slideshow_item_struct",
    "youtube_item",
    "youtube_object",
    "x_tweet",
)


@each_case("name", ALL)
def test_exactly_the_nulls_have_a_reason(mapped: Mapped, name: str) -> None:
    record = mapped(name)
    assert set(record.null_reasons) == {column for column in NULLABLE if getattr(record, column) is None}


def test_every_column_that_can_be_null_is_watched() -> None:
    never = {"platform", "post_id", "url", "shape", "likes_hidden", "null_reasons", "extra", "comment_rows"}
    assert set(NULLABLE) == set(PostRecord.__slots__) - never


def test_an_image_is_no_video_whatever_the_payload_says(mapped: Mapped) -> None:
    record = mapped("image_graphql")
    for column in ("plays", "views", "duration_seconds", "has_audio", "audio_id", "audio_title"):
        assert getattr(record, column) is None
        assert record.null_reasons[column] == "not_a_video", column


@each_case("name", ["image_graphql", "image_v1", "image_flat_camel"])
def test_hidden_likes_are_null_and_flagged(mapped: Mapped, name: str) -> None:
    record = mapped(name)
    assert (record.likes, record.likes_hidden) == (None, True)
    assert record.null_reasons["likes"] == "hidden_by_owner"


@each_case(
    "changes",
    [
        {"like_and_view_counts_disabled": True},
        {"like_count_disabled": True},
        {"hide_like_and_view_counts": 1},
        {"edge_media_preview_like": {"count": -1}},
        {"edge_media_preview_like": {"count": "-1"}},
        {"edge_media_preview_like": {"count": 12}, "edge_liked_by": {"count": -1}},
    ],
)
def test_every_way_to_hide_likes(media: Media, asked: Asked, changes: dict[str, Any]) -> None:
    record = map_post(media(**changes), asked("video"))
    assert (record.likes, record.likes_hidden) == (None, True)
    assert record.null_reasons["likes"] == "hidden_by_owner"
    # What is still told of plays is a measurement; a 0 is one only where the owner does not hide it.
    views_hidden = not {"like_and_view_counts_disabled", "hide_like_and_view_counts"}.isdisjoint(changes)
    assert (record.plays, record.views) == (5_000_000_000, None if views_hidden else 0)
    assert record.null_reasons.get("views") == ("hidden_by_owner" if views_hidden else None)


@each_case("given", [0, "0", 0.0])
def test_a_zero_that_the_owner_hides_is_no_measurement(load: Load, media: Media, asked: Asked, given: Any) -> None:
    node = media(like_and_view_counts_disabled=True, video_view_count=given, video_play_count=given)
    record = map_post(node, asked("video"))
    assert (record.views, record.plays) == (None, None)
    assert {record.null_reasons[column] for column in ("likes", "views", "plays")} == {"hidden_by_owner"}

    v1 = load("video_v1")
    locate(v1, asked("video")).node.update(
        {"like_and_view_counts_disabled": True, "play_count": given, "ig_play_count": given}
    )
    record = map_post(v1, asked("video"))
    assert (record.plays, record.null_reasons["plays"]) == (None, "hidden_by_owner")
    assert "plays_on_instagram" not in record.extra

    item = load("youtube_item")
    item[0] |= {"commentsTurnedOff": True, "commentsCount": given}
    record = map_post(item, asked("youtube"))
    assert (record.comments, record.null_reasons["comments"]) == (None, "hidden_by_owner")
    item[0] |= {"commentsTurnedOff": True, "commentsCount": 12}
    assert map_post(item, asked("youtube")).comments == 12
    item[0] |= {"commentsTurnedOff": False, "commentsCount": given}
    assert map_post(item, asked("youtube")).comments == 0


def test_children_of_a_post_whose_owner_hides_plays_have_no_zeros(load: Load, asked: Asked) -> None:
    data = load("carousel_graphql")
    node = locate(data, asked("carousel")).node
    video = next(edge["node"] for edge in node["edge_sidecar_to_children"]["edges"] if edge["node"]["is_video"])
    video["video_view_count"] = 0
    assert map_post(data, asked("carousel")).extra["children"][1]["views"] == 0
    node["like_and_view_counts_disabled"] = True
    child = map_post(data, asked("carousel")).extra["children"][1]
    assert ("views" in child, child["plays"]) == (False, 90)


@each_case(
    ("given", "reason"),
    [
        ("1.2M", "unknown_shape"),
        ("1,234", "unknown_shape"),
        ("12k", "unknown_shape"),
        (12.5, "unknown_shape"),
        ({"count": 5}, "unknown_shape"),
        (-1, "unknown_shape"),
        (2**63, "unknown_shape"),
        (None, "not_in_payload"),
        (..., "not_in_payload"),
        ("", "not_in_payload"),
        (" null ", "not_in_payload"),
        ([], "not_in_payload"),
        (False, "unknown_shape"),
        (True, "unknown_shape"),
    ],
)
def test_what_is_there_and_cannot_be_read_is_not_missing(media: Media, asked: Asked, given: Any, reason: str) -> None:
    record = map_post(media(video_play_count=given), asked("video"))
    assert (record.plays, record.null_reasons["plays"]) == (None, reason)
    record = map_post(media(video_play_count=given, like_and_view_counts_disabled=True), asked("video"))
    assert (record.plays, record.null_reasons["plays"]) == (None, "hidden_by_owner")


def test_times_likes_captions_and_lists_that_cannot_be_read(load: Load, media: Media, asked: Asked) -> None:
    node = media(taken_at_timestamp="Jul 1, 2025", edge_media_preview_like={"count": "12k"}, coauthor_producers="mo")
    record = map_post(node, asked("video"))
    unread = {column for column, reason in record.null_reasons.items() if reason == "unknown_shape"}
    assert unread == {"posted_at", "likes", "coauthors"}
    assert record.likes_hidden is False

    node = media(edge_media_to_caption={"edges": [{"node": {"text": 5}}]}, taken_at_timestamp=0)
    record = map_post(node, asked("video"))
    assert {record.null_reasons[column] for column in ("caption", "hashtags", "mentions")} == {"unknown_shape"}
    assert record.null_reasons["posted_at"] == "unknown_shape"

    flat = load("video_flat_camel")
    found = flat[0] if isinstance(flat, list) else flat
    for key in ("locationName", "location"):
        found.pop(key, None)
    found["location"] = {"id": "7"}
    record = map_post(flat, asked("video"))
    assert (record.location_name, record.null_reasons["location_name"]) == (None, "not_in_payload")


def test_views_that_are_hidden_with_the_likes_have_that_reason(media: Media, asked: Asked) -> None:
    record = map_post(media(like_and_view_counts_disabled=True, video_view_count=...), asked("video"))
    assert (record.views, record.null_reasons["views"]) == (None, "hidden_by_owner")
    record = map_post(media(like_count_disabled=True, video_view_count=None), asked("video"))
    assert (record.views, record.null_reasons["views"]) == (None, "not_in_payload")


def test_likes_that_are_only_missing_are_not_hidden(media: Media, asked: Asked) -> None:
    record = map_post(media(edge_media_preview_like=...), asked("video"))
    assert (record.likes, record.likes_hidden, record.null_reasons["likes"]) == (None, False, "not_in_payload")


def test_zero_stays_zero_beside_large_numbers(media: Media, asked: Asked) -> None:
    node = media(video_play_count=0, edge_media_preview_like={"count": 0}, edge_liked_by={"count": 9})
    record = map_post(node, asked("video"))
    assert (record.plays, record.views, record.likes) == (0, 0, 0)
    assert not {"plays", "views", "likes"} & set(record.null_reasons)


def test_plays_and_views_never_stand_in_for_each_other(media: Media, asked: Asked) -> None:
    record = map_post(media(video_play_count=...), asked("video"))
    assert (record.plays, record.views) == (None, 0)
    assert record.null_reasons["plays"] == "not_in_payload"
    record = map_post(media(video_view_count=...), asked("video"))
    assert (record.plays, record.views) == (5_000_000_000, None)


@each_case(
    ("given", "told"),
    [
        (0, 0),
        ("1460", 1460),
        (" 7 ", 7),
        (12.0, 12),
        (2**62, 2**62),
        (2**63, None),
        (10**400, None),
        (12.5, None),
        (-1, None),
        (True, None),
        (False, None),
        ("1.2M", None),
        ("1,460", None),
        ("", None),
        ("null", None),
        ("٣", None),
        (None, None),
        ([5], None),
        ({"count": 5}, None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_counts(media: Media, asked: Asked, given: Any, told: int | None) -> None:
    record = map_post(media(video_play_count=given), asked("video"))
    assert record.plays == told
    assert record.plays is None or type(record.plays) is int
    assert ("plays" in record.null_reasons) is (told is None)


def test_a_missing_caption_is_told_apart_from_an_empty_one(media: Media, asked: Asked) -> None:
    for empty in ({"edges": []}, {"edges": [{"node": {"text": ""}}]}):
        record = map_post(media(edge_media_to_caption=empty), asked("video"))
        assert (record.caption, record.hashtags, record.mentions) == (None, [], [])
        assert record.null_reasons["caption"] == "not_in_payload"
        assert "hashtags" not in record.null_reasons
    for silent in (..., 5, {}, {"edges": [{"node": {}}]}):
        record = map_post(media(edge_media_to_caption=silent), asked("video"))
        assert (record.caption, record.hashtags, record.mentions) == (None, None, None)
        assert record.null_reasons["hashtags"] == "not_in_payload"


def test_lists_are_empty_where_told_and_null_where_not(media: Media, asked: Asked) -> None:
    record = map_post(media(coauthor_producers=[], edge_media_to_tagged_user=...), asked("video"))
    assert (record.coauthors, record.tagged_users) == ([], None)
    assert record.null_reasons["tagged_users"] == "not_in_payload"


def test_texts_that_no_database_takes_are_made_storable(media: Media, asked: Asked) -> None:
    node = media(
        edge_media_to_caption={"edges": [{"node": {"text": "a\x00b \ud83c\udffa \ud800 #x"}}]},
        title="t\x00",
        location={"name": "\udfff"},
        edge_media_to_parent_comment={"count": 1, "edges": [{"node": {"id": "1", "text": "\x00", "owner": {}}}]},
    )
    record = map_post(node, asked("video"))
    assert record.caption == "a\N{REPLACEMENT CHARACTER}b 🏺 \N{REPLACEMENT CHARACTER} #x"
    assert record.extra["title"] == "t\N{REPLACEMENT CHARACTER}"
    assert record.location_name == "\N{REPLACEMENT CHARACTER}"
    assert record.comment_rows[0].text == "\N{REPLACEMENT CHARACTER}"


def test_a_sponsor_makes_a_paid_partnership(media: Media, asked: Asked) -> None:
    sponsors = {"edges": [{"node": {"sponsor": {"id": "5", "username": "clay.co"}}}]}
    record = map_post(media(is_paid_partnership=..., edge_media_to_sponsor_user=sponsors), asked("video"))
    assert record.is_paid_partnership is True
    assert record.extra["sponsors"] == ["clay.co"]


def test_a_text_only_post_of_x_has_no_media_type(load: Load, asked: Asked) -> None:
    item = load("x_tweet")
    item[0]["extendedEntities"] = {}
    record = map_post(item, asked("x"))
    assert (record.media_type, record.null_reasons["media_type"]) == (None, "not_in_payload")
    photo = {"type": "photo", "media_url_https": "https://cdn.example.invalid/p.jpg"}
    item[0]["extendedEntities"] = {"media": [photo]}
    record = map_post(item, asked("x"))
    # A picture on X is seen, and its views are a measurement.
    assert (record.media_type, record.views, record.null_reasons["duration_seconds"]) == (
        "image",
        43_099_524,
        "not_a_video",
    )
    item[0]["extendedEntities"] = {"media": [photo, photo]}
    record = map_post(item, asked("x"))
    assert (record.media_type, len(record.extra["children"])) == ("carousel", 2)


@each_case(
    ("entities", "tags"),
    [
        ({"hashtags": [{"text": "Paris2024"}, {"tag": "#Kiln"}, {"text": "paris2024"}]}, ["Paris2024", "Kiln"]),
        ({"hashtags": []}, ["Keramik"]),
        ({"hashtags": None}, ["Keramik"]),
        ({"hashtags": [{"indices": [0, 1]}]}, ["Keramik"]),
        (None, ["Keramik"]),
    ],
)
def test_the_tags_that_x_tells_come_before_those_of_the_text(
    load: Load, asked: Asked, entities: Any, tags: list[str]
) -> None:
    item = load("x_tweet")
    item[0] |= {"fullText": "#Keramik🔥 go#no with @HarbourKiln.Watch", "entities": entities}
    record = map_post(item, asked("x"))
    assert (record.hashtags, record.mentions) == (tags, ["HarbourKiln"])
    del item[0]["fullText"], item[0]["text"]
    told = None if tags == ["Keramik"] else tags
    assert (map_post(item, asked("x")).hashtags or None) == told


def test_mentions_of_a_video_on_youtube(load: Load, asked: Asked) -> None:
    item = load("youtube_item")
    item[0]["text"] = "with @my-channel and @日本語チャンネル"
    assert map_post(item, asked("youtube")).mentions == ["my-channel", "日本語チャンネル"]


@each_case(
    ("author", "verified"),
    [
        ({"isVerified": False, "isBlueVerified": False, "verifiedType": "none"}, False),
        ({"verifiedType": "None"}, False),
        ({"isBlueVerified": True, "verifiedType": "none"}, True),
        ({"isVerified": False, "isBlueVerified": False, "verifiedType": "business"}, True),
        ({"isVerified": False, "verifiedType": ""}, False),
        ({"verifiedType": None}, None),
    ],
)
def test_the_check_marks_of_x(load: Load, asked: Asked, author: dict[str, Any], verified: bool | None) -> None:
    item = load("x_tweet")
    item[0]["author"] = {"id": "14955000", "userName": "HarbourKiln", **author}
    assert map_post(item, asked("x")).author_verified is verified


@each_case(
    "data",
    [
        {"items": [{"pk": "3481565218219479007", "code": "DBRAR6uU8_f", "media_type": 2}]},
        {"data": {"xdt_shortcode_media": {"__typename": "XDTGraphVideo", "id": "3481565218219479007"}}},
    ],
)
def test_an_id_without_any_substance_is_no_measurement(data: Any) -> None:
    ref = PostRef("instagram", "3481565218219479007", "https://www.instagram.com/p/DBRAR6uU8_f/", "DBRAR6uU8_f")
    with pytest.raises(UnknownShape, match="its keys: "):
        map_post(data, ref)
