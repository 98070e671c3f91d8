"""What runs that are over left behind: work on checkpoints that says nothing any more, and money that nothing was
bought for. It is dropped or given back, so that none stays for ever."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, or_, select

from blocks.database.store import leases, spend
from blocks.database.store.statements import chunks, posts_among, same_post, table_of
from blocks.database.tables import ImportItem, Post, RawFetch, RunImport, RunPost, Snapshot, Spend, Work
from blocks.posts.snapshot_plan import SnapshotPlan

_posts, _snapshots, _work, _fetches = table_of(Post), table_of(Snapshot), table_of(Work), table_of(RawFetch)
_run_posts, _spend = table_of(RunPost), table_of(Spend)
_items, _run_imports = table_of(ImportItem), table_of(RunImport)


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
    of_plan = [purpose for purpose in leases.purposes(conn) if purpose.startswith("refresh:")]
    unsettled = and_(_work.c.purpose.in_(of_plan), _work.c.state.in_(("pending", "claimed")))
    unheld = or_(_work.c.state == "pending", _work.c.lease_until < now)
    which = (unsettled, unheld, ~paid, ~_of_living_run(conn), *(~each for each in open_))
    return conn.execute(delete(_work).where(*which)).rowcount


def drop_unanswered(conn: Connection, keys: Sequence[tuple[str, str]], plan: SnapshotPlan, now: datetime) -> int:
    """Drop work of these posts that is done, though no snapshot answers its checkpoint; how much.

    So it is where a post turns out to be of another age: its checkpoint is still to come, or open again.
    """
    dropped = 0
    for checkpoint in plan.checkpoints:
        answered = exists().where(same_post(_snapshots.c, _work.c), _snapshots.c.target_age == checkpoint.age_seconds)
        which = (_work.c.purpose == checkpoint.purpose, _work.c.state == "done", ~answered, ~_of_living_run(conn))
        for part in chunks(keys):
            among = posts_among(_work.c.platform, _work.c.post_id, part)
            dropped += conn.execute(delete(_work).where(among, *which)).rowcount
    return dropped


def release_unsent(conn: Connection, account: str, now: datetime) -> int:
    """Give back what runs that are over had reserved for imports, and never sent one with; how many reservations.

    A run that is killed between the reservation and the ledger's `sending` leaves one behind, whatever became of the
    import before or since. Money that an import was sent with may be of a submission in doubt, and stays. Taken are
    reservations of one run, collection and day at a time: totals are locked in one order by all transactions.
    """
    over = _spend.c.run_id.not_in(leases.living_runs(conn))
    unsent = (_spend.c.kind == "import", _spend.c.settled_at.is_(None), _spend.c.sent_at.is_(None))
    query = select(_spend).where(_spend.c.account == account, *unsent, over)
    rows = conn.execute(query.order_by(_spend.c.reserved_at, _spend.c.spend_id)).all()
    alike = [row for row in rows if _counted_under(row) == _counted_under(rows[0])]
    return sum(spend.release(conn, row.spend_id, now=now) for row in alike)


def _counted_under(row: Any) -> tuple[Any, ...]:
    return row.run_id, row.collection, row.day


def _of_living_run(conn: Connection) -> ColumnElement[bool]:
    """A run that has not ended counts the work's state among its own."""
    return exists().where(
        same_post(_run_posts.c, _work.c),
        _run_posts.c.purpose == _work.c.purpose,
        _run_posts.c.run_id.in_(leases.living_runs(conn)),
    )
