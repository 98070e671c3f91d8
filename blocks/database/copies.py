"""Copies of a SQLite file: one is made beside it, for the owner alone, before its schema is migrated."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from sqlalchemy.exc import DatabaseError

from blocks.errors import StoreError


def copy_before_upgrade(file: Path, revision: str, now: datetime) -> Path:
    """Copy a database of this schema revision: `tagtrail.db` to `tagtrail-schema-0008-20261130T120000Z.db`.

    The copy is consistent while others read and write, and needs as much space as the database has rows.

    Raises:
        StoreError: the copy cannot be made there.
        DatabaseError: the file cannot be read, or the disk is full.
    """
    copy = file.with_name(f"{file.stem}-schema-{revision}-{now:%Y%m%dT%H%M%SZ}{file.suffix}")
    try:
        os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise StoreError(
            f"no copy of the database can be made at {copy} ({error.strerror}), so that its schema was left as it is; "
            "make room there, or allow it"
        ) from error
    try:
        with closing(sqlite3.connect(file)) as conn:
            conn.execute("VACUUM INTO ?", (str(copy),))
    except sqlite3.Error as error:
        copy.unlink()
        raise DatabaseError(None, None, error) from error
    return copy


def copies_of(file: Path) -> list[Path]:
    """The copies of a database that upgrades made, the oldest schema first."""
    name = re.compile(rf"{re.escape(file.stem)}-schema-\d{{4}}-\d{{8}}T\d{{6}}Z{re.escape(file.suffix)}\Z")
    return sorted(path for path in file.parent.iterdir() if name.match(path.name))
