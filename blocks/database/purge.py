"""Purge: erases posts by age, by creator or one by one, with all that was stored about them, in small transactions."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import DatabaseError

from blocks.database.engine import Store, copies_of
from blocks.database.faults import explained
from blocks.database.store import Connection, erased_names, erasure, meta
from blocks.database.store.erased_names import Names, Naming
from blocks.database.store.erasure import Person
from blocks.database.store.statements import Key
from blocks.posts.record import PostRef

BATCH_POSTS = 200
BATCH_ROWS = 5000

FIRST: Key = ("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is to be erased: all that is older than `cutoff`, or one post, or one creator (by user name or id)."""

    cutoff: datetime | None = None
    post: PostRef | None = None
    platform: str | None = None
    creator: str | None = None

    @property
    def on_request(self) -> bool:
        """Whether it is to stay out from now on; what is only old may come back when it is found again."""
        return self.cutoff is None


@dataclass(slots=True)
class Purged:
    """What was erased, by table, and what is left to do by hand; `naming` finds texts elsewhere that name them."""

    erased: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    naming: Naming | None = None


def names_of(target: Target) -> Names:
    """What is known to name a target where there is no database to ask; nothing for one by age."""
    words = Names() if target.platform is None else Names(platforms=(target.platform,))
    if target.post is not None:
        words.codes |= {target.post.post_id} | ({target.post.shortcode} if target.post.shortcode else set())
    if target.creator is not None:
        words.people.add(target.creator)
        words.author_ids.add(target.creator)
    return words


async def purge(store: Store, target: Target, *, dry_run: bool = False) -> Purged:
    """Erase a target from the database, and its bytes from a SQLite file; `dry_run` only counts.

    Rows of money stay: they name nobody. If the process ends in between, the same call does the rest.

    Raises:
        StoreError: the database cannot be used.
    """
    done = Purged()
    carry_out = store.read if dry_run else store.run
    if not dry_run:
        await store.run(meta.comment_key)
    if target.cutoff is not None:
        await _older(store, carry_out, target.cutoff, done, dry_run=dry_run)
    else:
        await _requested(store, carry_out, target, done, dry_run=dry_run)
    if not dry_run and (left := await asyncio.to_thread(compact, store)) is not None:
        done.notes.append(left)
    if not dry_run and store.file is not None and (copies := copies_of(store.file)):
        names = ", ".join(str(copy) for copy in copies)
        done.notes.append(f"copies from before an upgrade still hold what was erased; delete them: {names}")
    return done


async def _older(store: Store, carry_out: Callable[..., Any], cutoff: datetime, done: Purged, *, dry_run: bool) -> None:
    now, after = datetime.now(UTC), FIRST
    while keys := await store.read(erasure.old_posts, cutoff, after, BATCH_POSTS):
        done.erased += await carry_out(erasure.erase_posts, keys, now=now, on_request=False, dry_run=dry_run)
        after = keys[-1]
    while True:
        part = await carry_out(erasure.erase_answers_before, cutoff, limit=BATCH_ROWS, dry_run=dry_run)
        done.erased += part
        if dry_run or not part:
            break
    done.erased += await carry_out(erasure.blank_before, cutoff, dry_run=dry_run)


async def _requested(
    store: Store, carry_out: Callable[..., Any], target: Target, done: Purged, *, dry_run: bool
) -> None:
    now, words = datetime.now(UTC), names_of(target)
    if target.post is not None:
        key = (target.post.platform, target.post.post_id)
        await _erase(carry_out, [key], done, words, now=now, dry_run=dry_run)
    if target.creator is not None:
        whom: Person = await store.read(erasure.person, target.platform, target.creator)
        words.people |= set(whom.names)
        words.author_ids |= {author_id for _, author_id in whom.author_ids}
        # First of all, so that a run which is under way brings nothing back.
        if not dry_run:
            await store.run(erasure.keep_out, whom, now)
        after = FIRST
        about = (whom.platform, whom.names, whom.written, whom.author_ids)
        while keys := await store.read(erasure.posts_of_creator, *about, after, BATCH_POSTS):
            await _erase(carry_out, keys, done, words, now=now, dry_run=dry_run)
            after = keys[-1]
        if dry_run:
            # Rows of creators that would go with their posts are all still there, and are counted now.
            del done.erased["creators"]
        done.erased += await carry_out(erasure.erase_comments_of, whom, dry_run=dry_run)
        if named := await store.read(erasure.posts_naming, whom):
            done.notes.append(
                f"{named:,} posts of other people mention them or name them as co-author or tagged; those stay, and so "
                "do their raw payloads, in which comments may be theirs: `tagtrail purge --post URL` erases one"
            )
    done.naming = words.naming()
    if done.naming is not None:
        done.erased += await carry_out(erasure.scrub_texts, done.naming, dry_run=dry_run)


async def _erase(
    carry_out: Callable[..., Any], keys: list[Key], done: Purged, words: Names, *, now: datetime, dry_run: bool
) -> None:
    part, found = await carry_out(_one_batch, keys, now, dry_run)
    done.erased += part
    words.codes |= found


def _one_batch(conn: Connection, keys: list[Key], now: datetime, dry_run: bool) -> tuple[Counter[str], set[str]]:
    found = erasure.words_of(conn, keys)
    if not dry_run:
        # Also what is not there (yet) stays out.
        erased_names.remember(conn, "post", keys, now)
    return erasure.erase_posts(conn, keys, now=now, on_request=True, dry_run=dry_run), found


POSTGRES = (
    "Postgres keeps deleted rows in its files until a vacuum, and their bytes until they are written over: "
    "`VACUUM FULL` on Tagtrail's tables makes them anew; write-ahead logs and backups of your server are yours to keep "
    "or to end"
)
BUSY = (
    "the database's file still holds bytes of what was erased, because another process uses it at this moment; "
    "the same command takes them out when it is free"
)


def compact(store: Store) -> str | None:
    """Write a SQLite file anew without what was deleted, and empty its write-ahead log; a sentence if more is to do.

    It needs as much free space as the database is large, and the database to itself for a moment.

    Raises:
        StoreError: the disk is full, or the file is damaged.
    """
    if not store.is_sqlite:
        return POSTGRES
    with explained(store.url_shown), store.engine.connect() as conn:
        cursor = conn.connection.cursor()
        cursor.execute("PRAGMA query_only=0")
        conn.info["write"] = True
        try:
            cursor.execute("VACUUM")
            busy = bool(cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise DatabaseError(None, None, error) from error
            busy = True
    return BUSY if busy else None
