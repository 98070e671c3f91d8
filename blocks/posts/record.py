"""What a mapper makes of one metadata payload: plain records, the same for every platform."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Platform = str
"""The name of a platform in the registry (`blocks/posts/platforms`)."""

Channel = Literal["apify", "rapid", "memories.ai"]
CHANNELS: tuple[Channel, ...] = ("apify", "rapid", "memories.ai")

MediaType = Literal["video", "image", "carousel"]

NullReason = Literal["not_in_payload", "hidden_by_owner", "not_a_video", "post_gone", "fetch_failed", "unknown_shape"]


@dataclass(frozen=True, slots=True)
class PostRef:
    """A post's identity, from its URL alone; no call is needed to make one.

    `post_id` is the platform's own id as text (Instagram: the numeric id, computed from the shortcode);
    `shortcode` is set for Instagram only; `url` is the canonical URL; `handle` the author's user name
    without `@` where the URL holds it (TikTok).
    """

    platform: Platform
    post_id: str
    url: str
    shortcode: str | None = None
    handle: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """(platform, post_id)"""
        return self.platform, self.post_id


@dataclass(slots=True, kw_only=True)
class CommentRecord:
    """One comment that came with a post; `author` is a user name (a keyed hash once pseudonymised)."""

    comment_id: str
    author: str | None
    text: str | None
    likes: int | None
    created_at: datetime | None


@dataclass(slots=True, kw_only=True)
class PostRecord:
    """One post as its payload tells it.

    Counts are whole numbers of any size or None; times are aware, in UTC; sizes are pixels, durations
    seconds. A list is None where the payload does not tell, and empty where it tells that there are none. Every
    None among the columns of `posts` has its reason in `null_reasons` (column → reason).
    `extra` holds what only this platform has; `shape` names the mapper's table that was used.
    """

    platform: Platform
    post_id: str
    url: str
    shape: str
    shortcode: str | None = None
    author_id: str | None = None
    author_username: str | None = None
    author_name: str | None = None
    author_verified: bool | None = None
    author_followers: int | None = None
    caption: str | None = None
    hashtags: list[str] | None = None
    mentions: list[str] | None = None
    posted_at: datetime | None = None
    media_type: MediaType | None = None
    product_type: str | None = None
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    audio_id: str | None = None
    audio_title: str | None = None
    audio_artist: str | None = None
    audio_is_original: bool | None = None
    has_audio: bool | None = None
    location_name: str | None = None
    is_paid_partnership: bool | None = None
    coauthors: list[str] | None = None
    tagged_users: list[str] | None = None
    plays: int | None = None
    views: int | None = None
    likes: int | None = None
    likes_hidden: bool = False
    comments: int | None = None
    shares: int | None = None
    saves: int | None = None
    null_reasons: dict[str, NullReason] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    comment_rows: list[CommentRecord] = field(default_factory=list)
