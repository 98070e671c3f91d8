"""Tells what a database error means: whether trying again can help, and one sentence for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from blocks.memories.errors import StoreError


class Fault(Enum):
    """What went wrong, whatever the engine; the value is the user's sentence, `{where}` the database's URL."""

    LOCKED = "the database {where} stayed locked by another program; run the same command again"
    CONFLICT = "other work on the database {where} got in the way several times; run the same command again"
    LOST = "the database {where} cannot be reached; check that it runs and run the same command again"
    FULL = "the disk of the database {where} is full; free some space and run the same command again"
    UNWRITABLE = "the database {where} cannot be opened for writing; check its path and permissions"
    DAMAGED = "the file of the database {where} is damaged, or is no SQLite database; check the path"
    BROKEN_DISK = "reading or writing the database {where} failed; check its disk"
    STATEMENT = "the database {where} refused a statement; if its schema is older, run `tagtrail db upgrade`"

    @property
    def passing(self) -> bool:
        """Whether the same transaction may well succeed a moment later."""
        return self in (Fault.LOCKED, Fault.CONFLICT, Fault.LOST)

    @property
    def of_the_database(self) -> bool:
        """Whether every other statement would have met the same fault."""
        return self is not Fault.STATEMENT


# Primary result codes of SQLite, the low byte of `sqlite_errorcode` (https://www.sqlite.org/rescode.html).
_SQLITE = {
    3: Fault.UNWRITABLE,
    5: Fault.LOCKED,
    6: Fault.LOCKED,
    8: Fault.UNWRITABLE,
    10: Fault.BROKEN_DISK,
    11: Fault.DAMAGED,
    13: Fault.FULL,
    14: Fault.UNWRITABLE,
    26: Fault.DAMAGED,
}

# SQLSTATE of Postgres; two letters name a class (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_POSTGRES = {
    "40001": Fault.CONFLICT,
    "40P01": Fault.CONFLICT,
    "55P03": Fault.LOCKED,
    "53100": Fault.FULL,
    "53300": Fault.LOST,
    "57P01": Fault.LOST,
    "57P02": Fault.LOST,
    "57P03": Fault.LOST,
    "25006": Fault.UNWRITABLE,
    "08": Fault.LOST,
    "58": Fault.BROKEN_DISK,
}


# Errors of the database; SQLAlchemy's others say that a statement was put together wrongly, which is a bug.
DATABASE_ERRORS = (DBAPIError, PoolTimeout)


def judge(error: DBAPIError | PoolTimeout) -> Fault:
    """Which fault an error stands for."""
    if isinstance(error, PoolTimeout):
        return Fault.LOST
    sqlite_code = getattr(error.orig, "sqlite_errorcode", None)
    if sqlite_code is not None:
        return _SQLITE.get(sqlite_code & 0xFF, Fault.STATEMENT)
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return _POSTGRES.get(state) or _POSTGRES.get(state[:2]) or Fault.STATEMENT
    # A connection that could not be made or broke has no SQLSTATE.
    if error.connection_invalidated or type(error.orig).__name__ in ("OperationalError", "ConnectionTimeout"):
        return Fault.LOST
    return Fault.STATEMENT


def explain(error: DBAPIError | PoolTimeout, where: str) -> StoreError:
    """The error for the user; `where` is the database's URL without its password."""
    fault = judge(error)
    sentence = fault.value.format(where=where)
    if fault in (Fault.STATEMENT, Fault.LOST) and isinstance(error, DBAPIError):
        first_line = str(error.orig).strip().partition("\n")[0]
        sentence = f"{sentence} ({first_line[:200]})"
    return StoreError(sentence)


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn database errors into `StoreError`; a broken key is left as it is, for its caller to handle."""
    try:
        yield
    except IntegrityError:
        raise
    except DATABASE_ERRORS as error:
        raise explain(error, where) from error
