"""Opening a database: which URLs are taken, what is made, and what is said where it cannot be done."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from blocks.database import connections
from blocks.database import engine as engine_module
from blocks.database.engine import Store, open_store
from blocks.database.store.statements import table_of
from blocks.database.tables import Meta
from blocks.errors import StoreError, UsageError
from tests.cases import each_case
from tests.read_only import readable_alone


@each_case(
    ("url", "message"),
    [
        ("mysql://user:hush@host/db", "no database of kind mysql is supported"),
        ("postgresql+asyncpg://user:hush@host/db", "no database of kind postgresql.asyncpg is supported"),
        ("sqlite+aiosqlite:////tmp/x.db", "no database of kind sqlite.aiosqlite is supported"),
        ("hush", "the database URL .* cannot be read"),
        ("", "the database URL .* cannot be read"),
        ("postgresql+psycopg://app:x@127.0.0.1:${PORT}/tt", "TAGTRAIL_DATABASE_URL.* has a port that is no number"),
        ("postgresql+psycopg://app:Pass1@hush2@127.0.0.1:9/tt", "TAGTRAIL_DATABASE_URL.* holds an @ or / .* %40"),
        ("postgresql://app:Pass@hush/word@127.0.0.1/tt", "holds an @ or / "),
        ("postgresql://app:Pass@hush?word=1@127.0.0.1/tt", "holds an @ or / "),
        ("postgresql://app/hush:x@127.0.0.1/tt", "holds an @ or / "),
        ("postgresql://hush@word?user=a@b", "holds an @ or / "),
        ("sqlite://", "is a file"),
        ("sqlite:///:memory:", "is a file"),
    ],
)
def test_urls_of_other_kinds_are_refused(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_store(url, create=True)
    assert "hush" not in str(caught.value)


@each_case("password", ["a/b", "a?b", "a#b", "a:b", "a%b", "a b", "[a]", "a\\b", "a&b=c", "ü", "a%40b"])
def test_other_letters_of_a_password_need_no_escape(password: str) -> None:
    parsed = connections.parse(f"postgresql://app:{password}@db.example/tt")
    assert (parsed.password, parsed.host, parsed.database) == (password.replace("%40", "@"), "db.example", "tt")
    assert connections.shown(parsed) == "postgresql+psycopg://app:***@db.example/tt"
    assert connections.parse(connections.in_clear(parsed)) == parsed


@pytest.mark.parametrize(
    "name", ["x?y", "x#y", "100%", "%41", "a b", "it's", 'q"q', "é", "a@b:c", "[x]", "x&y=z", "\udcff?"]
)
def test_a_folder_may_be_called_anything(name: str, tmp_path: Path, migrated_sqlite: Path) -> None:
    file = tmp_path / name / "tagtrail.db"
    url = connections.of_file(file)
    assert url.isprintable()
    assert os.fsencode(str(connections.parse(url).database)) == os.fsencode(file)
    assert connections.in_clear(connections.parse(url)) == url
    file.parent.mkdir()
    shutil.copyfile(migrated_sqlite, file)
    with closing(open_store(url)) as store, store.begin() as conn:
        conn.execute(insert(table_of(Meta)).values(key="a", value="b"))
        assert {item.name for item in file.parent.iterdir()} == {"tagtrail.db", "tagtrail.db-wal", "tagtrail.db-shm"}
    assert {item.name for item in tmp_path.iterdir()} == {name}


def test_a_database_is_made_in_a_folder_of_any_name(tmp_path: Path) -> None:
    file = tmp_path / "[x] é@b:c?y=100%41#\udcff" / "tagtrail.db"
    open_store(connections.of_file(file), create=True).close()
    assert list(tmp_path.rglob("*")) == [file.parent, file]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can reach, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def noted(store: Store) -> list[str]:
    with store.connect() as conn:
        return list(conn.execute(select(table_of(Meta).c.key)).scalars())


def test_a_file_on_a_disk_that_cannot_be_written_is_read(open_folder: Path, migrated_sqlite: Path) -> None:
    file = open_folder / "x?y.db"
    file.write_bytes(migrated_sqlite.read_bytes())
    url = connections.of_file(file)
    with closing(open_store(url)) as store:
        with store.begin() as conn:
            conn.execute(insert(table_of(Meta)).values(key="kept", value="b"))
        store.check_writable()
    with readable_alone(open_folder), closing(open_store(url)) as store:
        assert "kept" in noted(store)
        with pytest.raises(StoreError, match="cannot be written: it is read-only"):
            store.check_writable()
    assert [item.name for item in open_folder.iterdir()] == [file.name]


def test_what_a_killed_process_left_in_the_log_is_not_passed_over(open_folder: Path, migrated_sqlite: Path) -> None:
    file = open_folder / "tagtrail.db"
    file.write_bytes(migrated_sqlite.read_bytes())
    url = connections.of_file(file)
    with closing(open_store(url)) as store:
        with store.begin() as conn:
            conn.execute(insert(table_of(Meta)).values(key="kept", value="b"))
        # Somebody else is at work on it.
        with readable_alone(open_folder), closing(open_store(url)) as reader:
            assert "kept" in noted(reader)
        left = {path.name: path.read_bytes() for path in open_folder.iterdir() if not path.name.endswith("-shm")}
    for name, content in left.items():
        (open_folder / name).write_bytes(content)
    with readable_alone(open_folder), pytest.raises(StoreError, match=r"tagtrail\.db"):
        open_store(url)


def test_rights_that_a_user_lacks_are_told(postgres: Any) -> None:
    url = postgres.migrated()
    try:
        with closing(open_store(url.render_as_string(hide_password=False))) as store:
            store.check_writable()
            with store.engine.begin() as conn:
                conn.exec_driver_sql("CREATE ROLE reads_only LOGIN PASSWORD 'hush'")
                conn.exec_driver_sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reads_only")
        reader = url.set(username="reads_only", password="hush").render_as_string(hide_password=False)
        with closing(open_store(reader)) as store, pytest.raises(StoreError, match="refuses what its user may not do"):
            store.check_writable()
        frozen = url.update_query_dict({"options": "-c default_transaction_read_only=on"})
        with closing(open_store(frozen.render_as_string(hide_password=False))) as store:
            with pytest.raises(StoreError, match="cannot be written: it is read-only"):
                store.check_writable()
            assert noted(store) is not None
    finally:
        with closing(open_store(url.render_as_string(hide_password=False))) as store, store.engine.begin() as conn:
            conn.exec_driver_sql("DROP OWNED BY reads_only")
            conn.exec_driver_sql("DROP ROLE reads_only")
        postgres.drop(url)


def test_the_drivers_own_words_are_shown_nowhere(postgres_server: Any) -> None:
    """They repeat what the URL says, and a URL may be written wrongly in many ways."""
    wrong = {
        "hush_option": "word",
        "port": "hush",
        "sslmode": "hush",
        "connect_timeout": "hush",
        "host": "hush.invalid",
    }
    for option, value in wrong.items():
        url = postgres_server.update_query_dict({option: value}).render_as_string(hide_password=False)
        with pytest.raises((StoreError, UsageError)) as caught, closing(open_store(url)):
            pass
        told = "".join(traceback.format_exception(caught.value))
        assert "hush" not in told.replace(__file__, ""), option


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


@pytest.mark.integration
def test_opening_an_up_to_date_file_needs_no_alembic(sqlite_store: Store) -> None:
    url = str(sqlite_store.engine.url)
    script = "from blocks.database.engine import open_store; import sys; open_store(sys.argv[1], create=True).close()"
    script += "; print('alembic' in sys.modules, 'prefect' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, url], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.split() == ["False", "False"]


def keep(conn: Any, key: str) -> None:
    conn.execute(insert(table_of(Meta)).values(key=key, value="b"))


def take_away(path: Path) -> None:
    for file in path.parent.glob("tagtrail.db*"):
        file.unlink()


def put_another(path: Path) -> None:
    take_away(path)
    open_store(f"sqlite:///{path}", create=True).close()


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


@pytest.mark.parametrize("change", [take_away, put_another, move])
async def test_a_file_that_was_removed_or_replaced_is_told(change: Any, tmp_path: Path) -> None:
    path = tmp_path / "tagtrail.db"
    with closing(open_store(f"sqlite:///{path}", create=True)) as store:
        await store.run(keep, "a")
        change(path)
        told = f"the file of the database .*{path.name} was removed or replaced while it was in use"
        with pytest.raises(StoreError, match=told):
            await store.run_durable(keep, "b")
        with pytest.raises(StoreError, match=told):
            await store.run_grouped(keep, "c")
        with pytest.raises(StoreError, match=told), store.begin() as conn:
            keep(conn, "d")
