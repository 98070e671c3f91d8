"""The ready-made automations on a real Prefect server: events in, runs (or nothing) out."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.events import Event
from prefect.events.clients import get_events_client
from prefect.events.schemas.automations import AutomationCore
from prefect.states import Completed, Failed, Running

from deployments.setup.step import Step

pytestmark = pytest.mark.stack

SetUp = Callable[..., Awaitable[dict[str, Step[Any]]]]
WAIT_SECONDS = 400.0
PACE_SECONDS = 0.1


@pytest.fixture
async def ready(client: PrefectClient, set_up_here: SetUp) -> AsyncIterator[PrefectClient]:
    """The server with the whole set-up on it, and no run of another test."""
    await set_up_here()
    yield client
    for full_name in ("track-hashtags/on-request", "collect-imports/on-callback", "collect-imports/sweep"):
        for run in await started(client, *full_name.split("/")):
            await client.delete_flow_run(run.id)


async def eventually(look: Callable[[], Awaitable[Any]], good: Callable[[Any], bool] = bool) -> Any:
    """What a look gives once it is good."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not good(seen := await look()):
        assert time.monotonic() < deadline, seen
        await asyncio.sleep(0.2)
    return seen


async def emit(*events: Event) -> None:
    async with get_events_client() as client:
        for event in events:
            await client.emit(event)
            # A Prefect server on SQLite refuses writes that meet (see CONTRIBUTING); real runs do not come at once.
            await asyncio.sleep(PACE_SECONDS)


async def started(client: PrefectClient, flow: str, deployment: str) -> list[FlowRun]:
    """Runs of a deployment that no schedule made, the oldest first."""
    of = await client.read_deployment_by_name(f"{flow}/{deployment}")
    named = DeploymentFilter(name=DeploymentFilterName(any_=[deployment]))
    runs = [run for run in await client.read_flow_runs(deployment_filter=named) if run.deployment_id == of.id]
    return sorted((run for run in runs if not run.auto_scheduled), key=lambda run: run.created or datetime.now(UTC))


async def events_of(client: PrefectClient, name: str, automation: str, since: datetime) -> list[dict[str, Any]]:
    """Payloads of the server's events about an automation."""
    wanted = {
        "event": {"name": [name]},
        "occurred": {"since": since.isoformat(), "until": datetime.now(UTC).isoformat()},
    }
    answer = await client._client.post("/events/filter", json={"filter": wanted, "limit": 50})
    found = answer.json()["events"]
    return [each["payload"] for each in found if each["resource"].get("prefect.resource.name") == automation]


def request(payload: dict[str, Any]) -> Event:
    resource = {"prefect.resource.id": f"crm.campaign.{uuid4()}"}
    return Event(event="tagtrail.track.requested", resource=resource, payload=payload)


async def test_a_request_starts_a_run_with_exactly_its_parameters(ready: PrefectClient) -> None:
    full = {"hashtags": ["LVMH", "#été"], "posts_per_hashtag": 3, "fresh": True, "max_spend_usd": 0.5}
    await emit(request({**full, "sender": "somebody's tool", "items": [1], "hashtag": "typo"}))
    await emit(request({"hashtags": ["a\"b'<c>"]}))
    runs = await eventually(lambda: started(ready, "track-hashtags", "on-request"), lambda runs: len(runs) == 2)
    [first] = [run for run in runs if run.parameters["hashtags"] == full["hashtags"]]
    [second] = [run for run in runs if run is not first]
    defaults = (await ready.read_deployment_by_name("track-hashtags/on-request")).parameters
    assert first.parameters == defaults | full
    assert first.parameters["fresh"] is True
    assert "tagtrail" in first.tags
    assert second.parameters == defaults | {"hashtags": ["a\"b'<c>"]}


REFUSED = [
    ({"hashtags": "LVMH"}, "'LVMH' is not of type 'array'"),
    ({}, "'hashtags' is a required property"),
    ({"hashtags": []}, "[] should be non-empty"),
    ({"hashtags": [7]}, "7 is not of type 'string'"),
    ({"hashtags": ["a"], "posts_per_hashtag": 0}, "0 is less than the minimum of 1"),
    ({"hashtags": ["a"], "posts_per_hashtag": "abc"}, "'abc' is not of type 'integer'"),
    ({"hashtags": ["a"], "posts_per_hashtag": None}, "None is not of type 'integer'"),
    ({"hashtags": ["a"], "max_spend_usd": -1}, "-1 is less than the minimum of 0"),
    ({"hashtags": ["a"], "channel": "carrier pigeon"}, "'carrier pigeon' is not one of"),
]


async def test_a_malformed_request_starts_nothing_and_says_why(ready: PrefectClient) -> None:
    since = datetime.now(UTC) - timedelta(seconds=1)
    await emit(*(request(payload) for payload, _ in REFUSED))

    async def explained() -> list[str]:
        failed = await events_of(ready, "prefect.automation.action.failed", "Tagtrail: track on request", since)
        return [payload["validation_error"] for payload in failed]

    told = await eventually(explained, lambda told: len(told) == len(REFUSED))
    for _, reason in REFUSED:
        assert [each for each in told if reason in each], (reason, told)
    assert await started(ready, "track-hashtags", "on-request") == []


async def test_unattended_imports_start_one_collecting_run_and_pass_nothing_on(ready: PrefectClient) -> None:
    for name in ("tagtrail.import.succeeded", "tagtrail.import.failed", *["tagtrail.import.unattended"] * 5):
        await emit(Event(event=name, resource={"prefect.resource.id": "tagtrail.import.1"}, payload={"channel": "x"}))
    runs = await eventually(lambda: started(ready, "collect-imports", "on-callback"))
    defaults = (await ready.read_deployment_by_name("collect-imports/on-callback")).parameters
    assert [run.parameters for run in runs] == [defaults], "five callbacks at once start one run"


def heartbeat(run: FlowRun, at: datetime | None = None) -> Event:
    """As the flow engine emits it."""
    return Event(
        event="prefect.flow-run.heartbeat",
        occurred=at or datetime.now(UTC),
        resource={"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name},
        related=[
            {"prefect.resource.id": f"prefect.flow.{run.flow_id}", "prefect.resource.role": "flow"},
            *({"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in run.tags),
        ],
    )


async def running(client: PrefectClient, full_name: str, parameters: dict[str, Any], count: int) -> list[FlowRun]:
    """Runs of a deployment that say they run; no worker has them."""
    deployment = await client.read_deployment_by_name(full_name)
    return [
        await client.create_flow_run_from_deployment(deployment.id, parameters=parameters, state=Running())
        for _ in range(count)
    ]


async def state_names(client: PrefectClient, runs: Sequence[FlowRun]) -> list[str | None]:
    these = FlowRunFilter(id=FlowRunFilterId(any_=[run.id for run in runs]))
    return [run.state_name for run in await client.read_flow_runs(flow_run_filter=these)]


SILENCE_SECONDS = 30
"""Long enough for a machine that is busy; those who are to be found dead have been silent for most of it already."""


async def hurry(client: PrefectClient, name: str, **changes: Any) -> UUID:
    """Give an automation other times than its own."""
    [stands] = await client.read_automations_by_name(name)
    fields = stands.model_dump(exclude={"id", "owner_resource"})
    fields["trigger"] |= changes
    await client.update_automation(stands.id, AutomationCore.model_validate(fields))
    return stands.id


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("many", [5, pytest.param(50, marks=pytest.mark.soak)])
async def test_a_dead_run_is_marked_and_swept_and_healthy_ones_start_nothing(ready: PrefectClient, many: int) -> None:
    dead_runs, sweeps = "Tagtrail: mark dead runs", ("collect-imports", "sweep")
    await hurry(ready, dead_runs, within=timedelta(seconds=SILENCE_SECONDS))
    since = datetime.now(UTC) - timedelta(seconds=1)
    url = {"urls": ["https://x.com/i/status/1"]}
    healthy = await running(ready, "enrich-posts/manual", url, many)
    [silent] = await running(ready, "enrich-posts/manual", url, 1)
    [crashed_sweep] = await running(ready, "collect-imports/sweep", {}, 1)
    *steady, at_once, late = healthy
    long_ago = datetime.now(UTC) - timedelta(seconds=SILENCE_SECONDS - 3)
    await emit(heartbeat(silent, long_ago), heartbeat(crashed_sweep, long_ago), *(heartbeat(run) for run in steady))
    # One ends in the moment after its heartbeat; of another the last heartbeat arrives after its end.
    await emit(heartbeat(at_once))
    await ready.set_flow_run_state(at_once.id, Completed())
    await ready.set_flow_run_state(late.id, Completed())
    await emit(heartbeat(late, long_ago))
    few = max(1, len(steady) // 8)
    quick, slow = steady[:-few], steady[-few:]
    for run in quick:
        await ready.set_flow_run_state(run.id, Completed())
        await asyncio.sleep(PACE_SECONDS)

    began = heard = time.monotonic()

    async def crashed() -> bool:
        nonlocal heard
        # The slow ones are alive for longer than the silence that is allowed.
        await emit(*(heartbeat(run) for run in slow))
        await asyncio.sleep(2)
        left = [run for run in (silent, crashed_sweep) if (await ready.read_flow_run(run.id)).state_name != "Crashed"]
        if left and time.monotonic() > heard + 60:
            # A server may lose an event; a run sends one each minute. (What no mark names, the sweep's schedule takes.)
            heard = time.monotonic()
            await emit(*(heartbeat(run, datetime.now(UTC) - timedelta(seconds=SILENCE_SECONDS - 3)) for run in left))
        return not left and time.monotonic() > began + SILENCE_SECONDS + 5

    await eventually(crashed)
    for run in slow:
        await ready.set_flow_run_state(run.id, Completed())
    runs = await eventually(lambda: started(ready, *sweeps), lambda runs: len(runs) == 2)
    [swept] = [run for run in runs if run.id != crashed_sweep.id]
    marked = (await ready.read_flow_run(silent.id)).state
    assert marked is not None
    assert "heartbeats" in str(marked.message)
    assert swept.expected_start_time is not None
    assert swept.expected_start_time >= marked.timestamp + timedelta(seconds=20), "the leases of the dead end first"
    # The late heartbeat is a false alarm that Prefect is known for: where there is one, the server refuses the mark.
    refused = await events_of(ready, "prefect.automation.action.failed", dead_runs, since)
    assert all("terminal state" in json.dumps(each) for each in refused)
    assert set(await state_names(ready, healthy)) == {"Completed"}
    assert len(await started(ready, *sweeps)) == 2, "its own crash does not start the sweep"
    executed = await events_of(ready, "prefect.automation.action.executed", dead_runs, since)
    assert len(executed) == 2


@pytest.fixture
def inbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A place that notifications can be sent to."""
    received: list[dict[str, Any]] = []

    class Inbox(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Inbox) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", received
        server.shutdown()
        thread.join()


async def test_failures_and_halts_are_told(
    ready: PrefectClient, set_up_here: SetUp, inbox: tuple[str, list[dict[str, Any]]]
) -> None:
    url, received = inbox
    block = CustomWebhookNotificationBlock(
        name="team", url=url, method="POST", json_data={"subject": "{{subject}}", "body": "{{body}}"}
    )
    await block.asave("team", overwrite=True)
    name = "automation Tagtrail: notify"
    steps = await set_up_here(notify="custom-webhook/team")
    assert steps[name].did in ("made", "updated")
    assert (await set_up_here())[name].did == "kept", "the block that was named once is kept"
    [run] = await running(ready, "enrich-posts/manual", {"urls": ["https://x.com/i/status/1"]}, 1)
    await ready.set_flow_run_state(run.id, Failed(message="the key was refused"))
    await emit(
        Event(event="tagtrail.run.halted", resource={"prefect.resource.id": "tagtrail.run.7"}, payload={"spent": 5}),
        request({"hashtags": "LVMH"}),
    )

    async def told() -> list[str]:
        return [f"{each['subject']} | {each['body']}" for each in received]

    wanted = ("the key was refused", "tagtrail.run.7", "'LVMH' is not of type 'array'")
    texts = await eventually(told, lambda texts: all(any(said in text for text in texts) for said in wanted))
    assert len(texts) == 3
    [automation] = await ready.read_automations_by_name("Tagtrail: notify")
    await ready.delete_automation(automation.id)
