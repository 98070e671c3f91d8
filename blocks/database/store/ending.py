"""The end of an import: its state, its money, and the items of it that are no posts, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection

from blocks.database.store import failures, gaps, spend
from blocks.database.store.failures import GivenUp
from blocks.database.store.import_answers import ODD
from blocks.database.store.imports import ItemSeen, PollResult, finish_import, get, record_poll, without_post
from blocks.posts.platforms.registry import labels

UNNAMED = {True: "ItemWithoutUrl", False: "NotAPostUrl"}
"""Error classes of listed items that name no post: without a URL, or with one of something else."""

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
    kept and counted, never dropped; one that has a URL by now is closed. `note` goes into the ledger.
    """
    ended_at = get(conn, import_id).finished_at
    if not finish_import(conn, import_id, state=state, note=note):
        return False
    row = get(conn, import_id)
    seen = row.seen + row.withheld
    if seen or row.next_look_at is None:
        # An empty import goes on holding its money up to its last look: its posts may still come, and be billed.
        amount = {"spent_micros": seen * post_micros, "posts": seen}
        spend.settle_import(conn, import_id, **amount, now=now, ended_at=ended_at)
    _account_for_nameless(conn, import_id, run_id=run_id, now=now)
    gaps.note_gaps(conn, import_id, now)
    return True


def record_late_look(
    conn: Connection, import_id: str, listed: Sequence[ItemSeen], *, post_micros: int, run_id: str, now: datetime
) -> PollResult:
    """Write one more answered poll of a finished import down, which stays finished.

    Posts that it did not list before, or listed without a URL, are in the result; failures of items that have a URL
    now are closed. More listed items cost more; an item that is only told better costs nothing.
    """
    result = record_poll(conn, import_id, listed, post_micros=post_micros)
    if result.recorded:
        seen = result.row.seen + result.row.withheld
        amount = {"spent_micros": seen * post_micros, "posts": seen}
        spend.settle_import(conn, import_id, **amount, now=now, ended_at=result.row.finished_at)
        _account_for_nameless(conn, import_id, run_id=run_id, now=now)
        gaps.note_gaps(conn, import_id, now)
    return result


def _account_for_nameless(conn: Connection, import_id: str, *, run_id: str, now: datetime) -> None:
    """Open failures for the items that name no post, but for those that somebody closed; close those that do now."""
    nameless = {f"{import_id}/{item_key}": url for _, item_key, url, _ in without_post(conn, [import_id])}
    before = failures.of_import(conn, import_id)
    now_named = [row.item_key for row in before if row.item_key not in nameless]
    failures.resolve(conn, now_named, now, stages=["identify"])
    closed = {row.item_key for row in before if row.resolved_at is not None}
    given_up = [
        GivenUp(
            item_key=item_key,
            stage="identify",
            error_class=UNNAMED[url is None],
            message=_why(import_id, item_key, url),
            attempts=0,
            url=url,
            import_id=import_id,
            run_id=run_id,
        )
        for item_key, url in nameless.items()
        if item_key not in closed and not item_key.startswith(f"{import_id}/{ODD}")  # Those have one already.
    ]
    failures.give_up(conn, given_up, now)


def _why(import_id: str, item_key: str, url: str | None) -> str:
    if url is not None:
        return f"the import listed a URL that names no post of {labels()}"
    number = item_key.removeprefix(f"{import_id}/no:")
    return f"import {import_id} listed item {number} without a URL, so that there is no post to enrich"
