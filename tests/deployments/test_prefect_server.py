"""Tagtrail's own Prefect server is Prefect's, on engines that close failed cursors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments import local_server


def test_the_own_server_is_started_by_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: begun.append(command))
    (tmp_path / "prefect").mkdir()
    local_server._become_the_server(tmp_path, 4200)
    [[_, *arguments]] = begun
    assert arguments[:4] == ["-m", "deployments.prefect_server", "server", "start"]


@pytest.mark.integration
def test_it_is_prefect_s_command_line() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "deployments.prefect_server", "--version"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert said.stdout.strip() == local_server.prefect_version()
