"""The schema's versions: how far a database is, found without alembic, and the way to the newest, with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection, Engine, text

from blocks.database import connections

if TYPE_CHECKING:
    from alembic.config import Config

SchemaState = Literal["missing", "behind", "head", "ahead"]

# All revisions, oldest first. Kept by hand because reading the folder needs alembic, whose import costs 0.2 s of
# every command; a test compares the two.
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010")
HEAD = REVISIONS[-1]

# Any number that nobody else uses as an advisory lock of the same database.
_UPGRADE_LOCK = 7_264_815_903


def schema_state(conn: Connection) -> SchemaState:
    """How far the schema is: no tables of ours, an older revision, the newest, or one that this code cannot know."""
    found = _revisions_in(conn)
    if not found:
        return "missing"
    if set(found) == {HEAD}:
        return "head"
    return "behind" if set(found) <= set(REVISIONS) else "ahead"


def _revisions_in(conn: Connection) -> list[str]:
    """The revision that the database has, as alembic wrote it down; none where it has no tables of ours."""
    if conn.dialect.name == "sqlite":
        there = conn.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").scalar()
    else:
        there = conn.exec_driver_sql("SELECT to_regclass('alembic_version') IS NOT NULL").scalar()
    return sorted(conn.execute(text("SELECT version_num FROM alembic_version")).scalars()) if there else []


def config() -> Config:
    """Alembic's configuration, made in code: no file has to lie in the working directory."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    return made


def upgrade(engine: Engine, *, before: Callable[[str], None] = lambda _: None) -> SchemaState:
    """Bring the schema to the newest revision in one transaction; the state that was found before.

    `before` is called with the old revision where there is one and it is not the newest; nobody else writes meanwhile.
    Several processes may do so at the same moment: the later ones wait, and find nothing left to do.
    """
    with engine.connect().execution_options(**connections.options(engine, write=True)) as conn, conn.begin():
        if conn.dialect.name == "postgresql":
            conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        state = schema_state(conn)
        if state == "behind":
            before("-".join(_revisions_in(conn)))
        if state in ("missing", "behind"):
            from alembic import command

            made = config()
            made.attributes["connection"] = conn
            command.upgrade(made, "head")
        return state
