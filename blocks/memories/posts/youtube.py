"""YouTube's payloads: the item of the scraping services' family, and the object of the rapid channel.

Sources: public dataset items for the first; one user's code for the second, so its names are unconfirmed. What a
viewer reads is the title and, below it, the description: the caption is both, joined by a blank line.
"""

from __future__ import annotations

from blocks.memories.posts.shape import ListTable, Shape, always, case

ITEM = Shape(
    name="youtube_item",
    platform="youtube",
    marks=(
        "channelName",
        "channelUrl",
        "channelUsername",
        "numberOfSubscribers",
        "commentsCount",
        "viewCount",
        "thumbnailUrl",
        "date",
        "text",
        "title",
        "likes",
        "duration",
    ),
    ids=("id", "videoId"),
    columns={
        "author_id": ("channelId",),
        "author_username": ("channelUsername", "channelHandle"),
        "author_name": ("channelName",),
        "author_verified": ("isChannelVerified", "channelVerified"),
        "author_followers": ("numberOfSubscribers",),
        "posted_at": ("date", "publishedAt", "uploadDate"),
        "product_type": ("type",),
        "duration_seconds": ("duration", "lengthSeconds"),
        "location_name": ("location",),
        "is_paid_partnership": ("isPaidContent", "hasPaidPromotion"),
        "views": ("viewCount",),
        "likes": ("likes", "likeCount"),
        "comments": ("commentsCount", "commentCount"),
    },
    caption=(("title",), ("text", "description")),
    media=(always("video"),),
    hidden={"comments": ("commentsTurnedOff",)},
    extra={
        "title": ("title",),
        "description": ("text", "description"),
        "thumbnail_url": ("thumbnailUrl",),
        "comments_disabled": ("commentsTurnedOff",),
        "is_monetized": ("isMonetized",),
        "is_members_only": ("isMembersOnly",),
        "is_age_restricted": ("isAgeRestricted",),
        "author_url": ("channelUrl",),
        "posted_at_as_given": ("date", "publishedAt", "uploadDate"),
    },
    extra_lists={
        "platform_hashtags": ListTable(("hashtags",), ("",)),
        "collaborators": ListTable(("collaborators",), ("username", "name", "")),
    },
)

OBJECT = Shape(
    name="youtube_object",
    platform="youtube",
    marks=(
        "lengthSeconds",
        "channel.name",
        "channel.handle",
        "channel.id",
        "channelTitle",
        "videoId",
        "viewCount",
        "likeCount",
        "publishDate",
        "uploadDate",
        "publishedAt",
        "keywords",
        "title",
        "description",
        "thumbnail",
        "thumbnails",
    ),
    ids=("videoId", "id"),
    columns={
        "author_id": ("channel.id", "channelId", "externalChannelId"),
        "author_username": ("channel.handle", "channelHandle"),
        "author_name": ("channel.name", "channel.title", "channelTitle", "author"),
        "author_verified": ("channel.isVerified", "channel.verified"),
        "author_followers": ("channel.subscriberCount", "channel.subscribers", "subscriberCount"),
        "posted_at": ("publishDate", "publishedAt", "uploadDate", "publishedTime"),
        "product_type": ("type",),
        "duration_seconds": ("lengthSeconds", "durationSeconds", "duration"),
        "width": ("width",),
        "height": ("height",),
        "is_paid_partnership": ("isPaidPromotion", "hasPaidPromotion"),
        "views": ("viewCount",),
        "likes": ("likeCount", "likes"),
        "comments": ("commentCount", "commentsCount"),
    },
    caption=(("title",), ("description", "shortDescription")),
    media=(always("video"),),
    flags={"product_type": (case("isShort", True, "short"), case("isLiveContent", True, "live"))},
    hidden={"comments": ("commentsTurnedOff", "commentsDisabled")},
    extra={
        "title": ("title",),
        "description": ("description", "shortDescription"),
        "category": ("category",),
        "thumbnail_url": ("thumbnailUrl", "thumbnail.0.url", "thumbnails.0.url"),
        "is_live": ("isLive", "isLiveContent"),
        "author_url": ("channel.url",),
        "posted_at_as_given": ("publishDate", "publishedAt", "uploadDate", "publishedTime"),
    },
    extra_lists={
        "keywords": ListTable(("keywords",), ("",)),
        "platform_hashtags": ListTable(("hashtags",), ("",)),
    },
)
