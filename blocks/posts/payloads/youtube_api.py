"""YouTube's own APIs: the Data API v3 (a list of `items`), and the player response of the site (innertube).

Sources: the Data API's public reference; published player responses and their readers.
"""

from __future__ import annotations

from blocks.posts.payloads.shape import ListTable, Shape, always, case

DATA_API = Shape(
    name="youtube_data_api",
    platform="youtube",
    marks=(
        *("snippet", "snippet.channelId", "snippet.publishedAt", "snippet.channelTitle"),
        *("contentDetails", "contentDetails.duration", "statistics", "statistics.viewCount", "status.privacyStatus"),
    ),
    # A playlist's item names its video elsewhere: its time and its channel are those of the playlist.
    ids=("id", "id.videoId"),
    columns={
        "author_id": ("snippet.channelId",),
        "author_username": ("snippet.customUrl", "snippet.channelHandle"),
        "author_name": ("snippet.channelTitle",),
        "posted_at": ("snippet.publishedAt",),
        "duration_seconds": ("contentDetails.duration",),
        "is_paid_partnership": ("paidProductPlacementDetails.hasPaidProductPlacement",),
        "location_name": ("recordingDetails.locationDescription",),
        "views": ("statistics.viewCount",),
        "likes": ("statistics.likeCount",),
        "comments": ("statistics.commentCount",),
    },
    caption=(("snippet.title",), ("snippet.description",)),
    media=(always("video"),),
    flags={"product_type": (case("snippet.liveBroadcastContent", "live", "live"),)},
    extra={
        "title": ("snippet.title",),
        "description": ("snippet.description",),
        "category": ("snippet.categoryId",),
        "language": ("snippet.defaultAudioLanguage", "snippet.defaultLanguage"),
        "thumbnail_url": (
            "snippet.thumbnails.maxres.url",
            "snippet.thumbnails.high.url",
            "snippet.thumbnails.default.url",
        ),
        "posted_at_as_given": ("snippet.publishedAt",),
        "dislikes": ("statistics.dislikeCount",),
    },
    extra_lists={"keywords": ListTable(("snippet.tags",), ("",))},
)

_MICROFORMAT = "microformat.playerMicroformatRenderer"

PLAYER = Shape(
    name="youtube_player",
    platform="youtube",
    marks=(
        *("videoDetails", "videoDetails.videoId", "videoDetails.viewCount", "videoDetails.author", "playabilityStatus"),
        *(
            "streamingData",
            _MICROFORMAT,
            f"{_MICROFORMAT}.publishDate",
            "responseContext",
            "videoDetails.lengthSeconds",
        ),
    ),
    ids=("videoDetails.videoId", f"{_MICROFORMAT}.externalVideoId"),
    columns={
        "author_id": ("videoDetails.channelId", f"{_MICROFORMAT}.externalChannelId"),
        "author_username": (f"{_MICROFORMAT}.ownerProfileUrl",),
        "author_name": ("videoDetails.author", f"{_MICROFORMAT}.ownerChannelName"),
        "posted_at": (f"{_MICROFORMAT}.publishDate", f"{_MICROFORMAT}.uploadDate"),
        "duration_seconds": ("videoDetails.lengthSeconds", f"{_MICROFORMAT}.lengthSeconds"),
        "views": ("videoDetails.viewCount", f"{_MICROFORMAT}.viewCount"),
        "likes": (f"{_MICROFORMAT}.likeCount", "videoDetails.likeCount"),
    },
    caption=(
        ("videoDetails.title", f"{_MICROFORMAT}.title.simpleText"),
        ("videoDetails.shortDescription", f"{_MICROFORMAT}.description.simpleText"),
    ),
    media=(always("video"),),
    flags={
        "product_type": (
            case(f"{_MICROFORMAT}.isShortsEligible", True, "short"),
            case("videoDetails.isLiveContent", True, "live"),
        )
    },
    extra={
        "title": ("videoDetails.title",),
        "description": ("videoDetails.shortDescription",),
        "category": (f"{_MICROFORMAT}.category",),
        "thumbnail_url": ("videoDetails.thumbnail.thumbnails.0.url",),
        "is_live": ("videoDetails.isLive", "videoDetails.isLiveContent"),
        "author_url": (f"{_MICROFORMAT}.ownerProfileUrl",),
        "posted_at_as_given": (f"{_MICROFORMAT}.publishDate",),
    },
    extra_lists={"keywords": ListTable(("videoDetails.keywords",), ("",))},
)
