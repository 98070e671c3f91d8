"""From one metadata payload to one record: the shape's table is filled in, and every gap gets its reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from blocks.errors import UnknownShape
from blocks.posts.captions import each_tag_once, hashtags_in, mentions_in
from blocks.posts.payloads import reading
from blocks.posts.payloads.comments import comment_rows
from blocks.posts.payloads.locate import SUBSTANCE, Found, locate, top_keys
from blocks.posts.payloads.reading import MISSING, begun, dig, first
from blocks.posts.payloads.shape import Shape, decide, media_of
from blocks.posts.payloads.synonyms import COUNTS, NAMES, holds_counts, unread
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import MediaType, NullReason, PostRecord, PostRef

PARSER_VERSION = "4"
"""Goes up with every change that can change a row; `reparse` shows what it changed."""

_READERS: dict[str, Callable[[Any], Any]] = {
    "author_id": reading.ident,
    "author_username": reading.name,
    "author_name": reading.text,
    "author_verified": reading.flag,
    "author_followers": reading.count,
    "posted_at": reading.moment,
    "product_type": reading.text,
    "duration_seconds": reading.seconds,
    "width": reading.pixels,
    "height": reading.pixels,
    "audio_id": reading.ident,
    "audio_title": reading.text,
    "audio_artist": reading.text,
    "audio_is_original": reading.flag,
    "has_audio": reading.flag,
    "location_name": reading.text,
    "is_paid_partnership": reading.flag,
    "plays": reading.count,
    "views": reading.count,
    "comments": reading.count,
    "shares": reading.count,
    "saves": reading.count,
    "post_id": reading.ident,
    "shortcode": reading.text,
    "display_url": reading.text,
    "video_url": reading.text,
}

NULLABLE = (
    *("shortcode", "author_id", "author_username", "author_name", "author_verified", "author_followers", "caption"),
    *("hashtags", "mentions", "posted_at", "media_type", "product_type", "duration_seconds", "width", "height"),
    *("audio_id", "audio_title", "audio_artist", "audio_is_original", "has_audio", "location_name"),
    *("is_paid_partnership", "coauthors", "tagged_users", "plays", "views", "likes", "comments", "shares", "saves"),
)
"""The columns of a record that may be null, and then have a reason."""


_ONE_DAY = timedelta(days=1)


def map_post(data: Any, asked: PostRef, *, observed_at: datetime | None = None) -> PostRecord:
    """Make a record of an envelope's `data` (any JSON), for the post that was asked for.

    The shape is chosen by what is in the payload, never by the channel. Only the asked post's own node counts (see
    `locate`). `observed_at` is when the payload was measured: times more than a day behind it are misread numbers.
    Texts come out storable: NUL and lone surrogates are replaced by U+FFFD.

    Raises:
        UnknownShape: no known shape, one without any substance, or one whose counts stand under names that nobody
            knows; `keys` says what was there.
        PostGone: the payload says that there is no such post, or none that may be seen.
        WrongPost: the payload is about another post.
    """
    found = locate(data, asked)
    record = PostRecord(platform=asked.platform, post_id=asked.post_id, url=asked.url, shape=found.shape.name)
    hidden = _fill(record, found.shape, found.node)
    if observed_at is not None and record.posted_at is not None and record.posted_at > observed_at + _ONE_DAY:
        record.posted_at = None
    stored = PLATFORMS[asked.platform].as_stored(asked, record.author_username)
    record.url, record.shortcode = stored.url, stored.shortcode
    if all(getattr(record, column) is None for column in SUBSTANCE) and not record.likes_hidden:
        # An id alone is no measurement: stored as one it would count as a post whose numbers are all missing.
        raise UnknownShape(top_keys(data))
    nulls = {column for column in NAMES if getattr(record, column) is None}
    elsewhere = nulls & unread(found.node, found.shape).keys() if nulls else set()
    record.null_reasons = _reasons(record, found.shape, found.node, hidden, elsewhere)
    if _has_no_count_that_it_should(record, data):
        raise UnknownShape(top_keys(data))
    record.extra = _extra(found, record.media_type, hidden)
    record.comment_rows = comment_rows(found.node)
    if observed_at is not None:
        for comment in record.comment_rows:
            if comment.created_at is not None and comment.created_at > observed_at + _ONE_DAY:
                comment.created_at = None
    return record


def _has_no_count_that_it_should(record: PostRecord, data: Any) -> bool:
    """Whether a row would have no count at all although there are numbers: in the node, or elsewhere in the answer."""
    if record.likes_hidden or any(getattr(record, column) is not None for column in COUNTS):
        return False
    not_understood = any(record.null_reasons.get(column) == "unknown_shape" for column in COUNTS)
    return not_understood or holds_counts(data, record.platform)


def _read(node: Any, column: str, paths: tuple[str, ...], shape: Shape) -> Any:
    if column != "duration_seconds":
        return first(node, paths, _READERS[column])
    for path in begun(node, paths):
        read = reading.milliseconds if path in shape.milliseconds else reading.seconds
        value = read(dig(node, path))
        if value is not None and value <= shape.longest_seconds:
            return value
    return None


def _fill(record: PostRecord, shape: Shape, node: dict[str, Any]) -> set[str]:
    """Fill the columns; returns those that the owner hides."""
    for column, paths in shape.columns.items():
        if column != "likes":
            setattr(record, column, _read(node, column, paths, shape))
    for column, cases in shape.flags.items():
        if getattr(record, column) is None:
            setattr(record, column, decide(node, cases))
    for column, table in shape.lists.items():
        lists = (reading.texts(node, path, table.items, reading.name) for path in table.lists)
        setattr(record, column, next((found for found in lists if found is not None), None))
    record.media_type = media_of(node, shape.media)
    _caption(record, shape, node)
    hidden = {
        column for column, paths in shape.hidden.items() if any(reading.flag(dig(node, path)) is True for path in paths)
    }
    for column in hidden:
        # Where the owner hides a number, 0 is what stands in its place.
        if getattr(record, column) == 0:
            setattr(record, column, None)
    _likes(record, shape, node, hidden)
    _drop_what_means_nothing(record, shape)
    return hidden


def _drop_what_means_nothing(record: PostRecord, shape: Shape) -> None:
    """Zeros that a service fills in are no measurements; a 0 of which nothing says so stays. No post lasts 0 s."""
    record.duration_seconds = record.duration_seconds or None
    if record.media_type == "image":
        for column in shape.never_for_images:
            setattr(record, column, None)
    if record.media_type in ("image", "carousel"):
        for column in shape.video_only:
            value = getattr(record, column)
            if value == 0 and not isinstance(value, bool):
                setattr(record, column, None)
    empty = [column for column, other in shape.filler_zeros.items() if (getattr(record, other) or 0) > 0]
    for column in empty:
        if getattr(record, column) == 0:
            setattr(record, column, None)


def _likes(record: PostRecord, shape: Shape, node: dict[str, Any], hidden: set[str]) -> None:
    """Likes that the owner hides are flagged or stand as a negative number; what then stands there is no count."""
    given = [reading.whole(dig(node, path)) for path in shape.columns.get("likes", ())]
    known = [number for number in given if number is not None]
    if any(number < 0 for number in known):
        hidden.add("likes")
    record.likes_hidden = "likes" in hidden
    record.likes = known[0] if known and not record.likes_hidden else None


def _caption(record: PostRecord, shape: Shape, node: dict[str, Any]) -> None:
    """No caption is null; where the payload tells that there is none, hashtags and mentions are empty lists."""
    parts = [first(node, paths, reading.text) for paths in shape.caption]
    texts = [part for part in parts if part is not None]
    if record.hashtags is not None:
        record.hashtags = each_tag_once(tag for written in record.hashtags if (tag := written.lstrip("#＃")))
    if texts:
        record.caption = "\n\n".join(texts)
        # What the platform itself took for tags comes first.
        record.hashtags = record.hashtags or hashtags_in(record.caption, shape.platform)
        record.mentions = mentions_in(record.caption, shape.platform)
    elif any(_is_empty(dig(node, path)) for paths in shape.caption for path in paths):
        record.hashtags, record.mentions = [], []


def _is_empty(value: Any) -> bool:
    return value is not MISSING and (value is None or value == "" or value == [])


def _reasons(
    record: PostRecord, shape: Shape, node: dict[str, Any], hidden: set[str], elsewhere: set[str]
) -> dict[str, NullReason]:
    """A reason for every null. What the platform or the shape never tells, and a caption that there is none of, are
    `not_in_payload`: the list of reasons has no nearer one. What is there and cannot be read ("1.2M"), or stands
    under a name that no table knows (`elsewhere`), is `unknown_shape`, and so is a negative number: only of likes is
    it known to mean that the owner hides them."""
    reasons: dict[str, NullReason] = {}
    for column in NULLABLE:
        if getattr(record, column) is not None:
            continue
        if record.media_type in ("image", "carousel") and column in shape.video_only:
            reasons[column] = "not_a_video"
        elif column in hidden:
            reasons[column] = "hidden_by_owner"
        else:
            is_there = column in elsewhere or _is_there(column, shape, node)
            reasons[column] = "unknown_shape" if is_there else "not_in_payload"
    return reasons


def _is_there(column: str, shape: Shape, node: dict[str, Any]) -> bool:
    """Whether anything stands where a column is looked for: if the column is null, it could not be read."""
    return any(_says_something(dig(node, path), column) for path in begun(node, _places_of(shape, column)))


@lru_cache(maxsize=1024)
def _places_of(shape: Shape, column: str) -> tuple[str, ...]:
    """All paths at which a column is looked for, but for those of objects that another one leads into."""
    paths = [*shape.columns.get(column, ())]
    if column in shape.lists:
        paths += shape.lists[column].lists
    if column in ("caption", "hashtags", "mentions"):
        paths += [path for part in shape.caption for path in part]
    return tuple(path for path in paths if not any(other.startswith(f"{path}.") for other in paths))


def _says_something(value: Any, column: str) -> bool:
    if value is MISSING or value is None:
        return False
    if isinstance(value, str):
        written = value.strip().lower()
        return written not in ("", "null", "none") and (written != "0" or column == "posted_at")
    if column in COUNTS and isinstance(value, list):
        return False  # A list of comments is no count of them.
    # False is no count, and the year 1970 no time of a post; elsewhere both only say that there is nothing.
    if isinstance(value, bool):
        return value or column in COUNTS
    return bool(value) or (column == "posted_at" and value == 0 and not isinstance(value, list | dict))


_EXTRA_COUNTS = frozenset(
    {"reposts", "quotes", "author_following", "author_likes", "author_posts", "plays_on_instagram", "plays_on_facebook"}
    | {"downloads", "video_views", "dislikes"}
)


def _extra_reader(key: str) -> Callable[[Any], Any]:
    if key in _EXTRA_COUNTS:
        return reading.count
    return reading.flag if key.startswith(("is_", "author_is_")) or key.endswith("_disabled") else reading.plain


def _extra(found: Found, media_type: MediaType | None, hidden: set[str]) -> dict[str, Any]:
    """What only this platform or shape has; absent things are left out."""
    shape, node = found.shape, found.node
    extra: dict[str, Any] = {key: first(node, paths, _extra_reader(key)) for key, paths in shape.extra.items()}
    extra |= {key: first(node, paths, reading.stamp) for key, paths in shape.extra_times.items()}
    for key, table in shape.extra_lists.items():
        lists = (reading.texts(node, path, table.items, reading.text) for path in table.lists)
        extra[key] = next((one for one in lists if one), None)
    if media_type == "carousel":
        extra["children"] = _children(shape, node, hidden) or None
    extra["response_status"] = reading.text(found.answer.get("status"))
    extra["response_is_final"] = found.answer.get("is_final")
    if "plays" in hidden:
        extra = {key: value for key, value in extra.items() if not (key.startswith("plays_on_") and value == 0)}
    return {key: value for key, value in extra.items() if value is not None}


def _children(shape: Shape, node: dict[str, Any], hidden: set[str]) -> list[dict[str, Any]]:
    """A carousel's parts in order, each with what is known of it (`media_type`, sizes, plays, URLs …)."""
    for path in shape.children:
        items = dig(node, path)
        if not isinstance(items, list) or len(items) < 1:
            continue
        children = []
        for item in items:
            child: dict[str, Any] = {"media_type": media_of(item, shape.child_media)}
            child |= {key: _read(item, key, paths, shape) for key, paths in shape.child.items()}
            if child.get("post_id") is not None:
                child["post_id"] = PLATFORMS[shape.platform].ids.read(child["post_id"]) or child["post_id"]
            filled = {key: value for key, value in child.items() if value is not None}
            empty = hidden | (shape.never_for_images if child["media_type"] == "image" else frozenset())
            children.append({key: value for key, value in filled.items() if not (key in empty and value == 0)})
        return children
    return []
