"""Compacting: a SQLite file that gives back what was erased, and says so where another process keeps it from that."""

from __future__ import annotations

from sqlalchemy import select

from blocks.database.engine import Store, open_store
from blocks.database.purge import BUSY, compact
from blocks.database.store import meta
from blocks.database.store.statements import table_of
from blocks.database.tables import Post


def test_a_file_that_another_process_reads_is_told(sqlite_store: Store) -> None:
    url = sqlite_store.engine.url.render_as_string()
    other = open_store(url, lock_seconds=0.1)
    try:
        with sqlite_store.connect() as conn:
            conn.execute(select(table_of(Post))).all()
            with other.begin() as writing:
                meta.comment_key(writing)
            assert compact(other) == BUSY
        assert compact(other) is None
    finally:
        other.close()
