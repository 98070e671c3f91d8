"""The comments that come with a post: where they stand in all shapes, as rows and as nodes.

The same lists serve the mapper and the scrubbing of commenters, so that nothing is mapped that is not scrubbed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from blocks.posts.payloads.reading import count, first, ident, moment, name, text
from blocks.posts.record import CommentRecord

CONTAINERS = (
    "edge_media_to_parent_comment",
    "edge_media_to_comment",
    "edge_media_preview_comment",
    "edge_media_to_hoisted_comment",
    "latestComments",
    "latest_comments",
    "preview_comments",
    "previewComments",
    "topComments",
    "top_comments",
    "comments",
)
"""Keys of a post under which comments stand: a list of them, or an object with `edges`, `nodes` and the like."""

REPLIES = (
    "edge_threaded_comments",
    "replies",
    "child_comments",
    "childComments",
    "preview_child_comments",
    "reply_comments",
    "replyComments",
    "reply_comment",
)
"""Keys of a comment under which its replies stand."""

_ID = ("id", "pk", "cid", "comment_id", "commentId")
_AUTHOR = (
    "owner.username",
    "user.username",
    "user.uniqueId",
    "user.unique_id",
    "author.username",
    "author.userName",
    "author.uniqueId",
    "ownerUsername",
    "owner_username",
    "username",
    "userName",
    "user_name",
    "uniqueId",
    "unique_id",
    "authorUsername",
    "author",
)
_TEXT = ("text", "comment", "content")
_LIKES = (
    "edge_liked_by.count",
    "comment_like_count",
    "like_count",
    "likesCount",
    "likeCount",
    "likes",
    "diggCount",
    "digg_count",
    "voteCount",
)
_CREATED = ("created_at", "created_at_utc", "createdAt", "timestamp", "createTime", "create_time", "createTimeISO")

PATHS = {"comment_id": _ID, "author": _AUTHOR, "text": _TEXT, "likes": _LIKES, "created_at": _CREATED}
"""Column → paths in a comment's node at which it is looked for."""

_MOST_DEEP = 20


def nodes_of(value: Any) -> Iterator[dict[str, Any]]:
    """The comments in a container of any form; a `node` around one is taken off."""
    if isinstance(value, dict):
        value = next(
            (value[key] for key in ("edges", "nodes", "data", "items") if isinstance(value.get(key), list)), None
        )
    if not isinstance(value, list):
        return
    for item in value:
        if isinstance(item, dict):
            node = item.get("node", item)
            if isinstance(node, dict):
                yield node


def comment_rows(post: Any) -> list[CommentRecord]:
    """Every comment and reply that stands in the post's payload and has an id, each id once, in order."""
    rows: dict[str, CommentRecord] = {}
    _collect(post, CONTAINERS, rows, 0)
    return list(rows.values())


def _collect(holder: Any, keys: tuple[str, ...], rows: dict[str, CommentRecord], depth: int) -> None:
    if not isinstance(holder, dict) or depth > _MOST_DEEP:
        return
    for key in keys:
        for node in nodes_of(holder.get(key)):
            comment_id = first(node, _ID, ident)
            if comment_id is not None and comment_id not in rows:
                rows[comment_id] = CommentRecord(
                    comment_id=comment_id,
                    author=first(node, _AUTHOR, name),
                    text=first(node, _TEXT, text),
                    likes=first(node, _LIKES, count),
                    created_at=first(node, _CREATED, moment),
                )
            _collect(node, REPLIES, rows, depth + 1)
