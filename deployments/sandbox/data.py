"""A post's metadata as it stands in the envelope, by platform and channel."""

from __future__ import annotations

from typing import Any

from deployments.sandbox import instagram, tiktok, youtube_x
from deployments.sandbox.state import State
from deployments.sandbox.stock import Post

_COUNTS = frozenset(
    ("count", "video_view_count", "video_play_count", "diggCount", "shareCount", "playCount", "collectCount", "fans",
     "commentCount", "followerCount", "viewCount", "likes", "commentsCount", "numberOfSubscribers", "retweetCount",
     "replyCount", "likeCount", "quoteCount", "bookmarkCount", "followers", "createTime", "taken_at_timestamp")
)  # fmt: skip

_PLAYS = frozenset(("playCount", "video_play_count"))


def data_of(state: State, post: Post, channel: str) -> Any:
    """What stands in the envelope's `data` for that post on that channel now."""
    data: Any
    if post.platform == "instagram":
        data = instagram.payload(post, state.calendar)
    elif post.platform == "tiktok":
        data = tiktok.payload(post, state.calendar, channel)
    elif post.platform == "youtube":
        data = youtube_x.youtube_payload(post, state.calendar, channel)
    else:
        data = youtube_x.x_payload(post, state.calendar)
    if state.scenario.extremes:
        data = _extreme(data)
    return _as_text(data) if state.scenario.counts_as_text else data


def _extreme(value: Any) -> Any:
    """The same payload, with more plays than 32 bits can count; a real zero stays one."""
    if isinstance(value, dict):
        return {
            name: inner + 3_000_000_000 if name in _PLAYS and inner else _extreme(inner)
            for name, inner in value.items()
        }
    return [_extreme(inner) for inner in value] if isinstance(value, list) else value


def _as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: str(inner) if name in _COUNTS and isinstance(inner, int) else _as_text(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_as_text(inner) for inner in value]
    return value
