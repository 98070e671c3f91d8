"""What canaries saw: the form of known posts' payloads, kept to be compared with the next time's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, select

from blocks.database.store.statements import insert_into, posts_among, same_post, table_of
from blocks.database.tables import CanaryShape, Post, RawFetch
from blocks.posts.record import Channel, Platform, PostRef

_shapes, _fetches, _posts = table_of(CanaryShape), table_of(RawFetch), table_of(Post)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A known post's payload through one channel: `shape` is None where no mapper knows it, `keys` are paths."""

    platform: str
    post_id: str
    channel: str
    shape: str | None
    keys: list[str]
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """The last answer that a run got about a post."""

    ref: PostRef
    channel: Channel
    raw_sha256: str
    fetched_at: datetime


def answers_of(conn: Connection, run_id: str, keys: Sequence[tuple[str, str]]) -> list[RunAnswer]:
    """The last answer of a run for each of these posts, given as (platform, post_id); by key."""
    query = (
        select(_fetches, _posts.c.url.label("canonical_url"), _posts.c.shortcode)
        .join(_posts, same_post(_posts.c, _fetches.c))
        .where(_fetches.c.run_id == run_id, posts_among(_fetches.c.platform, _fetches.c.post_id, keys))
        .order_by(_fetches.c.platform, _fetches.c.post_id, _fetches.c.fetched_at)
    )
    last: dict[tuple[str, str], Row[Any]] = {(row.platform, row.post_id): row for row in conn.execute(query)}
    return [
        RunAnswer(
            PostRef(cast(Platform, row.platform), row.post_id, row.canonical_url, row.shortcode),
            cast(Channel, row.channel),
            row.raw_sha256,
            row.fetched_at,
        )
        for row in last.values()
    ]


def seen_before(conn: Connection, platform: str, post_id: str, channel: str) -> Sighting | None:
    """How a post's payload looked through a channel the last time; None if it was never seen."""
    where = (_shapes.c.platform == platform, _shapes.c.post_id == post_id, _shapes.c.channel == channel)
    row = conn.execute(select(_shapes).where(*where)).one_or_none()
    if row is None:
        return None
    return Sighting(
        platform=platform,
        post_id=post_id,
        channel=channel,
        shape=row.shape,
        keys=list(row._mapping["keys"]),
        observed_at=row.observed_at,
    )


def note(conn: Connection, seen: Sighting, *, changed: bool) -> None:
    """Keep how a payload looks now, unless a later look is kept; `changed`: otherwise than before."""
    values = {
        "platform": seen.platform,
        "post_id": seen.post_id,
        "channel": seen.channel,
        "shape": seen.shape,
        "keys": seen.keys,
        "observed_at": seen.observed_at,
        "changed_at": seen.observed_at,
    }
    insert = insert_into(conn.dialect.name, _shapes).values(values)
    names = ["shape", "keys", "observed_at"] + (["changed_at"] if changed else [])
    conn.execute(
        insert.on_conflict_do_update(
            index_elements=["platform", "post_id", "channel"],
            set_={name: insert.excluded[name] for name in names},
            where=insert.excluded.observed_at >= _shapes.c.observed_at,
        )
    )
