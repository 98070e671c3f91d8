"""Erases posts and people, with everything that is stored about them, and takes their names out of the texts beside."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Table,
    Text,
    and_,
    case,
    delete,
    exists,
    func,
    not_,
    or_,
    select,
    tuple_,
    update,
)
from sqlmodel import SQLModel

from blocks.database.store import erased_names, leases, meta
from blocks.database.store.erased_names import ERASED, Naming, folded
from blocks.database.store.imports import ENDED, read
from blocks.database.store.raw_payloads import find_raw
from blocks.database.store.statements import Key, chunks, posts_among, same_post, table_of
from blocks.database.tables import (
    Comment,
    Creator,
    Failure,
    Import,
    ImportItem,
    Inbox,
    Post,
    RawFetch,
    RawPayload,
    Run,
    RunImport,
    RunPost,
    Work,
)
from blocks.dedup_keys import dedup_key
from blocks.errors import NotAPostUrl
from blocks.posts.identity import item_key, parse_post_url
from blocks.posts.payloads.pseudonyms import pseudonym
from blocks.posts.platforms.registry import PLATFORMS

_posts = table_of(Post)
_creators = table_of(Creator)
_items = table_of(ImportItem)
_work = table_of(Work)
_imports = table_of(Import)
_fetches = table_of(RawFetch)
_payloads = table_of(RawPayload)
_failures = table_of(Failure)
_run_imports = table_of(RunImport)
_run_posts = table_of(RunPost)
_runs = table_of(Run)
_inbox = table_of(Inbox)
_comments = table_of(Comment)

_SILENT = timedelta(hours=1)
"""So long after its end a lease may still be taken up again; clocks of machines that differ are well within it."""


def tables_of_posts() -> list[Table]:
    """Every table whose rows are about one post each, tables of later versions among them."""
    return [table for table in SQLModel.metadata.sorted_tables if {"platform", "post_id"} <= set(table.c.keys())]


def erase_posts(
    conn: Connection, keys: Sequence[Key], *, now: datetime, on_request: bool, dry_run: bool = False
) -> Counter[str]:
    """Erase all rows about posts, given as (platform, post_id); how many, by table.

    Raw answers go unless another post's answer has the very same bytes; creators go with their last post. With
    `on_request` the posts stay out from now on, and imports count them as withheld. Money stays in the books.
    Otherwise posts that a run has in hand are left out: a later purge finds them, unless they are measured meanwhile.
    `dry_run`: count only.
    """
    gone: Counter[str] = Counter()
    for part in chunks(sorted(set(keys))):
        part = part if on_request else _idle(conn, part, now, dry_run=dry_run)
        gone += _erase(conn, part, now=now, on_request=on_request, dry_run=dry_run)
    return gone


def _erase(conn: Connection, keys: Sequence[Key], *, now: datetime, on_request: bool, dry_run: bool) -> Counter[str]:
    gone: Counter[str] = Counter()
    theirs = posts_among(_posts.c.platform, _posts.c.post_id, keys)
    authors = conn.execute(
        select(_posts.c.platform, _posts.c.author_id).where(theirs, _posts.c.author_id.is_not(None)).distinct()
    ).all()
    answers = posts_among(_fetches.c.platform, _fetches.c.post_id, keys)
    hashes = list(conn.execute(select(_fetches.c.raw_sha256).where(answers).distinct()).scalars())
    # Before the rows are gone: whatever refers to them only through another post stays.
    for part in chunks(hashes):
        other = _fetches.alias("other")
        of_others = exists().where(
            other.c.raw_sha256 == _payloads.c.sha256,
            not_(posts_among(cast(Any, other.c.platform), cast(Any, other.c.post_id), keys)),
        )
        gone["raw_payloads"] += _remove_payloads(conn, and_(_payloads.c.sha256.in_(part), ~of_others), dry_run=dry_run)
    if on_request and not dry_run:
        _withhold(conn, keys)
        erased_names.remember(conn, "post", keys, now)
    for table in tables_of_posts():
        if table is not _posts:
            gone[table.name] += remove(
                conn, table, posts_among(table.c.platform, table.c.post_id, keys), dry_run=dry_run
            )
    for platform, author_id in authors:
        left = exists().where(
            _posts.c.platform == platform,
            _posts.c.author_id == author_id,
            not_(posts_among(_posts.c.platform, _posts.c.post_id, keys)),
        )
        them = and_(_creators.c.platform == platform, _creators.c.author_id == author_id)
        gone["creators"] += remove(conn, _creators, them, ~left, dry_run=dry_run)
    gone["posts"] += remove(conn, _posts, theirs, dry_run=dry_run)
    return +gone


def _idle(conn: Connection, keys: Sequence[Key], now: datetime, *, dry_run: bool) -> list[Key]:
    """Those of the posts that no run has in hand, locked so that none claims them meanwhile: posts first, as all do."""
    theirs = posts_among(_posts.c.platform, _posts.c.post_id, keys)
    if not dry_run:
        in_order = select(_posts.c.post_id).where(theirs).order_by(_posts.c.platform, _posts.c.post_id)
        conn.execute(in_order.with_for_update())
        of_theirs = select(_work.c.post_id).where(posts_among(_work.c.platform, _work.c.post_id, keys))
        conn.execute(of_theirs.order_by(_work.c.platform, _work.c.post_id, _work.c.purpose).with_for_update())
    query = select(_posts.c.platform, _posts.c.post_id).where(theirs, not_(_in_use(conn, now)))
    return [(row.platform, row.post_id) for row in conn.execute(query)]


def _in_use(conn: Connection, now: datetime) -> ColumnElement[bool]:
    """The condition that a row of `posts` is of a post that a run buys, or was given, or has listed, and still counts.

    A holder that renews its lease lives; one that was killed keeps no post for ever.
    """
    claimed = exists().where(
        same_post(_work.c, _posts.c), _work.c.state == "claimed", _work.c.lease_until > now - _SILENT
    )
    living = leases.living_runs(conn)
    given = exists().where(same_post(_run_posts.c, _posts.c), _run_posts.c.run_id.in_(living))
    listed = exists().where(
        same_post(_items.c, _posts.c),
        _run_imports.c.import_id == _items.c.import_id,
        _run_imports.c.run_id.in_(living),
    )
    return or_(claimed, given, listed)


def _withhold(conn: Connection, keys: Sequence[Key]) -> None:
    """What an import listed (and billed) and is not kept is counted on it, so that its cost stays true."""
    those = posts_among(_items.c.platform, _items.c.post_id, keys)
    new = func.count(case((_items.c.was_new, 1)))
    query = select(_items.c.import_id, func.count(), new).where(those).group_by(_items.c.import_id)
    for import_id, count, of_them_new in conn.execute(query.order_by(_items.c.import_id)).all():
        values = {
            "withheld": _imports.c.withheld + count,
            "seen": _imports.c.seen - count,
            "new": _imports.c.new - of_them_new,
            "known": _imports.c.known - (count - of_them_new),
        }
        conn.execute(update(_imports).where(_imports.c.import_id == import_id).values(values))


def remove(conn: Connection, table: Table, *where: ColumnElement[bool], dry_run: bool) -> int:
    """Delete rows, or only count them; how many."""
    if dry_run:
        found: int = conn.execute(select(func.count()).select_from(table).where(*where)).scalar_one()
        return found
    return conn.execute(delete(table).where(*where)).rowcount


def erase_answers_before(conn: Connection, cutoff: datetime, *, limit: int, dry_run: bool = False) -> Counter[str]:
    """Erase up to `limit` rows a table of what was measured before `cutoff`: snapshots, raw answers, comments.

    Rows of the posts themselves are not touched. `dry_run`: count all of them.
    """
    gone: Counter[str] = Counter()
    for name, column in (("snapshots", "observed_at"), ("raw_fetches", "fetched_at"), ("comments", "observed_at")):
        table = SQLModel.metadata.tables[name]
        # A post that goes as a whole has been counted with all of its rows.
        kept = exists().where(same_post(_posts.c, table.c), measured_or_seen() >= cutoff)
        old = and_(table.c[column] < cutoff, kept)
        gone[name] += remove(conn, table, old if dry_run else _first(table, old, limit), dry_run=dry_run)
    if dry_run:
        fetch = _fetches.alias("fetch")
        kept = exists().where(same_post(_posts.c, fetch.c), measured_or_seen() >= cutoff)
        of_payload = fetch.c.raw_sha256 == _payloads.c.sha256
        goes = and_(fetch.c.fetched_at < cutoff, kept)
        unused = and_(exists().where(of_payload, goes), ~exists().where(of_payload, not_(goes)))
    else:
        # What an import answered and nobody could read belongs to its failure, and goes after it.
        of_failure = and_(_failures.c.raw_sha256 == _payloads.c.sha256, _failures.c.post_id.is_(None))
        unused = ~or_(exists().where(_fetches.c.raw_sha256 == _payloads.c.sha256), exists().where(of_failure))
    gone["raw_payloads"] += _remove_payloads(conn, unused, limit=limit, dry_run=dry_run)
    return +gone


def _remove_payloads(conn: Connection, unused: ColumnElement[bool], *, limit: int | None = None, dry_run: bool) -> int:
    """Delete payloads (`limit` at most) that nothing refers to any more, or only count them; how many.

    `save_raw` locks those that it finds stored. A deletion that waited for it would still not see its answer: so they
    are locked first, and what is unused is looked up anew by the statement that deletes.
    """
    if dry_run:
        return remove(conn, _payloads, unused, dry_run=True)
    of_interest = select(_payloads.c.sha256).where(unused).order_by(_payloads.c.sha256).limit(limit).with_for_update()
    locked = list(conn.execute(of_interest).scalars())
    return sum(remove(conn, _payloads, _payloads.c.sha256.in_(part), unused, dry_run=False) for part in chunks(locked))


def _first(table: Table, condition: ColumnElement[bool], limit: int) -> ColumnElement[bool]:
    """The condition for so many of the rows, so that no transaction grows too large."""
    key = list(table.primary_key.columns)
    wanted: Any = select(*key).where(condition).limit(limit)
    return tuple_(*key).in_(wanted)


def measured_or_seen() -> ColumnElement[datetime]:
    """When a post was last measured; one that never was: last listed."""
    return func.coalesce(_posts.c.observed_at, _posts.c.last_seen_at)


def old_posts(conn: Connection, cutoff: datetime, after: Key, limit: int) -> list[Key]:
    """Keys of posts that were last measured (never measured: last listed) before `cutoff`, behind the key `after`.

    A post that a run has in hand is among them; `erase_posts` leaves it out.
    """
    return _page(conn, measured_or_seen() < cutoff, after, limit)


def posts_of_creator(
    conn: Connection,
    platform: str | None,
    names: Sequence[str],
    written: Sequence[str],
    author_ids: Sequence[Key],
    after: Key,
    limit: int,
) -> list[Key]:
    """Keys of a creator's posts behind the key `after`: by id, user name as `written`, or handle in its URL."""
    by_name: list[ColumnElement[bool]] = [_posts.c.author_username.in_(list(written))]
    beginnings = [spec.handle_url for spec in PLATFORMS.values() if spec.handle_url]
    for begins in (url.format(handle=name) for name in names for url in beginnings):
        by_name += [
            func.lower(column).startswith(begins, autoescape=True) for column in (_posts.c.url, _posts.c.source_url)
        ]
    where: ColumnElement[bool] = (
        or_(*by_name) if platform is None else and_(_posts.c.platform == platform, or_(*by_name))
    )
    by_id = posts_among(_posts.c.platform, _posts.c.author_id, author_ids)
    return _page(conn, or_(where, by_id), after, limit)


def _page(conn: Connection, where: ColumnElement[bool], after: Key, limit: int) -> list[Key]:
    behind = or_(_posts.c.platform > after[0], and_(_posts.c.platform == after[0], _posts.c.post_id > after[1]))
    query = select(_posts.c.platform, _posts.c.post_id).where(where, behind)
    return [(row[0], row[1]) for row in conn.execute(query.order_by(_posts.c.platform, _posts.c.post_id).limit(limit))]


_ASCII = re.compile(r"[ -~]+")


@dataclass(frozen=True, slots=True)
class Person:
    """A creator as far as the database knows them, on one platform or (None) on all."""

    platform: str | None
    names: list[str]
    """User names, folded (see `erased_names.folded`)."""
    written: list[str]
    """The same as they stand in `posts` and `creators`: a database's own `lower` may know ASCII only."""
    author_ids: list[Key]
    """(platform, author_id)"""

    @property
    def platforms(self) -> tuple[str, ...]:
        """Where the names are theirs."""
        return tuple(PLATFORMS) if self.platform is None else (self.platform,)


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
    return or_(*(func.lower(column.cast(Text)).contains(part, autoescape=True) for part in kept))


def _spellings(conn: Connection, column: Column[Any], names: Collection[str]) -> set[str]:
    """The values of a column that are one of the folded names, as they are written."""
    query = select(column).where(column.is_not(None), _may_hold(column, names)).distinct()
    return {one for one in conn.execute(query).scalars() if folded(one) in names}


def keep_out(conn: Connection, whom: Person, now: datetime) -> None:
    """Have a creator's posts and comments stay out from now on."""
    named = [(platform, f"@{name}") for platform in whom.platforms for name in whom.names]
    erased_names.remember(conn, "creator", [*named, *whom.author_ids], now)
    as_commenters = [(platform, one) for platform in whom.platforms for one in _as_commenters(conn, whom)]
    erased_names.remember(conn, "commenter", as_commenters, now)


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
    return sum(any(folded(str(one)) in names for named in row for one in named or ()) for row in conn.execute(query))


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
    is left as one of the other posts, under the key by which those are known; one of nothing else has a request that
    nobody has, and is dropped if it was never sent.
    """
    gone: Counter[str] = Counter()
    texts = (_runs.c.parameters, _runs.c.summary, _runs.c.message)
    for row in conn.execute(select(_runs.c.run_id, *texts)).all():
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
        key = dedup_key("urls", [_key_of(url) for url in left], row.namespace, row.library)
        others = and_(_imports.c.account == row.account, _imports.c.dedup_key == key, _imports.c.import_id != import_id)
        # Only one open import of a request may be shared; this one may be sent beside it.
        forced = row.forced or conn.execute(select(_imports.c.import_id).where(others)).first() is not None
        values |= {"wanted": {"urls": left}, "dedup_key": key, "forced": forced}
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
    has_texts = or_(_runs.c.parameters.is_not(None), _runs.c.summary.is_not(None))
    runs = and_(_runs.c.started_at < cutoff, has_texts)
    gone["runs (texts)"] = conn.execute(select(func.count()).select_from(_runs).where(runs)).scalar_one()
    old = and_(
        _imports.c.kind != "hashtag",
        _imports.c.planned_at < cutoff,
        _imports.c.state.in_(ENDED),
        ~_imports.c.dedup_key.startswith(ERASED),
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
        dedup_key = f"{ERASED}:{uuid.uuid4()}"
        this = _imports.c.import_id == import_id
        conn.execute(update(_imports).where(this).values(wanted={}, note=ERASED, dedup_key=dedup_key))
        conn.execute(update(_imports).where(this, _imports.c.state == "planned").values(state="dropped"))
