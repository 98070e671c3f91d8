"""What each platform's payload becomes, value by value."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from blocks.posts.payloads.mapping import PARSER_VERSION
from blocks.posts.record import CommentRecord, PostRecord

Mapped = Callable[[str], PostRecord]

NOON = datetime(2025, 11, 1, 12, 26, 40, tzinfo=UTC)


def values(record: PostRecord) -> dict[str, object]:
    """The columns that are not null."""
    apart = ("extra", "null_reasons", "comment_rows")
    names = (name for name in PostRecord.__slots__ if name not in apart)
    return {name: getattr(record, name) for name in names if getattr(record, name) is not None}


def test_instagram_video(mapped: Mapped) -> None:
    record = mapped("video_graphql")
    assert values(record) == {
        "platform": "instagram",
        "post_id": "3757363670205967607",
        "url": "https://www.instagram.com/p/DQk1lnGlaz3/",
        "shape": "instagram_graphql",
        "shortcode": "DQk1lnGlaz3",
        "author_id": "4100200",
        "author_username": "harbour_kiln",
        "author_name": "Harbour Kiln",
        "author_verified": False,
        "author_followers": 48200,
        "caption": "Glaze day at the kiln 🏺 #Keramik #GlazeDay＃陶芸 with @mo.clay — write to kiln@example.com"
        "\n#2024 #keramik",
        "hashtags": ["Keramik", "GlazeDay", "陶芸"],
        "mentions": ["mo.clay"],
        "posted_at": NOON,
        "media_type": "video",
        "product_type": "clips",
        "duration_seconds": 12.5,
        "width": 640,
        "height": 1136,
        "audio_id": "771200345600112",
        "audio_title": "Slow Wheel",
        "audio_artist": "Low Tide Trio",
        "audio_is_original": False,
        "has_audio": True,
        "location_name": "Old Harbour",
        "is_paid_partnership": True,
        "coauthors": ["studio.nord"],
        "tagged_users": ["mo.clay"],
        "plays": 5_000_000_000,
        "views": 0,
        "likes": 731,
        "likes_hidden": False,
        "comments": 2,
    }
    assert record.null_reasons == {"shares": "not_in_payload", "saves": "not_in_payload"}
    assert record.comment_rows == [
        CommentRecord(
            comment_id="1801",
            author="fern.potter",
            text="Beautiful!",
            likes=3,
            created_at=datetime(2025, 11, 1, 12, 28, 20, tzinfo=UTC),
        ),
        CommentRecord(
            comment_id="1803",
            author="harbour_kiln",
            text="@fern.potter thanks",
            likes=0,
            created_at=datetime(2025, 11, 1, 12, 31, 40, tzinfo=UTC),
        ),
        CommentRecord(
            comment_id="1802",
            author="oslo_ovens",
            text="How hot?",
            likes=0,
            created_at=datetime(2025, 11, 1, 12, 30, tzinfo=UTC),
        ),
    ]


def test_every_documented_field_that_is_no_column_stands_in_extra(mapped: Mapped) -> None:
    extra = mapped("video_graphql").extra
    cdn = "https://cdn.example.invalid"
    assert extra["thumbnail_url"] == f"{cdn}/thumb.jpg"
    assert extra["display_url"] == f"{cdn}/display.jpg"
    assert extra["video_url"] == f"{cdn}/video.mp4"
    assert extra["response_status"] == "ok"
    assert extra["response_is_final"] is True
    assert extra["caption_created_at"] == "2025-11-01T12:26:41Z"
    assert extra["author_profile_picture_url"] == f"{cdn}/owner.jpg"
    assert extra["is_dash_eligible"] is True
    assert "children" not in extra


def test_instagram_carousel_keeps_its_children(mapped: Mapped) -> None:
    record = mapped("carousel_graphql")
    assert (record.media_type, record.likes, record.comments) == ("carousel", 0, 0)
    assert record.extra["children"] == [
        {
            "media_type": "image",
            "post_id": "3755025007206102964",
            "shortcode": "DQch1ldOne0",
            "width": 1080,
            "height": 1350,
            "display_url": "https://cdn.example.invalid/c1.jpg",
        },
        {
            "media_type": "video",
            "post_id": "3755025007207451188",
            "shortcode": "DQch1ldTwo0",
            "width": 1080,
            "height": 1350,
            "duration_seconds": 3.5,
            "has_audio": False,
            "plays": 90,
            "views": 40,
            "display_url": "https://cdn.example.invalid/c2.jpg",
            "video_url": "https://cdn.example.invalid/c2.mp4",
        },
    ]
    # It has no caption, and says so.
    assert (record.caption, record.hashtags, record.mentions) == (None, [], [])
    assert record.null_reasons["caption"] == "not_in_payload"


def test_tiktok_video(mapped: Mapped) -> None:
    record = mapped("tiktok_item")
    assert values(record) == {
        "platform": "tiktok",
        "post_id": "7560000000000000123",
        "url": "https://www.tiktok.com/@harbour.kiln/video/7560000000000000123",
        "shape": "tiktok_item",
        "author_id": "6800000000000000001",
        "author_username": "harbour.kiln",
        "author_name": "Harbour Kiln",
        "author_verified": True,
        "author_followers": 3_000_000_000,
        "caption": "wheel throwing ＃陶芸 #potterytok #fyp @mo.clay",
        "hashtags": ["陶芸", "potterytok", "fyp"],
        "mentions": ["mo.clay"],
        "posted_at": NOON,
        "media_type": "video",
        "duration_seconds": 36.0,
        "width": 576,
        "height": 1024,
        "audio_id": "7560000000000000999",
        "audio_title": "original sound",
        "audio_artist": "Harbour Kiln",
        "audio_is_original": True,
        "location_name": "Old Harbour",
        "is_paid_partnership": False,
        "plays": 4_300_000_000,
        "likes": 1460,
        "likes_hidden": False,
        "comments": 29,
        "shares": 0,
        "saves": 50,
    }
    assert record.extra["platform_hashtags"] == ["potterytok", "fyp"]
    assert [(row.author, row.likes) for row in record.comment_rows] == [("fern.potter", 2)]


def test_tiktok_slideshow_is_a_carousel_that_is_played(mapped: Mapped) -> None:
    record = mapped("tiktok_slideshow_item")
    assert (record.media_type, record.plays, record.likes) == ("carousel", 348100, 0)
    assert record.null_reasons["duration_seconds"] == "not_a_video"
    assert record.width is None
    assert [child["display_url"][-6:] for child in record.extra["children"]] == ["s1.jpg", "s2.jpg"]


def test_youtube_video(mapped: Mapped) -> None:
    record = mapped("youtube_item")
    assert values(record) == {
        "platform": "youtube",
        "post_id": "k1lnV1deo_0",
        "url": "https://www.youtube.com/watch?v=k1lnV1deo_0",
        "shape": "youtube_item",
        "author_id": "UCaaaaaaaaaaaaaaaaaaaaaa",
        "author_username": "HarbourKiln",
        "author_name": "Harbour Kiln",
        "author_verified": True,
        "author_followers": 6_930_000,
        "caption": "Throwing a bowl #pottery\n\nHow to #throw a bowl.\nhttps://example.com/#shop",
        "hashtags": ["pottery", "throw"],
        "mentions": [],
        "posted_at": NOON,
        "media_type": "video",
        "product_type": "video",
        "duration_seconds": 3797.0,
        "views": 35_582_192,
        "likes": 0,
        "likes_hidden": False,
    }
    assert record.null_reasons["comments"] == "hidden_by_owner"
    assert record.null_reasons["plays"] == "not_in_payload"


def test_the_other_youtube_shape(mapped: Mapped) -> None:
    one, other = mapped("youtube_item"), mapped("youtube_object")
    assert other.shape == "youtube_object"
    for column in ("author_id", "author_username", "author_name", "caption", "hashtags", "duration_seconds", "views"):
        assert getattr(other, column) == getattr(one, column), column
    # A rounded number is no number, and a date alone is its first moment, with the date as it came.
    assert other.author_followers is None
    assert other.posted_at == datetime(2025, 11, 1, tzinfo=UTC)
    assert other.extra["posted_at_as_given"] == "2025-11-01"


def test_x_post(mapped: Mapped) -> None:
    record = mapped("x_tweet")
    assert values(record) == {
        "platform": "x",
        "post_id": "1989000000000000001",
        "url": "https://x.com/i/status/1989000000000000001",
        "shape": "x_tweet",
        "author_id": "14955000",
        "author_username": "HarbourKiln",
        "author_name": "Harbour Kiln",
        "author_verified": True,
        "author_followers": 1_077_295,
        "caption": "Kiln open #Keramik https://t.co/abc#x",
        "hashtags": ["Keramik"],
        "mentions": [],
        "posted_at": datetime(2025, 11, 16, 3, 42, 5, tzinfo=UTC),
        "media_type": "video",
        "duration_seconds": 15.25,
        "width": 1280,
        "height": 720,
        "views": 43_099_524,
        "likes": 5002,
        "likes_hidden": False,
        "comments": 0,
        "shares": 257,
        "saves": 607,
    }
    assert record.extra["quotes"] == 39


def test_the_parser_has_a_version() -> None:
    assert PARSER_VERSION
    assert len(PARSER_VERSION) <= 16
