"""Raw answers that nobody has parsed yet, as rows of `raw_fetches`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from blocks.database.store.statements import table_of
from blocks.database.tables import RawFetch


def unparsed(conn: Connection) -> Sequence[Row[Any]]:
    fetches = table_of(RawFetch)
    return conn.execute(select(fetches).where(fetches.c.parsed_at.is_(None)).order_by(fetches.c.fetched_at)).all()
