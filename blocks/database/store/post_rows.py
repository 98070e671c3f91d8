"""An enriched post as rows of five tables, and the statements that write them on either engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, case, func, or_

from blocks.database.store import snapshots as snapshots_store
from blocks.database.store.sanitise import sanitise, sanitise_facts, sanitise_key
from blocks.database.store.statements import insert_into, table_of, write_rows
from blocks.database.tables import Comment, Creator, Post, Snapshot
from blocks.posts.payloads.mapping import PARSER_VERSION
from blocks.posts.record import Channel, PostRecord
from blocks.posts.snapshot_plan import SnapshotPlan

_posts, _creators, _snapshots = table_of(Post), table_of(Creator), table_of(Snapshot)
_comments = table_of(Comment)

# Columns of `posts` that a payload fills and that null_reasons speak of.
FACTS = tuple(
    fact.name
    for fact in fields(PostRecord)
    if fact.name in _posts.c
    and fact.name not in ("platform", "post_id", "url", "shortcode", "likes_hidden", "null_reasons", "extra")
)
METRICS = ("plays", "views", "likes", "comments", "shares", "saves", "author_followers")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrichedPost:
    """A post as one payload tells it, and where and when that payload was measured.

    `purpose` is that of the work (see `Work`). `plan` says which checkpoint the snapshot answers, unless another
    snapshot of the post did, and whether the post may rest; without one the snapshot answers none.
    """

    record: PostRecord
    channel: Channel
    observed_at: datetime
    run_id: str | None = None
    raw_sha256: str | None = None
    purpose: str = "enrich"
    source_url: str | None = None
    plan: SnapshotPlan | None = None
    parser_version: str = PARSER_VERSION

    @property
    def key(self) -> tuple[str, str]:
        """(platform, post_id)"""
        return self.record.platform, self.record.post_id


def write_all(conn: Connection, saved: Sequence[EnrichedPost], now: datetime) -> None:
    """Write posts, creators, snapshots and comments; `saved` is in the order of keys and times.

    Every writer takes rows in the order of their keys, so that two of them cannot wait for each other.
    """
    dialect = conn.dialect.name
    posts = [post_row(one, now) for one in saved]
    creators = [creator_row(row) for row in posts if row["author_id"] is not None]
    comments = [row for one, post in zip(saved, posts, strict=True) for row in comment_rows(one, post)]
    write_rows(conn, upsert_posts(dialect), posts)
    write_rows(conn, upsert_creators(dialect), sorted(creators, key=_creator_order))
    # The posts' rows are locked by now: of two measurements at once, the second finds what the first answered.
    snapshots = [snapshot_row(*pair) for pair in zip(saved, posts, strict=True)]
    snapshots_store.set_targets(conn, snapshots, [one.plan for one in saved])
    write_rows(conn, insert_snapshots(dialect), snapshots)
    snapshots_store.update_rests(conn, {one.key: one.plan for one in saved if one.plan is not None})
    write_rows(conn, upsert_comments(dialect), sorted(comments, key=_comment_order))


def post_row(one: EnrichedPost, now: datetime) -> dict[str, Any]:
    record = one.record
    facts, reasons = sanitise_facts({name: getattr(record, name) for name in FACTS}, dict(record.null_reasons))
    if facts["author_id"] is not None:
        facts["author_id"] = sanitise_key(facts["author_id"])
    return facts | {
        "platform": record.platform,
        "post_id": record.post_id,
        "status": "enriched",
        "shortcode": sanitise(record.shortcode),
        "url": sanitise(record.url),
        "source_url": sanitise(one.source_url),
        "likes_hidden": record.likes_hidden,
        "null_reasons": reasons,
        "extra": sanitise(record.extra),
        "channel": one.channel,
        "first_seen_at": now,
        "last_seen_at": one.observed_at,
        "enriched_at": now,
        "observed_at": one.observed_at,
        "run_id": one.run_id,
        "parser_version": one.parser_version,
        "raw_sha256": one.raw_sha256,
    }


def creator_row(post: dict[str, Any]) -> dict[str, Any]:
    return {
        "platform": post["platform"],
        "author_id": post["author_id"],
        "author_username": post["author_username"],
        "author_name": post["author_name"],
        "verified": post["author_verified"],
        "followers": post["author_followers"],
        "observed_at": post["observed_at"],
        "first_seen_at": post["observed_at"],
    }


def _creator_order(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["platform"], row["author_id"], row["observed_at"]


def snapshot_row(one: EnrichedPost, post: dict[str, Any]) -> dict[str, Any]:
    posted_at = post["posted_at"]
    reasons = {name: reason for name, reason in post["null_reasons"].items() if name in METRICS}
    return {name: post[name] for name in METRICS} | {
        "platform": post["platform"],
        "post_id": post["post_id"],
        "observed_at": one.observed_at,
        "age_seconds": None if posted_at is None else int((one.observed_at - posted_at).total_seconds()),
        "likes_hidden": post["likes_hidden"],
        "null_reasons": reasons,
        "channel": one.channel,
        "run_id": one.run_id,
        "parser_version": one.parser_version,
        "raw_sha256": one.raw_sha256,
    }


def comment_rows(one: EnrichedPost, post: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "platform": post["platform"],
            "comment_id": sanitise_key(comment.comment_id),
            "post_id": post["post_id"],
            "author": sanitise(comment.author),
            "text": sanitise(comment.text),
            "likes": sanitise(comment.likes),
            "created_at": comment.created_at,
            "observed_at": one.observed_at,
        }
        for comment in one.record.comment_rows
    ]


def _comment_order(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["platform"], row["comment_id"], row["observed_at"]


def _later(table: Table, new: Any, name: str) -> ColumnElement[Any]:
    return case((new[name] > table.c[name], new[name]), else_=table.c[name])


@lru_cache(maxsize=2)
def insert_new_posts(dialect: str) -> Any:
    """Insert posts that are not there yet, returning the keys of those; one caller alone gets each."""
    return insert_into(dialect, _posts).on_conflict_do_nothing().returning(_posts.c.platform, _posts.c.post_id)


@lru_cache(maxsize=4)
def upsert_posts(dialect: str, *, same_moment: bool = False) -> Any:
    """Replace a post's row by a newer observation, or the same one parsed anew; see `posts.save_posts`.

    Of two payloads of one moment the row is of the first, as the snapshot is. `same_moment`: whatever payload is
    stored for the moment, as a re-parse reads the snapshot in it too.
    """
    statement = insert_into(dialect, _posts)
    new = statement.excluded
    # Found to be gone after this was measured: the numbers are welcome, the status is not.
    gone_since = func.coalesce(_posts.c.gone_at > new.observed_at, False)
    again = new.observed_at == _posts.c.observed_at
    if not same_moment:
        again = and_(again, new.raw_sha256 == _posts.c.raw_sha256)
    replaced = {*FACTS, "url", "likes_hidden", "null_reasons", "extra", "channel", "observed_at", "run_id"}
    set_: dict[str, Any] = {name: new[name] for name in sorted(replaced | {"parser_version", "raw_sha256"})}
    set_ |= {
        "status": case((gone_since, "gone"), else_="enriched"),
        "gone_at": case((gone_since, _posts.c.gone_at)),
        "shortcode": func.coalesce(new.shortcode, _posts.c.shortcode),
        "source_url": func.coalesce(_posts.c.source_url, new.source_url),
        "enriched_at": func.coalesce(_posts.c.enriched_at, new.enriched_at),
        "last_seen_at": _later(_posts, new, "last_seen_at"),
    }
    return statement.on_conflict_do_update(
        index_elements=["platform", "post_id"],
        set_=set_,
        where=or_(_posts.c.observed_at.is_(None), new.observed_at > _posts.c.observed_at, again),
    )


@lru_cache(maxsize=2)
def upsert_creators(dialect: str) -> Any:
    """The newest observation of a creator wins as a whole; `first_seen_at` becomes the earliest."""
    statement = insert_into(dialect, _creators)
    new, old = statement.excluded, _creators.c
    newer = new.observed_at >= old.observed_at
    names = ("author_username", "author_name", "verified", "followers", "observed_at")
    set_ = {name: case((newer, new[name]), else_=old[name]) for name in names}
    set_["first_seen_at"] = case((new.first_seen_at < old.first_seen_at, new.first_seen_at), else_=old.first_seen_at)
    return statement.on_conflict_do_update(index_elements=["platform", "author_id"], set_=set_)


@lru_cache(maxsize=2)
def insert_snapshots(dialect: str) -> Any:
    """Append snapshots; one that is there already is never changed."""
    return insert_into(dialect, _snapshots).on_conflict_do_nothing()


@lru_cache(maxsize=2)
def upsert_comments(dialect: str) -> Any:
    """The newest observation of a comment wins."""
    statement = insert_into(dialect, _comments)
    names = ("post_id", "author", "text", "likes", "created_at", "observed_at")
    return statement.on_conflict_do_update(
        index_elements=["platform", "comment_id"],
        set_={name: statement.excluded[name] for name in names},
        where=statement.excluded.observed_at >= _comments.c.observed_at,
    )
