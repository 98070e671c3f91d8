"""What the snapshot plan makes of a measurement as it is stored: the checkpoint that it answers, and posts at rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from blocks.database.store.statements import chunks, posts_among, table_of, write_rows
from blocks.database.tables import Post, Snapshot
from blocks.posts.snapshot_plan import COUNTS, Measured, SnapshotPlan, counts_of

_posts, _snapshots = table_of(Post), table_of(Snapshot)

LATEST = 40
"""Snapshots of a post that are looked at: so many of one day would still say nothing about a rest."""

Key = tuple[str, str]
Moment = tuple[str, str, datetime]
"""Key of a snapshot."""


def set_targets(
    conn: Connection,
    rows: Sequence[dict[str, Any]],
    plans: Sequence[SnapshotPlan | None],
    *,
    without: Collection[Moment] = (),
) -> None:
    """Fill `target_age` and `lateness_seconds` of new rows of `snapshots`, which are in the order of keys and times.

    A checkpoint that an earlier snapshot of the post answered is not answered twice; what those of `without` answer,
    as they stand in the database, does not count.
    """
    wanted = []
    for row, plan in zip(rows, plans, strict=True):
        row["target_age"] = row["lateness_seconds"] = None
        checkpoint = None if plan is None else plan.at_age(row["age_seconds"])
        if checkpoint is not None:
            wanted.append((row, checkpoint.age_seconds))
    answered = _answered(conn, sorted({_key(row) for row, _ in wanted}), without)
    for row, age in wanted:
        if (*_key(row), age) not in answered:
            answered.add((*_key(row), age))
            row["target_age"] = age
            row["lateness_seconds"] = row["age_seconds"] - age


def _key(row: dict[str, Any]) -> Key:
    return row["platform"], row["post_id"]


def _answered(conn: Connection, keys: Sequence[Key], without: Collection[Moment]) -> set[tuple[str, str, int]]:
    found: set[tuple[str, str, int]] = set()
    columns = (_snapshots.c.platform, _snapshots.c.post_id, _snapshots.c.observed_at, _snapshots.c.target_age)
    for part in chunks(keys):
        among = posts_among(_snapshots.c.platform, _snapshots.c.post_id, part)
        for *moment, age in conn.execute(select(*columns).where(among, _snapshots.c.target_age.is_not(None))):
            if tuple(moment) not in without:
                found.add((moment[0], moment[1], age))
    return found


def update_rests(conn: Connection, plans: Mapping[Key, SnapshotPlan]) -> None:
    """Let posts rest whose latest snapshots stand still, and end the rest of those that move again."""
    for part in chunks(sorted(plans)):
        among = posts_among(_posts.c.platform, _posts.c.post_id, part)
        is_resting = _posts.c.resting_since.is_not(None) & _posts.c.rested_until.is_(None)
        resting = {
            (row.platform, row.post_id)
            for row in conn.execute(select(_posts.c.platform, _posts.c.post_id).where(among, is_resting))
        }
        begun: list[dict[str, Any]] = []
        ended: list[dict[str, Any]] = []
        for key, newest_first in latest_of(conn, part, most=LATEST).items():
            still = plans[key].stands_still(newest_first)
            if still != (key in resting):
                change = {"of_platform": key[0], "of_post": key[1], "at": newest_first[0].observed_at}
                (begun if still else ended).append(change)
        write_rows(conn, _begin_rest, begun)
        write_rows(conn, _end_rest, ended)


_this_post = (_posts.c.platform == bindparam("of_platform")) & (_posts.c.post_id == bindparam("of_post"))
_begin_rest = update(_posts).where(_this_post).values(resting_since=bindparam("at"), rested_until=None)
_end_rest = update(_posts).where(_this_post).values(rested_until=bindparam("at"))


def latest_of(conn: Connection, keys: Sequence[Key], *, most: int) -> dict[Key, list[Measured]]:
    """Up to `most` snapshots of each of these posts, newest first; a post without snapshots is not among them."""
    found: dict[Key, list[Measured]] = {}
    columns = (_snapshots.c.platform, _snapshots.c.post_id, _snapshots.c.observed_at)
    place = (
        func.row_number()
        .over(
            partition_by=(_snapshots.c.platform, _snapshots.c.post_id),
            order_by=_snapshots.c.observed_at.desc(),
        )
        .label("place")
    )
    for part in chunks(keys):
        among = posts_among(_snapshots.c.platform, _snapshots.c.post_id, part)
        numbered = select(*columns, *(_snapshots.c[name] for name in COUNTS), place).where(among).subquery()
        query = select(numbered).where(numbered.c.place <= most)
        for row in conn.execute(query.order_by(numbered.c.platform, numbered.c.post_id, numbered.c.place)):
            found.setdefault((row.platform, row.post_id), []).append(Measured(row.observed_at, counts_of(row)))
    return found
