"""Single facts about a database, made by whoever asks or learns first."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, delete, select

from blocks.database.store.statements import insert_into, insert_missing, table_of
from blocks.database.tables import Meta

COMMENT_KEY = "comment_key"


def comment_key(conn: Connection) -> str:
    """The key of the comment authors' hashes (64 hex digits), the same for every run on this database.

    Whoever holds the database can test a name against a hash; whoever holds only an export cannot.
    """
    table = table_of(Meta)
    insert_missing(conn, table, [{"key": COMMENT_KEY, "value": secrets.token_hex(32)}])
    return str(conn.execute(select(table.c.value).where(table.c.key == COMMENT_KEY)).scalar_one())


def remember(conn: Connection, key: str, value: str) -> None:
    """Keep a fact, in place of what was known before."""
    table = table_of(Meta)
    made = insert_into(table).values(key=key, value=value)
    conn.execute(made.on_conflict_do_update(index_elements=["key"], set_={"value": value}))


def forget(conn: Connection, key: str) -> None:
    """Drop a fact, if it was known."""
    table = table_of(Meta)
    conn.execute(delete(table).where(table.c.key == key))


def known(conn: Connection, key: str) -> str | None:
    """A fact that was made already, or None; unlike `comment_key` this only reads."""
    table = table_of(Meta)
    return conn.execute(select(table.c.value).where(table.c.key == key)).scalar()
