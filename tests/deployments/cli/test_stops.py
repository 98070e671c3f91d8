"""A person's stop of a command, in every way, and what starts afterwards, with two sweeps after it.

What is stopped is a process; all else is called here. Calls are counted where they arrive, at the service.
"""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect.client.orchestration import get_client
from prefect.states import Cancelling

from blocks.database.engine import open_store
from blocks.database.store.statements import table_of
from blocks.database.tables import Import, Run, Spend
from deployments.sandbox.server import SandboxServer
from flows.collect_imports import collect_imports

pytestmark = pytest.mark.stack

IN_FLIGHT = 8
"""Calls that the run may make at once; at two a second nearly all of them wait for their turn."""
LATE = IN_FLIGHT // 2
"""What was sent before the stop was written may arrive after it; those that wait for their turn are more."""

POSTS = 24

WAIT_SECONDS = 400.0
"""Generous: machines are loaded. What is waited for ends the wait."""


@dataclass
class Scene:
    """A command on a database and a Prefect server, with the service's books."""

    tagtrail: Callable[..., Any]
    sandbox: SandboxServer
    database_url: str
    monkeypatch: pytest.MonkeyPatch

    def begin(self, *more: str, terminal: int | None = None) -> subprocess.Popen[bytes]:
        """A run, as a process, of which three posts are bought."""
        stream = subprocess.PIPE if terminal is None else terminal
        command = ["run", "velvet", "--posts", str(POSTS), "--collection", "fashion", *more]
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.cli.main", *command],
            stdin=terminal, stdout=stream, stderr=stream, start_new_session=terminal is not None,
            preexec_fn=_hear_signals,
        )  # fmt: skip
        wait_until(lambda: self.bought()[0] >= 3 or process.poll() is not None)
        return process

    def hold_answers(self) -> None:
        """Let no answer come any more; on return a call waits for its own."""
        self.sandbox.play("default", latency_ms=3_600_000)
        before = self.bought()[0]
        wait_until(lambda: self.bought()[0] > before)

    def run(self, *arguments: str, status: int = 0) -> Any:
        """A command here; what it printed, as JSON where it is that."""
        called = self.tagtrail(*arguments)
        assert called.status == status, called.err
        assert "Traceback" not in called.err
        return called.json if "--json" in arguments else called.out

    def run_to_the_end(self) -> Any:
        """The same request again, quickly."""
        self.monkeypatch.setenv("TAGTRAIL_METADATA_PER_SECOND", "100")
        return self.run("run", "velvet", "--posts", str(POSTS), "--collection", "fashion", "--json")

    def two_sweeps(self) -> None:
        for _ in range(2):
            asyncio.run(collect_imports(return_state=True))

    def bought(self) -> tuple[int, int]:
        """Metadata calls and submissions that reached the service."""
        books = self.sandbox.accounting()
        calls = (count for post in books["metadata"].values() for codes in post.values() for count in codes.values())
        return sum(calls), sum(count for codes in books["submissions"].values() for count in codes.values())

    def arrived_after(self, moment: float) -> int:
        times: dict[str, list[float]] = self.sandbox.accounting()["times"]
        bought = [at for kind, moments in times.items() if kind != "status" for at in moments]
        assert bought
        return sum(at > moment for at in bought)

    def rows(self, table: Any) -> list[Any]:
        with closing(open_store(self.database_url, create=True)) as store, store.connect() as conn:
            return list(conn.execute(sa.select(table_of(table))))

    def first_run(self) -> Any:
        return min(self.rows(Run), key=lambda row: row.started_at)


@pytest.fixture
def scene(
    server_home: Path, tmp_path: Path, database_url: str, tagtrail: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    """Slow enough that a stop comes in the middle."""
    with SandboxServer(time_scale=100) as sandbox:
        settings = {
            "HOME": str(tmp_path / "user"),
            "TAGTRAIL_HOME": str(server_home),
            "TAGTRAIL_DATABASE_URL": database_url,
            "MEMORIES_API_KEY": "sk-invented",
            "MEMORIES_V1_BASE_URL": sandbox.v1_base_url,
            "MEMORIES_V2_BASE_URL": sandbox.v2_base_url,
            "TAGTRAIL_IMPORTS_PER_MINUTE": "100",
            "TAGTRAIL_STATUS_PER_SECOND": "50",
            "TAGTRAIL_METADATA_PER_SECOND": "2",
            "TAGTRAIL_POLL_SECONDS": "0.1",
            "TAGTRAIL_IMPORT_QUIET_SECONDS": "1",
            "TAGTRAIL_IMPORT_DEADLINE_SECONDS": "120",
            "TAGTRAIL_IN_FLIGHT": str(IN_FLIGHT),
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield Scene(tagtrail, sandbox, database_url, monkeypatch)


def wait_until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def cancel(run_id: str) -> None:
    async def set_state() -> None:
        async with get_client() as client:
            await client.set_flow_run_state(run_id, Cancelling(), force=True)

    asyncio.run(set_state())


def _hear_signals() -> None:
    """A shell's job in the background ignores Ctrl-C, one under nohup a closed terminal, and so would all it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


WAYS: dict[str, tuple[str, signal.Signals | None, int, str]] = {
    "Ctrl-C": ("sqlite", signal.SIGINT, 130, "tagtrail: interrupted"),
    "SIGTERM": ("postgres", signal.SIGTERM, 143, "tagtrail: ended from outside"),
    "closed terminal": ("sqlite", signal.SIGHUP, 143, ""),
    "cancelled in Prefect": ("postgres", None, 130, ""),
    "killed after the stop": ("postgres", signal.SIGINT, -signal.SIGKILL, ""),
}
"""Each on one kind of database; `tests/blocks/database/test_stops.py` has what is written on both."""


@pytest.mark.parametrize(
    ("way", "database_url"), [(way, kind) for way, (kind, *_) in WAYS.items()], indirect=["database_url"]
)
def test_after_a_person_s_stop_nothing_starts(scene: Scene, way: str) -> None:
    _, number, status, said = WAYS[way]
    killed = way == "killed after the stop"
    theirs, ours = pty.openpty()
    with scene.begin("--verbose", terminal=ours if way == "closed terminal" else None) as process:
        scene.hold_answers()
        # What a run says after its terminal was closed reaches nobody any more, and is no reason to lose an answer.
        os.close(ours)
        os.close(theirs)
        if number is None:
            cancel(scene.first_run().run_id)
        else:
            process.send_signal(number)
        wait_until(lambda: scene.first_run().stopped_at is not None)
        if killed:
            process.kill()
        scene.sandbox.play("default")
        out, err = ((told or b"").decode() for told in process.communicate(timeout=WAIT_SECONDS))
    assert way == "closed terminal" or process.returncode == status, err
    assert "Traceback" not in err
    if said:
        assert (out, err.splitlines()[-1].startswith(said)) == ("", True), err
        assert "answers under way are taken in" in err
    run = scene.first_run()
    assert run.stopped_at is not None
    assert run.outcome == (None if killed else "cancelled")
    assert way != "closed terminal" or run.stopped_why == "a closed terminal (SIGHUP)"
    bought = scene.bought()
    assert bought[0] < POSTS
    stored = sum(row.spent_micros or 0 for row in scene.rows(Spend) if row.kind == "metadata")
    assert killed or stored == bought[0] * 10_000, "every answer was taken in"
    scene.two_sweeps()
    assert scene.bought() == bought
    assert scene.arrived_after(run.stopped_at.timestamp()) <= LATE

    told = scene.run("status", "--json")["overview"]
    assert told["last_run"]["outcome"] in ("cancelled", "done", "attention"), "the last run is a sweep"
    [held] = told["requests"]
    assert (held["reason"], held["run_id"], held["collection"]) == ("held", run.run_id, "fashion")
    assert held["go_on"] == "tagtrail retry --held --collection fashion"
    assert "Held: " in scene.run("status")

    done = scene.run_to_the_end()
    assert (done["enriched"], done["pending"]) == (POSTS, 0)
    twice = IN_FLIGHT if killed else 0
    assert POSTS <= scene.bought()[0] <= POSTS + twice
    assert scene.bought()[1] == 1
    assert len(scene.rows(Import)) == 1


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_cap_is_not_overstepped_by_sweeps(scene: Scene) -> None:
    cap = POSTS / 100 + 0.05
    scene.run("run", "velvet", "--posts", str(POSTS), "--max-spend", str(cap), status=4)
    bought = scene.bought()
    assert bought == (5, 1)
    scene.two_sweeps()
    assert scene.bought() == bought
    [left] = scene.run("status", "--json")["overview"]["requests"]
    assert (left["reason"], left["posts"]) == ("out_of_room", POSTS - 5)
    assert left["go_on"] == f"tagtrail run velvet --posts {POSTS}"
    assert f"go on under another cap: {left['go_on']}" in scene.run("status")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_killed_run_is_taken_up_within_its_cap(scene: Scene) -> None:
    """It had reserved ten calls ahead on each of two platforms: they count as spent, and four are left."""
    cap = POSTS / 100 + 0.24
    with scene.begin("--max-spend", str(cap)) as process:
        process.kill()
        process.wait(WAIT_SECONDS)
    killed_at = scene.bought()[0]
    scene.two_sweeps()
    calls, submissions = scene.bought()
    assert killed_at < calls < POSTS
    assert submissions == 1
    assert scene.first_run().stopped_at is None
    counted = sum(row.spent_micros or row.reserved_micros for row in scene.rows(Spend))
    assert counted <= round(cap * 1_000_000)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_is_held_goes_on_or_is_given_up(scene: Scene) -> None:
    with scene.begin() as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=WAIT_SECONDS)
    calls, _ = scene.bought()
    scene.monkeypatch.setenv("TAGTRAIL_METADATA_PER_SECOND", "100")
    assert scene.run("retry", "--held", "--collection", "other") == ""
    assert scene.run("retry", "--held", "--close", "--dry-run").startswith(f"Would be given up: {POSTS - calls} held")
    went_on = scene.run("retry", "--held", "--max-spend", "0.02", "--json", status=4)
    assert (went_on["enriched"], went_on["out_of_room"]) == (2, POSTS - calls - 2)
    scene.two_sweeps()
    assert scene.bought()[0] == calls + 2
    assert scene.run("retry", "--held", "--close").startswith(f"Given up: {POSTS - calls - 2} held posts")
    scene.two_sweeps()
    assert scene.bought()[0] == calls + 2
    told = scene.run("status", "--json")["overview"]
    assert (told["requests"], told["pending_work"], told["failures"]) == ([], {}, {})
    done = scene.run_to_the_end()
    assert (done["enriched"], scene.bought()) == (POSTS, (POSTS, 1)), "who names them again has them"
