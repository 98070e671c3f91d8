"""Whom and what a purge is about, and the texts beside the posts that may name them: runs, imports, comments."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Text, and_, cast, delete, exists, func, or_, select, update

from blocks.database.store import erased, meta
from blocks.database.store.erasing import Key, remove
from blocks.database.store.statements import chunks, posts_among, same_post, table_of
from blocks.database.tables import Comment, Creator, Failure, Import, ImportItem, Inbox, Post, Run
from blocks.memories.posts.scrub import pseudonym

_runs, _imports, _items, _inbox = table_of(Run), table_of(Import), table_of(ImportItem), table_of(Inbox)
_posts, _creators = table_of(Post), table_of(Creator)
_comments, _failures = table_of(Comment), table_of(Failure)

ERASED = "erased"

OVER = ("complete", "empty", "failed", "dropped")


@dataclass(frozen=True, slots=True)
class Person:
    """A creator as far as the database knows them: user names (lower case) and (platform, author_id) of all posts."""

    platform: str | None
    names: list[str]
    author_ids: list[Key]

    @property
    def platforms(self) -> tuple[str, ...]:
        """Where the names are theirs."""
        return ("instagram", "tiktok", "youtube", "x") if self.platform is None else (self.platform,)


def person(conn: Connection, platform: str | None, name: str) -> Person:
    """Everything that a user name (or a platform's own id) of a creator leads to; `platform` None: on all platforms."""
    name = name.lower()
    found: set[Key] = set()
    for table in (_creators, _posts):
        query = select(table.c.platform, table.c.author_id).where(
            table.c.author_id.is_not(None),
            or_(func.lower(table.c.author_username) == name, func.lower(table.c.author_id) == name),
        )
        if platform is not None:
            query = query.where(table.c.platform == platform)
        found |= {(row.platform, row.author_id) for row in conn.execute(query.distinct())}
    names = {name}
    for table in (_creators, _posts):
        for part in chunks(sorted(found)):
            query = select(func.lower(table.c.author_username)).where(
                posts_among(table.c.platform, table.c.author_id, part), table.c.author_username.is_not(None)
            )
            names |= set(conn.execute(query.distinct()).scalars())
    return Person(platform, sorted(names), sorted(found))


def keep_out(conn: Connection, whom: Person, now: datetime) -> None:
    """Have a creator's posts and comments stay out from now on."""
    named = [(platform, f"@{name}") for platform in whom.platforms for name in whom.names]
    erased.remember(conn, "creator", [*named, *whom.author_ids], now)
    erased.remember(conn, "commenter", _as_commenters(conn, whom), now)


def _as_commenters(conn: Connection, whom: Person) -> list[Key]:
    """How a person's name stands in `comments.author`: as it is, and as its pseudonym."""
    key = meta.known(conn, meta.COMMENT_KEY)
    hashed = [] if key is None else [pseudonym(name, bytes.fromhex(key)) for name in whom.names]
    written = [*whom.names, *(one for one in hashed if one is not None)]
    return [(platform, one) for platform in whom.platforms for one in written]


def erase_comments_of(conn: Connection, whom: Person, *, dry_run: bool) -> Counter[str]:
    """Erase what a person wrote below other people's posts, and what is left of the person's own rows; how many."""
    gone: Counter[str] = Counter()
    written = {name for _, name in _as_commenters(conn, whom)}
    own = exists().where(
        same_post(_posts.c, _comments.c), posts_among(_posts.c.platform, _posts.c.author_id, whom.author_ids)
    )
    by_them = func.lower(_comments.c.author).in_(sorted(written))
    theirs = and_(_comments.c.platform.in_(whom.platforms), by_them, ~own)
    gone["comments"] += remove(conn, _comments, theirs, dry_run=dry_run)
    them = posts_among(_creators.c.platform, _creators.c.author_id, whom.author_ids)
    gone["creators"] += remove(conn, _creators, them, dry_run=dry_run)
    return +gone


def posts_naming(conn: Connection, whom: Person) -> int:
    """How many posts of other people mention a person, or name them as co-author or tagged."""
    named = [
        func.lower(cast(column, Text)).contains(f'"{name}"', autoescape=True)
        for column in (_posts.c.mentions, _posts.c.coauthors, _posts.c.tagged_users)
        for name in whom.names
    ]
    query = select(func.count()).select_from(_posts).where(or_(*named), _posts.c.platform.in_(whom.platforms))
    theirs = posts_among(_posts.c.platform, _posts.c.author_id, whom.author_ids)
    found: int = conn.execute(query.where(or_(_posts.c.author_id.is_(None), ~theirs))).scalar_one()
    return found


@dataclass(slots=True)
class Words:
    """Ids, codes and names by which a text is known to speak of somebody; found whole only, in any case."""

    words: set[str] = field(default_factory=set)

    def pattern(self) -> re.Pattern[str] | None:
        """Matches a text that holds one of the words; None where there are none."""
        if not self.words:
            return None
        either = "|".join(re.escape(word) for word in sorted(self.words, key=len, reverse=True))
        return re.compile(rf"(?<![\w.-])(?:{either})(?![\w-])", re.IGNORECASE)


def words_of(conn: Connection, keys: Sequence[Key]) -> set[str]:
    """What names these posts in a URL: their ids and codes."""
    found = {post_id for _, post_id in keys}
    for part in chunks(list(keys)):
        query = select(_posts.c.shortcode).where(
            posts_among(_posts.c.platform, _posts.c.post_id, part), _posts.c.shortcode.is_not(None)
        )
        found |= set(conn.execute(query).scalars())
    return found


def scrub_texts(conn: Connection, pattern: re.Pattern[str], *, dry_run: bool) -> Counter[str]:
    """Take out of runs and imports what they were asked and what they said where it names somebody; how many rows.

    Nameless items and their failures go where their URL does. What an import was asked for is part of its wish,
    which becomes one that nobody has; an import that was planned and never sent is dropped.
    """
    gone: Counter[str] = Counter()
    for row in conn.execute(select(_runs.c.run_id, _runs.c.parameters, _runs.c.summary, _runs.c.message)).all():
        if pattern.search(f"{row.parameters} {row.summary} {row.message}"):
            gone["runs (texts)"] += 1
            if not dry_run:
                _blank_runs(conn, _runs.c.run_id == row.run_id)
    query = select(_imports.c.import_id, _imports.c.wanted, _imports.c.note).where(_imports.c.kind != "hashtag")
    for one in conn.execute(query).all():
        if pattern.search(f"{one.wanted} {one.note}"):
            gone["imports (texts)"] += 1
            if not dry_run:
                _blank_imports(conn, [one.import_id])
    for table, columns in ((_items, (_items.c.source_url,)), (_failures, (_failures.c.url, _failures.c.message))):
        gone[table.name] += _remove_nameless(conn, table, columns, pattern, dry_run=dry_run)
    return +gone


def _remove_nameless(
    conn: Connection, table: Any, columns: Sequence[Column[Any]], pattern: re.Pattern[str], *, dry_run: bool
) -> int:
    key = list(table.primary_key.columns)
    found = 0
    for row in conn.execute(select(*key, *columns).where(table.c.post_id.is_(None))).all():
        if pattern.search(" ".join(str(row._mapping[column.name]) for column in columns)):
            found += 1
            if not dry_run:
                conn.execute(delete(table).where(*(column == row._mapping[column.name] for column in key)))
    return found


def blank_before(conn: Connection, cutoff: datetime, *, dry_run: bool) -> Counter[str]:
    """What is older than `cutoff` and is no post's: texts of runs and imports, nameless items, failures, callbacks."""
    gone: Counter[str] = Counter()
    told = or_(_runs.c.parameters.is_not(None), _runs.c.summary.is_not(None))
    runs = and_(_runs.c.started_at < cutoff, told)
    gone["runs (texts)"] = conn.execute(select(func.count()).select_from(_runs).where(runs)).scalar_one()
    old = and_(
        _imports.c.kind != "hashtag",
        _imports.c.planned_at < cutoff,
        _imports.c.state.in_(OVER),
        ~_imports.c.wish.startswith(ERASED),
    )
    imports = list(conn.execute(select(_imports.c.import_id).where(old)).scalars())
    gone["imports (texts)"] = len(imports)
    for table, column in ((_items, _items.c.last_seen_at), (_failures, _failures.c.last_at)):
        gone[table.name] += remove(conn, table, table.c.post_id.is_(None), column < cutoff, dry_run=dry_run)
    gone["inbox"] += remove(conn, _inbox, _inbox.c.received_at < cutoff, dry_run=dry_run)
    if not dry_run:
        _blank_runs(conn, runs)
        _blank_imports(conn, imports)
    return +gone


def _blank_runs(conn: Connection, which: Any) -> None:
    conn.execute(update(_runs).where(which).values(parameters=None, summary=None, message=ERASED))


def _blank_imports(conn: Connection, import_ids: Iterable[str]) -> None:
    for import_id in import_ids:
        wish = f"{ERASED}:{uuid.uuid4()}"
        this = _imports.c.import_id == import_id
        conn.execute(update(_imports).where(this).values(wanted={}, note=ERASED, wish=wish))
        conn.execute(update(_imports).where(this, _imports.c.state == "planned").values(state="dropped"))
