"""What was tried for posts in vain: written with each failed call, so that it counts over runs and kills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, update

from blocks.database.grouping import mergeable
from blocks.database.store.statements import table_of, write_rows
from blocks.database.tables import Work
from blocks.posts.record import PostRef

_work = table_of(Work)


@dataclass(frozen=True, slots=True)
class Tried:
    """A post, the purpose of the work on it, and its failed calls by kind."""

    ref: PostRef
    purpose: str
    tries: dict[str, int]


_note = (
    update(_work)
    .where(
        _work.c.platform == bindparam("of_platform"),
        _work.c.post_id == bindparam("of_post"),
        _work.c.purpose == bindparam("of_purpose"),
        _work.c.state == "claimed",
        _work.c.lease_owner == bindparam("of_owner"),
    )
    .values(tries=bindparam("tries", type_=_work.c.tries.type))
)


@mergeable
def note_tries(conn: Connection, tried: Sequence[Tried], owner: str) -> None:
    """Write down what was tried for posts whose work `owner` holds; of other posts it changes nothing."""
    newest = {(one.ref.platform, one.ref.post_id, one.purpose): one.tries for one in tried}
    rows: list[dict[str, Any]] = [
        {"of_platform": key[0], "of_post": key[1], "of_purpose": key[2], "of_owner": owner, "tries": newest[key]}
        for key in sorted(newest)
    ]
    write_rows(conn, _note, rows)
