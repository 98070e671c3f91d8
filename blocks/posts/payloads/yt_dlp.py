"""The info object of yt-dlp and what is built on it: one form for all platforms. Source: yt-dlp's extractors.

What `uploader` and `channel` mean differs by platform, so each says it.
"""

from __future__ import annotations

from blocks.posts.payloads.shape import ListTable, Paths, Shape, always, case, filled
from blocks.posts.record import Platform


def _info(platform: Platform, *, caption: tuple[Paths, ...], **columns: Paths) -> Shape:
    return Shape(
        name=f"{platform}_yt_dlp",
        platform=platform,
        marks=(
            *("extractor", "extractor_key", "webpage_url", "webpage_url_basename", "display_id", "upload_date"),
            *("uploader", "uploader_id", "uploader_url", "channel_follower_count", "automatic_captions", "formats"),
        ),
        signs=(filled("extractor_key", 2),),
        ids=("id", "display_id"),
        columns={
            **columns,
            "author_verified": ("channel_is_verified",),
            "author_followers": ("channel_follower_count",),
            "posted_at": ("timestamp", "upload_date"),
            "duration_seconds": ("duration",),
            "width": ("width",),
            "height": ("height",),
            "location_name": ("location",),
            "views": ("view_count",),
            "likes": ("like_count",),
            "comments": ("comment_count",),
        },
        caption=caption,
        media=(case("_type", "video", "video"), *((always("video"),) if platform == "youtube" else ())),
        extra={
            "title": ("title",),
            "thumbnail_url": ("thumbnail",),
            "category": ("categories.0",),
            "is_live": ("is_live",),
            "author_url": ("channel_url", "uploader_url"),
        },
        extra_lists={"keywords": ListTable(("tags",), ("",))},
    )


INSTAGRAM_INFO = _info(
    "instagram",
    author_id=("uploader_id",),
    author_username=("channel",),
    author_name=("uploader",),
    audio_title=("track",),
    audio_artist=("artist", "artists.0"),
    caption=(("description",),),
)
TIKTOK_INFO = _info(
    "tiktok",
    author_id=("uploader_id",),
    author_username=("uploader",),
    author_name=("channel",),
    audio_title=("track",),
    audio_artist=("artist", "artists.0"),
    shares=("repost_count",),
    saves=("save_count",),
    caption=(("description", "title"),),
)
YOUTUBE_INFO = _info(
    "youtube",
    author_id=("channel_id",),
    author_username=("uploader_id",),
    author_name=("channel", "uploader"),
    caption=(("fulltitle", "title"), ("description",)),
)
X_INFO = _info(
    "x",
    author_id=("channel_id",),
    author_username=("uploader_id",),
    author_name=("uploader",),
    shares=("repost_count",),
    caption=(("description",),),
)
