"""The database of a command that runs no flow, opened without importing Prefect."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from blocks import exported_files
from blocks.errors import UsageError, is_full, unwritable
from blocks.settings import Settings
from deployments.cli.terminal import tell

if TYPE_CHECKING:
    from blocks.database.engine import Store
    from blocks.database.store import Connection

T = TypeVar("T")


def make_home(home: Path) -> None:
    """Make the home folder, for the user alone.

    Raises:
        TagtrailError: the disk is full.
        UsageError: it cannot be made, or not be written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        if is_full(error):
            raise unwritable(home, error) from None
        reason = error.strerror or str(error)
        raise UsageError(f"TAGTRAIL_HOME: {home} cannot be made ({reason}); name a folder of your own") from None
    if not os.access(home, os.W_OK | os.X_OK):
        raise UsageError(f"TAGTRAIL_HOME: {home} cannot be written; name a folder of your own")


def check(settings: Settings) -> None:
    """Open the database, where it is there, and close it again: whatever a run would meet is better known early.

    Raises:
        UsageError: the database URL cannot be used.
        StoreError: the database cannot be used as it is, or its file not be written.
    """
    with opened(settings, quiet=True) as store:
        if store is not None:
            store.check_writable()


def is_there(path: Path) -> bool:
    """Whether a SQLite file is there already.

    Raises:
        UsageError: nobody can say, because what is above it is no folder, or may not be read.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise UsageError(f"{path.parent} is no folder, where {path.name} would be; name a folder: {_NAMES}") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"{path} cannot be reached ({reason}); name a folder of your own: {_NAMES}") from None
    return True


_NAMES = "TAGTRAIL_HOME, or TAGTRAIL_DATABASE_URL for the database alone"


@contextmanager
def opened(settings: Settings, *, quiet: bool = False) -> Iterator[Store | None]:
    """The database in use, named on standard error (unless `quiet`); None where its SQLite file is not there yet.

    A SQLite schema that is behind is brought up to date; on Postgres only `db upgrade` does that. A SQLite file that
    may only be read is read, also where nothing can be written beside it.

    Raises:
        UsageError: the database URL cannot be used, or its folder not be reached.
        StoreError: the database cannot be used as it is.
    """
    file = _file(settings)
    if file is not None and not is_there(file):
        if not quiet:
            tell(f"There is no database yet: {shown(settings)} is made by the first `tagtrail run`.")
        yield None
        return
    from blocks.database.engine import open_store

    may_write = file is None or (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK | os.X_OK))
    store = open_store(settings.database_url, create=may_write)
    try:
        if not quiet:
            tell(f"Database: {shown(settings)}")
        yield store
    finally:
        store.close()


def ask(settings: Settings, question: Callable[[Connection], T], otherwise: T) -> T:
    """What the database answers; `otherwise` where there is none yet. It is not named to the user."""
    with opened(settings, quiet=True) as store:
        if store is None:
            return otherwise
        with store.connect() as conn:
            return question(conn)


MAX_NAMES = 20


def require_collection(store: Store, collection: str | None) -> None:
    """Refuse a collection that this database does not know; one without any data knows none, and is no fault.

    Raises:
        UsageError: it names the collections that there are.
    """
    from blocks.database.store import filters

    if collection is None:
        return
    with store.connect() as conn:
        names = filters.collections(conn)
    if names and collection not in names:
        raise UsageError(f"there is no collection {collection}; there are: {', '.join(sorted(names))}")


def tell_unknown(store: Store, *, hashtag: str | None) -> bool:
    """Say of a hashtag (its key) by which is filtered that this database knows no import of it; whether it was said."""
    from blocks.database.store import filters

    if hashtag is None:
        return False
    with store.connect() as conn:
        names = filters.hashtags(conn)
    if hashtag in names:
        return False
    listed = ", ".join(names[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")
    there = f"there are {listed}" if names else "there is none yet"
    tell(f"There is no import of the hashtag {hashtag} in the database; {there}.")
    return True


def note_export(home: Path, file: Path, what: str, rows: int | None, now: datetime) -> None:
    """Write down where a file lies, for a purge; a home that can only be read is no fault: the file is written."""
    try:
        exported_files.note_export(home, file, what, rows, now)
    except OSError as error:
        if is_full(error):
            raise
        tell(f"{home} cannot be written ({error.strerror}), so that `tagtrail purge` will not name this file.")


def shown(settings: Settings) -> str:
    """The database in use as it may be printed: a SQLite file's path, or the URL without its password."""
    if (file := _file(settings)) is not None:
        return str(file)
    from blocks.database import connections

    return connections.shown(connections.parse(settings.database_url))


def _file(settings: Settings) -> Path | None:
    """The SQLite file of the database in use; None where it is of another kind.

    The file in the home is found without SQLAlchemy, whose loading takes longer than all that a home without one needs.

    Raises:
        UsageError: the database URL cannot be used.
    """
    if not settings.tagtrail_database_url:
        return settings.database_file
    from blocks.database.connections import parse

    url = parse(settings.database_url)
    return Path(url.database or "") if url.drivername == "sqlite" else None


INVENTED: Final = "Invented data: some or all of this came from a sandbox; no post, person or number of it is real."


def holds_invented(store: Store, collection: str | None = None) -> bool:
    """Whether any run (of the collection) that bought something asked a server on this machine, as the sandbox is."""
    from blocks.database.store import accounts, report
    from blocks.network import is_here

    with store.connect() as conn:
        asked = accounts.services(conn) if collection is None else report.services(conn, collection)
    return any(is_here(host) for hosts in asked for host in hosts.split(" and "))
