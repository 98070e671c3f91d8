"""Rows that an answer about another post filled: a re-parse finds them out, and takes them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, update

from blocks.database.store import posts
from blocks.database.store.answers import Reading
from blocks.database.store.difference import Difference, Key
from blocks.database.store.erasing import remove
from blocks.database.store.failures import GivenUp
from blocks.database.store.post_rows import FACTS
from blocks.database.store.statements import table_of
from blocks.database.tables import Comment, Post, Snapshot
from blocks.errors import NotAPostUrl
from blocks.posts.addresses import tiktok_url
from blocks.posts.identity import parse_post_url

_posts, _snapshots, _comments = table_of(Post), table_of(Snapshot), table_of(Comment)

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
        return tiktok_url(row.post_id, None) if row.platform == "tiktok" else str(row.url)


def give_up(conn: Connection, of_rows: Sequence[Reading], stored: Mapping[Key, Row[Any]], now: datetime) -> None:
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
