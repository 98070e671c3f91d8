"""Opening a database: which URLs are taken, what is made, and what is said where it cannot be done."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from blocks.database import engine as engine_module
from blocks.database.engine import Store, open_store
from blocks.database.store.statements import table_of
from blocks.database.tables import Meta
from blocks.memories.errors import StoreError, UsageError


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://user:hush@host/db", "no database of kind mysql is supported"),
        ("postgresql+asyncpg://user:hush@host/db", "no database of kind postgresql.asyncpg is supported"),
        ("sqlite+aiosqlite:////tmp/x.db", "no database of kind sqlite.aiosqlite is supported"),
        ("hush", "the database URL cannot be read"),
        ("", "the database URL cannot be read"),
        ("sqlite://", "is a file"),
        ("sqlite:///:memory:", "is a file"),
    ],
)
def test_urls_of_other_kinds_are_refused(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_store(url, create=True)
    assert "hush" not in str(caught.value)


def test_passwords_are_not_shown(postgres_server: Any) -> None:
    nobody = postgres_server.set(drivername="postgres", password="hush", query={"application_name": "hush"})
    url = nobody.set(port=1).render_as_string(hide_password=False)
    with pytest.raises(StoreError, match="cannot be reached; check that it runs") as caught:
        open_store(url)
    assert "hush" not in str(caught.value)
    store = Store(
        engine_module.connections.make_engine(nobody.set(drivername="postgresql+psycopg"), lock_seconds=1), "x"
    )
    assert "hush" not in repr(store)
    store.close()


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "home" / "tagtrail.db"
    with closing(open_store(f"sqlite:///{path}", create=True)) as store:
        with store.begin() as conn:
            conn.execute(insert(table_of(Meta)).values(key="a", value="b"))
            assert conn.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        modes = {item.name: stat.S_IMODE(item.stat().st_mode) for item in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert "tagtrail.db-wal" in modes
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_missing_file_is_made_only_if_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "tagtrail.db"
    with pytest.raises(StoreError, match=r"there is no database .* yet; run `tagtrail db upgrade`"):
        open_store(f"sqlite:///{path}")
    assert not path.exists()


def test_paths_that_cannot_be_used_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database at all, but a text that is long enough to be looked at\n" * 20)
    for path in (tmp_path / "file" / "tagtrail.db", tmp_path):
        with pytest.raises(
            StoreError, match=r"cannot be made or opened \((Not a directory|Is a directory|File exists)\)"
        ):
            open_store(f"sqlite:///{path}", create=True)
    with pytest.raises(StoreError, match="is damaged, or is no SQLite database"):
        open_store(f"sqlite:///{tmp_path / 'file'}", create=True)


def test_opening_an_up_to_date_file_needs_no_alembic(sqlite_store: Store) -> None:
    url = str(sqlite_store.engine.url)
    script = "from blocks.database.engine import open_store; import sys; open_store(sys.argv[1], create=True).close()"
    script += "; print('alembic' in sys.modules, 'prefect' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, url], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.split() == ["False", "False"]
