"""Runs that are killed with SIGKILL at steps, and finished by the same request (all steps: `make soak`)."""

from __future__ import annotations

import importlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_HOME

pytestmark = pytest.mark.stack

SOAK = Path(__file__).parent.parent / "soak"


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(SOAK)
    return importlib.import_module("kills")


@pytest.fixture
def new_scene(kills: Any, weather: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Any]:
    """Makes a scene on a database, for processes and for this one; the service forgets what was before."""
    prefect = {
        "PREFECT_API_URL": PREFECT_API_URL.value(),
        "PREFECT_API_AUTH_STRING": str(PREFECT_API_AUTH_STRING.value()),
        "PREFECT_HOME": str(PREFECT_HOME.value()),
    }

    def make(name: str, database_url: str) -> Any:
        weather.sandbox.reset()
        monkeypatch.setenv("TAGTRAIL_DATABASE_URL", database_url)
        (tmp_path / name).mkdir()
        return kills.Scene(tmp_path / name, database_url, kills.Sandbox(weather.sandbox.url), prefect)

    return make


async def test_a_killed_run_is_finished_by_the_next_as_if_nothing_had_happened(
    kills: Any, weather: Any, new_scene: Callable[[str, str], Any], postgres: Any, migrated_sqlite: Path, tmp_path: Path
) -> None:
    def sqlite(name: str) -> str:
        shutil.copyfile(migrated_sqlite, tmp_path / f"{name}.db")
        return f"sqlite:///{tmp_path / name}.db"

    async def finish() -> Any:
        return await weather.track(*kills.HASHTAGS, posts_per_hashtag=kills.POSTS)

    undisturbed = new_scene("undisturbed", sqlite("one"))
    assert (await finish()).outcome == "done"
    expected: Counter[Any] = undisturbed.database.rows()

    # Killed between the submission's answer and the commit that has it: nobody sends it again by himself.
    killed = new_scene("killed", sqlite("two"))
    assert killed.kill(point="submit:answered:1")
    assert (await finish()).outcome == "attention"
    assert killed.decide_doubts() >= 1
    # And once more, between a raw answer and its rows.
    assert killed.kill(point="save_raw:after:2")
    done = await finish()
    assert (done.outcome, done.pending) == ("done", 0)
    result = killed.judge("two on SQLite", None, expected)
    assert not result.faults, result.faults

    # Between metadata's answer and its commit: what was in flight is bought again, and nothing else.
    url = postgres.migrated()
    killed = new_scene("postgres", url.render_as_string(hide_password=False))
    assert killed.kill(point="metadata:answered:4")
    assert (await finish()).outcome == "done"
    result = killed.judge("one on Postgres", None, expected)
    assert not result.faults, result.faults
    assert 1 <= result.twice <= kills.IN_FLIGHT
