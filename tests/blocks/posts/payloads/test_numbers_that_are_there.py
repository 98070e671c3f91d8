"""A number that is there is read or said to be there; a zero that means nothing is none; units come from the table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.errors import UnknownShape
from blocks.posts.identity import parse_post_url
from blocks.posts.payloads.mapping import map_post
from blocks.posts.payloads.shape import Shape, always, with_alternatives
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import PostRef
from tests.cases import each_case

REEL = parse_post_url("https://www.instagram.com/p/DQk1lnGlaz3/")
CLIP = parse_post_url("https://www.tiktok.com/@harbour.kiln/video/7560000000000000123")
VIDEO = parse_post_url("https://www.youtube.com/watch?v=k1lnV1deo_0")
STATUS = parse_post_url("https://x.com/harbour/status/1989000000000000001")

BARE: dict[str, tuple[PostRef, dict[str, Any], dict[str, str]]] = {
    "instagram": (
        REEL,
        {"code": "DQk1lnGlaz3", "taken_at": 1_762_000_000, "media_type": 2, "user": {"pk": "1", "username": "u"}},
        {"likes": "like_count", "comments": "comment_count", "plays": "play_count", "shares": "share_count"},
    ),
    "tiktok": (
        CLIP,
        {"id": CLIP.post_id, "desc": "x", "createTime": 1_762_000_000, "author": {"uniqueId": "u"}, "music": {}},
        {"likes": "digg_count", "comments": "commentCount", "plays": "play_count", "saves": "collect_count"},
    ),
    "youtube": (
        VIDEO,
        {"id": VIDEO.post_id, "title": "t", "description": "d", "lengthSeconds": 5, "channelId": "UC1"},
        {"likes": "likes", "comments": "comment_count", "views": "viewCount"},
    ),
    "x": (
        STATUS,
        {"id": STATUS.post_id, "text": "t", "created_at": "2025-11-16T03:42:05Z", "user": {"screen_name": "u"}},
        {"likes": "favorite_count", "comments": "reply_count", "views": "views", "saves": "bookmark_count"},
    ),
}


@each_case("holder", ["metrics", "statistics", "stats", "public_metrics", "engagement"])
@each_case("platform", BARE)
def test_counts_are_read_in_what_services_gather_them_in(platform: str, holder: str) -> None:
    asked, node, names = BARE[platform]
    record = map_post({**node, holder: dict.fromkeys(names.values(), "7")}, asked)
    assert {column: getattr(record, column) for column in names} == dict.fromkeys(names, 7)


@each_case("holder", ["numbers", "edge_info.data", "a.b.c"])
@each_case("platform", BARE)
def test_counts_under_keys_that_no_table_reads_are_no_row_of_nulls(platform: str, holder: str) -> None:
    asked, node, names = BARE[platform]
    counts: Any = dict.fromkeys(names.values(), 7)
    for key in reversed(holder.split(".")):
        counts = {key: counts}
    with pytest.raises(UnknownShape):
        map_post(node | counts, asked)
    # One count that is read makes a row: the others are told to be there.
    column, name = next(iter(names.items()))
    record = map_post(node | counts | {name: 3}, asked)
    assert getattr(record, column) == 3
    unread = {one for one, reason in record.null_reasons.items() if reason == "unknown_shape"}
    assert unread == names.keys() - {column}


@each_case(
    "counts",
    [
        *({"likes_total": 5}, {"numLikes": "1.2K"}, {"like_info": {"count": 5}}, {"num_comments_": 5}),
        *({"likeCountText": "1,234 likes"}, {"commentsFormatted": "1.2K"}, {"likesInt": 5}),
    ],
)
def test_the_names_of_counts_vary(counts: dict[str, Any]) -> None:
    asked, node, _ = BARE["tiktok"]
    record = map_post({**node, "playCount": 9, **counts}, asked)
    assert "unknown_shape" in {record.null_reasons["likes"], record.null_reasons["comments"]}


@each_case(
    ("platform", "more", "column", "expected"),
    [
        ("youtube", {"viewCountInt": 5040, "viewCountText": "5,040 views"}, "views", 5040),
        ("youtube", {"likeCountInt": 453}, "likes", 453),
        ("youtube", {"commentCountInt": 11}, "comments", 11),
        ("youtube", {"lengthSeconds": None, "durationMs": 1_526_500, "likes": 1}, "duration_seconds", 1526.5),
        ("x", {"created_at": None, "tweet_created_at": "2025-11-16T03:42:05.000000Z", "views_count": 9}, "views", 9),
        ("tiktok", {"author": "fern", "stats": {"diggCount": 1}}, "author_username", "fern"),
    ],
)
def test_more_names_that_are_read(platform: str, more: dict[str, Any], column: str, expected: Any) -> None:
    asked, node, _ = BARE[platform]
    record = map_post(node | more, asked)
    assert getattr(record, column) == expected
    assert record.posted_at is not None or platform == "youtube"


def test_what_is_nobodys_counts_against_no_column() -> None:
    asked, node, _ = BARE["tiktok"]
    more = {"download_count": 5, "author": {"uniqueId": "u", "likes": 7}, "music": {"play_count": 9}, "page_view_id": 4}
    record = map_post({**node, **more}, asked)
    assert {record.null_reasons[column] for column in ("plays", "likes", "saves", "views")} == {"not_in_payload"}


def test_counts_that_stand_beside_the_node_are_missed_by_nobody() -> None:
    asked, node, _ = BARE["tiktok"]
    for data in ({"video": node, "statistics": {"play_count": 9}}, [{"video": node, "numbers": [{"digg_count": 9}]}]):
        with pytest.raises(UnknownShape):
            map_post(data, asked)
    assert map_post({"video": node, "status_code": 0}, asked).null_reasons["plays"] == "not_in_payload"


def test_times_lengths_and_followers_under_other_names_are_not_missing() -> None:
    asked, node, _ = BARE["x"]
    del (bare := dict(node))["created_at"]
    more = {"publishTime": 1_762_000_000, "clip": {"duration": 5}, "user": {"screen_name": "u", "fans": 7}}
    record = map_post({**bare, **more, "likes": 3}, asked)
    assert {record.null_reasons[column] for column in ("posted_at", "duration_seconds", "author_followers")} == {
        "unknown_shape"
    }
    # Somebody's birthday and a song's length are not the post's.
    more = {"user": {"screen_name": "u", "created_at": 1_762_000_000}, "song": {"duration": 5}}
    record = map_post({**bare, **more, "likes": 3}, asked)
    assert {record.null_reasons[column] for column in ("posted_at", "duration_seconds")} == {"not_in_payload"}


HYBRID = {"pk": REEL.post_id, "code": "DQk1lnGlaz3", "taken_at": 1_762_000_000, "image_versions2": {}, "like_count": 1}


@each_case(
    ("more", "column", "expected"),
    [
        ({"caption": None, "caption_text": "a #b"}, "caption", "a #b"),
        ({"caption": None, "caption_text": "a #b"}, "hashtags", ["b"]),
        ({"tagged_users": [{"user": {"username": "mo"}}]}, "tagged_users", ["mo"]),
        ({"usertags": [{"user": {"username": "mo"}}]}, "tagged_users", ["mo"]),
        ({"usertags": []}, "tagged_users", []),
        ({"usertags": {"in": [{"user": {"username": "mo"}}]}}, "tagged_users", ["mo"]),
        ({"ownerUsername": "fern", "ownerId": "7"}, "author_username", "fern"),
        ({"videoPlayCount": 9, "commentsCount": 4}, "plays", 9),
        ({"edge_media_to_comment": {"count": 4}}, "comments", 4),
        ({"locationName": "Old Harbour"}, "location_name", "Old Harbour"),
        ({"1ltaken_at": 1, "1fvideo_duration": 12.5}, "duration_seconds", 12.5),
        ({"dimensions": {"width": 640}}, "width", 640),
    ],
)
def test_where_the_winning_table_finds_nothing_the_platforms_others_are_looked_up(
    more: dict[str, Any], column: str, expected: Any
) -> None:
    assert getattr(map_post(HYBRID | more, REEL), column) == expected


def test_children_and_pictures_of_a_hybrid_are_found() -> None:
    parts = [
        {"pk": "2", "media_type": 1, "thumbnail_url": "https://cdn.example.invalid/1.jpg"},
        {"pk": "3", "media_type": 2},
    ]
    record = map_post(HYBRID | {"media_type": 8, "resources": parts, "caption": {"text": "a"}}, REEL)
    assert [child["media_type"] for child in record.extra["children"]] == ["image", "video"]
    pictures = {"image_versions": {"items": [{"url": "https://cdn.example.invalid/i.jpg"}]}}
    assert map_post(HYBRID | pictures, REEL).extra["display_url"] == "https://cdn.example.invalid/i.jpg"


@each_case("platform", BARE)
def test_a_table_decides_the_order(platform: str) -> None:
    tables = PLATFORMS[platform].shapes
    for shape, table in zip(with_alternatives(tables), tables, strict=True):
        assert (shape.name, shape.marks) == (table.name, table.marks)
        for column, paths in table.columns.items():
            assert shape.columns[column][: len(paths)] == paths


def test_what_two_tables_have_in_different_units_is_no_number_for_a_third() -> None:
    def table(name: str, *paths: str, milliseconds: tuple[str, ...] = ()) -> Shape:
        columns = {"duration_seconds": paths}
        return Shape(
            name=name, platform="x", marks=(), ids=(), columns=columns, caption=((),), media=(always("video"),),
            milliseconds=frozenset(milliseconds),
        )  # fmt: skip

    one, two, third = with_alternatives(
        (table("one", "length", "took"), table("two", "length", milliseconds=("length",)), table("third", "time"))
    )
    assert (one.columns["duration_seconds"], one.milliseconds) == (("length", "took", "time"), frozenset())
    assert (two.columns["duration_seconds"], two.milliseconds) == (("length", "took", "time"), {"length"})
    assert third.columns["duration_seconds"] == ("time", "took")


@each_case(
    ("asked", "node", "seconds"),
    [
        (CLIP, {"aweme_id": CLIP.post_id, "desc": "x", "statistics": {"digg_count": 1}, "duration": 13_651}, 13.651),
        (CLIP, {"aweme_id": CLIP.post_id, "desc": "", "statistics": {"digg_count": 1}, "video": {"duration": 9}}, 9e-3),
        (CLIP, {"id": CLIP.post_id, "desc": "x", "stats": {"diggCount": 1}, "video": {"duration": 1_365}}, 1_365),
        (CLIP, {"id": CLIP.post_id, "play": "u", "digg_count": 1, "music_info": {}, "duration": 14}, 14),
        (CLIP, {"id": CLIP.post_id, "channel": {"username": "u"}, "likes": 1, "video": {"duration": 9.5}}, 9.5),
        (VIDEO, {"id": VIDEO.post_id, "snippet": {"title": "t"}, "contentDetails": {"duration": "P1DT2H3M4S"}}, 93_784),
        (VIDEO, {"id": VIDEO.post_id, "snippet": {"title": "t"}, "contentDetails": {"duration": "PT25M26S"}}, 1526),
    ],
)  # fmt: skip
def test_units_come_from_the_table(asked: PostRef, node: dict[str, Any], seconds: float) -> None:
    assert map_post({"statistics": {"viewCount": 1}} | node, asked).duration_seconds == seconds


INSTAGRAPI = {
    "pk": REEL.post_id, "code": "DQk1lnGlaz3", "taken_at": "2025-11-01T12:26:40Z", "media_type": 2, "like_count": 0,
    "comment_count": 0, "caption_text": "", "usertags": [], "resources": [], "user": {"pk": "1", "username": "u"},
}  # fmt: skip


@each_case(
    ("counts", "plays", "views"),
    [
        ({"play_count": 5000, "view_count": 0}, 5000, None),
        ({"play_count": 0, "view_count": 40}, None, 40),
        ({"play_count": 0, "view_count": 0}, 0, 0),
        ({"play_count": 7, "view_count": 5}, 7, 5),
        ({"play_count": None, "view_count": 0}, None, 0),
    ],
)
def test_a_zero_that_the_service_fills_in_is_unknown(counts: dict[str, Any], plays: Any, views: Any) -> None:
    record = map_post(INSTAGRAPI | counts, REEL)
    assert (record.plays, record.views, record.likes, record.comments) == (plays, views, 0, 0)
    for column in ("plays", "views"):
        assert record.null_reasons.get(column, "not_in_payload") == "not_in_payload"


@each_case(("plays", "followers", "told"), [(9, 0, None), (0, 0, 0), (9, 3, 3)])
def test_followers_that_the_app_did_not_ask_for_are_unknown(plays: int, followers: int, told: int | None) -> None:
    node = {"aweme_id": CLIP.post_id, "desc": "x", "statistics": {"digg_count": 1, "play_count": plays}}
    record = map_post({**node, "author": {"unique_id": "u", "follower_count": followers}}, CLIP)
    assert record.author_followers == told


def test_favourites_are_likes_on_x_saves_on_tiktok_and_nothing_elsewhere() -> None:
    for platform, columns in {"x": {"likes"}, "tiktok": {"saves"}, "youtube": set(), "instagram": set()}.items():
        asked, node, names = BARE[platform]
        record = map_post({**node, names["comments"]: 1, "clicks": {"favouritesCount": 7}}, asked)
        told = {column for column, reason in record.null_reasons.items() if reason == "unknown_shape"}
        assert told == columns, platform


def test_a_form_that_fills_nothing_in_keeps_its_zeros(media: Callable[..., Any]) -> None:
    record = map_post(media(video_view_count=0, video_play_count=5), REEL)
    assert (record.plays, record.views) == (5, 0)


@each_case("kind", [1, 8])
@each_case("form", [INSTAGRAPI, HYBRID])
def test_pictures_have_no_plays_whatever_zero_stands_there(form: dict[str, Any], kind: int) -> None:
    zeros = {"play_count": 0, "view_count": 0, "video_duration": 0.0, "ig_play_count": 0}
    record = map_post(form | {"media_type": kind} | zeros, REEL)
    assert (record.plays, record.views, record.duration_seconds) == (None, None, None)
    assert {record.null_reasons[column] for column in ("plays", "views", "duration_seconds")} == {"not_a_video"}


def test_no_count_and_no_time_are_not_missing_ones() -> None:
    asked, node, _ = BARE["tiktok"]
    record = map_post({**node, "createTime": 0, "diggCount": False, "playCount": 5}, asked)
    assert (record.likes, record.posted_at) == (None, None)
    assert (record.null_reasons["likes"], record.null_reasons["posted_at"]) == ("unknown_shape", "unknown_shape")
    record = map_post({**node, "createTime": None, "diggCount": None, "playCount": 5}, asked)
    assert (record.null_reasons["likes"], record.null_reasons["posted_at"]) == ("not_in_payload", "not_in_payload")


NOW = datetime(2025, 11, 1, 12, 0, tzinfo=UTC)


@each_case(
    ("hours", "taken"), [(-1, True), (0, True), (23, True), (25, False), (24 * 365 * 3, False), (24 * 365 * 70, False)]
)
def test_a_time_beyond_tomorrow_is_a_misread_number(hours: int, taken: bool) -> None:
    asked, node, _ = BARE["tiktok"]
    posted = NOW + timedelta(hours=hours)
    comments = [{"cid": "1", "text": "t", "create_time": int(posted.timestamp())}]
    data = {**node, "createTime": int(posted.timestamp()), "playCount": 5, "comments": comments}
    record = map_post(data, asked, observed_at=NOW)
    assert (record.posted_at, record.comment_rows[0].created_at) == ((posted, posted) if taken else (None, None))
    assert record.null_reasons.get("posted_at") == (None if taken else "unknown_shape")


@each_case("given", [1_762_000_000.5, "1762000000.5", 1_762_000_000_500, 1_762_000_000_500_000])
def test_fractions_of_seconds_reach_the_row(given: Any) -> None:
    asked, node, _ = BARE["tiktok"]
    record = map_post({**node, "createTime": given, "playCount": 5}, asked)
    assert record.posted_at == datetime(2025, 11, 1, 12, 26, 40, 500_000, tzinfo=UTC)


@each_case(
    ("platform", "more"),
    [
        ("tiktok", {"collabInfo": {"collaborators": [{"username": "studio.nord", "name": "Studio Nord"}]}}),
        ("tiktok", {"collaborators": [{"uniqueId": "studio.nord"}]}),
        ("tiktok", {"coauthors": ["@studio.nord"]}),
        ("youtube", {"collaborators": [{"name": "Studio Nord", "username": "@studio.nord"}]}),
        ("youtube", {"collaborators": ["studio.nord"]}),
    ],
)
def test_coauthors_reach_their_column(platform: str, more: dict[str, Any]) -> None:
    asked, node, names = BARE[platform]
    assert map_post({**node, names["likes"]: 5, **more}, asked).coauthors == ["studio.nord"]


def test_a_profiles_address_tells_its_name() -> None:
    asked, node, _ = BARE["youtube"]
    for address in ("/@HarbourKiln", "http://www.youtube.com/@HarbourKiln/about", "@HarbourKiln"):
        data = {**node, "likes": 1, "author": {"canonicalBaseUrl": address, "channelId": "UC1"}, "stats": {"views": 2}}
        assert map_post(data, asked).author_username == "HarbourKiln"
    data = {**node, "likes": 1, "author": {"canonicalBaseUrl": "/channel/UC1"}, "stats": {"views": 2}}
    assert map_post(data, asked).author_username is None
