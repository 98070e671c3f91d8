"""The database of a command that runs no flow, opened without importing Prefect."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from blocks.database.connections import parse
from blocks.database.engine import Store, open_store
from blocks.memories.errors import UsageError
from blocks.settings import Settings
from deployments.cli.terminal import tell


def make_home(home: Path) -> None:
    """Make the home folder, for the user alone.

    Raises:
        UsageError: it cannot be made, or not be written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"TAGTRAIL_HOME: {home} cannot be made ({reason}); name a folder of your own") from None
    if not os.access(home, os.W_OK | os.X_OK):
        raise UsageError(f"TAGTRAIL_HOME: {home} cannot be written; name a folder of your own")


@contextmanager
def opened(settings: Settings, *, quiet: bool = False) -> Iterator[Store | None]:
    """The database in use, named on standard error (unless `quiet`); None where its SQLite file is not there yet.

    A SQLite schema that is behind is brought up to date; on Postgres only `db upgrade` does that.

    Raises:
        UsageError: the database URL cannot be used.
        StoreError: the database cannot be used as it is.
    """
    url = parse(settings.database_url)
    if url.drivername == "sqlite" and not Path(url.database or "").exists():
        if not quiet:
            tell(f"There is no database yet: {shown(settings)} is made by the first `tagtrail run`.")
        yield None
        return
    store = open_store(settings.database_url, create=True)
    try:
        if not quiet:
            tell(f"Database: {shown(settings)}")
        yield store
    finally:
        store.close()


MOST_NAMES = 20


def tell_unknown(store: Store, *, collection: str | None, hashtag: str | None) -> None:
    """Say of a collection or a hashtag (its key) by which is filtered that this database knows no such one."""
    from blocks.database.store import known

    with store.connect() as conn:
        if collection is not None:
            _tell_unless_known("collection", collection, known.collections(conn))
        if hashtag is not None:
            _tell_unless_known("import of the hashtag", hashtag, known.hashtags(conn))


def _tell_unless_known(what: str, wanted: str, names: Sequence[str]) -> None:
    if wanted not in names:
        listed = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
        there = f"there are {listed}" if names else "there is none yet"
        tell(f"There is no {what} {wanted} in the database; {there}.")


def shown(settings: Settings) -> str:
    """The database in use as it may be printed: a SQLite file's path, or the URL without its password."""
    url = parse(settings.database_url)
    return str(url.database) if url.drivername == "sqlite" else url.set(query={}).render_as_string(hide_password=True)
