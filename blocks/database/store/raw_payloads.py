"""Raw answers: stored as they came, before anybody parses them, each content once; and the forms that canaries saw."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, and_, bindparam, select, update

from blocks.database.grouping import mergeable
from blocks.database.store.statements import (
    chunks,
    insert_into,
    insert_missing,
    posts_among,
    same_post,
    table_of,
    write_rows,
)
from blocks.database.tables import CanaryShape, Post, RawFetch, RawPayload
from blocks.errors import StoreError
from blocks.posts.record import Channel, Platform, PostRef

_payloads = table_of(RawPayload)
_fetches = table_of(RawFetch)
_posts = table_of(Post)
_shapes = table_of(CanaryShape)

# The fastest level: 40 KB of JSON take 0.3 ms and shrink to a fifth; level 6 takes three times as long for 15 % less.
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """One metadata answer: its body as it came and where from; `purpose` is that of the work (see `Work`)."""

    ref: PostRef
    body: bytes
    channel: Channel
    url: str
    """The URL that was asked for."""
    purpose: str
    fetched_at: datetime
    run_id: str | None = None


@mergeable
def save_raw(conn: Connection, answers: Sequence[RawAnswer]) -> list[str]:
    """Store answers; the SHA-256 (hex, of the uncompressed body) of each, in the order given.

    A body that is stored already is not stored again; the same answer (post and time) may be saved twice.
    """
    hashes = save_bodies(conn, [answer.body for answer in answers])
    insert_missing(
        conn,
        _fetches,
        [
            {
                "platform": answer.ref.platform,
                "post_id": answer.ref.post_id,
                "fetched_at": answer.fetched_at,
                "raw_sha256": sha,
                "channel": answer.channel,
                "url": answer.url,
                "purpose": answer.purpose,
                "run_id": answer.run_id,
            }
            for sha, answer in zip(hashes, answers, strict=True)
        ],
    )
    return hashes


def save_bodies(conn: Connection, bodies: Sequence[bytes]) -> list[str]:
    """Store bodies, each content once; the SHA-256 of each, in the order given."""
    hashes = [hashlib.sha256(body).hexdigest() for body in bodies]
    by_hash = dict(zip(hashes, bodies, strict=True))
    # Again until all are held: a purge may delete what nothing refers to at this very moment. SQLite has one writer.
    while missing := sorted(by_hash.keys() - _held(conn, sorted(by_hash))):
        rows = [(sha, by_hash[sha]) for sha in missing]
        packed = [{"sha256": sha, "body": zlib.compress(body, _LEVEL), "size": len(body)} for sha, body in rows]
        insert_missing(conn, _payloads, packed)
        if conn.dialect.name == "sqlite":
            break
    return hashes


def _held(conn: Connection, hashes: Sequence[str]) -> set[str]:
    """Those of the payloads that are stored, and on Postgres stay so to the end of the transaction."""
    held: set[str] = set()
    for part in chunks(hashes):
        query = select(_payloads.c.sha256).where(_payloads.c.sha256.in_(part)).order_by(_payloads.c.sha256)
        held.update(conn.execute(query.with_for_update(read=True, key_share=True)).scalars())
    return held


def load_raw(conn: Connection, sha256: str) -> bytes:
    """The body of a stored answer, as it came.

    Raises:
        StoreError: there is none of that hash.
    """
    body = find_raw(conn, sha256)
    if body is None:
        raise StoreError(f"no raw answer {sha256} is stored; it may have been purged")
    return body


def find_raw(conn: Connection, sha256: str) -> bytes | None:
    """The body of a stored answer, as it came; None where there is none of that hash."""
    body = conn.execute(select(_payloads.c.body).where(_payloads.c.sha256 == sha256)).scalar()
    return None if body is None else zlib.decompress(body)


_mark_parsed = (
    update(_fetches)
    .where(
        and_(
            _fetches.c.platform == bindparam("of_platform"),
            _fetches.c.post_id == bindparam("of_post"),
            _fetches.c.raw_sha256 == bindparam("of_sha256"),
        )
    )
    .values(parsed_at=bindparam("at"), parser_version=bindparam("version"))
)


def mark_parsed(
    conn: Connection, parsed: Sequence[tuple[str, str, str]], *, parser_version: str | None, now: datetime
) -> None:
    """Note that answers, given as (platform, post_id, sha256), were parsed.

    `parser_version` None: looked at, and no post came of it (unknown shape, or gone).
    """
    rows = [
        {"of_platform": platform, "of_post": post_id, "of_sha256": sha, "at": now, "version": parser_version}
        for platform, post_id, sha in sorted(set(parsed))
    ]
    write_rows(conn, _mark_parsed, rows)


def mark_seen(conn: Connection, posts: Sequence[tuple[str, str]], now: datetime, *, until: datetime) -> None:
    """Note that unparsed answers of posts, given as (platform, post_id), are of no use: the posts were gone.

    Only those that came up to `until`, when that was said: what came later may tell otherwise, and is paid for.
    """
    among = posts_among(_fetches.c.platform, _fetches.c.post_id, posts)
    old = (_fetches.c.parsed_at.is_(None), _fetches.c.fetched_at <= until)
    conn.execute(update(_fetches).where(among, *old).values(parsed_at=now))


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


def seen_before(conn: Connection, platform: str, post_id: str, channel: str) -> CanaryShape | None:
    """How a post's payload looked through a channel the last time; None if it was never seen."""
    where = (_shapes.c.platform == platform, _shapes.c.post_id == post_id, _shapes.c.channel == channel)
    row = conn.execute(select(_shapes).where(*where)).one_or_none()
    return None if row is None else CanaryShape(**row._mapping)


def note_shape(conn: Connection, seen: CanaryShape, *, changed: bool) -> None:
    """Keep how a payload looks now, unless a later look is kept; `changed`: otherwise than before."""
    insert = insert_into(_shapes).values(seen.model_dump())
    names = ["shape", "keys", "observed_at"] + (["changed_at"] if changed else [])
    conn.execute(
        insert.on_conflict_do_update(
            index_elements=["platform", "post_id", "channel"],
            set_={name: insert.excluded[name] for name in names},
            where=insert.excluded.observed_at >= _shapes.c.observed_at,
        )
    )
