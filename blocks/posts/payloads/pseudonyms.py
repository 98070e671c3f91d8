"""What is kept of the people who comment: all, nothing, or a pseudonym by keyed hash, in the payload itself.

A comment's node is rebuilt from what is known to name nobody, so that a key which a service adds tomorrow does not
let a name through. The post's own author, its caption and its counts are not touched.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from blocks.posts.payloads.comments import CONTAINERS, REPLIES
from blocks.posts.payloads.reading import whole

if TYPE_CHECKING:
    from blocks.settings import CommentPolicy

_HOLDERS = frozenset(CONTAINERS) | frozenset(REPLIES)
_FIRST_COMMENT = frozenset({"firstComment", "first_comment"})
"""The text of one comment, standing alone."""

_PERSONS = frozenset({"owner", "user", "author", "commenter", "from", "profile"})
_USERNAMES = frozenset(
    {"username", "userName", "user_name", "ownerUsername", "owner_username", "uniqueId", "unique_id", "handle"}
    | {"screen_name", "authorUsername", "author_username"}
)
_PERSON_IDS = frozenset(
    {"user_id", "userId", "owner_id", "ownerId", "uid", "author_id", "authorId", "authorChannelId", "sec_uid", "secUid"}
)
_PERSONS_OWN_IDS = frozenset({"id", "pk", "pk_id", "strong_id__", "fbid_v2"}) | _PERSON_IDS
_KEPT_TEXTS = frozenset(
    {
        "id",
        "pk",
        "cid",
        "comment_id",
        "commentId",
        "parent_comment_id",
        "replied_to_comment_id",
        "replyToCid",
        "media_id",
    }
    | {"text", "comment", "content", "created_at", "created_at_utc", "createdAt", "timestamp", "createTime"}
    | {"create_time", "createTimeISO", "date", "publishedTimeText", "type", "content_type", "status", "__typename"}
    | {"likes", "lang", "language"}
)
_COUNTS = re.compile(r"(?:(?<![cC])count|Count|likes|replies|votes)\Z")
"""Names of counts; an account is none."""
_PSEUDONYM = re.compile(r"anon-[0-9a-f]{16}\Z")

_LARGEST_ID = 10**40
_MOST_DEEP = 60


def scrub_comments(data: Any, policy: CommentPolicy, key: bytes) -> Any:
    """The payload with its commenters as the policy wants them; the argument itself is left as it is.

    keep: unchanged. drop: every list of comments is emptied, their counts stay. pseudonymise: each commenter's user
    name and id become `anon-` and 16 hex digits of an HMAC-SHA256 with `key` (the same person the same pseudonym,
    whatever the post), names, pictures and all unknown keys go; a comment's id, text, time and counts stay, and
    texts are not searched for names. Doing it twice changes nothing. Where nobody commented, the argument itself is
    given back, so that its bytes need not be written anew. Any JSON is taken; nothing raises.
    """
    return data if policy == "keep" else _walk(data, policy == "drop", key, 0)


def _walk(value: Any, drop: bool, key: bytes, depth: int) -> Any:
    if depth > _MOST_DEEP:
        # No payload is so deep; what cannot be searched is not kept.
        return None if isinstance(value, dict | list) else value
    if isinstance(value, list):
        items = [_walk(item, drop, key, depth + 1) for item in value]
        return value if all(one is was for one, was in zip(items, value, strict=True)) else items
    if not isinstance(value, dict):
        return value
    kept: dict[Any, Any] = {}
    for name, inner in value.items():
        if name in _HOLDERS and _holds_any(inner):
            kept[name] = _emptied(inner) if drop else _container(inner, key, depth + 1)
        elif drop and name in _FIRST_COMMENT:
            kept[name] = None
        else:
            kept[name] = _walk(inner, drop, key, depth + 1)
    return value if all(kept[name] is value[name] for name in kept) else kept


def _holds_any(container: Any) -> bool:
    """Whether anything is in it but counts, flags and the place where the next page would start."""
    if isinstance(container, dict):
        inside = (inner for name, inner in container.items() if name != "page_info" and not _is_count(name, inner))
        return any(isinstance(inner, list | dict | str) and inner for inner in inside)
    return isinstance(container, list) and bool(container)


def _emptied(container: Any) -> Any:
    if isinstance(container, list):
        return []
    return {
        name: [] if isinstance(inner, list) else inner for name, inner in container.items() if _is_bare(name, inner)
    }


def _is_bare(name: Any, value: Any) -> bool:
    """A count, a flag, null, or a list (which is emptied); objects and texts beside comments may name people."""
    return value is None or isinstance(value, bool | int | float | list) or _is_count(name, value)


def _is_count(name: Any, value: Any) -> bool:
    """A count that came as a number, or as text that is a number and nothing else."""
    return isinstance(name, str) and _COUNTS.search(name) is not None and _number(value) is not None


def _container(container: Any, key: bytes, depth: int) -> Any:
    if isinstance(container, dict):
        kept = {
            name: inner for name, inner in container.items() if _is_bare(name, inner) and not isinstance(inner, list)
        }
        lists = {name: inner for name, inner in container.items() if isinstance(inner, list)}
        return kept | {name: _container(inner, key, depth) for name, inner in lists.items()}
    items = []
    for item in container:
        if isinstance(item, dict):
            # The edge around a node is left away but for the node.
            wrapped = item.get("node")
            items.append(
                {"node": _comment(wrapped, key, depth)} if isinstance(wrapped, dict) else _comment(item, key, depth)
            )
    return items


def _comment(node: dict[str, Any], key: bytes, depth: int) -> dict[str, Any]:
    if depth > _MOST_DEEP:
        return {}
    kept: dict[str, Any] = {}
    for name, value in node.items():
        if name in _PERSONS:
            kept[name] = _person(value, key)
        elif name in _USERNAMES or name in _PERSON_IDS:
            kept[name] = pseudonym(value, key)
        elif name in _HOLDERS and isinstance(value, dict | list):
            kept[name] = _container(value, key, depth + 1)
        elif value is None or isinstance(value, bool):
            kept[name] = value
        elif isinstance(value, str | int | float):
            if name in _KEPT_TEXTS or _is_count(name, value):
                kept[name] = value
        elif isinstance(value, dict) and "count" in value:
            kept[name] = {"count": _number(value["count"])}
    return kept


def _number(value: Any) -> Any:
    """The number as it came, if it is one for whoever reads counts; else null."""
    return value if isinstance(value, int | float) or whole(value) is not None else None


def _person(value: Any, key: bytes) -> Any:
    """A person's object with hashed user names and ids and whether it is verified, and nothing else."""
    if not isinstance(value, dict):
        return pseudonym(value, key)
    kept: dict[str, Any] = {}
    for name, inner in value.items():
        if name in _USERNAMES or name in _PERSONS_OWN_IDS:
            kept[name] = pseudonym(inner, key)
        elif name in ("is_verified", "verified", "isVerified") and isinstance(inner, bool):
            kept[name] = inner
    return kept


def pseudonym(value: Any, key: bytes) -> str | None:
    """`anon-` and 16 hex digits; user names are taken without regard to case and to an `@` before them."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    if isinstance(value, int) and abs(value) > _LARGEST_ID:
        return None
    written = str(value).strip().removeprefix("@").lower()
    if _PSEUDONYM.match(written):
        return written
    return f"anon-{hmac.new(key, written.encode('utf-8', 'surrogatepass'), sha256).hexdigest()[:16]}"
