"""Stored answers, and what the mappers make of each of them now."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, and_, or_, select

from blocks.database.store import filters as conditions
from blocks.database.store.difference import Difference, Key
from blocks.database.store.filters import Filters
from blocks.database.store.statements import chunks, posts_among, table_of
from blocks.database.tables import RawFetch, RawPayload
from blocks.errors import MemoriesError, PayloadError, PostGone, WrongPost
from blocks.posts.payloads.mapping import map_post
from blocks.posts.payloads.pseudonyms import scrub_comments
from blocks.posts.record import Platform, PostRecord, PostRef
from blocks.posts.snapshot_plan import SnapshotPlan
from blocks.settings import CommentPolicy

_fetches, _payloads = table_of(RawFetch), table_of(RawPayload)

BODIES = 50
"""Answers that are unpacked at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How answers are read: the commenters' policy and key (as when they were bought), and the plan of snapshots.

    `open_answer` gives the payload of an answer as it came, or raises what the answer says (`MemoriesError`).
    """

    comments: CommentPolicy
    comment_key: bytes
    open_answer: Callable[[bytes], Any]
    plan: SnapshotPlan | None = None


@dataclass(slots=True)
class Reading:
    """One stored answer and what the mappers make of it now; neither record nor gone: nothing.

    `wrong_post` says what it is about where that is another post than the asked one.
    """

    row: Row[Any]
    ref: PostRef
    record: PostRecord | None = None
    gone: bool = False
    wrong_post: WrongPost | None = None

    @property
    def key(self) -> Key:
        return self.ref.platform, self.ref.post_id


def next_posts(conn: Connection, filters: Filters, after: Key, *, limit: int) -> list[Key]:
    """Keys of posts that have stored answers, in order, behind the key `after`; `since` is when answers came."""
    behind = or_(_fetches.c.platform > after[0], and_(_fetches.c.platform == after[0], _fetches.c.post_id > after[1]))
    query = select(_fetches.c.platform, _fetches.c.post_id).where(behind, *conditions.of_posts(filters, _fetches))
    if filters.since is not None:
        query = query.where(_fetches.c.fetched_at >= filters.since)
    query = query.distinct().order_by(_fetches.c.platform, _fetches.c.post_id).limit(limit)
    return [(row.platform, row.post_id) for row in conn.execute(query)]


def readings(
    conn: Connection,
    keys: Sequence[Key],
    stored: Mapping[Key, Row[Any]],
    policy: Policy,
    *,
    since: datetime | None,
    diff: Difference,
) -> Iterator[Reading]:
    """The answers of posts by post and time, each read; `diff` counts them, and those of which nothing is left."""
    query = select(_fetches).where(posts_among(_fetches.c.platform, _fetches.c.post_id, keys))
    if since is not None:
        query = query.where(_fetches.c.fetched_at >= since)
    query = query.order_by(_fetches.c.platform, _fetches.c.post_id, _fetches.c.fetched_at)
    for part in chunks(conn.execute(query).all(), BODIES):
        wanted = _payloads.c.sha256.in_({row.raw_sha256 for row in part})
        answers = conn.execute(select(_payloads.c.sha256, _payloads.c.body).where(wanted))
        bodies: dict[str, bytes] = {row.sha256: row.body for row in answers}
        for row in part:
            post = stored.get((row.platform, row.post_id))
            if post is None or row.raw_sha256 not in bodies:
                diff.missing += 1
                continue
            diff.answers += 1
            ref = PostRef(cast(Platform, row.platform), row.post_id, post.url, post.shortcode)
            yield _read(row, ref, bodies[row.raw_sha256], policy)


def _read(row: Row[Any], ref: PostRef, body: bytes, policy: Policy) -> Reading:
    reading = Reading(row, ref)
    try:
        data = policy.open_answer(zlib.decompress(body))
        scrubbed = scrub_comments(data, policy.comments, policy.comment_key)
        reading.record = map_post(scrubbed, ref, observed_at=row.fetched_at)
    except PostGone:
        reading.gone = True
    except WrongPost as error:
        reading.wrong_post = error
    except (PayloadError, MemoriesError):
        # Still of unknown shape, or no answer at all: kept as it is.
        return reading
    return reading
