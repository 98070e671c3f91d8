"""Posts and what comes with them: creators, snapshots, comments; written by key, so that twice is the same as once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    not_,
    or_,
    update,
)

from blocks.database.grouping import mergeable
from blocks.database.store import erased_names, erasure, failures, raw_payloads, work
from blocks.database.store import snapshots as snapshots_store
from blocks.database.store.failures import GivenUp
from blocks.database.store.statements import (
    chunks,
    insert_into,
    insert_missing,
    one_of,
    posts_among,
    same_post,
    sanitise,
    sanitise_facts,
    sanitise_key,
    table_of,
    write_rows,
)
from blocks.database.tables import Comment, Creator, Post, Snapshot, Work
from blocks.posts.identity import item_key, private_url
from blocks.posts.payloads.mapping import PARSER_VERSION
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import Channel, NullReason, PostRecord, PostRef
from blocks.posts.snapshot_plan import SnapshotPlan

_posts = table_of(Post)
_creators = table_of(Creator)
_snapshots = table_of(Snapshot)
_comments = table_of(Comment)
_work = table_of(Work)

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
    posts = [post_row(one, now) for one in saved]
    creators = [creator_row(row) for row in posts if row["author_id"] is not None]
    comments = [row for one, post in zip(saved, posts, strict=True) for row in comment_rows(one, post)]
    write_rows(conn, UPSERT_POSTS, posts)
    write_rows(conn, UPSERT_CREATORS, sorted(creators, key=_creator_order))
    # The posts' rows are locked by now: of two measurements at once, the second finds what the first answered.
    snapshots = [snapshot_row(*pair) for pair in zip(saved, posts, strict=True)]
    snapshots_store.set_targets(conn, snapshots, [one.plan for one in saved])
    insert_missing(conn, _snapshots, snapshots)
    snapshots_store.update_rests(conn, {one.key: one.plan for one in saved if one.plan is not None})
    write_rows(conn, UPSERT_COMMENTS, sorted(comments, key=_comment_order))


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


_insert_new = insert_into(_posts).on_conflict_do_nothing().returning(_posts.c.platform, _posts.c.post_id)
"""Inserts posts that are not there yet, and returns the keys of those; one caller alone gets each."""


def _upsert_posts(*, same_moment: bool) -> Any:
    """Replace a post's row by a newer observation, or the same one parsed anew; see `save_posts`.

    Of two payloads of one moment the row is of the first, as the snapshot is. `same_moment`: whatever payload is
    stored for the moment, as a re-parse reads the snapshot in it too.
    """
    statement = insert_into(_posts)
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


UPSERT_POSTS = _upsert_posts(same_moment=False)
UPSERT_POSTS_READ_ANEW = _upsert_posts(same_moment=True)


def _upsert_creators() -> Any:
    """The newest observation of a creator wins as a whole; `first_seen_at` becomes the earliest."""
    statement = insert_into(_creators)
    new, old = statement.excluded, _creators.c
    newer = new.observed_at >= old.observed_at
    names = ("author_username", "author_name", "verified", "followers", "observed_at")
    set_ = {name: case((newer, new[name]), else_=old[name]) for name in names}
    set_["first_seen_at"] = case((new.first_seen_at < old.first_seen_at, new.first_seen_at), else_=old.first_seen_at)
    return statement.on_conflict_do_update(index_elements=["platform", "author_id"], set_=set_)


UPSERT_CREATORS = _upsert_creators()


def _upsert_comments() -> Any:
    """The newest observation of a comment wins."""
    statement = insert_into(_comments)
    names = ("post_id", "author", "text", "likes", "created_at", "observed_at")
    return statement.on_conflict_do_update(
        index_elements=["platform", "comment_id"],
        set_={name: statement.excluded[name] for name in names},
        where=statement.excluded.observed_at >= _comments.c.observed_at,
    )


UPSERT_COMMENTS = _upsert_comments()


_KEY = and_(_posts.c.platform == bindparam("of_platform"), _posts.c.post_id == bindparam("of_post"))


def ensure_posts(
    conn: Connection, found: Iterable[tuple[PostRef, str | None]], now: datetime, run_id: str | None
) -> set[str]:
    """Make a pending row for each post that is not known yet; the item keys (`platform:post_id`) of those.

    `found` are posts, each with the URL in the form in which it came. Known posts keep their row, get `last_seen_at`,
    and a TikTok post whose author was unknown gets the URL with the handle. A post is new to exactly one caller. What
    was erased on request stays out.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    found = list(found)
    out = erased_names.posts_among(conn, [ref for ref, _ in found])
    for ref, source_url in found:
        if ref.key in out:
            continue
        rows[ref.key] = {
            "platform": ref.platform,
            "post_id": ref.post_id,
            "status": "pending",
            "shortcode": ref.shortcode,
            "url": ref.url,
            "source_url": source_url,
            "first_seen_at": now,
            "last_seen_at": now,
            "run_id": run_id,
        }
    if not rows:
        return set()
    in_order = [rows[key] for key in sorted(rows)]
    inserted = conn.execute(_insert_new, in_order).all()
    new = {(platform, post_id) for platform, post_id in inserted}
    known = [
        {
            "of_platform": row["platform"],
            "of_post": row["post_id"],
            "at": now,
            "seen_url": row["url"],
            "seen_source_url": row["source_url"],
            "seen_private": private_url(row["source_url"]) is not None,
        }
        for row in in_order
        if (row["platform"], row["post_id"]) not in new
    ]
    write_rows(conn, _seen_again, known)
    return {f"{platform}:{post_id}" for platform, post_id in new}


_names_nobody = [
    _posts.c.url.startswith(spec.post_url("", None), autoescape=True) for spec in PLATFORMS.values() if spec.handle_url
]
_anonymous = and_(_posts.c.observed_at.is_(None), or_(*_names_nobody))
_seen_again = (
    update(_posts)
    .where(_KEY)
    .values(
        last_seen_at=case((_posts.c.last_seen_at < bindparam("at"), bindparam("at")), else_=_posts.c.last_seen_at),
        url=case((_anonymous, bindparam("seen_url")), else_=_posts.c.url),
        # A private account's post opens by its long code alone, whenever that came.
        source_url=case(
            (
                or_(_posts.c.source_url.is_(None), bindparam("seen_private", type_=Boolean)),
                bindparam("seen_source_url"),
            ),
            else_=_posts.c.source_url,
        ),
    )
)


@mergeable
def save_posts(conn: Connection, saved: Sequence[EnrichedPost], now: datetime) -> None:
    """Store enriched posts with everything that came with them, in whatever transaction is open.

    - posts: a row is replaced as a whole by a newer observation (or the same one, parsed anew), never by an older
      one, nor by another of the same moment, so that numbers of two payloads do not mix; `first_seen_at`,
      `enriched_at` and `source_url` stay. A post that was found to be gone after the observation stays `gone`.
    - creators: the newest observation wins. Snapshots: one per post and time, never changed. Comments: the newest
      observation wins.
    - work of that purpose is done, and the `enrich` work of a post that was measured for another purpose too; open
      failures of the post's metadata are closed; its raw answer is marked as parsed.
    - a post that was erased on request, or whose author was, is not stored: what there is of it goes.
    """
    records = [one.record for one in saved]
    out = erased_names.records_among(conn, records)
    erasure.erase_posts(conn, sorted(out), now=now, on_request=True)
    erased_names.leave_commenters_out(conn, records)
    saved = [one for one in saved if one.key not in out]
    if not saved:
        return
    ordered = sorted(saved, key=lambda one: (one.key, one.observed_at))
    write_all(conn, ordered, now)
    done = sorted({(*one.key, one.purpose) for one in ordered})
    ended = {"state": "done", "attempts": 1, "updated_at": now}
    write_rows(
        conn,
        work.DONE,
        [{"platform": platform, "post_id": post_id, "purpose": purpose} | ended for platform, post_id, purpose in done],
    )
    measured = sorted({one.key for one in ordered if one.purpose != "enrich"})
    write_rows(conn, _enrich_done, [{"of_platform": key[0], "of_post": key[1], "at": now} for key in measured])
    keys = {":".join(one.key) for one in ordered}
    failures.resolve(conn, keys, now, stages=failures.POST_STAGES)
    by_version: dict[str, list[tuple[str, str, str]]] = {}
    for one in ordered:
        if one.raw_sha256 is not None:
            by_version.setdefault(one.parser_version, []).append((*one.key, one.raw_sha256))
    for version, parsed in by_version.items():
        raw_payloads.mark_parsed(conn, parsed, parser_version=version, now=now)


_enrich_done = (
    update(_work)
    .where(
        _work.c.platform == bindparam("of_platform"),
        _work.c.post_id == bindparam("of_post"),
        _work.c.purpose == "enrich",
        one_of(_work.c.state, ("pending", "failed")),
    )
    .values(state="done", lease_owner=None, lease_until=None, updated_at=bindparam("at"))
)


@mergeable
def mark_gone(
    conn: Connection,
    refs: Sequence[PostRef],
    run_id: str | None,
    now: datetime,
    *,
    observed_at: datetime | None = None,
    owner: str | None = None,
) -> None:
    """Note that the platform says these posts are private or removed: an outcome, not a failure.

    `observed_at` is when it said so (None: now). A post that was measured later is not gone: its status stays, and of
    its work what `owner` holds, and what failed, is done. What was measured before stays too; a post that was never
    measured gets `post_gone` as the reason for every null.
    All work on the other posts ends, open failures of metadata are closed, raw answers up to then count as parsed.
    With `owner`, a holder of leases that lost a post's work (another holds it, or has done it) changes nothing of
    that post, and what another holds for a second purpose stays claimed.
    """
    # Erased on request while a run had them: what it wrote of them since goes.
    out = erased_names.posts_among(conn, refs)
    erasure.erase_posts(conn, sorted(out), now=now, on_request=True)
    ensure_posts(conn, [(ref, None) for ref in refs], now, run_id)
    keys = sorted({ref.key for ref in refs} - out)
    if owner is not None:
        lost = work.lost_to_others(conn, keys, owner)
        keys = [key for key in keys if key not in lost]
    said_at = now if observed_at is None else observed_at
    measured_since = exists().where(same_post(_posts.c, _work.c), _posts.c.observed_at > said_at)
    its_own = or_(_work.c.state == "failed", and_(_work.c.state == "claimed", _work.c.lease_owner == owner))
    held = false() if owner is None else and_(_work.c.state == "claimed", _work.c.lease_owner != owner)
    for part in chunks(keys):
        among = posts_among(_posts.c.platform, _posts.c.post_id, part)
        conn.execute(
            update(_posts)
            .where(among, or_(_posts.c.observed_at.is_(None), _posts.c.observed_at <= said_at))
            .values(status="gone", gone_at=case((_posts.c.gone_at > said_at, _posts.c.gone_at), else_=said_at))
        )
        _explain_nulls(conn, among, "post_gone")
        theirs = posts_among(_work.c.platform, _work.c.post_id, part)
        ended = {"lease_owner": None, "lease_until": None, "updated_at": now}
        conn.execute(update(_work).where(theirs, ~measured_since, not_(held)).values(state="gone", **ended))
        conn.execute(update(_work).where(theirs, measured_since, its_own).values(state="done", **ended))
        raw_payloads.mark_seen(conn, part, now, until=said_at)
    failures.resolve(conn, [":".join(key) for key in keys], now, stages=failures.POST_STAGES)


@mergeable
def mark_failed(
    conn: Connection,
    given_up: Sequence[GivenUp],
    now: datetime,
    *,
    purpose: str = "enrich",
    owner: str | None = None,
) -> None:
    """Give posts up (each `GivenUp` has its `ref`): failure row, work state and post status in one transaction.

    A post that has metadata keeps the status `enriched`, and one that is gone stays `gone`: the status says what is
    known of the post, the open failure row and the work's state say that the latest attempt failed, and the sums of
    a run go by the work. The payload of a failure is not offered for parsing again. With `owner`, a holder of leases
    that lost a post's work (another holds it, or has done it) changes nothing of that post, and no failure is written.
    """
    posts = [(one, one.ref) for one in given_up if one.ref is not None]
    if out := erased_names.posts_among(conn, [ref for _, ref in posts]):
        erasure.erase_posts(conn, sorted(out), now=now, on_request=True)
        posts = [(one, ref) for one, ref in posts if ref.key not in out]
        given_up = [one for one in given_up if one.ref is None or one.ref.key not in out]
    ensure_posts(conn, [(ref, None) for _, ref in posts], now, None)
    if owner is not None:
        lost = work.lost_to_others(conn, sorted({ref.key for _, ref in posts}), owner, purpose)
        posts = [(one, ref) for one, ref in posts if ref.key not in lost]
        given_up = [one for one in given_up if one.ref is None or one.ref.key not in lost]
    failures.give_up(conn, given_up, now)
    reasons: tuple[tuple[NullReason, bool], ...] = (("fetch_failed", False), ("unknown_shape", True))
    for reason, of_parsing in reasons:
        keys = sorted({ref.key for one, ref in posts if (one.stage == "parse") is of_parsing})
        for part in chunks(keys):
            among = posts_among(_posts.c.platform, _posts.c.post_id, part)
            conn.execute(update(_posts).where(among, _posts.c.status == "pending").values(status="failed"))
            _explain_nulls(conn, and_(among, _posts.c.status == "failed"), reason)
    ended = {"purpose": purpose, "state": "failed", "updated_at": now}
    rows = {
        item_key(ref): {"platform": ref.platform, "post_id": ref.post_id, "attempts": one.attempts} | ended
        for one, ref in posts
    }
    write_rows(conn, work.FAILED, [rows[key] for key in sorted(rows)])
    looked_at = [(ref.platform, ref.post_id, one.raw_sha256) for one, ref in posts if one.raw_sha256 is not None]
    raw_payloads.mark_parsed(conn, looked_at, parser_version=None, now=now)


def _explain_nulls(conn: Connection, among: Any, reason: NullReason) -> None:
    """Posts without any measurement have one reason for all their nulls."""
    never = and_(among, _posts.c.observed_at.is_(None))
    conn.execute(update(_posts).where(never).values(null_reasons=dict.fromkeys(FACTS, reason)))
