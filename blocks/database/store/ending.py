"""The end of an import: its state, its money, and the items of it that are no posts, in one transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from sqlalchemy import Connection

from blocks.database.store import failures, gaps, spend
from blocks.database.store.failures import GivenUp
from blocks.database.store.imports import finish_import, get, without_post

UNNAMED = {
    True: ("ItemWithoutUrl", "the import listed an item without a URL, so that there is no post to enrich"),
    False: ("NotAPostUrl", "the import listed a URL that names no post of Instagram, TikTok, YouTube or X"),
}

SAID_FAILED = "the service called back that it failed"


def end_import(
    conn: Connection,
    import_id: str,
    *,
    state: Literal["complete", "empty"],
    post_micros: int,
    run_id: str,
    now: datetime,
    note: str | None = None,
) -> bool:
    """Finish an import; False if it is finished already, or its items speak against `state`.

    What it cost is settled at `post_micros` (millionths of a US dollar) for each listed item, by whichever run ends
    it. A gap to the import before it is noted. Items that name no post become open failures of the stage `identify`:
    kept and counted, never dropped. `note` goes into the ledger.
    """
    if not finish_import(conn, import_id, state=state, note=note):
        return False
    row = get(conn, import_id)
    seen = row.seen + row.withheld
    if seen or row.next_look_at is None:
        # An empty import goes on holding its money up to its last look: its posts may still come, and be billed.
        spend.settle_import(conn, import_id, spent_micros=seen * post_micros, posts=seen, now=now)
        spend.settle_late(conn, import_id, spent_micros=seen * post_micros, posts=seen)
    nameless = [
        GivenUp(
            item_key=f"{import_id}/{item_key}",
            stage="identify",
            error_class=UNNAMED[source_url is None][0],
            message=UNNAMED[source_url is None][1],
            attempts=0,
            url=source_url,
            import_id=import_id,
            run_id=run_id,
        )
        for _, item_key, source_url, _ in without_post(conn, [import_id])
    ]
    failures.give_up(conn, nameless, now)
    gaps.note_gaps(conn, import_id, now)
    return True
