"""Which collections and hashtags a database knows, for a filter that may be misspelt."""

from __future__ import annotations

from sqlalchemy import Connection, select, union

from blocks.database.store.statements import table_of
from blocks.database.tables import Import, Run

_imports, _runs = table_of(Import), table_of(Run)


def collections(conn: Connection) -> list[str]:
    """All collections that an import or a run ever had, in alphabetical order."""
    names = union(select(_imports.c.collection), select(_runs.c.collection).where(_runs.c.collection.is_not(None)))
    return sorted(conn.execute(names).scalars())


def hashtags(conn: Connection) -> list[str]:
    """The keys of all hashtags that an import was ever made of, in alphabetical order."""
    query = select(_imports.c.hashtag).where(_imports.c.hashtag.is_not(None)).distinct()
    return sorted(conn.execute(query).scalars())
