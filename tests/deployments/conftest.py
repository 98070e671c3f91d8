"""Commands called in this process, the session's Prefect server as they see it, and its migrated database."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployments.cli import main as command_line


@dataclass(frozen=True)
class Called:
    """What came of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def tagtrail(capfd: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    """Call a command in this process."""

    def call(*arguments: str) -> Called:
        capfd.readouterr()
        status = command_line.call(arguments)
        return Called(status, *capfd.readouterr())

    return call


@pytest.fixture
def server_home(prefect_server: None) -> Path:
    """The home under which the session's Prefect server runs: a command with this TAGTRAIL_HOME uses it."""
    from prefect.settings import PREFECT_HOME

    return PREFECT_HOME.value().parent


@pytest.fixture
def migrated(migrated_prefect: Path) -> Callable[[Path], None]:
    """Gives a home the files of a Prefect server, so that a start of its own takes 4 s instead of 12."""
    return lambda home: shutil.copytree(migrated_prefect, home / "prefect") and None
