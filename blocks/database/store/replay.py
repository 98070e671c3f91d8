"""Stored answers, what the mappers make of each of them now, and what that changes; never a text of anybody's."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, and_, or_, select

from blocks.database.store import filters as conditions
from blocks.database.store.filters import Filters
from blocks.database.store.statements import Key, chunks, posts_among, table_of
from blocks.database.tables import RawFetch, RawPayload
from blocks.errors import MemoriesError, PayloadError, PostGone, WrongPost
from blocks.posts.payloads.mapping import map_post
from blocks.posts.payloads.pseudonyms import scrub_comments
from blocks.posts.record import Platform, PostRecord, PostRef
from blocks.posts.snapshot_plan import SnapshotPlan
from blocks.settings import CommentPolicy

_fetches = table_of(RawFetch)
_payloads = table_of(RawPayload)

EXAMPLES = 3
"""So many examples are kept of each column."""


@dataclass(slots=True)
class ColumnChanges:
    """How often a column got a value that was null, lost its value, or has another; examples are `platform:id`."""

    gained: int = 0
    lost: int = 0
    changed: int = 0
    examples: list[str] = field(default_factory=list)

    def note(self, key: Key, old: Any, new: Any) -> None:
        """Count one row's change."""
        if old is None:
            self.gained += 1
        elif new is None:
            self.lost += 1
        else:
            self.changed += 1
        example = ":".join(key)
        if len(self.examples) < EXAMPLES and example not in self.examples:
            self.examples.append(example)


@dataclass(slots=True)
class Difference:
    """The difference between the rows as they are and as the mappers would make them now.

    `answers` were parsed; `missing` have no body or no post. `restamped` posts differ in nothing but the mapper's
    version. `no_longer_understood` posts have an answer that was understood once; their rows stay as they are.
    `taken_back` answers turned out to be about another post than the one whose rows they filled.
    """

    answers: int = 0
    missing: int = 0
    touched: Counter[str] = field(default_factory=Counter)
    """Rows that differ in any column, by table."""
    columns: dict[str, dict[str, ColumnChanges]] = field(default_factory=dict)
    added: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    recovered_posts: int = 0
    recovered_snapshots: int = 0
    resolved_failures: int = 0
    gone: int = 0
    not_understood: int = 0
    no_longer_understood: int = 0
    taken_back: int = 0
    restamped: int = 0

    def compare(self, table: str, key: Key, old: Row[Any], new: Mapping[str, Any], columns: Sequence[str]) -> bool:
        """Count the columns in which a row differs; whether there are any."""
        was = old._mapping
        others = [name for name in columns if _plain(was[name]) != _plain(new[name])]
        for name in others:
            self.columns.setdefault(table, {}).setdefault(name, ColumnChanges()).note(
                key, _plain(was[name]), _plain(new[name])
            )
        if others:
            self.touched[table] += 1
        return bool(others)

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs but, at most, the mapper's version."""
        return not (
            self.columns or +self.added or +self.removed or self.recovered_posts or self.recovered_snapshots
        ) and not (self.resolved_failures or self.gone or self.taken_back)

    def as_dict(self) -> dict[str, Any]:
        """All counts as plain values."""
        columns = {
            table: {name: asdict(changes) for name, changes in sorted(changes.items())}
            for table, changes in sorted(self.columns.items())
        }
        sums = {name: getattr(self, name) for name in _SUMS}
        plain = {name: dict(value) if isinstance(value, Counter) else value for name, value in sums.items()}
        return {**plain, "columns": columns}

    def add(self, other: Difference) -> None:
        """Take in the difference of further posts."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for table, columns in other.columns.items():
            for name, more in columns.items():
                mine = self.columns.setdefault(table, {}).setdefault(name, ColumnChanges())
                mine.gained += more.gained
                mine.lost += more.lost
                mine.changed += more.changed
                mine.examples = (mine.examples + more.examples)[:EXAMPLES]


_SUMS = (
    "answers", "missing", "touched", "added", "removed", "recovered_posts", "recovered_snapshots",
    "resolved_failures", "gone", "not_understood", "no_longer_understood", "taken_back", "restamped",
)  # fmt: skip


def _plain(value: Any) -> Any:
    """Empty mappings are as good as none: a row that was never measured has neither reasons nor extras."""
    return None if value == {} else value


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
