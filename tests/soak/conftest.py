"""One sandbox, one Prefect server and one undisturbed run for all kills, and the table at their end."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.stack import own_server
from tests.conftest import BUSY_SECONDS

# Tests' folders are no packages: what the kills share is found by its name.
sys.path.insert(0, str(Path(__file__).parent))
_kills: Any = importlib.import_module("kills")
_services: Any = importlib.import_module("services")
_verdicts: Any = importlib.import_module("verdicts")

RESULTS = pytest.StashKey[list[Any]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULTS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[RESULTS]:
        terminalreporter.section("kills")
        for line in _verdicts.table(config.stash[RESULTS]):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def kills() -> Any:
    """The module that measures kills."""
    return _kills


@pytest.fixture(scope="session")
def prefect_home(migrated_prefect: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[own_server.ServerInfo]:
    """Tagtrail's own Prefect server, shared by all runs."""
    home = tmp_path_factory.mktemp("prefect-server")
    shutil.copytree(migrated_prefect, home / "prefect")
    try:
        yield own_server.ensure(home, announce=lambda _: None, start_seconds=BUSY_SECONDS)
    finally:
        own_server.stop(home)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Any]:
    with _services.sandbox_process() as started:
        yield started


@pytest.fixture(scope="session")
def new_scene(sandbox: Any, prefect_home: own_server.ServerInfo) -> Callable[[Path, str], Any]:
    """Makes a scene on a fresh database, on a service that remembers nothing."""

    def make(folder: Path, database_url: str) -> Any:
        sandbox.reset()
        return _kills.Scene(folder, database_url, sandbox, own_server.env_for(prefect_home))

    return make


@pytest.fixture(scope="session")
def expected(new_scene: Callable[[Path, str], Any], tmp_path_factory: pytest.TempPathFactory) -> Counter[Any]:
    """The rows of an undisturbed run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    scene = new_scene(folder, f"sqlite:///{folder / 'tagtrail.db'}")
    ended = scene.track()
    assert ended.status == 0, ended.stderr
    rows: Counter[Any] = scene.database.rows()
    result = scene.judge("nothing", ended, rows)
    assert not result.faults, result.faults
    assert sum(rows.values()) > 60
    return rows


@pytest.fixture
def scene(expected: Counter[Any], new_scene: Callable[[Path, str], Any], tmp_path: Path, database_url: str) -> Any:
    """A fresh database of each kind, after the undisturbed run was looked at."""
    return new_scene(tmp_path, database_url)


@pytest.fixture
def judge(scene: Any, expected: Counter[Any], pytestconfig: pytest.Config) -> Callable[[str, Any], Any]:
    """Compare a scene with the undisturbed run, and put it into the table; gives the result."""

    def compare(point: str, ended: Any) -> Any:
        result = scene.judge(point, ended, expected)
        pytestconfig.stash[RESULTS].append(result)
        assert not result.faults, result.faults
        return result

    return compare
