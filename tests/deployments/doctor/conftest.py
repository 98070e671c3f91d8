"""The command line, as its own tests have it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
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
