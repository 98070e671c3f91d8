"""The session's Prefect server as commands see it, and its migrated database for servers of a test's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest


@pytest.fixture
def server_home(prefect_server: None) -> Path:
    """The home under which the session's Prefect server runs: a command with this TAGTRAIL_HOME uses it."""
    from prefect.settings import PREFECT_HOME

    return PREFECT_HOME.value().parent


@pytest.fixture
def migrated(server_home: Path) -> Callable[[Path], None]:
    """Gives a home the database of a Prefect server, so that a start of its own takes 4 s instead of 12."""

    def give(home: Path) -> None:
        (home / "prefect").mkdir(parents=True, mode=0o700)
        with (
            closing(sqlite3.connect(server_home / "prefect" / "prefect.db")) as source,
            closing(sqlite3.connect(home / "prefect" / "prefect.db")) as copy,
        ):
            source.backup(copy)

    return give
