"""The compose file's services as processes: 200 posts on two workers, of which one is lost, and later the other."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect.states import Cancelling

from blocks.database import What
from blocks.database.engine import open_store
from blocks.database.store import export
from deployments.sandbox.server import SandboxServer
from deployments.sandbox.state import busiest

POSTS = 50
HASHTAGS = {"schedule": "lvmh", "event": "dior", "hand": "chanel", "cancelled": "gucci"}
POOL = "tagtrail"

TIME_SCALE = 20.0
ASKED_PER_SECOND = 7.0

SHOWN_FIRST = 20
"""Posts of each import that are listed at once; the others when all four runs are under way."""
LATER_SECONDS = 1_000_000.0

# The waits of a real service, twenty times as fast. Keys and addresses are in blocks.
SECONDS_BETWEEN_IMPORTS = 4.0
QUICK = {
    "TAGTRAIL_IMPORTS_PER_MINUTE": str(60 / SECONDS_BETWEEN_IMPORTS),
    "TAGTRAIL_STATUS_PER_SECOND": "5",
    "TAGTRAIL_METADATA_PER_SECOND": str(ASKED_PER_SECOND),
    "TAGTRAIL_POLL_SECONDS": "0.5",
}
# No import ends by itself while the four runs begin, one after the other on a busy machine.
TRACKING = {**QUICK, "TAGTRAIL_IMPORT_QUIET_SECONDS": "600", "TAGTRAIL_IMPORT_DEADLINE_SECONDS": "900"}
SWEEPING = {**QUICK, "TAGTRAIL_IMPORT_QUIET_SECONDS": "3", "TAGTRAIL_IMPORT_DEADLINE_SECONDS": "900"}

WAIT_SECONDS = 600.0
"""Generous: machines are loaded. What is waited for ends the wait."""

LIMITS = {
    "TAGTRAIL_MAX_SPEND_USD_PER_DAY",
    "TAGTRAIL_MAX_SPEND_USD_PER_COLLECTION",
    "TAGTRAIL_COMMENTS",
    "TAGTRAIL_RETENTION_DAYS",
}


class Scene:
    """The stack with its Prefect client, the service, and Tagtrail's database."""

    def __init__(self, stack: Any, client: PrefectClient, sandbox: SandboxServer) -> None:
        self.stack, self.client, self.sandbox = stack, client, sandbox
        self.in_flight: set[str] = set()

    def rows(self, what: What) -> list[dict[str, Any]]:
        store = open_store(self.stack.data_url)
        try:
            return list(export.rows(store, what))
        finally:
            store.close()

    def enriched(self) -> Counter[str]:
        """Stored posts by hashtag."""
        return Counter(row["source_hashtags"][0] for row in self.rows("posts") if row["status"] == "enriched")

    def served(self) -> Counter[str]:
        return Counter(self.sandbox.accounting()["metadata_served"])

    async def make_quick(self, name: str, waits: dict[str, str], **fields: Any) -> Any:
        """Give a deployment's runs these waits; returns it."""
        deployment = await self.client.read_deployment_by_name(name)
        variables = deployment.job_variables or {}
        quick = {**variables, "env": {**variables.get("env", {}), **waits}}
        await self.client.update_deployment(deployment.id, DeploymentUpdate(job_variables=quick, **fields))
        return deployment

    async def running(self) -> dict[str, Any]:
        """The flow runs that are under way, by what started them."""
        found = {}
        for run in await self.client.read_flow_runs():
            for by, tag in HASHTAGS.items():
                if run.state_name == "Running" and run.parameters.get("hashtags") == [tag]:
                    found[by] = run
        return found

    async def said_by_ended_runs(self) -> list[str]:
        """What the summaries of runs of hashtags that ended tell; a sweep of a full ten minutes is none of these."""
        theirs = {run.id for run in await self.client.read_flow_runs() if run.parameters.get("hashtags")}
        found = await self.client.read_artifacts()
        return [str(each.data) for each in found if each.type == "markdown" and each.flow_run_id in theirs]

    def machine_of(self, run: Any) -> Any:
        """The worker on which this run is, or None."""
        machines = [one for one in self.stack.machines if one.service == "worker" and one.process.poll() is None]
        return next((one for one in machines if str(run.id) in one.runs()), None)

    def lose(self, machine: Any) -> None:
        """Lose a worker with all its runs; notes which posts were bought and not stored."""
        machine.lose()
        stored = {f"{row['platform']}:{row['post_id']}" for row in self.rows("posts") if row["status"] == "enriched"}
        self.in_flight |= set(self.served()) - stored


async def until(what: str, look: Callable[[], Awaitable[Any]], seconds: float = WAIT_SECONDS) -> Any:
    """Look again and again; gives the first answer that is something."""
    deadline = time.monotonic() + seconds
    while not (found := await look()):
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        await asyncio.sleep(0.25)
    return found


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(time_scale=TIME_SCALE, limits=False, latency_ms=150) as started:
        started.play("default", pause_after=SHOWN_FIRST, pause_seconds=LATER_SECONDS)
        yield started


@pytest.fixture
async def scene(stack: Any, sandbox: SandboxServer) -> AsyncIterator[Scene]:
    stack.setting("setup", MEMORIES_V1_BASE_URL=sandbox.v1_base_url, MEMORIES_V2_BASE_URL=sandbox.v2_base_url)
    stack.start_redis()
    stack.wait_healthy(stack.start("server"))
    stack.start("services")
    said = stack.run("setup")
    assert "track-hashtags/on-request" in said
    stack.wait_healthy(stack.start("worker"), stack.start("worker"))
    settings = {
        PREFECT_API_URL: stack.api_url,
        PREFECT_API_AUTH_STRING: stack.secrets["prefect_auth"],
        PREFECT_HOME: stack.folder / "client",
    }
    with temporary_settings(settings):
        async with get_client() as client:
            yield Scene(stack, client, sandbox)


async def start_by_event(scene: Scene) -> None:
    """Ask for a run by an event, again where nothing came of it: what comes before the services listen is lost."""

    async def started() -> bool:
        runs = await scene.client.read_flow_runs()
        return any(run.parameters.get("hashtags") == [HASHTAGS["event"]] for run in runs)

    for _ in range(4):
        event = {
            "id": str(uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": "tagtrail.track.requested",
            "resource": {"prefect.resource.id": "a-shop.campaign.7"},
            "payload": {"hashtags": [HASHTAGS["event"]], "posts_per_hashtag": POSTS},
        }
        (await scene.client._client.post("/events", json=[event])).raise_for_status()
        with suppress(AssertionError):
            return await until("a run by an event", started, seconds=90)
        # Prefect's services process lives on where one of its services died at its start: a person starts it again.
        [services] = [one for one in scene.stack.machines if one.service == "services" and one.process.poll() is None]
        print(services.log.read_text(encoding="utf-8", errors="replace")[-3000:])
        services.lose()
        scene.stack.start("services")
    pytest.fail("four events started no run")


async def start_four_runs(scene: Scene) -> dict[str, Any]:
    """50 posts each by schedule, by event and, twice, by hand; gives the runs by what started them."""
    daily = await scene.make_quick(
        "track-hashtags/daily",
        TRACKING,
        parameters={"hashtags": [HASHTAGS["schedule"]], "posts_per_hashtag": POSTS},
    )
    # Runs that come often would take the workers from the others.
    soon = datetime.now(UTC) + timedelta(seconds=15)
    often = IntervalSchedule(interval=timedelta(minutes=5), anchor_date=soon)
    [schedule] = await scene.client.create_deployment_schedules(daily.id, [(often, True)])
    await scene.make_quick("track-hashtags/on-request", TRACKING)
    await start_by_event(scene)
    manual = await scene.make_quick("track-hashtags/manual", TRACKING)
    for by in ("hand", "cancelled"):
        await scene.client.create_flow_run_from_deployment(
            manual.id, parameters={"hashtags": [HASHTAGS[by]], "posts_per_hashtag": POSTS}
        )

    async def all_run() -> dict[str, Any] | None:
        running = await scene.running()
        assert not (said := await scene.said_by_ended_runs()), said
        return running if running.keys() == HASHTAGS.keys() else None

    runs: dict[str, Any] = await until("a run by schedule, one by event and two by hand", all_run)
    await scene.client.update_deployment_schedule(daily.id, schedule.id, active=False)
    return runs


async def sweep(scene: Scene, *, held: bool = False) -> Any:
    """Run the sweep once, to its end; `held`: over what a person's stop holds, as `retry --held` does."""
    deployment = await scene.client.read_deployment_by_name("collect-imports/sweep")
    started = await scene.client.create_flow_run_from_deployment(deployment.id, parameters={"held": held})

    async def ended() -> Any:
        run = await scene.client.read_flow_run(started.id)
        return run if run.state is not None and run.state.is_final() else None

    return await until("the end of a sweep", ended)


async def call_back(scene: Scene) -> None:
    """The receiver takes callbacks at its secret address alone."""
    base = scene.stack.services["receiver"]["environment"]["TAGTRAIL_CALLBACK_URL"]
    secret = scene.stack.secrets["callback_secret"]
    known = scene.rows("imports")[0]["task_id"]
    async with httpx.AsyncClient(timeout=30, trust_env=False) as service:
        # 202: a database that takes its time is not waited for.
        for path, task_id, allowed in (
            (secret, known, {200, 202}), (secret, "unheard-of", {404, 202}), ("guessed", known, {404}),
        ):  # fmt: skip
            answer = await service.post(f"{base}/{path}", json={"taskId": task_id, "status": "SUCCEEDED"})
            assert answer.status_code in allowed, (path, answer.text)


@pytest.mark.stack
@pytest.mark.timeout(1800)
async def test_two_workers_are_lost_and_everything_is_enriched_once(scene: Scene) -> None:
    # The clock may served a full ten minutes at any moment; here the sweep runs when the test says so.
    swept = await scene.make_quick("collect-imports/sweep", SWEEPING)
    for schedule in swept.schedules:
        await scene.client.update_deployment_schedule(swept.id, schedule.id, active=False)
    for machine in scene.stack.machines:
        # What may be spent and kept a worker is told; account and database come to its runs from blocks.
        ours = {name for name in machine.environment if name.startswith(("TAGTRAIL_", "MEMORIES_"))}
        assert machine.service in ("setup", "redis") or not ours - LIMITS

    runs = await start_four_runs(scene)

    async def all_in_the_middle() -> bool:
        return scene.enriched() == dict.fromkeys(HASHTAGS.values(), SHOWN_FIRST)

    await until("all four runs in the middle", all_in_the_middle)
    second = scene.machine_of(runs["cancelled"])
    first = next(one for run in runs.values() if (one := scene.machine_of(run)) is not second)
    scene.sandbox.advance(LATER_SECONDS)

    async def both_are_buying() -> bool:
        counts = scene.enriched()
        bought = {by: counts[tag] > SHOWN_FIRST for by, tag in HASHTAGS.items()}
        return bought["cancelled"] and any(bought[by] for by, run in runs.items() if scene.machine_of(run) is first)

    await until("both workers buying", both_are_buying)
    scene.lose(first)
    await scene.client.set_flow_run_state(runs["cancelled"].id, Cancelling(), force=True)
    scene.lose(second)
    left = sum(scene.enriched().values())
    assert left < len(HASHTAGS) * POSTS

    scene.stack.setting("receiver", TAGTRAIL_CALLBACK_URL=f"http://127.0.0.1:{scene.stack.ports['8660']}/callbacks")
    scene.stack.wait_healthy(*(scene.stack.start(service) for service in ("worker", "worker", "receiver")))
    ended = await sweep(scene)
    assert ended.state.is_completed(), ended.state
    of_cancelled = HASHTAGS["cancelled"]
    assert scene.enriched()[of_cancelled] < POSTS, "what a person cancelled is held"
    assert all(scene.enriched()[tag] == POSTS for tag in HASHTAGS.values() if tag != of_cancelled)
    person = await sweep(scene, held=True)
    assert person.state.is_completed(), person.state
    check_everything(scene)

    before = scene.sandbox.accounting()
    await call_back(scene)
    again = await sweep(scene)
    assert again.state.is_completed(), again.state
    after = scene.sandbox.accounting()
    assert [before[what] for what in ("accepted", "metadata_served")] == [after["accepted"], after["metadata_served"]]
    check_everything(scene)


def check_everything(scene: Scene) -> None:
    books = scene.sandbox.accounting()
    assert scene.enriched() == dict.fromkeys(HASHTAGS.values(), POSTS)
    assert len(scene.rows("snapshots")) == len(HASHTAGS) * POSTS
    assert books["accepted"] == {f"hashtag:{tag}": 1 for tag in HASHTAGS.values()}
    assert {row["state"] for row in scene.rows("imports")} == {"complete"}
    assert scene.rows("failures") == []
    # What was bought and not stored when a machine was lost is bought again; nothing else is.
    assert {post for post, count in scene.served().items() if count > 1} <= scene.in_flight
    assert max(scene.served().values()) <= 2
    # One rate for the account: each worker by itself would have sent as much as both together did. Loose, as calls of
    # a busy machine come late and then together.
    times = {kind: deque(when) for kind, when in books["times"].items()}
    assert busiest(times["metadata/apify"], 6.0) <= 6 * ASKED_PER_SECOND * 1.4, json.dumps(books["busiest_second"])
    assert max(times["imports"]) - min(times["imports"]) >= 2 * SECONDS_BETWEEN_IMPORTS, times["imports"]
