"""X's payload: the list item of scraping services (`likeCount`, `author.userName`).

Source: the documented example, cut off behind the author; what follows there (`extendedEntities`) is known from
public dataset items. Its view count is `views`; X has no plays. Reposts are the shares, bookmarks the saves.
"""

from __future__ import annotations

from blocks.memories.posts.shape import ListTable, Shape, case, filled, several

_FIRST = ("extendedEntities.media.0", "entities.media.0", "media.0")

TWEET = Shape(
    name="x_tweet",
    platform="x",
    marks=(
        "twitterUrl",
        "fullText",
        "text",
        "retweetCount",
        "replyCount",
        "likeCount",
        "quoteCount",
        "viewCount",
        "bookmarkCount",
        "createdAt",
        "conversationId",
        "author.userName",
        "isReply",
        "possiblySensitive",
        "extendedEntities",
    ),
    ids=("id", "id_str", "tweetId"),
    columns={
        "author_id": ("author.id", "authorId"),
        "author_username": ("author.userName", "author.username", "author.screen_name"),
        "author_name": ("author.name",),
        "author_followers": ("author.followers", "author.followersCount"),
        "posted_at": ("createdAt",),
        "duration_seconds": tuple(
            f"{media}.{key}.duration_millis" for media in _FIRST for key in ("video_info", "videoInfo")
        ),
        "width": tuple(f"{media}.{key}.width" for media in _FIRST for key in ("original_info", "originalInfo")),
        "height": tuple(f"{media}.{key}.height" for media in _FIRST for key in ("original_info", "originalInfo")),
        "location_name": ("place.full_name", "place.fullName", "place.name"),
        "is_paid_partnership": ("isPaidPartnership", "paidPartnership"),
        "views": ("viewCount",),
        "likes": ("likeCount", "favoriteCount"),
        "comments": ("replyCount",),
        "shares": ("retweetCount",),
        "saves": ("bookmarkCount",),
    },
    caption=(("fullText", "text"),),
    lists={"hashtags": ListTable(("entities.hashtags",), ("text", "tag"))},
    media=(
        *(several(media.removesuffix(".0"), "carousel") for media in _FIRST),
        *(
            case(f"{media}.type", said, told)
            for media in _FIRST
            for said, told in (("video", "video"), ("animated_gif", "video"), ("photo", "image"))
        ),
    ),
    flags={
        # Any of X's check marks; a false one decides only where there is no other.
        "author_verified": (
            case("author.isVerified", True, True),
            case("author.isBlueVerified", True, True),
            *(case("author.verifiedType", none, False) for none in ("none", "None", "NONE")),
            filled("author.verifiedType", True),
            case("author.isVerified", False, False),
            case("author.isBlueVerified", False, False),
        )
    },
    children=("extendedEntities.media", "entities.media"),
    child={
        "post_id": ("id_str", "id"),
        "width": ("original_info.width", "originalInfo.width"),
        "height": ("original_info.height", "originalInfo.height"),
        "duration_seconds": ("video_info.duration_millis", "videoInfo.duration_millis"),
        "display_url": ("media_url_https", "mediaUrlHttps", "url"),
        "video_url": ("video_info.variants.0.url",),
    },
    child_media=(
        case("type", "video", "video"),
        case("type", "animated_gif", "video"),
        case("type", "photo", "image"),
    ),
    extra={
        "language": ("lang",),
        "quotes": ("quoteCount",),
        "source": ("source",),
        "conversation_id": ("conversationId",),
        "in_reply_to_id": ("inReplyToId", "inReplyToStatusId"),
        "is_reply": ("isReply",),
        "is_repost": ("isRetweet",),
        "is_quote": ("isQuote",),
        "is_pinned": ("isPinned",),
        "possibly_sensitive": ("possiblySensitive",),
        "display_url": tuple(f"{media}.media_url_https" for media in _FIRST),
        "video_url": tuple(f"{media}.video_info.variants.0.url" for media in _FIRST),
        "author_is_verified": ("author.isVerified",),
        "author_is_blue_verified": ("author.isBlueVerified",),
        "author_verified_type": ("author.verifiedType",),
        "author_bio": ("author.description",),
        "author_profile_picture_url": ("author.profilePicture",),
    },
    extra_lists={
        "platform_hashtags": ListTable(("entities.hashtags",), ("text", "tag")),
    },
)
