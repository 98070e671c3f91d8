"""Rebuilds rows from stored answers: each is parsed as the mappers are now, and what comes out otherwise is written.

A measurement is its answer and the moment of it, and those never change. The columns of a snapshot, like those of a
post, are what a mapper read in the answer: they are read anew, and `parser_version` says by which mapper. Rows that an
answer about another post filled are found out by this, and taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, and_, bindparam, delete, select, update

from blocks.database.engine import Store
from blocks.database.store import erased_names, erasure, failures, meta, posts, raw_payloads, snapshots, stale_work
from blocks.database.store.erasure import remove
from blocks.database.store.failures import GivenUp
from blocks.database.store.filters import Filters
from blocks.database.store.posts import FACTS, METRICS, EnrichedPost
from blocks.database.store.replay import Difference, Policy, Reading, next_posts, readings
from blocks.database.store.snapshots import Moment
from blocks.database.store.statements import (
    Key,
    chunks,
    insert_missing,
    one_of,
    posts_among,
    same_post,
    table_of,
    write_rows,
)
from blocks.database.tables import Comment, Creator, Failure, Post, Snapshot, Work
from blocks.errors import NotAPostUrl
from blocks.posts.identity import parse_post_url
from blocks.posts.payloads import mapping
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import Channel
from blocks.posts.snapshot_plan import SnapshotPlan
from blocks.settings import CommentPolicy

_posts = table_of(Post)
_snapshots = table_of(Snapshot)
_comments = table_of(Comment)
_creators = table_of(Creator)
_failures = table_of(Failure)
_work = table_of(Work)

TARGET_COLUMNS = ("target_age", "lateness_seconds")


def retarget(
    conn: Connection,
    read: Mapping[Moment, dict[str, Any]],
    there: Mapping[Moment, Row[Any]],
    plan: SnapshotPlan | None,
) -> tuple[dict[Moment, dict[str, Any]], set[Key]]:
    """Fill `target_age` and `lateness_seconds` of snapshots as they are `read` now, by the plan of today.

    A snapshot whose age is as it was keeps its target; one of another age, or a new one, is decided as if it were
    stored now. What it answered so far is open to the other snapshots of its post that answer nothing: those of them
    that are not among `read`, and get a target, are given back, with the keys of the posts of another age.
    """
    for moment, row in read.items():
        old = there.get(moment)
        row |= dict.fromkeys(TARGET_COLUMNS) if old is None else {name: old._mapping[name] for name in TARGET_COLUMNS}
    to_decide = {
        moment: row
        for moment, row in read.items()
        if moment not in there or there[moment].age_seconds != row["age_seconds"]
    }
    of_another_age = {moment[:2] for moment in to_decide if moment in there}
    others: dict[Moment, dict[str, Any]] = {}
    for moment, old in there.items():
        if moment[:2] in of_another_age and moment not in to_decide and old.target_age is None:
            if moment not in read:
                others[moment] = dict(old._mapping)
            to_decide[moment] = others[moment] if moment in others else read[moment]
    rows = [to_decide[moment] for moment in sorted(to_decide)]
    snapshots.set_targets(conn, rows, [plan] * len(rows), without=to_decide.keys())
    return {moment: row for moment, row in others.items() if row["target_age"] is not None}, of_another_age


_UNMEASURED: dict[str, Any] = dict.fromkeys(FACTS) | {
    **dict.fromkeys(("enriched_at", "observed_at", "channel", "parser_version", "raw_sha256")),
    "likes_hidden": False,
    "extra": {},
}


def take_back(
    conn: Connection, wrong: Sequence[Reading], stored: Mapping[Key, Row[Any]], diff: Difference, *, dry_run: bool
) -> list[Reading]:
    """Remove what these answers about other posts filled; the answers whose numbers a post's own row had.

    Those rows are as before the first measurement, until an older answer fills them or `give_up` says why not.
    """
    of_rows = []
    for one in wrong:
        (platform, post_id), at, sha = one.key, one.row.fetched_at, one.row.raw_sha256
        row = stored[one.key]
        is_its_row = row.observed_at == at and row.raw_sha256 == sha
        its = (_snapshots.c.platform == platform, _snapshots.c.post_id == post_id, _snapshots.c.observed_at == at)
        removed = remove(conn, _snapshots, *its, _snapshots.c.raw_sha256 == sha, dry_run=dry_run)
        if not removed and not is_its_row:
            continue
        diff.taken_back += 1
        diff.removed["snapshots"] += removed
        of_it = (_comments.c.platform == platform, _comments.c.post_id == post_id, _comments.c.observed_at == at)
        diff.removed["comments"] += remove(conn, _comments, *of_it, dry_run=dry_run)
        if is_its_row:
            of_rows.append(one)
            if not dry_run:
                _unmeasure(conn, row)
    return of_rows


def _unmeasure(conn: Connection, row: Row[Any]) -> None:
    gone = row.status == "gone"
    reasons = dict.fromkeys(FACTS, "post_gone") if gone else {}
    values = _UNMEASURED | {"status": "gone" if gone else "pending", "null_reasons": reasons, "url": _url_as_found(row)}
    this = (_posts.c.platform == row.platform, _posts.c.post_id == row.post_id)
    conn.execute(update(_posts).where(*this).values(values))


def _url_as_found(row: Row[Any]) -> str:
    """The post's address without what another post's answer may have put into it: its author's name."""
    try:
        return parse_post_url(row.source_url).url
    except NotAPostUrl:
        spec = PLATFORMS[row.platform]
        return spec.post_url(row.post_id, row.shortcode) if spec.handle_url else str(row.url)


def give_up_foreign(
    conn: Connection, of_rows: Sequence[Reading], stored: Mapping[Key, Row[Any]], now: datetime
) -> None:
    """Write the failures of posts whose latest answer was about another post; the answers stay where they are.

    A post that is gone needs none.
    """
    for one in of_rows:
        if stored[one.key].status == "gone":
            continue
        assert one.wrong_post is not None
        given_up = GivenUp.post(
            one.ref,
            "parse",
            one.wrong_post,
            attempts=1,
            channel=one.row.channel,
            raw_sha256=one.row.raw_sha256,
            run_id=one.row.run_id,
        )
        posts.mark_failed(conn, [given_up], now, purpose=one.row.purpose)


POST_COLUMNS = (*FACTS, "url", "shortcode", "likes_hidden", "null_reasons", "extra")
SNAPSHOT_COLUMNS = (*METRICS, "likes_hidden", "age_seconds", "null_reasons", *TARGET_COLUMNS)
CREATOR_COLUMNS = ("author_username", "author_name", "verified", "followers")
COMMENT_COLUMNS = ("author", "text", "likes", "created_at")


def reparse_posts(
    conn: Connection, keys: Sequence[Key], policy: Policy, *, since: datetime | None, now: datetime, dry_run: bool
) -> Difference:
    """Parse all stored answers of these posts (since a time) anew, and write what is other than before.

    Nothing that was measured is taken away: an answer that the mappers understood once and do not any more keeps its
    rows, and is counted. What an answer about another post filled was never measured: it is taken back, and the post
    has what an older answer tells, or nothing; its failure says why. `dry_run`: only tell the difference.
    """
    diff = Difference()
    among = posts_among(_posts.c.platform, _posts.c.post_id, keys)
    stored = {(row.platform, row.post_id): row for row in conn.execute(select(_posts).where(among))}
    read = list(readings(conn, keys, stored, policy, since=since, diff=diff))
    if since is not None and (wrong := {one.key for one in read if one.wrong_post is not None}):
        # Older answers tell what is left of these posts.
        older = readings(conn, sorted(wrong), stored, policy, since=None, diff=Difference())
        read = [*older, *(one for one in read if one.key not in wrong)]
    read = _without_erased(conn, read, now, dry_run=dry_run)
    foreign = [one for one in read if one.wrong_post is not None]
    of_rows = take_back(conn, foreign, stored, diff, dry_run=dry_run)
    understood = [one for one in read if one.record is not None]
    version = mapping.PARSER_VERSION
    saved = [_enriched(one, version, policy.plan) for one in understood]
    rows = [posts.post_row(one, now) for one in saved]
    pairs = list(zip(saved, rows, strict=True))
    lost = [one for one in read if one.record is None and one.wrong_post is None]
    diff.not_understood += len(foreign)
    of_another_age = _snapshots_anew(conn, pairs, keys, diff, lost, plan=policy.plan, dry_run=dry_run)
    _comments_anew(conn, pairs, diff, dry_run=dry_run)
    taken_back = {one.key for one in of_rows}
    touched = _posts_anew(conn, pairs, stored, taken_back, diff, dry_run=dry_run)
    _creators_anew(conn, touched, taken_back, stored, diff, dry_run=dry_run)
    _settle(conn, read, diff, now=now, dry_run=dry_run)
    if not dry_run:
        give_up_foreign(conn, of_rows, stored, now)
        if policy.plan is not None:
            stale_work.drop_unanswered(conn, of_another_age, policy.plan, now)
        parsed = [(*one.key, one.row.raw_sha256) for one in understood if one.row.parser_version != version]
        raw_payloads.mark_parsed(conn, parsed, parser_version=version, now=now)
    return diff


def _enriched(one: Reading, version: str, plan: SnapshotPlan | None) -> EnrichedPost:
    assert one.record is not None
    return EnrichedPost(
        record=one.record,
        channel=cast(Channel, one.row.channel),
        observed_at=one.row.fetched_at,
        run_id=one.row.run_id,
        raw_sha256=one.row.raw_sha256,
        purpose=one.row.purpose,
        plan=plan,
        parser_version=version,
    )


def _without_erased(conn: Connection, readings: list[Reading], now: datetime, *, dry_run: bool) -> list[Reading]:
    """An answer that only now tells that it is by an erased creator goes, with its post."""
    records = [one.record for one in readings if one.record is not None]
    erased_names.leave_commenters_out(conn, records)
    out = erased_names.records_among(conn, records)
    if not dry_run:
        erasure.erase_posts(conn, sorted(out), now=now, on_request=True)
    return [one for one in readings if one.key not in out]


_Pairs = Sequence[tuple[EnrichedPost, dict[str, Any]]]


def _snapshots_anew(
    conn: Connection,
    pairs: _Pairs,
    keys: Sequence[Key],
    diff: Difference,
    not_understood: Sequence[Reading],
    *,
    plan: SnapshotPlan | None,
    dry_run: bool,
) -> list[Key]:
    """Write the snapshots that differ; the keys of posts that are of another age."""
    among = posts_among(_snapshots.c.platform, _snapshots.c.post_id, keys)
    there = {(row.platform, row.post_id, row.observed_at): row for row in conn.execute(select(_snapshots).where(among))}
    added: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    read = {(*one.key, one.observed_at): posts.snapshot_row(one, post) for one, post in pairs}
    others, of_another_age = retarget(conn, read, there, plan)
    for moment, new in (read | others).items():
        old = there.get(moment)
        if old is None:
            diff.recovered_snapshots += 1
            added.append(new)
            continue
        other = diff.compare("snapshots", moment[:2], old, new, SNAPSHOT_COLUMNS)
        if other or old.parser_version != new["parser_version"]:
            these = {"of_platform": moment[0], "of_post": moment[1], "at": moment[2]}
            changed.append(these | {f"new_{name}": new[name] for name in (*SNAPSHOT_COLUMNS, "parser_version")})
    kept = {lost.key for lost in not_understood if (*lost.key, lost.row.fetched_at) in there}
    diff.no_longer_understood += len(kept)
    diff.not_understood += sum(lost.key not in kept and not lost.gone for lost in not_understood)
    if not dry_run:
        write_rows(conn, _mend_snapshot, changed)
        insert_missing(conn, _snapshots, added)
    return sorted(of_another_age)


_mend_snapshot = (
    update(_snapshots)
    .where(
        _snapshots.c.platform == bindparam("of_platform"),
        _snapshots.c.post_id == bindparam("of_post"),
        _snapshots.c.observed_at == bindparam("at"),
    )
    .values({name: bindparam(f"new_{name}") for name in (*SNAPSHOT_COLUMNS, "parser_version")})
)


def _posts_anew(
    conn: Connection,
    pairs: _Pairs,
    stored: Mapping[Key, Row[Any]],
    taken_back: Collection[Key],
    diff: Difference,
    *,
    dry_run: bool,
) -> list[dict[str, Any]]:
    """A post's row is that of its newest answer that is understood; the rows that differ."""
    newest = {one.key: (one, post) for one, post in pairs}
    touched: list[dict[str, Any]] = []
    stamped: list[dict[str, Any]] = []
    for key, (one, new) in newest.items():
        old = stored[key]
        if old.observed_at is not None and old.observed_at > one.observed_at and key not in taken_back:
            continue
        new["shortcode"] = new["shortcode"] if new["shortcode"] is not None else old.shortcode
        if old.observed_at is None:
            diff.recovered_posts += 1
        if diff.compare("posts", key, old, new, POST_COLUMNS) or old.observed_at != one.observed_at:
            touched.append(new)
        elif old.parser_version != new["parser_version"]:
            stamped.append(new)
    diff.restamped += len(stamped)
    if not dry_run:
        write_rows(conn, posts.UPSERT_POSTS_READ_ANEW, [*touched, *stamped])
    return touched


def _creators_anew(
    conn: Connection,
    touched: Sequence[dict[str, Any]],
    taken_back: Collection[Key],
    stored: Mapping[Key, Row[Any]],
    diff: Difference,
    *,
    dry_run: bool,
) -> None:
    """The authors of posts that differ; one whom no post names any more goes."""
    rows = {
        (row["platform"], row["author_id"]): posts.creator_row(row)
        for row in sorted(touched, key=lambda row: row["observed_at"])
        if row["author_id"] is not None
    }
    among = posts_among(_creators.c.platform, _creators.c.author_id, rows)
    there = {(row.platform, row.author_id): row for row in conn.execute(select(_creators).where(among))}
    for key, row in rows.items():
        if key not in there:
            diff.added["creators"] += 1
        elif there[key].observed_at <= row["observed_at"]:
            diff.compare("creators", key, there[key], row, CREATOR_COLUMNS)
    if not dry_run:
        write_rows(conn, posts.UPSERT_CREATORS, [rows[key] for key in sorted(rows)])
    these = {(row["platform"], row["post_id"]) for row in touched} | set(taken_back)
    before = {(key[0], stored[key].author_id) for key in these}
    ours = posts_among(_posts.c.platform, _posts.c.post_id, these)
    for platform, author_id in sorted((name, one) for name, one in before - rows.keys() if one is not None):
        theirs = select(_posts.c.post_id).where(_posts.c.platform == platform, _posts.c.author_id == author_id, ~ours)
        left = and_(_creators.c.platform == platform, _creators.c.author_id == author_id, ~theirs.exists())
        diff.removed["creators"] += erasure.remove(conn, _creators, left, dry_run=dry_run)


def _comments_anew(conn: Connection, pairs: _Pairs, diff: Difference, *, dry_run: bool) -> None:
    """Comments by their newest answer; one that its own answer does not hold any more goes."""
    rows = {(row["platform"], row["comment_id"]): row for one, post in pairs for row in posts.comment_rows(one, post)}
    answers = {(*one.key, one.observed_at) for one, _ in pairs}
    there: dict[Key, Row[Any]] = {}
    for part in chunks(sorted({one.key for one, _ in pairs})):
        query = select(_comments).where(posts_among(_comments.c.platform, _comments.c.post_id, part))
        there |= {(row.platform, row.comment_id): row for row in conn.execute(query)}
    elsewhere = sorted(rows.keys() - there.keys())
    for part in chunks(elsewhere):
        query = select(_comments).where(posts_among(_comments.c.platform, _comments.c.comment_id, part))
        there |= {(row.platform, row.comment_id): row for row in conn.execute(query)}
    written = []
    for key, row in sorted(rows.items()):
        old = there.get(key)
        if old is None:
            diff.added["comments"] += 1
            written.append(row)
        elif old.post_id == row["post_id"] and old.observed_at <= row["observed_at"]:
            other = diff.compare("comments", (row["platform"], row["post_id"]), old, row, COMMENT_COLUMNS)
            if other or old.observed_at < row["observed_at"]:
                written.append(row)
    lost = [
        key for key, row in there.items() if key not in rows and (row.platform, row.post_id, row.observed_at) in answers
    ]
    diff.removed["comments"] += len(lost)
    if not dry_run:
        write_rows(conn, posts.UPSERT_COMMENTS, written)
        for part in chunks(sorted(lost)):
            conn.execute(delete(_comments).where(posts_among(_comments.c.platform, _comments.c.comment_id, part)))


def _settle(conn: Connection, readings: Sequence[Reading], diff: Difference, *, now: datetime, dry_run: bool) -> None:
    """Close failures whose answer is understood now, and end the work on them; nothing is bought for it."""
    by_key = {(*one.key, one.row.raw_sha256): one for one in readings}
    open_ones: dict[Key, Reading] = {}
    for part in chunks(sorted({one.key for one in readings})):
        query = select(_failures.c.platform, _failures.c.post_id, _failures.c.raw_sha256).where(
            posts_among(_failures.c.platform, _failures.c.post_id, part),
            _failures.c.stage == "parse",
            _failures.c.resolved_at.is_(None),
        )
        for platform, post_id, sha in conn.execute(query):
            if (one := by_key.get((platform, post_id, sha))) is not None:
                open_ones[platform, post_id] = one
    closed = {key: one for key, one in open_ones.items() if one.record is not None}
    gone = [one for one in open_ones.values() if one.gone]
    diff.resolved_failures += len(closed) + len(gone)
    diff.gone += len(gone)
    if dry_run:
        return
    failures.resolve(conn, [":".join(key) for key in closed], now, stages=("parse",))
    never = [one for one in readings if one.record is not None and one.row.parsed_at is None]
    ended = {(*one.key, one.row.purpose) for one in (*closed.values(), *never)}
    write_rows(
        conn, _end_work, [{"of_platform": one[0], "of_post": one[1], "of": one[2], "now": now} for one in sorted(ended)]
    )
    for one in gone:
        posts.mark_gone(conn, [one.ref], one.row.run_id, one.row.fetched_at)


_other_failure = (
    select(_failures.c.failure_id)
    .where(same_post(_failures.c, _work.c), _failures.c.resolved_at.is_(None))
    .correlate(_work)
    .exists()
)
_end_work = (
    update(_work)
    .where(
        _work.c.platform == bindparam("of_platform"),
        _work.c.post_id == bindparam("of_post"),
        _work.c.purpose == bindparam("of"),
        one_of(_work.c.state, ("pending", "failed")),
        ~_other_failure,
    )
    .values(state="done", updated_at=bindparam("now"))
)


BATCH_POSTS = 100

FIRST = ("", "")
"""Before every key."""


async def reparse(
    store: Store,
    *,
    open_answer: Callable[[bytes], Any],
    filters: Filters,
    comments: CommentPolicy,
    plan: SnapshotPlan | None = None,
    dry_run: bool = False,
    batch_posts: int = BATCH_POSTS,
    progress: Callable[[int], None] = lambda _: None,
) -> Difference:
    """Parse the stored answers of all posts (or those of the filters) anew; the difference that it makes.

    Memory does not grow with the number of posts. What was written stays written if the process ends; the same call
    does the rest, and one more differs in nothing. `open_answer` gives the payload of an answer as it came, or raises
    what the answer says (`MemoriesError`). `progress` gets how many posts are done.

    Raises:
        StoreError: the database cannot be used.
    """
    key = await store.read(meta.known, meta.COMMENT_KEY) if dry_run else await store.run(meta.comment_key)
    policy = Policy(comments=comments, comment_key=bytes.fromhex(key or ""), open_answer=open_answer, plan=plan)
    total, after, done = Difference(), FIRST, 0
    while keys := await store.read(next_posts, filters, after, limit=batch_posts):
        carry_out = store.read if dry_run else store.run
        part = await carry_out(reparse_posts, keys, policy, since=filters.since, now=datetime.now(UTC), dry_run=dry_run)
        total.add(part)
        after, done = keys[-1], done + len(keys)
        progress(done)
    return total
