"""A person's stop of a command, in every way, on both databases: what starts afterwards, with two sweeps after it.

Calls are counted where they arrive, at the service.
"""

from __future__ import annotations

import asyncio
import json
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

pytestmark = pytest.mark.stack

IN_FLIGHT = 4

POSTS = 24

SLACK_SECONDS = 0.5
"""What had begun before the stop was written may arrive so much later at the service."""

SWEEP = """
import asyncio
from flows.collect_imports import collect_imports
asyncio.run(collect_imports(return_state=True))
"""


@dataclass
class Scene:
    """A command on a database and a Prefect server, with the service's books."""

    environ: dict[str, str]
    sandbox: SandboxServer
    database_url: str

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen(
            [sys.executable, "-m", "deployments.cli.main", *arguments],
            env=self.environ,
            # A shell's job in the background ignores Ctrl-C, and so would all that it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            **more,
        )

    def run(self, *arguments: str, status: int = 0) -> str:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=170)
        assert process.returncode == status, err.decode()
        assert b"Traceback" not in err
        return out.decode()

    def sweep(self) -> None:
        environ = self.environ | self._prefect()
        done = subprocess.run([sys.executable, "-c", SWEEP], env=environ, capture_output=True, timeout=170, check=False)
        assert done.returncode == 0, done.stderr.decode()

    def two_sweeps(self) -> None:
        for _ in range(2):
            self.sweep()

    def _prefect(self) -> dict[str, str]:
        from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_HOME

        return {
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "PREFECT_API_AUTH_STRING": str(PREFECT_API_AUTH_STRING.value()),
            "PREFECT_HOME": str(PREFECT_HOME.value()),
        }

    def bought(self) -> tuple[int, int]:
        """Metadata calls and submissions that reached the service."""
        books = self.sandbox.accounting()
        calls = (count for post in books["metadata"].values() for codes in post.values() for count in codes.values())
        return sum(calls), sum(count for codes in books["submissions"].values() for count in codes.values())

    def started_after(self, moment: float) -> int:
        times: dict[str, list[float]] = self.sandbox.accounting()["times"]
        bought = [at for kind, moments in times.items() if kind != "status" for at in moments]
        assert bought
        return sum(at > moment + SLACK_SECONDS for at in bought)

    def rows(self, table: Any) -> list[Any]:
        with closing(open_store(self.database_url, create=True)) as store, store.connect() as conn:
            return list(conn.execute(sa.select(table_of(table))))

    def first_run(self) -> Any:
        return min(self.rows(Run), key=lambda row: row.started_at)


@pytest.fixture
def scene(server_home: Path, tmp_path: Path, database_url: str) -> Iterator[Scene]:
    """Slow enough that a stop comes in the middle."""
    with SandboxServer(time_scale=100) as sandbox:
        sandbox.play("default", latency_ms=250)
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
            "TAGTRAIL_IMPORT_DEADLINE_SECONDS": "8",
            "TAGTRAIL_IN_FLIGHT": str(IN_FLIGHT),
        }
        yield Scene(os.environ | settings, sandbox, database_url)


def wait_until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 90
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def begun(scene: Scene, *more: str, **how: Any) -> subprocess.Popen[bytes]:
    """A run of which three posts are bought."""
    process = scene.start("run", "velvet", "--posts", str(POSTS), "--collection", "fashion", *more, **how)
    wait_until(lambda: scene.bought()[0] >= 3 or process.poll() is not None)
    return process


def by_signal(number: signal.Signals) -> Callable[[Scene, subprocess.Popen[bytes]], None]:
    return lambda _, process: process.send_signal(number)


def in_prefect(scene: Scene, _: subprocess.Popen[bytes]) -> None:
    async def cancel() -> None:
        async with get_client() as client:
            await client.set_flow_run_state(scene.first_run().run_id, Cancelling(), force=True)

    asyncio.run(cancel())


def killed_after_the_stop(scene: Scene, process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    wait_until(lambda: scene.first_run().stopped_at is not None)
    process.kill()


WAYS: dict[str, tuple[Callable[[Scene, subprocess.Popen[bytes]], None], int]] = {
    "Ctrl-C": (by_signal(signal.SIGINT), 130),
    "SIGTERM": (by_signal(signal.SIGTERM), 143),
    "SIGHUP": (by_signal(signal.SIGHUP), 143),
    "cancelled in Prefect": (in_prefect, 130),
    "killed after the stop": (killed_after_the_stop, -signal.SIGKILL),
}


@pytest.mark.parametrize("way", WAYS)
def test_after_a_person_s_stop_nothing_starts(scene: Scene, way: str) -> None:
    stop, status = WAYS[way]
    with begun(scene) as process:
        stop(scene, process)
        _, err = process.communicate(timeout=170)
    assert process.returncode == status, err.decode()
    assert b"Traceback" not in err
    run = scene.first_run()
    assert run.stopped_at is not None
    assert run.outcome == (None if way == "killed after the stop" else "cancelled")
    bought = scene.bought()
    assert bought[0] < POSTS
    scene.two_sweeps()
    assert scene.bought() == bought
    assert scene.started_after(run.stopped_at.timestamp()) == 0

    told = json.loads(scene.run("status", "--json"))["overview"]
    assert told["last_run"]["outcome"] in ("cancelled", "done", "attention"), "the last run is a sweep"
    [held] = told["requests"]
    assert (held["reason"], held["run_id"], held["collection"]) == ("held", run.run_id, "fashion")
    assert held["go_on"] == "tagtrail retry --held --collection fashion"
    assert "Held: " in scene.run("status")

    scene.sandbox.play("default")
    scene.environ["TAGTRAIL_METADATA_PER_SECOND"] = "100"
    done = json.loads(scene.run("run", "velvet", "--posts", str(POSTS), "--collection", "fashion", "--json"))
    assert (done["enriched"], done["pending"]) == (POSTS, 0)
    twice = IN_FLIGHT if way == "killed after the stop" else 0
    assert POSTS <= scene.bought()[0] <= POSTS + twice
    assert scene.bought()[1] == 1
    assert len(scene.rows(Import)) == 1


def test_a_cap_is_not_overstepped_by_sweeps(scene: Scene) -> None:
    cap = POSTS / 100 + 0.05
    scene.run("run", "velvet", "--posts", str(POSTS), "--max-spend", str(cap), status=4)
    bought = scene.bought()
    assert bought == (5, 1)
    scene.two_sweeps()
    assert scene.bought() == bought
    [left] = json.loads(scene.run("status", "--json"))["overview"]["requests"]
    assert (left["reason"], left["posts"]) == ("out_of_room", POSTS - 5)
    assert left["go_on"] == f"tagtrail run velvet --posts {POSTS}"
    assert f"go on under another cap: {left['go_on']}" in scene.run("status")


def test_a_killed_run_is_taken_up_within_its_cap(scene: Scene) -> None:
    """It had reserved ten calls ahead on each of two platforms: they count as spent, and four are left."""
    cap = POSTS / 100 + 0.24
    with begun(scene, "--max-spend", str(cap)) as process:
        process.kill()
        process.wait(20)
    killed_at = scene.bought()[0]
    scene.two_sweeps()
    calls, submissions = scene.bought()
    assert killed_at < calls < POSTS
    assert submissions == 1
    assert scene.first_run().stopped_at is None
    counted = sum(row.spent_micros or row.reserved_micros for row in scene.rows(Spend))
    assert counted <= round(cap * 1_000_000)


def test_a_closed_terminal_ends_a_run_in_order(scene: Scene) -> None:
    """What it says reaches nobody any more, and is no reason to lose an answer."""
    theirs, ours = pty.openpty()
    with begun(scene, stdin=ours, stdout=ours, stderr=ours, start_new_session=True) as process:
        os.close(ours)
        os.close(theirs)
        process.send_signal(signal.SIGHUP)
        process.wait(120)
    run = scene.first_run()
    assert (run.outcome, run.stopped_why) == ("cancelled", "a closed terminal (SIGHUP)")
    calls, _ = scene.bought()
    stored = sum(row.spent_micros for row in scene.rows(Spend) if row.kind == "metadata")
    assert stored == calls * 10_000, "every answer was taken in"
    scene.two_sweeps()
    assert scene.bought()[0] == calls


def test_what_is_held_goes_on_or_is_given_up(scene: Scene) -> None:
    with begun(scene) as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=170)
    calls, _ = scene.bought()
    scene.sandbox.play("default")
    scene.environ["TAGTRAIL_METADATA_PER_SECOND"] = "100"
    assert scene.run("retry", "--held", "--collection", "other") == ""
    assert scene.run("retry", "--held", "--close", "--dry-run").startswith(f"Would be given up: {POSTS - calls} held")
    went_on = json.loads(scene.run("retry", "--held", "--max-spend", "0.02", "--json", status=4))
    assert (went_on["enriched"], went_on["out_of_room"]) == (2, POSTS - calls - 2)
    scene.two_sweeps()
    assert scene.bought()[0] == calls + 2
    assert scene.run("retry", "--held", "--close").startswith(f"Given up: {POSTS - calls - 2} held posts")
    scene.two_sweeps()
    assert scene.bought()[0] == calls + 2
    told = json.loads(scene.run("status", "--json"))["overview"]
    assert (told["requests"], told["pending_work"], told["failures"]) == ([], {}, {})
    done = json.loads(scene.run("run", "velvet", "--posts", str(POSTS), "--collection", "fashion", "--json"))
    assert (done["enriched"], scene.bought()) == (POSTS, (POSTS, 1)), "who names them again has them"
