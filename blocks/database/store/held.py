"""What a person's stop holds, taken up again or given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update

from blocks.database.store import failures, payers, posts, runs, stops, work
from blocks.database.store.failures import GivenUp
from blocks.database.store.import_plans import Ticket
from blocks.database.store.import_rows import FoundPost, imports, read, run_imports
from blocks.database.store.statements import chunks, insert_into, posts_among, same_post, table_of, write_rows
from blocks.database.store.work import OPEN_WORK
from blocks.database.tables import Post, Run, Work
from blocks.posts.identity import item_key
from blocks.posts.record import PostRef

_posts, _runs, _work = table_of(Post), table_of(Run), table_of(Work)

GIVEN_UP = "GivenUp"
"""The error class of held posts that somebody gave up by hand."""


@dataclass(frozen=True, slots=True)
class Held:
    """Held posts, each with the collection that pays for it, and imports that are not at their end."""

    posts: Sequence[FoundPost]
    imports: Sequence[str]


def find(conn: Connection, *, account: str | None = None, collection: str | None = None) -> Held:
    """What is held, of an account and a collection, or all of it."""
    stopped = _stopped(account)
    of_collection = [] if collection is None else [imports.c.collection == collection]
    unfinished = imports.c.state.in_(("planned", *stops.UNDER_WAY))
    rows = read(conn, imports.c.asked_by.in_(stopped), unfinished, *of_collection)
    found = [one for one in _posts_held(conn, stopped) if collection in (None, one.collection)]
    return Held(found, [row.import_id for row in rows])


def unsent(conn: Connection, found: Held) -> int:
    """How many of the held imports were never sent."""
    return len(read(conn, imports.c.import_id.in_(found.imports), imports.c.state == "planned"))


def _stopped(account: str | None) -> Any:
    """Runs whose requests are held, and those that took up held ones before and left some: the same command goes on."""
    left = and_(_runs.c.flow == "collect-imports", ~_runs.c.sweeps, _runs.c.finished_at.is_not(None))
    of_account = [] if account is None else [_runs.c.account == account]
    return select(_runs.c.run_id).where(or_(_runs.c.stopped_at.is_not(None), left), *of_account)


def _posts_held(conn: Connection, stopped: Any) -> list[FoundPost]:
    query = (
        select(_posts.c.platform, _posts.c.post_id, _posts.c.url, _posts.c.shortcode, _posts.c.source_url)
        .add_columns(_runs.c.collection)
        .join(_work, same_post(_work.c, _posts.c))
        .join(_runs, _runs.c.run_id == _work.c.asked_by)
        .where(_work.c.purpose == "enrich", OPEN_WORK, _work.c.asked_by.in_(stopped))
        .order_by(_posts.c.platform, _posts.c.post_id)
    )
    rows = conn.execute(query).all()
    # A run over all collections has none: then whoever found the post first pays.
    payer = payers.payers(conn, [(row.platform, row.post_id) for row in rows if row.collection is None])
    return [
        FoundPost(
            PostRef(row.platform, row.post_id, row.url, row.shortcode),
            row.source_url,
            collection=row.collection or payer.get((row.platform, row.post_id)),
        )
        for row in rows
    ]


def take_up(
    conn: Connection, *, run_id: str, account: str, collection: str | None, now: datetime
) -> tuple[list[Ticket], list[FoundPost]]:
    """Make what is held the request of a run: its imports, of which the planned ones are to be sent, and its posts."""
    found = find(conn, account=account, collection=collection)
    stopped = _stopped(account)
    of_collection = [] if collection is None else [imports.c.collection == collection]
    # Also those at their end: what they list later is to be bought, too.
    theirs = and_(imports.c.asked_by.in_(stopped), *of_collection)
    rows = [row for row in read(conn, theirs, lock=True) if row.import_id in set(found.imports)]
    conn.execute(update(imports).where(theirs).values(asked_by=run_id))
    write_rows(
        conn,
        insert_into(conn.dialect.name, run_imports).on_conflict_do_nothing(),
        [{"run_id": run_id, "import_id": row.import_id, "how": "attached"} for row in rows],
    )
    runs.take_posts(conn, run_id, [(post.ref, post.source_url) for post in found.posts], now=now)
    tickets = [
        Ticket(
            import_id=row.import_id,
            how="attached",
            state=row.state,
            planned_at=row.planned_at,
            since=row.since,
            task_id=row.task_id,
            requested=row.requested,
            open_only=True,
        )
        for row in rows
    ]
    return tickets, list(found.posts)


def give_up(conn: Connection, *, collection: str | None, now: datetime) -> tuple[int, int]:
    """Give up what is held: how many posts, and how many imports that were never sent.

    A post that was never measured is failed, by a failure that is closed; one that was is what it was before. Whoever
    names or lists them again has them bought. Imports that were sent stay: they are paid for.
    """
    found = find(conn, collection=collection)
    unsent = and_(imports.c.import_id.in_(found.imports), imports.c.state == "planned")
    dropped = {"state": "dropped", "finished_at": now, "note": "never sent: held, and given up by hand"}
    count = conn.execute(update(imports).where(unsent, _is_unfollowed(now)).values(dropped)).rowcount
    refs = [post.ref for post in found.posts]
    measured: set[work.Key] = set()
    for part in chunks([(ref.platform, ref.post_id) for ref in refs]):
        known = posts_among(_posts.c.platform, _posts.c.post_id, part)
        query = select(_posts.c.platform, _posts.c.post_id).where(known, _posts.c.observed_at.is_not(None))
        measured |= {(row.platform, row.post_id) for row in conn.execute(query)}
        of_part = and_(posts_among(_work.c.platform, _work.c.post_id, part), _work.c.purpose == "enrich")
        done = and_(of_part, posts_among(_work.c.platform, _work.c.post_id, sorted(measured & set(part))))
        conn.execute(update(_work).where(done).values(state="done", lease_owner=None, lease_until=None))
    never = [ref for ref in refs if (ref.platform, ref.post_id) not in measured]
    failed = [
        GivenUp(
            item_key=item_key(ref),
            stage="metadata",
            error_class=GIVEN_UP,
            message="held by a person's stop, and given up by hand",
            attempts=0,
            ref=ref,
            url=ref.url,
        )
        for ref in never
    ]
    posts.mark_failed(conn, failed, now)
    failures.resolve(conn, [item_key(ref) for ref in never], now, stages=("metadata",))
    for part in chunks([(ref.platform, ref.post_id) for ref in never]):
        # Without it the post is asked for anew by whoever comes next, however soon.
        of_part = and_(posts_among(_work.c.platform, _work.c.post_id, part), _work.c.purpose == "enrich")
        conn.execute(delete(_work).where(of_part))
    return len(refs), count


def _is_unfollowed(now: datetime) -> ColumnElement[bool]:
    return or_(imports.c.lease_until.is_(None), imports.c.lease_until <= now)
