"""A stack of the compose file's services, on databases of its own."""

from __future__ import annotations

import importlib
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

# Tests' folders are no packages: the stack is found by its name.
sys.path.insert(0, str(Path(__file__).parent))
_stack: Any = importlib.import_module("stack")

# Read now: no test sees settings of the developer's shell.
POSTGRES = os.environ.get("TAGTRAIL_TEST_STACK_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
USABLE = """
SELECT count(*) FROM pg_available_extensions, pg_roles
WHERE name = 'pg_trgm' AND rolname = current_user AND (rolcreatedb OR rolsuper)
"""
SECRETS = {
    # Signs that have a meaning in URLs and in HTTP's authentication.
    "prefect_auth": "tagtrail:inv/ented @:for%20tests",
    "memories_api_key": "sk-invented-for-tests",
    "callback_secret": "invented-for-tests-and-long",
}


@pytest.fixture(scope="session")
def stack_module() -> Any:
    """The module that runs the compose file's services as processes."""
    return _stack


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The services, none started yet; at the end all are ended, and their databases dropped."""
    if why := _stack.missing():
        pytest.skip(why)
    server = sa.make_url(POSTGRES).set(drivername="postgresql+psycopg")
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 5})
    try:
        with admin.connect() as conn:
            found = conn.scalar(sa.text(USABLE))
    except sa.exc.OperationalError:
        found = 0
    if not found:
        admin.dispose()
        pytest.skip(
            "no Postgres with pg_trgm here: apt-get install postgresql, or name one in which databases may be made "
            "in TAGTRAIL_TEST_STACK_POSTGRES_URL=postgresql://user:password@host:5432/postgres"
        )
    names = [f"tagtrail_stack_{kind}_{uuid.uuid4().hex[:8]}" for kind in ("prefect", "data")]
    with admin.connect() as conn:
        for name in names:
            conn.exec_driver_sql(f"CREATE DATABASE {name}")
            # Nothing here outlives a loss of power.
            conn.exec_driver_sql(f"ALTER DATABASE {name} SET synchronous_commit TO off")
    # Where everybody is trusted the password is not looked at, and so it can be a difficult one.
    secrets = {**SECRETS, "postgres_password": server.password or "p@ss:w/rd%41"}
    databases = tuple(server.set(drivername="postgresql", database=name) for name in names)
    started = _stack.Stack(tmp_path_factory.mktemp("stack"), databases, secrets, TAGTRAIL_RUNS_PER_WORKER="2")
    try:
        yield started
    finally:
        started.stop()
        with admin.connect() as conn:
            for name in names:
                conn.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.dispose()
