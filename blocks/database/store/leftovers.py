"""Work on checkpoints of the snapshot plan that says nothing any more; dropped, so that none stays for ever."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, or_

from blocks.database.store.statements import chunks, posts_among, same_post, table_of
from blocks.database.tables import Post, RawFetch, Run, RunPost, Snapshot, Work
from blocks.plan import SnapshotPlan

_posts, _snapshots, _work, _fetches = table_of(Post), table_of(Snapshot), table_of(Work), table_of(RawFetch)
_runs, _run_posts = table_of(Run), table_of(RunPost)

LONGEST_RUN = timedelta(days=1)
"""A run that began before so long, and has no end, was killed."""


def drop_missed(conn: Connection, plan: SnapshotPlan, now: datetime) -> int:
    """Drop work that was begun, and not done before the window of its checkpoint closed; how much.

    Killed and halted refreshes leave it behind. An answer that is paid for, and not parsed yet, keeps its work, and
    so does what a run under way has to account for.
    """
    open_ = (
        exists().where(
            same_post(_posts.c, _work.c),
            _work.c.purpose == checkpoint.purpose,
            _posts.c.posted_at > now - timedelta(seconds=checkpoint.ends_seconds),
        )
        for checkpoint in plan.checkpoints
    )
    paid = exists().where(
        same_post(_fetches.c, _work.c), _fetches.c.purpose == _work.c.purpose, _fetches.c.parsed_at.is_(None)
    )
    unheld = or_(_work.c.state == "pending", and_(_work.c.state == "claimed", _work.c.lease_until < now))
    which = (_work.c.purpose.like("refresh:%"), unheld, ~paid, ~_of_living_run(now), *(~each for each in open_))
    return conn.execute(delete(_work).where(*which)).rowcount


def drop_unanswered(conn: Connection, keys: Sequence[tuple[str, str]], plan: SnapshotPlan, now: datetime) -> int:
    """Drop work of these posts that is done, though no snapshot answers its checkpoint; how much.

    So it is where a post turns out to be of another age: its checkpoint is still to come, or open again.
    """
    dropped = 0
    for checkpoint in plan.checkpoints:
        answered = exists().where(same_post(_snapshots.c, _work.c), _snapshots.c.target_age == checkpoint.age_seconds)
        which = (_work.c.purpose == checkpoint.purpose, _work.c.state == "done", ~answered, ~_of_living_run(now))
        for part in chunks(keys):
            among = posts_among(_work.c.platform, _work.c.post_id, part)
            dropped += conn.execute(delete(_work).where(among, *which)).rowcount
    return dropped


def _of_living_run(now: datetime) -> ColumnElement[bool]:
    """A run that has not ended counts the work's state among its own."""
    return exists().where(
        same_post(_run_posts.c, _work.c),
        _run_posts.c.purpose == _work.c.purpose,
        _runs.c.run_id == _run_posts.c.run_id,
        _runs.c.finished_at.is_(None),
        _runs.c.started_at > now - LONGEST_RUN,
    )
