"""One test for each behaviour of Prefect that the design leans on; a new Prefect that breaks one says so here."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.schedules import CronSchedule
from prefect.concurrency._asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.asyncio import concurrency
from prefect.exceptions import PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

pytestmark = pytest.mark.usefixtures("prefect_server")

seen: ContextVar[str] = ContextVar("seen", default="nothing")


class MayPass(Exception):
    """An error that a retry may cure."""


def only_may_pass(task: object, task_run: object, state: object) -> bool:
    return isinstance(state.data, MayPass)  # type: ignore[attr-defined]


async def test_a_task_called_in_a_flow_shares_its_loop_and_its_context() -> None:
    loops = []

    @task(persist_result=False, cache_policy=NO_CACHE)
    async def look() -> str:
        loops.append(asyncio.get_running_loop())
        return seen.get()

    @flow(persist_result=False)
    async def outer() -> list[str]:
        seen.set("the run")
        return list(await asyncio.gather(look(), look()))

    assert await outer() == ["the run", "the run"]
    assert set(loops) == {asyncio.get_running_loop()}


async def test_the_context_around_a_flow_call_is_seen_inside() -> None:
    @flow(persist_result=False)
    async def inner() -> str:
        return seen.get()

    token = seen.set("watched")
    try:
        assert await inner() == "watched"
    finally:
        seen.reset(token)


async def test_the_retry_condition_sees_the_exception_and_others_are_final() -> None:
    calls = {"passes": 0, "final": 0}

    @task(retries=3, retry_delay_seconds=[0, 0, 0], retry_condition_fn=only_may_pass, persist_result=False)
    async def passes_at_the_third() -> str:
        calls["passes"] += 1
        if calls["passes"] < 3:
            raise MayPass
        return "done"

    @task(retries=3, retry_delay_seconds=[0, 0, 0], retry_condition_fn=only_may_pass, persist_result=False)
    async def is_final() -> None:
        calls["final"] += 1
        raise KeyError("no")

    @flow(persist_result=False)
    async def both() -> str:
        with pytest.raises(KeyError):
            await is_final()
        return await passes_at_the_third()

    assert await both() == "done"
    assert calls == {"passes": 3, "final": 1}


async def test_a_returned_state_keeps_its_name_message_and_data() -> None:
    @flow(persist_result=False)
    async def ends(well: bool) -> object:
        return (Completed if well else Failed)(message="3 posts", data={"posts": 3})

    for well, name in ((True, "Completed"), (False, "Failed")):
        state = await ends(well, return_state=True)
        assert (state.name, state.message) == (name, "3 posts")
        assert await state.aresult(raise_on_failure=False) == {"posts": 3}


async def test_a_result_that_is_not_persisted_never_reaches_the_server() -> None:
    ids = []

    @flow(persist_result=False)
    async def tells() -> object:
        ids.append(flow_run.id)
        return Completed(message="ok", data={"mark": "not-for-the-server"})

    await tells(return_state=True)
    async with get_client() as client:
        answer = await client._client.get(f"/flow_runs/{ids[0]}")
    assert answer.status_code == 200
    assert "not-for-the-server" not in answer.text


async def test_a_strict_limit_that_is_missing_or_0_is_an_error_at_once_and_a_full_one_means_wait() -> None:
    with pytest.raises(ConcurrencySlotAcquisitionError):
        async with concurrency("tagtrail-no-such-limit", strict=True):
            pass
    async with get_client() as client:
        await client.upsert_global_concurrency_limit_by_name("tagtrail-closed", 0)
        await client.upsert_global_concurrency_limit_by_name("tagtrail-full", 1)
    with pytest.raises(ConcurrencySlotAcquisitionError):
        async with concurrency("tagtrail-closed", strict=True, timeout_seconds=5):
            pass
    async with concurrency("tagtrail-full", strict=True):
        with pytest.raises(TimeoutError):
            async with concurrency("tagtrail-full", strict=True, timeout_seconds=0.5):
                pass


async def test_a_slot_under_a_lease_of_a_limit_of_0_is_refused_at_once_and_of_a_full_one_with_a_wait() -> None:
    async def ask(name: str) -> int:
        with pytest.raises(PrefectHTTPStatusError) as caught:
            await client.increment_concurrency_slots_with_lease([name], 1, mode="concurrency", lease_duration=60)
        said.append(caught.value.response.headers.get("Retry-After"))
        return caught.value.response.status_code

    said: list[str | None] = []
    answers: list[int] = []

    async def noted(response: httpx.Response) -> None:
        answers.append(response.status_code)

    async with get_client(httpx_settings={"event_hooks": {"response": [noted]}}) as client:
        await client.upsert_global_concurrency_limit_by_name("tagtrail-closed", 0)
        await client.upsert_global_concurrency_limit_by_name("tagtrail-full", 1)
        held = await client.increment_concurrency_slots_with_lease(
            ["tagtrail-full"], 1, mode="concurrency", lease_duration=60
        )
        answers.clear()
        assert [await ask("tagtrail-closed"), await ask("tagtrail-full")] == [422, 423]
        assert answers == [422, 423], "the client asks for neither again"
        await client.release_concurrency_slots_with_lease(UUID(held.json()["lease_id"]))
    assert said[0] is None
    assert float(said[1] or 0) > 0


async def test_the_last_retry_delay_holds_for_later_retries() -> None:
    times: list[float] = []

    @task(retries=4, retry_delay_seconds=[0, 0.2], persist_result=False)
    async def passes_at_the_fifth() -> None:
        times.append(time.monotonic())
        if len(times) < 5:
            raise MayPass

    @flow(persist_result=False)
    async def tries() -> None:
        await passes_at_the_fifth()

    await tries()
    waits = [after - before for before, after in pairwise(times)]
    assert len(waits) == 4
    assert all(wait >= 0.2 for wait in waits[1:])


async def test_a_schedule_that_an_update_names_by_its_slug_alone_loses_its_parameters() -> None:
    @flow(persist_result=False)
    async def with_a_schedule(name: str = "") -> None:
        raise AssertionError("nobody runs it")

    daily = CronSchedule(cron="0 5 * * *", timezone="UTC")
    schedule = DeploymentScheduleCreate(schedule=daily, active=False, slug="daily", parameters={"name": "one"})
    async with get_client() as client:
        made = await client.create_deployment(
            await client.create_flow(with_a_schedule), "daily", schedules=[schedule], tags=["tests"]
        )
        try:
            found = []
            for named in ({"slug": "daily", "parameters": {"name": "one"}}, {"slug": "daily"}):
                update = DeploymentUpdate.model_validate({"schedules": [named | {"schedule": daily}]})
                await client.update_deployment(made, update)
                [stands] = (await client.read_deployment(made)).schedules
                found.append(stands.parameters)
        finally:
            await client.delete_deployment(made)
    assert found == [{"name": "one"}, {}]


async def test_an_event_whose_id_came_before_is_dropped() -> None:
    def event(event_id: UUID, says: str) -> dict[str, Any]:
        return {
            "id": str(event_id), "event": "tagtrail.tests.twice", "occurred": datetime.now(UTC).isoformat(),
            "resource": {"prefect.resource.id": f"tagtrail.tests.{once}"}, "payload": {"says": says},
        }  # fmt: skip

    once, last = uuid4(), uuid4()
    wanted = {"filter": {"resource": {"id": [f"tagtrail.tests.{once}"]}}}
    async with get_client() as client:
        for sent in (event(once, "first"), event(once, "second"), event(last, "last")):
            await client._client.post("/events", json=[sent])
        give_up_at = time.monotonic() + 60
        stored: list[str] = []
        while "last" not in stored:
            assert time.monotonic() < give_up_at, "the events were never stored"
            await asyncio.sleep(0.1)
            answer = await client._client.post("/events/filter", json=wanted)
            stored = [one["payload"]["says"] for one in answer.json()["events"]]
    assert sorted(stored) == ["first", "last"]


async def test_parameters_are_validated_before_the_body_runs() -> None:
    from flows.track_hashtags import track_hashtags

    with pytest.raises(Exception, match="posts_per_hashtag"):
        track_hashtags.validate_parameters({"hashtags": ["a"], "posts_per_hashtag": 0})
    with pytest.raises(Exception, match="hashtags"):
        track_hashtags.validate_parameters({"hashtags": []})


async def test_an_active_schedule_makes_scheduled_runs() -> None:
    # With SQLAlchemy 2.1 the server's scheduler fails on each of its loops, and nothing but its log says so.
    @flow(persist_result=False)
    async def scheduled() -> None:
        raise AssertionError("nobody runs it")

    hourly = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 * * * *", timezone="UTC"), active=True)
    async with get_client() as client:
        made = await client.create_deployment(
            await client.create_flow(scheduled), "hourly", schedules=[hourly], tags=["tests"]
        )
        try:
            # The server looks for new schedules every 5 s.
            give_up_at = time.monotonic() + 60
            only_its = DeploymentFilter(id=DeploymentFilterId(any_=[made]))
            while not (runs := await client.read_flow_runs(deployment_filter=only_its)):
                assert time.monotonic() < give_up_at, "no run was ever scheduled"
                await asyncio.sleep(0.2)
        finally:
            await client.delete_deployment(made)
    assert all(run.auto_scheduled and run.state_name == "Scheduled" for run in runs)
    assert {run.expected_start_time.minute for run in runs} == {0}
