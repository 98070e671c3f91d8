"""The schema's versions: migrating gives what the tables say, on both kinds of database, also in a race."""

from __future__ import annotations

import logging
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

from blocks.database import connections, migrations
from blocks.database.engine import Store, copies_of, open_store, upgrade
from blocks.errors import StoreError

if TYPE_CHECKING:
    from tests.conftest import PostgresDatabases


def url_of(store: Store) -> str:
    return store.engine.url.render_as_string(hide_password=False)


def test_migrated_schema_equals_the_tables(store: Store) -> None:
    with store.begin() as conn:
        context = MigrationContext.configure(conn, opts={"compare_server_default": True, "compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_indexes_are_the_same_down_to_their_conditions(store: Store) -> None:
    """Alembic's comparison leaves the conditions of partial indexes out."""

    def indexes(conn: sa.Connection) -> dict[str, str]:
        if store.is_sqlite:
            query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        else:
            query = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        found = conn.exec_driver_sql(query).all()
        return {name: re.sub(r"\s+", " ", sql) for name, sql in found if not name.startswith("alembic")}

    with store.begin() as conn:
        migrated = indexes(conn)
        # The views read the tables; the models do not know them.
        for name in ("creator_latest", "hashtag_daily", "post_latest", "post_source"):
            conn.exec_driver_sql(f"DROP VIEW {name}")
        SQLModel.metadata.drop_all(conn)
        SQLModel.metadata.create_all(conn)
        assert indexes(conn) == migrated
    assert "WHERE" in migrated["uq_failures_open"]


def test_revisions_are_listed_as_they_are() -> None:
    walked = [script.revision for script in ScriptDirectory.from_config(migrations.config()).walk_revisions()]
    assert tuple(reversed(walked)) == migrations.REVISIONS


def test_states_are_told_apart(store: Store) -> None:
    with store.begin() as conn:
        assert migrations.schema_state(conn) == "head"
        conn.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{migrations.REVISIONS[0]}'")
        assert migrations.schema_state(conn) == "behind"
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = 'f00'")
        assert migrations.schema_state(conn) == "ahead"
    with pytest.raises(StoreError, match="is newer than this Tagtrail, or another program's"):
        open_store(url_of(store), create=True)
    with pytest.raises(StoreError, match="is newer"):
        upgrade(store)
    with store.begin() as conn:
        conn.exec_driver_sql("DROP TABLE alembic_version")
        assert migrations.schema_state(conn) == "missing"


def test_down_and_up_again(store: Store) -> None:
    with store.begin() as conn:
        config = migrations.config()
        config.attributes["connection"] = conn
        command.downgrade(config, migrations.REVISIONS[0])
        assert migrations.schema_state(conn) == "behind"
    if store.is_sqlite:
        with pytest.raises(StoreError, match="is older than this Tagtrail; run `tagtrail db upgrade`"):
            open_store(url_of(store))
        open_store(url_of(store), create=True).close()
    else:
        with pytest.raises(StoreError, match="is older than this Tagtrail; run `tagtrail db upgrade`"):
            open_store(url_of(store), create=True)
        assert upgrade(store) == "behind"
    assert upgrade(url_of(store)) == "head"
    with store.begin() as conn:
        command.downgrade(config := _config(conn), "base")
        assert sa.inspect(conn).get_table_names() == ["alembic_version"]
        command.upgrade(config, "head")
        assert migrations.schema_state(conn) == "head"


def old_file(path: Path) -> str:
    """The URL of a SQLite file that an earlier version left: schema 0008, with a note in it."""
    url = f"sqlite:///{path}"
    with closing(open_store(url, create=True)) as made, made.begin() as conn:
        conn.exec_driver_sql("INSERT INTO meta (key, value) VALUES ('note', 'kept')")
        command.downgrade(_config(conn), "0008")
    assert copies_of(path) == [], "a new file needs no copy"
    return url


@pytest.mark.parametrize("migrate", [lambda url: open_store(url, create=True).close(), upgrade])
def test_a_file_is_copied_before_it_is_migrated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, migrate: Callable[[str], object]
) -> None:
    path = tmp_path / "tag's trail.db"
    url = old_file(path)
    with caplog.at_level(logging.WARNING, logger="blocks.database.engine"):
        migrate(url)
        migrate(url)
    [copy] = copies_of(path)
    assert re.fullmatch(r"tag's trail-schema-0008-\d{8}T\d{6}Z\.db", copy.name)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert caplog.messages == [f"The database gets a new schema; a copy as it was (schema 0008) is {copy}"]
    old = f"sqlite:///{copy}"
    with pytest.raises(StoreError, match="is older than this Tagtrail"):
        open_store(old)
    assert upgrade(old) == "behind"
    with closing(open_store(old)) as store, store.connect() as conn:
        assert conn.exec_driver_sql("SELECT value FROM meta WHERE key = 'note'").scalar() == "kept"


def test_without_a_copy_nothing_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "tagtrail.db"
    url = old_file(path)

    def no_room(revision: str) -> None:
        raise StoreError(f"no room for a copy of {revision}")

    engine = connections.make_engine(connections.parse(url), lock_seconds=1)
    with pytest.raises(StoreError, match="no room for a copy of 0008"):
        migrations.upgrade(engine, before=no_room)
    with engine.connect() as conn:
        assert migrations.schema_state(conn) == "behind"
    engine.dispose()


def _config(conn: sa.Connection) -> migrations.Config:
    config = migrations.config()
    config.attributes["connection"] = conn
    return config


def test_postgres_is_migrated_on_request_only(postgres: PostgresDatabases) -> None:
    url = postgres.create().render_as_string(hide_password=False)
    with pytest.raises(StoreError, match="holds no tables of Tagtrail yet; run `tagtrail db upgrade`"):
        open_store(url, create=True)
    plain = url.replace("postgresql+psycopg://", "postgres://")
    assert upgrade(plain) == "missing"
    with closing(open_store(plain)) as store:
        assert store.engine.dialect.driver == "psycopg"


OPEN = "from blocks.database.engine import open_store; import sys; open_store(sys.argv[1], create=True).close()"
UPGRADE = "from blocks.database.engine import upgrade; import sys; upgrade(sys.argv[1])"


def race(script: str, url: str, tmp_path: Path) -> None:
    """Four processes at once, in a foreign working directory."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, url], cwd=tmp_path, env=os.environ, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for racer in racers:
        _, errors = racer.communicate(timeout=170)
        assert (racer.returncode, errors) == (0, b"")


@pytest.mark.integration
def test_processes_that_make_the_file_at_once_all_succeed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'tagtrail.db'}"
    race(OPEN, url, tmp_path)
    open_store(url).close()


def test_processes_that_migrate_postgres_at_once_all_succeed(postgres: PostgresDatabases, tmp_path: Path) -> None:
    url = postgres.create().render_as_string(hide_password=False)
    race(UPGRADE, url, tmp_path)
    open_store(url).close()


def test_a_migration_waits_for_another_one(postgres: PostgresDatabases) -> None:
    url = postgres.create()
    admin = sa.create_engine(url)
    with ThreadPoolExecutor(1) as threads:
        with admin.connect() as holder:
            holder.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": migrations._UPGRADE_LOCK})
            waiting = threads.submit(upgrade, url.render_as_string(hide_password=False))
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
        assert waiting.result(timeout=170) == "missing"
    admin.dispose()


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "tagtrail.db"
    engine = connections.make_engine(connections.parse(f"sqlite:///{path}"), lock_seconds=1)
    with engine.connect() as conn, conn.begin():
        # Stands in the way of the second revision.
        conn.exec_driver_sql("CREATE TABLE snapshots (x)")
    engine.dispose()
    with pytest.raises(StoreError):
        open_store(f"sqlite:///{path}", create=True)
    engine = connections.make_engine(connections.parse(f"sqlite:///{path}"), lock_seconds=1)
    with engine.connect() as conn, conn.begin():
        assert sa.inspect(conn).get_table_names() == ["snapshots"]
    engine.dispose()
