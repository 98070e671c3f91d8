"""Whom and what a purge is about, and the texts beside the posts that may name them: runs, imports, comments."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Text, and_, cast, delete, exists, func, or_, select, update

from blocks.database.store import erased, meta
from blocks.database.store.erasing import Key, remove
from blocks.database.store.import_rows import ENDED, read
from blocks.database.store.naming import ERASED, Naming, folded
from blocks.database.store.raw import find_raw
from blocks.database.store.statements import chunks, posts_among, same_post, table_of
from blocks.database.tables import Comment, Creator, Failure, Import, ImportItem, Inbox, Post, RawPayload, Run
from blocks.dedup_keys import wish_key
from blocks.errors import NotAPostUrl
from blocks.posts.identity import item_key, parse_post_url
from blocks.posts.payloads.pseudonyms import pseudonym

_runs, _imports, _items, _inbox = table_of(Run), table_of(Import), table_of(ImportItem), table_of(Inbox)
_posts, _creators = table_of(Post), table_of(Creator)
_comments, _failures, _payloads = table_of(Comment), table_of(Failure), table_of(RawPayload)

_ASCII = re.compile(r"[ -~]+")


@dataclass(frozen=True, slots=True)
class Person:
    """A creator as far as the database knows them, on one platform or (None) on all."""

    platform: str | None
    names: list[str]
    """User names, folded (see `naming.folded`)."""
    written: list[str]
    """The same as they stand in `posts` and `creators`: a database's own `lower` may know ASCII only."""
    author_ids: list[Key]
    """(platform, author_id)"""

    @property
    def platforms(self) -> tuple[str, ...]:
        """Where the names are theirs."""
        return ("instagram", "tiktok", "youtube", "x") if self.platform is None else (self.platform,)


def person(conn: Connection, platform: str | None, name: str) -> Person:
    """Everything that a user name (or a platform's own id) of a creator leads to; `platform` None: on all platforms."""
    names = {folded(name)}
    found: set[Key] = set()
    for table in (_creators, _posts):
        where = or_(*(_may_hold(column, names) for column in (table.c.author_username, table.c.author_id)))
        query = select(table.c.platform, table.c.author_id, table.c.author_username).where(where)
        if platform is not None:
            query = query.where(table.c.platform == platform)
        for row in conn.execute(query.where(table.c.author_id.is_not(None)).distinct()):
            if names & {folded(row.author_id), folded(row.author_username or "")}:
                found.add((row.platform, row.author_id))
    for table in (_creators, _posts):
        for part in chunks(sorted(found)):
            query = select(table.c.author_username).where(
                posts_among(table.c.platform, table.c.author_id, part), table.c.author_username.is_not(None)
            )
            names |= {folded(one) for one in conn.execute(query.distinct()).scalars()}
    written = {one for table in (_creators, _posts) for one in _spellings(conn, table.c.author_username, names)}
    return Person(platform, sorted(names), sorted(written), sorted(found))


def _may_hold(column: Any, names: Iterable[str]) -> ColumnElement[bool]:
    """A condition that each text meets in which one of the folded names stands; others are to be sorted out after."""
    kept = [max(_ASCII.findall(name), key=len, default="") for name in names]
    return or_(*(func.lower(cast(column, Text)).contains(part, autoescape=True) for part in kept))


def _spellings(conn: Connection, column: Column[Any], names: Collection[str]) -> set[str]:
    """The values of a column that are one of the folded names, as they are written."""
    query = select(column).where(column.is_not(None), _may_hold(column, names)).distinct()
    return {one for one in conn.execute(query).scalars() if folded(one) in names}


def keep_out(conn: Connection, whom: Person, now: datetime) -> None:
    """Have a creator's posts and comments stay out from now on."""
    named = [(platform, f"@{name}") for platform in whom.platforms for name in whom.names]
    erased.remember(conn, "creator", [*named, *whom.author_ids], now)
    as_commenters = [(platform, one) for platform in whom.platforms for one in _as_commenters(conn, whom)]
    erased.remember(conn, "commenter", as_commenters, now)


def _as_commenters(conn: Connection, whom: Person) -> set[str]:
    """How a person's name stands in `comments.author`: as it is (here folded), and as its pseudonym."""
    key = meta.known(conn, meta.COMMENT_KEY)
    hashed = [] if key is None else [pseudonym(name, bytes.fromhex(key)) for name in (*whom.names, *whom.written)]
    return {*whom.names, *(one for one in hashed if one is not None)}


def erase_comments_of(conn: Connection, whom: Person, *, dry_run: bool) -> Counter[str]:
    """Erase what a person wrote below other people's posts, and what is left of the person's own rows; how many."""
    gone: Counter[str] = Counter()
    own = exists().where(
        same_post(_posts.c, _comments.c), posts_among(_posts.c.platform, _posts.c.author_id, whom.author_ids)
    )
    by_them = _comments.c.author.in_(sorted(_spellings(conn, _comments.c.author, _as_commenters(conn, whom))))
    theirs = and_(_comments.c.platform.in_(whom.platforms), by_them, ~own)
    gone["comments"] += remove(conn, _comments, theirs, dry_run=dry_run)
    them = posts_among(_creators.c.platform, _creators.c.author_id, whom.author_ids)
    gone["creators"] += remove(conn, _creators, them, dry_run=dry_run)
    return +gone


def posts_naming(conn: Connection, whom: Person) -> int:
    """How many posts of other people mention a person, or name them as co-author or tagged."""
    columns = (_posts.c.mentions, _posts.c.coauthors, _posts.c.tagged_users)
    may = or_(*(_may_hold(column, whom.names) for column in columns))
    theirs = posts_among(_posts.c.platform, _posts.c.author_id, whom.author_ids)
    of_others = or_(_posts.c.author_id.is_(None), ~theirs)
    query = select(*columns).where(may, _posts.c.platform.in_(whom.platforms), of_others)
    names = set(whom.names)
    return sum(any(folded(str(one)) in names for told in row for one in told or ()) for row in conn.execute(query))


def words_of(conn: Connection, keys: Sequence[Key]) -> set[str]:
    """What names these posts in a URL: their ids and codes."""
    found = {post_id for _, post_id in keys}
    for part in chunks(list(keys)):
        query = select(_posts.c.shortcode).where(
            posts_among(_posts.c.platform, _posts.c.post_id, part), _posts.c.shortcode.is_not(None)
        )
        found |= set(conn.execute(query).scalars())
    return found


def scrub_texts(conn: Connection, naming: Naming, *, dry_run: bool) -> Counter[str]:
    """Take out of runs and imports what they were asked and what they said where it names somebody; how many rows.

    Only the text that names them goes. Nameless items and their failures go where their URL does. An import of posts
    is left as one of the other posts, under the key by which those are known; one of nothing else has a wish that
    nobody has, and is dropped if it was never sent.
    """
    gone: Counter[str] = Counter()
    told = (_runs.c.parameters, _runs.c.summary, _runs.c.message)
    for row in conn.execute(select(_runs.c.run_id, *told)).all():
        values = {name: naming.without(row._mapping[name]) for name in ("parameters", "summary", "message")}
        if any(values[name] != row._mapping[name] for name in values):
            gone["runs (texts)"] += 1
            if not dry_run:
                conn.execute(update(_runs).where(_runs.c.run_id == row.run_id).values(values))
    asked = (_imports.c.kind, _imports.c.wanted, _imports.c.note)
    for one in conn.execute(select(_imports.c.import_id, *asked)).all():
        # A hashtag names no person.
        in_wanted = one.kind != "hashtag" and naming.found_in(one.wanted)
        if in_wanted or naming.found_in(one.note):
            gone["imports (texts)"] += 1
            if not dry_run:
                _scrub_import(conn, one.import_id, naming, in_wanted=in_wanted)
    for table, columns in ((_items, (_items.c.source_url,)), (_failures, (_failures.c.url, _failures.c.message))):
        gone[table.name] += _remove_nameless(conn, table, columns, naming, dry_run=dry_run)
    return +gone


def _scrub_import(conn: Connection, import_id: str, naming: Naming, *, in_wanted: bool) -> None:
    [row] = read(conn, _imports.c.import_id == import_id, lock=True)
    values: dict[str, Any] = {"note": naming.without(row.note)}
    if in_wanted:
        left = [url for url in row.wanted.get("urls", ()) if not naming.found_in(url)]
        if not left:
            _blank_imports(conn, [import_id])
            return
        key = wish_key("urls", [_key_of(url) for url in left], row.namespace, row.library)
        others = and_(_imports.c.account == row.account, _imports.c.wish == key, _imports.c.import_id != import_id)
        # Only one open import of a wish may be shared; this one may be sent beside it.
        forced = row.forced or conn.execute(select(_imports.c.import_id).where(others)).first() is not None
        values |= {"wanted": {"urls": left}, "wish": key, "forced": forced}
        if row.state == "planned":
            values["requested"] = len(left)
    conn.execute(update(_imports).where(_imports.c.import_id == import_id).values(values))


def _key_of(url: str) -> str:
    try:
        return item_key(parse_post_url(url))
    except NotAPostUrl:
        return url


def _remove_nameless(
    conn: Connection, table: Any, columns: Sequence[Column[Any]], naming: Naming, *, dry_run: bool
) -> int:
    key = list(table.primary_key.columns)
    found = 0
    kept = [table.c.raw_sha256] if "raw_sha256" in table.c else []
    for row in conn.execute(select(*key, *columns, *kept).where(table.c.post_id.is_(None))).all():
        answer = row.raw_sha256 if kept else None
        body = None if answer is None else find_raw(conn, answer)
        in_answer = body is not None and naming.found_in(body.decode(errors="replace"))
        if in_answer or any(naming.found_in(row._mapping[column.name]) for column in columns):
            found += 1
            if answer is not None and not dry_run:
                conn.execute(delete(_payloads).where(_payloads.c.sha256 == answer))
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
        _imports.c.state.in_(ENDED),
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
