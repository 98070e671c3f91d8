"""Payloads: a post's metadata as it stands in the envelope, and files of somebody's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson

from deployments.sandbox import instagram, tiktok, youtube_x
from deployments.sandbox.addresses import number_of_code
from deployments.sandbox.catalog import Post
from deployments.sandbox.clock import VirtualClock
from deployments.sandbox.scenarios import Scenario

_COUNTS = frozenset(
    ("count", "video_view_count", "video_play_count", "diggCount", "shareCount", "playCount", "collectCount", "fans",
     "commentCount", "followerCount", "viewCount", "likes", "commentsCount", "numberOfSubscribers", "retweetCount",
     "replyCount", "likeCount", "quoteCount", "bookmarkCount", "followers", "createTime", "taken_at_timestamp")
)  # fmt: skip

_PLAYS = frozenset(("playCount", "video_play_count"))


def data_of(scenario: Scenario, calendar: VirtualClock, post: Post, channel: str) -> Any:
    """What stands in the envelope's `data` for that post on that channel now."""
    data: Any
    if post.platform == "instagram":
        data = instagram.payload(post, calendar)
    elif post.platform == "tiktok":
        data = tiktok.payload(post, calendar, channel)
    elif post.platform == "youtube":
        data = youtube_x.youtube_payload(post, calendar, channel)
    else:
        data = youtube_x.x_payload(post, calendar)
    if scenario.extremes:
        data = _extreme(data)
    return _as_text(data) if scenario.counts_as_text else data


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


_NAME = re.compile(r"(instagram|tiktok|youtube|x|twitter)_([A-Za-z0-9_-]+)")


class BadPayload(ValueError):
    """A file that cannot be served; the message names it and says why."""


def load_payloads(folder: Path) -> dict[str, bytes]:
    """The JSON files of `folder` as whole bodies, by post (`"instagram:36…"`).

    A file is named `<platform>_<id-or-shortcode>.json`. It holds an envelope, which is served byte by byte, or its
    `data`, which is served in an envelope.

    Raises:
        BadPayload: no folder, no JSON, or a name that says no post.
    """
    if not folder.is_dir():
        raise BadPayload(f"there is no folder {folder} to take payloads from")
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.json")):
        raw = path.read_bytes()
        try:
            content = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise BadPayload(f"{path} holds no JSON") from None
        is_envelope = isinstance(content, dict) and "code" in content and "data" in content
        body = raw if is_envelope else b'{"code":"0000","msg":"success","data":%b,"success":true,"failed":false}' % raw
        if (named := _NAME.fullmatch(path.stem)) is None:
            raise BadPayload(f"{path}: name it <platform>_<id-or-shortcode>.json")
        found[_key(named[1], named[2])] = body
    return found


def _key(platform: str, name: str) -> str:
    if platform == "instagram" and not name.isdigit():
        return f"instagram:{number_of_code(name)}"
    return f"{'x' if platform == 'twitter' else platform}:{name}"
