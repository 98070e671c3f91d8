"""What nobody works on any more: imports under way and pending posts of an account, taken up by a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, select, union

from blocks.database.store import imports as ledger
from blocks.database.store import runs
from blocks.database.store.import_rows import imports as imports_table
from blocks.database.store.import_rows import items, run_imports
from blocks.database.store.imports import FoundPost, Ticket
from blocks.database.store.statements import insert_into, same_post, table_of, write_rows
from blocks.database.tables import Post, Run, RunPost, Work
from blocks.memories.posts.record import PostRef

_posts, _work, _runs, _run_posts = table_of(Post), table_of(Work), table_of(Run), table_of(RunPost)


@dataclass(frozen=True, slots=True)
class LeftOver:
    """What a sweep takes up: imports to be followed, and posts that were listed or given and never bought."""

    tickets: list[Ticket]
    posts: list[FoundPost]


def take_up(conn: Connection, *, run_id: str, account: str, now: datetime, most_posts: int = 5000) -> LeftOver:
    """Write down for a run every import of the account that is under way, and every pending post of its runs.

    Under way are submitted and collecting imports, and `empty` ones that are due to be looked at again. What was
    being sent by a holder that is dead becomes `ambiguous` by this, and is left alone. So are planned imports: a
    sweep submits nothing, and whoever planned them (a cap halted that run, or its user gave it up) takes them up by
    the same command. Posts are those that imports listed and those that runs were given to enrich.
    """
    ledger.recover_sending(conn, account=account)
    rows = [row for row in ledger.open_imports(conn, account, now=now) if row.state not in ("planned", "sending")]
    write_rows(
        conn,
        insert_into(conn.dialect.name, run_imports).on_conflict_do_nothing(),
        [{"run_id": run_id, "import_id": row.import_id, "how": "attached"} for row in rows],
    )
    unbought = and_(_work.c.purpose == "enrich", _work.c.state.in_(("pending", "claimed")))
    listed = (
        select(_work.c.platform, _work.c.post_id)
        .join(items, same_post(items.c, _work.c))
        .join(imports_table, imports_table.c.import_id == items.c.import_id)
        .where(unbought, imports_table.c.account == account)
    )
    given = (
        select(_work.c.platform, _work.c.post_id)
        .join(_run_posts, and_(same_post(_run_posts.c, _work.c), _run_posts.c.purpose == _work.c.purpose))
        .join(_runs, _runs.c.run_id == _run_posts.c.run_id)
        .where(unbought, _runs.c.account == account)
    )
    either = union(listed, given).subquery()
    pending = (
        select(_posts.c.platform, _posts.c.post_id, _posts.c.url, _posts.c.shortcode, _posts.c.source_url)
        .join(either, same_post(either.c, _posts.c))
        .order_by(_posts.c.platform, _posts.c.post_id)
        .limit(most_posts)
    )
    posts = [
        FoundPost(PostRef(row.platform, row.post_id, row.url, row.shortcode), row.source_url)
        for row in conn.execute(pending)
    ]
    runs.take_posts(conn, run_id, [(post.ref, post.source_url) for post in posts], now=now)
    tickets = [
        Ticket(
            import_id=row.import_id,
            how="attached",
            state=row.state,
            planned_at=row.planned_at,
            since=row.since,
            task_id=row.task_id,
            requested=row.requested,
        )
        for row in rows
    ]
    return LeftOver(tickets, posts)
