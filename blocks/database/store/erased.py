"""What was erased on request and is to stay out: posts and creators by keyed hash, which names nobody.

Whoever holds the database can test a name against a hash, and nothing else: the key is that of the comment hashes.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Literal

from sqlalchemy import Connection, select

from blocks.database.store import meta
from blocks.database.store.naming import folded
from blocks.database.store.statements import chunks, insert_into, table_of, write_rows
from blocks.database.tables import Erased
from blocks.posts.record import PostRecord, PostRef

Kind = Literal["post", "creator", "commenter"]
Name = tuple[str, str]
"""A platform, and a post's id, a creator's id, a creator's user name with `@` before it, or a commenter's as stored."""

_erased = table_of(Erased)


def _hash(key: bytes, kind: Kind, name: Name) -> str:
    # A user name means the same person in any case; the commenters of a post are told by nothing else.
    platform, told = name
    if told.startswith("@"):
        told = f"@{folded(told)}"
    written = folded(told) if kind == "commenter" else told
    return hmac.new(key, f"{kind}\n{platform}\n{written}".encode(), sha256).hexdigest()


def remember(conn: Connection, kind: Kind, names: Iterable[Name], now: datetime) -> None:
    """Keep posts or creators out from now on; saying it twice changes nothing."""
    key = bytes.fromhex(meta.comment_key(conn))
    rows = [{"key_hash": one, "kind": kind, "erased_at": now} for one in sorted({_hash(key, kind, n) for n in names})]
    write_rows(conn, insert_into(conn.dialect.name, _erased).on_conflict_do_nothing(), rows)


def among(conn: Connection, kind: Kind, names: Iterable[Name]) -> set[Name]:
    """Those of the names that are to stay out; with nothing erased this costs one small query."""
    if conn.execute(select(_erased.c.key_hash).limit(1)).first() is None:
        return set()
    key = bytes.fromhex(meta.known(conn, meta.COMMENT_KEY) or "")
    # One person in two spellings has one hash.
    by_hash: dict[str, set[Name]] = {}
    for name in names:
        by_hash.setdefault(_hash(key, kind, name), set()).add(name)
    found: set[Name] = set()
    for part in chunks(sorted(by_hash)):
        query = select(_erased.c.key_hash).where(_erased.c.key_hash.in_(part))
        found |= {name for one in conn.execute(query).scalars() for name in by_hash[one]}
    return found


def posts_among(conn: Connection, refs: Sequence[PostRef]) -> set[Name]:
    """Keys of posts that are to stay out: erased themselves, or by a creator whose name stands in their URL."""
    found = among(conn, "post", [(ref.platform, ref.post_id) for ref in refs])
    by_handle = {(ref.platform, f"@{ref.handle}"): ref for ref in refs if ref.handle}
    if by_handle:
        theirs = among(conn, "creator", by_handle)
        found |= {
            (ref.platform, ref.post_id) for ref in refs if ref.handle and (ref.platform, f"@{ref.handle}") in theirs
        }
    return found


def creators_among(conn: Connection, creators: Sequence[Name]) -> set[Name]:
    """Those of the creators, given as (platform, handle or id as in a profile's URL), who are to stay out."""
    as_names = {(platform, f"@{handle}"): (platform, handle) for platform, handle in creators}
    out = among(conn, "creator", [*as_names, *creators]) if creators else set()
    return {as_names.get(one, one) for one in out}


def records_among(conn: Connection, records: Sequence[PostRecord]) -> set[Name]:
    """Keys of measured posts that are to stay out: erased themselves, or by a creator who was erased."""
    found = among(conn, "post", [(record.platform, record.post_id) for record in records])
    authors = {name for record in records for name in _authors(record)}
    if authors and (theirs := among(conn, "creator", authors)):
        found |= {(record.platform, record.post_id) for record in records if theirs.intersection(_authors(record))}
    return found


def leave_commenters_out(conn: Connection, records: Sequence[PostRecord]) -> None:
    """Take the comments of erased people off records; in raw answers of other people's posts they stay."""
    names = {
        (record.platform, row.author) for record in records for row in record.comment_rows if row.author is not None
    }
    out = among(conn, "commenter", names) if names else set()
    if out:
        for record in records:
            record.comment_rows = [row for row in record.comment_rows if (record.platform, row.author) not in out]


def _authors(record: PostRecord) -> list[Name]:
    told: list[Name] = []
    if record.author_id is not None:
        told.append((record.platform, record.author_id))
    if record.author_username is not None:
        told.append((record.platform, f"@{record.author_username}"))
    return told
