"""What a database error means: whether trying again can help, and one sentence for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from blocks.errors import StoreError


class Fault(Enum):
    """What went wrong, whatever the engine; the value is the user's sentence, `{where}` the database's URL."""

    LOCKED = "the database {where} stayed locked by another program; run the same command again"
    CONFLICT = "other work on the database {where} got in the way several times; run the same command again"
    LOST = "the database {where} cannot be reached; check that it runs and run the same command again"
    FULL = "the disk of the database {where} is full; free some space and run the same command again"
    UNWRITABLE = "the database {where} cannot be written: it is read-only, or its path or permissions are wrong"
    DENIED = "the database {where} refuses what its user may not do; grant the user all rights on Tagtrail's tables"
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
    "42501": Fault.DENIED,
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
    """The error for the user; `where` is the database's URL without its password.

    The driver's own words are left out, and so they must be from the error's chain (`raise … from None`): they may
    repeat a piece of the URL, or what a row holds. Tracebacks show the statement.
    """
    fault = judge(error)
    sentence = fault.value.format(where=where)
    if fault in (Fault.STATEMENT, Fault.LOST) and (reason := _reason(error)):
        sentence = f"{sentence} ({reason})"
    error_shown = StoreError(sentence)
    error_shown.met_by_all = fault.of_the_database
    if isinstance(error, DBAPIError) and error.statement:
        error_shown.add_note(error.statement)
    return error_shown


# What the servers' and the drivers' words mean, where they have no code for it; the first that fits.
_REASONS = {
    "password authentication failed": "it does not accept the user name or the password",
    "no password supplied": "it asks for a password",
    "no pg_hba.conf entry": "it does not let this user in from this machine",
    "connection refused": "nothing listens there",
    "does not exist": "it knows no such database, or no such user",
    "resolve": "its host name is unknown",
    "translate host name": "its host name is unknown",
    "timeout": "it did not answer in time",
    "timed out": "it did not answer in time",
    "certificate": "its certificate cannot be checked",
    "ssl": "it is not reached by TLS as the URL asks",
    "starting up": "it is starting",
    "too many clients": "it has no connection to spare",
    "slots are reserved": "it has no connection to spare",
    "connection option": "the URL has an option that the driver does not know",
}


def _reason(error: DBAPIError | PoolTimeout) -> str:
    """Why, in words of our own: a code, or what the driver's words stand for; '' where nobody can say."""
    if isinstance(error, PoolTimeout):
        return ""
    code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)
    if code:
        return f"code {code}"
    said = str(error.orig).lower()
    return next((reason for words, reason in _REASONS.items() if words in said), "")


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Raise database errors as `StoreError`; a broken key is left as it is, for its caller to handle."""
    try:
        yield
    except IntegrityError:
        raise
    except DATABASE_ERRORS as error:
        raise explain(error, where) from None
