"""Flow runs of a real Prefect worker, whose processes are killed with SIGKILL; the next flow run finishes the work."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
import sqlalchemy as sa
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect.states import Cancelling, Scheduled

from blocks.database.engine import open_store
from deployments.stack import own_server

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]

POOL = "killed-processes"
ENTRYPOINT = "flows.track_hashtags.track_hashtags"
WORKER_S_WORD_SECONDS = 15.0
"""The process's supervisor reports a crash at once, the worker a second time 5 to 10 s later: that word would end the
same flow run again if it had been taken up in between."""

START_SECONDS = RUN_SECONDS = 280.0
"""Generous: machines are loaded. What is waited for ends the wait."""

# Slow enough that a look at the service's books, or a stop, comes in time on a busy machine: 22 posts take 7 seconds.
SLOW = {"TAGTRAIL_METADATA_PER_SECOND": "3"}

MOMENTS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "the import is accepted": lambda books: bool(books["accepted"]),
    "posts are being bought": lambda books: sum(books["metadata_served"].values()) >= 6,
}


@pytest.fixture(scope="module")
def worker(prefect_home: own_server.ServerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[psutil.Process]:
    """A process worker in an empty folder."""
    folder = tmp_path_factory.mktemp("worker")
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    with (tmp_path_factory.mktemp("logs") / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--prefetch-seconds", "1"], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**own_server.env_for(prefect_home), "PREFECT_WORKER_QUERY_SECONDS": "1"},
        )  # fmt: skip
    try:
        yield psutil.Process(process.pid)
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class Deployment:
    """`track-hashtags` on the worker's pool, run with the environment of a scene."""

    client: PrefectClient
    id: UUID
    worker: psutil.Process
    scene: Any

    async def start(self, hashtags: tuple[str, ...], posts: int) -> FlowRun:
        names = ("MEMORIES_", "TAGTRAIL_")
        env = {name: value for name, value in self.scene.env.items() if name.startswith(names)} | SLOW
        return await self.client.create_flow_run_from_deployment(
            self.id,
            parameters={"hashtags": list(hashtags), "posts_per_hashtag": posts},
            job_variables={"env": env},
        )

    async def kill_when(self, moment: Callable[[dict[str, Any]], bool], run_id: UUID) -> None:
        """Kill the flow run's process as soon as the service's books say so."""
        deadline = time.monotonic() + RUN_SECONDS
        while not moment(self.scene.sandbox.accounting()):
            if time.monotonic() > deadline:
                state = (await self.client.read_flow_run(run_id)).state
                raise AssertionError(f"the flow run did not get that far: {state}")
            await asyncio.sleep(0.02)
        running = self.worker.children(recursive=True)
        assert running, "the flow run had ended before"
        for process in running:
            process.kill()
        psutil.wait_procs(running, timeout=20)
        self.scene.note_kill()

    async def ended(self, run_id: UUID) -> FlowRun:
        deadline = time.monotonic() + RUN_SECONDS
        while True:
            run = await self.client.read_flow_run(run_id)
            if run.state is not None and run.state.is_final():
                return run
            assert time.monotonic() < deadline, f"the flow run is still {run.state_name}"
            await asyncio.sleep(0.3)


@pytest.fixture
async def deployment(
    scene: Any, worker: psutil.Process, prefect_home: own_server.ServerInfo, tmp_path: Path
) -> AsyncIterator[Deployment]:
    settings = {
        PREFECT_API_URL: prefect_home.api_url,
        PREFECT_API_AUTH_STRING: prefect_home.auth_string,
        PREFECT_HOME: tmp_path / "prefect",
    }
    with temporary_settings(settings):
        async with get_client() as client:
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    await client.read_work_pool(POOL)
                    break
                except ObjectNotFound:
                    assert time.monotonic() < deadline, "the worker did not make its pool"
                    await asyncio.sleep(0.5)
            flow_id = await client.create_flow_from_name("track-hashtags")
            made = await client.create_deployment(
                flow_id, "killed", entrypoint=ENTRYPOINT, work_pool_name=POOL, pull_steps=[]
            )
            yield Deployment(client, made, worker, scene)


@pytest.mark.parametrize("same_run", [False, True], ids=["the next run", "the same run again"])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_worker_s_run_is_finished_by_another(
    deployment: Deployment, judge: Callable[[str, Any], Any], kills: Any, moment: str, same_run: bool
) -> None:
    scene = deployment.scene
    first = await deployment.start(kills.HASHTAGS, kills.POSTS)
    await deployment.kill_when(MOMENTS[moment], first.id)
    assert (await deployment.ended(first.id)).state_name == "Crashed"

    last = first.id
    if same_run:
        await asyncio.sleep(WORKER_S_WORD_SECONDS)
    while True:
        if same_run:
            await deployment.client.set_flow_run_state(first.id, Scheduled(), force=True)
        else:
            last = (await deployment.start(kills.HASHTAGS, kills.POSTS)).id
        ended = await deployment.ended(last)
        if not scene.decide_doubts():
            break
    assert (ended.state_name, "22 posts: 22 enriched" in str(ended.state)) == ("Completed", True), ended.state
    judge(f"worker: {moment}{' (same run)' if same_run else ''}", None)


def served(scene: Any) -> int:
    return sum(scene.sandbox.accounting()["metadata_served"].values())


async def sweep_twice(deployment: Deployment) -> None:
    client = deployment.client
    flow_id = await client.create_flow_from_name("collect-imports")
    names = ("MEMORIES_", "TAGTRAIL_")
    env = {name: value for name, value in deployment.scene.env.items() if name.startswith(names)}
    made = await client.create_deployment(
        flow_id, "swept", entrypoint="flows.collect_imports.collect_imports", work_pool_name=POOL, pull_steps=[]
    )
    for _ in range(2):
        run = await client.create_flow_run_from_deployment(made, job_variables={"env": env})
        assert (await deployment.ended(run.id)).state_name == "Completed"


async def bought(deployment: Deployment, run_id: UUID, posts: int) -> None:
    deadline = time.monotonic() + RUN_SECONDS
    while served(deployment.scene) < posts:
        assert time.monotonic() < deadline, (await deployment.client.read_flow_run(run_id)).state
        await asyncio.sleep(0.02)


def stopped(scene: Any, run_id: UUID) -> Any:
    query = sa.text("SELECT outcome, stopped_by, stopped_why FROM runs WHERE run_id = :run")
    with contextlib.closing(open_store(scene.database.url)) as store, store.connect() as conn:
        return tuple(conn.execute(query, {"run": str(run_id)}).one())


async def test_what_is_cancelled_in_the_ui_is_held(deployment: Deployment, kills: Any) -> None:
    """As the UI's button does it: the run's state becomes Cancelling, and the worker ends its process."""
    run = await deployment.start(kills.HASHTAGS, kills.POSTS)
    await bought(deployment, run.id, 4)
    await deployment.client.set_flow_run_state(run.id, Cancelling())
    assert (await deployment.ended(run.id)).state_name == "Cancelled"
    assert stopped(deployment.scene, run.id) == ("cancelled", "somebody in Prefect", "cancelled in Prefect")
    calls = served(deployment.scene)
    assert calls < 22
    await sweep_twice(deployment)
    assert served(deployment.scene) == calls
    done = await deployment.start(kills.HASHTAGS, kills.POSTS)
    ended = await deployment.ended(done.id)
    assert (ended.state_name, "22 posts: 22 enriched" in str(ended.state)) == ("Completed", True), ended.state
    assert served(deployment.scene) == 22


async def test_a_worker_that_ends_a_run_is_nobody_s_stop(deployment: Deployment, kills: Any) -> None:
    run = await deployment.start(kills.HASHTAGS, kills.POSTS)
    await bought(deployment, run.id, 4)
    for process in deployment.worker.children(recursive=True):
        process.terminate()
    assert (await deployment.ended(run.id)).state_name in ("Crashed", "Failed")
    assert stopped(deployment.scene, run.id)[1] is None
    await sweep_twice(deployment)
    assert served(deployment.scene) == 22
