"""X's flat payloads: the list item of scraping services (`likeCount`, `author.userName`), and items of plainer names.

Sources: the documented example, cut off behind the author; what follows there (`extendedEntities`) is known from
public dataset items. The plainer items (`likes`, `views` as text, `screen_name`) are those of services on top of X's
own API. The view count is `views`; X has no plays. Reposts are the shares, bookmarks the saves.
"""

from __future__ import annotations

from blocks.posts.payloads.shape import Case, ListTable, Paths, Shape, case, counts, filled, several

MEDIA_KINDS = (("video", "video"), ("animated_gif", "video"), ("photo", "image"))
_INFO = ("video_info", "videoInfo")
_ORIGINAL = ("original_info", "originalInfo")


def media_columns(lists: Paths) -> dict[str, Paths]:
    """Length and size of the first of a post's media, at each place where the list of them may stand."""
    firsts = tuple(f"{path}.0" for path in lists)
    return {
        "duration_seconds": tuple(f"{first}.{key}.duration_millis" for first in firsts for key in _INFO),
        "width": tuple(f"{first}.{key}.width" for first in firsts for key in _ORIGINAL),
        "height": tuple(f"{first}.{key}.height" for first in firsts for key in _ORIGINAL),
    }


def media_cases(lists: Paths) -> tuple[Case, ...]:
    """What kind of post the list of its media makes it."""
    return (
        *(several(path, "carousel") for path in lists),
        *(case(f"{path}.0.type", said, told) for path in lists for said, told in MEDIA_KINDS),
    )


def media_extra(lists: Paths) -> dict[str, Paths]:
    return {
        "display_url": tuple(f"{path}.0.media_url_https" for path in lists),
        "video_url": tuple(f"{path}.0.video_info.variants.0.url" for path in lists),
    }


CHILD: dict[str, Paths] = {
    "post_id": ("id_str", "id"),
    "width": tuple(f"{key}.width" for key in _ORIGINAL),
    "height": tuple(f"{key}.height" for key in _ORIGINAL),
    "duration_seconds": tuple(f"{key}.duration_millis" for key in _INFO),
    "display_url": ("media_url_https", "mediaUrlHttps", "url"),
    "video_url": ("video_info.variants.0.url",),
}
CHILD_MEDIA = tuple(case("type", said, told) for said, told in MEDIA_KINDS)


def check_marks(*paths: str) -> tuple[Case, ...]:
    """Any of X's check marks; a false one decides only where there is no other."""
    return (*(case(path, True, True) for path in paths), *(case(path, False, False) for path in paths))


_LISTS = ("extendedEntities.media", "entities.media", "media")


def milliseconds(lists: Paths) -> frozenset[str]:
    """The durations of X's media are in milliseconds, here and in the children."""
    return frozenset((*media_columns(lists)["duration_seconds"], *CHILD["duration_seconds"]))


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
        **media_columns(_LISTS),
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
    media=media_cases(_LISTS),
    milliseconds=milliseconds(_LISTS),
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
    child=CHILD,
    child_media=CHILD_MEDIA,
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
        **media_extra(_LISTS),
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

FLAT = Shape(
    name="x_flat",
    platform="x",
    marks=(
        *("tweet_id", "likes", "favorites", "retweets", "replies", "quotes", "bookmarks", "views", "screen_name"),
        *("author.screen_name", "author.rest_id", "user.username", "user.screen_name", "created_timestamp", "text"),
        *("creation_date", "conversation_id", "user_posted", "date_posted", "display_text", "reposts", "created_at"),
    ),
    ids=("tweet_id", "tweetId", "tweetID", "id_str", "rest_id", "id", "post_id"),
    columns={
        "author_id": (
            *("author.rest_id", "author.id", "user.user_id", "user.id_str", "user.id", "user.rest_id", "user_id"),
            *("author_id", "userId"),
        ),
        "author_username": (
            *("author.screen_name", "author.username", "author.userName", "user.screen_name", "user.username"),
            *(
                "user.userName",
                "screen_name",
                "screenName",
                "user_screen_name",
                "username",
                "user_posted",
                "author_username",
            ),
            *("author_screen_name", "user_info.screen_name"),
        ),
        "author_name": (
            "author.name",
            "user.name",
            "author_name",
            "user.full_name",
            "author.displayName",
            "user_info.name",
        ),
        "author_followers": (
            *("author.followers", "author.followers_count", "author.followersCount", "author.sub_count"),
            *("user.follower_count", "user.followers_count", "user.followersCount", "user.followers", "followers"),
            *("followers_count", "author_followers"),
        ),
        "posted_at": (
            *(
                "created_at",
                "createdAt",
                "tweet_created_at",
                "creation_date",
                "created_timestamp",
                "date_posted",
                "date",
            ),
            "created",
            # Beside the others these may tell when the service looked.
            *("timestamp", "time"),
        ),
        **media_columns(("media", "media_extended", "extended_entities.media")),
        "views": counts(
            "views", "view_count", "viewCount", "views_count", "impressions", "impression_count", "impressionCount"
        ),
        "likes": counts(
            *("likes", "favorites", "like_count", "likeCount", "favorite_count", "favoriteCount", "favourites"),
            *("likes_count", "favourites_count"),
        ),
        "comments": counts("replies", "reply_count", "replyCount", "replies_count", "comments", "comment_count"),
        "shares": counts(
            "retweets", "retweet_count", "retweetCount", "reposts", "repost_count", "repostCount", "retweets_count"
        ),
        "saves": counts("bookmarks", "bookmark_count", "bookmarkCount", "bookmarks_count"),
    },
    milliseconds=milliseconds(("media", "media_extended", "extended_entities.media")),
    caption=(("full_text", "text", "display_text", "raw_text.text", "tweet_text", "content", "description"),),
    lists={"hashtags": ListTable(("hashtags",), ("text", "tag", ""))},
    media=(
        *media_cases(("media", "media_extended")),
        filled("media.video", "video"),
        filled("media.videos", "video"),
        several("media.photo", "carousel"),
        several("media.photos", "carousel"),
        filled("media.photo", "image"),
        filled("media.photos", "image"),
        filled("videos", "video"),
        filled("video_url", "video"),
        several("photos", "carousel"),
        filled("photos", "image"),
    ),
    flags={
        "author_verified": check_marks(
            *("author.blue_verified", "user.is_blue_verified", "blue_verified", "author.verified", "user.verified"),
            *("user.is_verified", "author.is_verified", "is_verified", "verified"),
        )
    },
    extra={
        "language": ("lang", "language"),
        "quotes": counts("quotes", "quote_count", "quoteCount"),
        "source": ("source",),
        "conversation_id": ("conversation_id",),
        "in_reply_to_id": ("in_reply_to_status_id_str", "replying_to_status"),
        "possibly_sensitive": ("possibly_sensitive",),
        "display_url": ("media.0.media_url_https", "media.photo.0.media_url_https", "media.photos.0.url"),
        "author_bio": ("author.description", "user.description"),
    },
)
