"""Compiled SQL that outlives its engine: each run opens a store of its own, and would compile the same statements anew.

A fifth of the CPU of a flow test went into that.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

_COMPILED: dict[Any, Any] = {}


class _Shared:
    """Equal where it was made alike, so that what one engine compiled is found by the next."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._made = (type(self), *(options.get(name) for name in ("json_serializer", "json_deserializer")))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shared) and self._made == other._made

    def __hash__(self) -> int:
        return hash(self._made)

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        engine.update_execution_options(compiled_cache=_COMPILED)


class SharedSQLite(_Shared, SQLiteDialect_pysqlite):
    supports_statement_cache = True


class SharedPostgres(_Shared, PGDialect_psycopg):
    supports_statement_cache = True


def share() -> None:
    """From here on, in this process."""
    registry.register("sqlite", __name__, "SharedSQLite")
    registry.register("postgresql.psycopg", __name__, "SharedPostgres")
