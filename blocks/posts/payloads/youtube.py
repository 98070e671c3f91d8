"""YouTube's flat payloads: items of scraping services, the object of the rapid channel, Invidious.

Sources: public dataset items for the first; users' code and published schemas for the others. What a viewer reads is
the title and, below it, the description: the caption is both, joined by a blank line.
"""

from __future__ import annotations

from blocks.posts.payloads.shape import ListTable, Shape, always, case, counts, filled

CAPTION = (("title",), ("text", "description"))

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
    caption=CAPTION,
    lists={"coauthors": ListTable(("collaborators",), ("username", "channelUsername", "handle", "name", ""))},
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
    may_lack_identity=True,
    columns={
        "author_id": ("channel.id", "channelId", "externalChannelId"),
        "author_username": ("channel.handle", "channelHandle"),
        "author_name": ("channel.name", "channel.title", "channelTitle", "author"),
        "author_verified": ("channel.isVerified", "channel.verified"),
        "author_followers": ("channel.subscriberCount", "channel.subscribers", "subscriberCount"),
        "posted_at": ("publishDate", "publishedAt", "uploadDate", "publishedTime"),
        "product_type": ("type",),
        "duration_seconds": ("lengthSeconds", "durationSeconds", "duration", "durationMs"),
        "width": ("width",),
        "height": ("height",),
        "is_paid_partnership": ("isPaidPromotion", "hasPaidPromotion"),
        "views": ("viewCount", "viewCountInt"),
        "likes": ("likeCount", "likeCountInt", "likes"),
        "comments": ("commentCount", "commentCountInt", "commentsCount"),
    },
    milliseconds=frozenset({"durationMs"}),
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

FLAT = Shape(
    name="youtube_flat",
    platform="youtube",
    marks=(
        *("stats.views", "stats.likes", "statistics.views", "metrics.views", "views", "likes", "author.channelId"),
        *("author.title", "author.stats", "author.canonicalBaseUrl", "publishedDate", "superTitle", "video_id"),
        *("youtuber", "date_posted", "num_comments", "subscribers", "video_length", "view_count", "channel_title"),
        *("title", "video_title", "duration_seconds", "published_at"),
    ),
    signs=(filled("stats.views", 3), filled("author.channelId", 2)),
    ids=("videoId", "video_id", "id", "youtube_id"),
    columns={
        "author_id": ("author.channelId", "author.id", "channel_id", "channel.channelId", "youtuber_id"),
        "author_username": (
            *("author.canonicalBaseUrl", "author.handle", "author.username", "channel.username", "handle_name"),
            *("channel_handle", "channel.canonicalBaseUrl", "youtuber"),
        ),
        "author_name": ("author.title", "author.name", "channel_title", "channel_name", "channel"),
        "author_verified": ("author.verified", "author.isVerified", "verified", "channel_verified"),
        "author_followers": (
            *("author.stats.subscribers", "author.subscriberCount", "channel.stats.subscribers", "subscribers"),
            *("subscriber_count", "channel_subscribers", "channel_subscriber_count"),
        ),
        "posted_at": (
            *("publishedDate", "published_at", "publishedAt", "date_posted", "publish_date", "upload_date"),
            *("uploadedAt", "datePublished"),
        ),
        "product_type": ("video_type",),
        "duration_seconds": (
            "lengthSeconds",
            "length_seconds",
            "duration_seconds",
            "video_length",
            "duration",
            "length",
        ),
        "views": counts("views", "viewCount", "view_count", "viewsCount", "views_count"),
        "likes": counts("likes", "likeCount", "like_count", "likesCount", "likes_count"),
        "comments": counts(
            *("comments", "commentCount", "comment_count", "commentsCount", "comments_count", "num_comments")
        ),
    },
    caption=(("title", "video_title"), ("description", "video_description")),
    media=(always("video"),),
    lists={"coauthors": ListTable(("collaborators", "coauthors", "collabs"), ("username", "handle", "name", ""))},
    flags={
        "product_type": (
            case("isShort", True, "short"),
            case("is_short", True, "short"),
            case("isLiveContent", True, "live"),
        ),
        "author_verified": (filled("author.badges", True),),
    },
    extra={
        "title": ("title", "video_title"),
        "description": ("description", "video_description"),
        "category": ("category",),
        "thumbnail_url": ("thumbnail_url", "thumbnails.0.url"),
        "is_live": ("isLiveNow", "isLiveContent"),
        "posted_at_as_given": ("publishedDate", "published_at", "publishedTimeText"),
        "dislikes": counts("dislikes", "dislikeCount"),
    },
    extra_lists={"keywords": ListTable(("keywords", "tags"), ("",))},
)

INVIDIOUS = Shape(
    name="youtube_invidious",
    platform="youtube",
    marks=(
        *("authorId", "authorUrl", "published", "publishedText", "subCountText", "isFamilyFriendly", "descriptionHtml"),
        *(
            "videoThumbnails",
            "authorThumbnails",
            "viewCount",
            "likeCount",
            "lengthSeconds",
            "genre",
            "isListed",
            "author",
        ),
    ),
    ids=("videoId",),
    columns={
        "author_id": ("authorId",),
        "author_username": ("authorUrl", "authorHandle"),
        "author_name": ("author",),
        "author_verified": ("authorVerified",),
        "author_followers": ("subCount", "subCountText"),
        "posted_at": ("published", "premiereTimestamp"),
        "duration_seconds": ("lengthSeconds",),
        "views": ("viewCount",),
        "likes": ("likeCount",),
        "comments": ("commentCount",),
    },
    caption=(("title",), ("description",)),
    media=(always("video"),),
    flags={"product_type": (case("liveNow", True, "live"), case("isShort", True, "short"))},
    extra={
        "title": ("title",),
        "description": ("description",),
        "category": ("genre",),
        "thumbnail_url": ("videoThumbnails.0.url",),
        "is_live": ("liveNow",),
        "author_url": ("authorUrl",),
        "posted_at_as_given": ("publishedText",),
        "dislikes": ("dislikeCount",),
    },
    extra_lists={"keywords": ListTable(("keywords",), ("",))},
)
