"""X's own APIs: GraphQL (`tweetResult`), v1.1, v2, and the syndication that embedded posts use.

Sources: X's public reference for v1.1 and v2; published answers and their readers for GraphQL (whose users have left
their `legacy` part in 2025) and syndication.
"""

from __future__ import annotations

from blocks.posts.payloads.shape import ListTable, Shape, case, filled, several
from blocks.posts.payloads.x import (
    CHILD,
    CHILD_MEDIA,
    MEDIA_KINDS,
    check_marks,
    media_cases,
    media_columns,
    media_extra,
    milliseconds,
)

_USERS = ("core.user_results.result", "core.user_result.result", "author.user_results.result", "user_results.result")


def _of_user(*keys: str) -> tuple[str, ...]:
    return tuple(f"{user}.{key}" for user in _USERS for key in keys)


_GRAPHQL_LISTS = (
    *("legacy.extended_entities.media", "legacy.entities.media", "extended_entities.media", "media_entities"),
)

GRAPHQL = Shape(
    name="x_graphql",
    platform="x",
    marks=(
        *("rest_id", *_USERS, "legacy.full_text", "legacy.created_at", "legacy.favorite_count", "legacy.id_str"),
        *("views.state", "view_count_info", "edit_control", "unmention_data", "is_translatable", "note_tweet"),
        *("details.full_text", "counts.favorite_count", "legacy.retweet_count", "quick_promote_eligibility"),
    ),
    ids=("rest_id", "legacy.id_str", "details.rest_id"),
    columns={
        "author_id": (*_of_user("rest_id"), "legacy.user_id_str"),
        "author_username": _of_user("core.screen_name", "legacy.screen_name", "screen_name"),
        "author_name": _of_user("core.name", "legacy.name", "name"),
        "author_followers": _of_user("legacy.followers_count", "relationship_counts.followers", "followers_count"),
        "posted_at": ("legacy.created_at", "details.created_at_ms", "created_at"),
        **media_columns(_GRAPHQL_LISTS),
        "location_name": ("legacy.place.full_name", "legacy.place.name"),
        "views": ("views.count", "view_count_info.count", "ext_views.count", "legacy.ext_views.count"),
        "likes": ("legacy.favorite_count", "counts.favorite_count", "favorite_count"),
        "comments": ("legacy.reply_count", "counts.reply_count", "reply_count"),
        "shares": ("legacy.retweet_count", "counts.retweet_count", "retweet_count"),
        "saves": ("legacy.bookmark_count", "counts.bookmark_count", "bookmark_count"),
    },
    milliseconds=milliseconds(_GRAPHQL_LISTS),
    caption=(
        (
            "note_tweet.note_tweet_results.result.text",
            "legacy.full_text",
            "details.full_text",
            "full_text",
            "legacy.text",
        ),
    ),
    lists={
        "hashtags": ListTable(
            ("note_tweet.note_tweet_results.result.entity_set.hashtags", "legacy.entities.hashtags"), ("text", "tag")
        )
    },
    media=media_cases(_GRAPHQL_LISTS),
    flags={
        "author_verified": check_marks(
            *_of_user("is_blue_verified", "verification.is_blue_verified", "verification.verified", "legacy.verified")
        )
    },
    children=_GRAPHQL_LISTS,
    child=CHILD,
    child_media=CHILD_MEDIA,
    extra={
        "language": ("legacy.lang", "details.language"),
        "quotes": ("legacy.quote_count", "counts.quote_count"),
        "source": ("source", "legacy.source"),
        "conversation_id": ("legacy.conversation_id_str",),
        "in_reply_to_id": ("legacy.in_reply_to_status_id_str",),
        "is_quote": ("legacy.is_quote_status",),
        "possibly_sensitive": ("legacy.possibly_sensitive",),
        **media_extra(_GRAPHQL_LISTS),
        "author_is_blue_verified": _of_user("is_blue_verified", "verification.is_blue_verified"),
        "author_bio": _of_user("profile_bio.description", "legacy.description"),
        "author_profile_picture_url": _of_user("avatar.image_url", "legacy.profile_image_url_https"),
    },
)

_V1_LISTS = ("extended_entities.media", "entities.media")

API_V1 = Shape(
    name="x_v1",
    platform="x",
    marks=(
        *("id_str", "full_text", "truncated", "user.screen_name", "user.id_str", "user.followers_count"),
        *("retweet_count", "favorite_count", "is_quote_status", "extended_entities", "entities", "created_at", "lang"),
    ),
    signs=(filled("user.id_str", 2),),
    ids=("id_str", "id"),
    columns={
        "author_id": ("user.id_str", "user.id", "user_id_str"),
        "author_username": ("user.screen_name",),
        "author_name": ("user.name",),
        "author_followers": ("user.followers_count",),
        "posted_at": ("created_at",),
        **media_columns(_V1_LISTS),
        "location_name": ("place.full_name", "place.name"),
        "views": ("ext_views.count", "view_count"),
        "likes": ("favorite_count",),
        "comments": ("reply_count",),
        "shares": ("retweet_count",),
        "saves": ("bookmark_count",),
    },
    milliseconds=milliseconds(_V1_LISTS),
    caption=(("full_text", "extended_tweet.full_text", "text"),),
    lists={"hashtags": ListTable(("entities.hashtags",), ("text", "tag"))},
    media=media_cases(_V1_LISTS),
    flags={"author_verified": check_marks("user.verified", "user.is_blue_verified", "user.ext_is_blue_verified")},
    children=_V1_LISTS,
    child=CHILD,
    child_media=CHILD_MEDIA,
    extra={
        "language": ("lang",),
        "quotes": ("quote_count",),
        "source": ("source",),
        "conversation_id": ("conversation_id_str",),
        "in_reply_to_id": ("in_reply_to_status_id_str",),
        "is_quote": ("is_quote_status",),
        "possibly_sensitive": ("possibly_sensitive",),
        **media_extra(_V1_LISTS),
        "author_bio": ("user.description",),
        "author_profile_picture_url": ("user.profile_image_url_https",),
    },
)

_AUTHOR = "includes.users.[id=author_id]"
_MEDIA = "includes.media.[media_key=attachments.media_keys.0]"

API_V2 = Shape(
    name="x_v2",
    platform="x",
    marks=(
        *("public_metrics", "public_metrics.like_count", "author_id", "edit_history_tweet_ids", "conversation_id"),
        *("attachments.media_keys", "referenced_tweets", "reply_settings", "edit_controls", "created_at", "text"),
    ),
    ids=("id",),
    beside=("includes",),
    columns={
        "author_id": ("author_id",),
        "author_username": (f"{_AUTHOR}.username",),
        "author_name": (f"{_AUTHOR}.name",),
        "author_verified": (f"{_AUTHOR}.verified",),
        "author_followers": (f"{_AUTHOR}.public_metrics.followers_count",),
        "posted_at": ("created_at",),
        "duration_seconds": (f"{_MEDIA}.duration_ms",),
        "width": (f"{_MEDIA}.width",),
        "height": (f"{_MEDIA}.height",),
        "location_name": ("includes.places.[id=geo.place_id].full_name",),
        "views": ("public_metrics.impression_count", "organic_metrics.impression_count"),
        "likes": ("public_metrics.like_count",),
        "comments": ("public_metrics.reply_count",),
        "shares": ("public_metrics.retweet_count", "public_metrics.repost_count"),
        "saves": ("public_metrics.bookmark_count",),
    },
    milliseconds=frozenset({f"{_MEDIA}.duration_ms"}),
    caption=(("note_tweet.text", "text"),),
    lists={"hashtags": ListTable(("note_tweet.entities.hashtags", "entities.hashtags"), ("tag", "text"))},
    media=(
        several("attachments.media_keys", "carousel"),
        *(case(f"{_MEDIA}.type", said, told) for said, told in MEDIA_KINDS),
    ),
    extra={
        "language": ("lang",),
        "quotes": ("public_metrics.quote_count",),
        "source": ("source",),
        "conversation_id": ("conversation_id",),
        "in_reply_to_id": ("in_reply_to_user_id",),
        "possibly_sensitive": ("possibly_sensitive",),
        "display_url": (f"{_MEDIA}.url", f"{_MEDIA}.preview_image_url"),
        "video_views": (f"{_MEDIA}.public_metrics.view_count",),
        "author_verified_type": (f"{_AUTHOR}.verified_type",),
        "author_bio": (f"{_AUTHOR}.description",),
        "author_profile_picture_url": (f"{_AUTHOR}.profile_image_url",),
    },
)

SYNDICATION = Shape(
    name="x_syndication",
    platform="x",
    marks=(
        *("mediaDetails", "conversation_count", "isStaleEdit", "isEdited", "news_action_type", "edit_control"),
        *("display_text_range", "favorite_count", "user.screen_name", "__typename", "video.viewCount", "entities"),
        *("id_str", "created_at", "lang"),
    ),
    signs=(filled("news_action_type", 2), filled("mediaDetails", 2)),
    ids=("id_str",),
    columns={
        "author_id": ("user.id_str",),
        "author_username": ("user.screen_name",),
        "author_name": ("user.name",),
        "author_followers": ("user.followers_count",),
        "posted_at": ("created_at",),
        "duration_seconds": ("video.durationMs", *media_columns(("mediaDetails",))["duration_seconds"]),
        "width": media_columns(("mediaDetails",))["width"],
        "height": media_columns(("mediaDetails",))["height"],
        "likes": ("favorite_count",),
        "comments": ("conversation_count",),
    },
    milliseconds=milliseconds(("mediaDetails",)) | {"video.durationMs"},
    caption=(("note_tweet.text", "text"),),
    lists={"hashtags": ListTable(("entities.hashtags",), ("text", "tag"))},
    media=(
        *media_cases(("mediaDetails",)),
        filled("video", "video"),
        several("photos", "carousel"),
        filled("photos", "image"),
    ),
    flags={"author_verified": check_marks("user.verified", "user.is_blue_verified")},
    children=("mediaDetails",),
    child=CHILD,
    child_media=CHILD_MEDIA,
    extra={
        "language": ("lang",),
        "video_views": ("video.viewCount",),
        "in_reply_to_id": ("in_reply_to_status_id_str",),
        "possibly_sensitive": ("possibly_sensitive",),
        **media_extra(("mediaDetails",)),
        "author_is_blue_verified": ("user.is_blue_verified",),
        "author_profile_picture_url": ("user.profile_image_url_https",),
    },
)
