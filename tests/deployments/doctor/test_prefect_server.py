"""Checks of a real Prefect server: what stands there, what is missing, what was changed."""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from packaging.version import Version
from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolUpdate
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_URL
from pydantic import SecretStr

from blocks.database.credentials import TagtrailDatabase
from blocks.memories.credentials import MemoriesCredentials
from blocks.settings import get_settings
from deployments.doctor.checks import Check, ProbeResult
from deployments.doctor.prefect_server import _versions, access_checks, block_checks, server_checks
from deployments.setup.blocks import block_differences
from deployments.setup.deployments import read_definitions
from deployments.setup.plan import plan_server
from deployments.setup.step import Step


@pytest.fixture
async def client(prefect_server: None) -> AsyncIterator[PrefectClient]:
    async with get_client() as opened:
        yield opened


async def found(work_pool: str) -> dict[str, list[Check]]:
    checks, _ = await server_checks(get_settings(), work_pool)
    by_name: dict[str, list[Check]] = {}
    for check in checks:
        by_name.setdefault(check.name, []).append(check)
    return by_name


@pytest.mark.stack
async def test_what_stands_on_a_server_is_compared_with_what_setup_makes(client: PrefectClient) -> None:
    pool = f"doctor-{uuid4().hex[:8]}"
    name = f"work pool {pool}"
    daily, manual, sweep = "track-hashtags/daily", "track-hashtags/manual", "collect-imports/sweep"
    for step in (await plan_server(client, work_pool=pool)).steps:
        await step.apply()

    good = await found(pool)
    assert [good[each][0].verdict for each in ("deployments", "automations", "prefect versions")] == ["ok"] * 3
    assert (good[name][0].verdict, f"--pool {pool}" in good[name][0].advice) == ("failed", True), "no worker"

    # What a user sets is told and is no fault; what another version made is one, and so is what is missing.
    await client.send_worker_heartbeat(work_pool_name=pool, worker_name="invented", heartbeat_interval_seconds=30)
    ids = {each: (await client.read_deployment_by_name(each)).id for each in (daily, manual, sweep)}
    await client.update_deployment(ids[daily], DeploymentUpdate(parameters={"hashtags": ["moss"]}))
    automation = (await client.read_automations_by_name("Tagtrail: track on request"))[0]
    await client.pause_automation(automation.id)
    mine = await found(pool)
    assert mine[name][0].line == f"ok      {name}: 1 live worker"
    assert (mine["deployments"][0].verdict, f"{daily} (parameters" in mine["deployments"][0].said) == ("ok", True)
    assert (mine["automations"][0].verdict, automation.name in mine["automations"][0].said) == ("warning", True)

    fields = automation.model_dump(exclude={"id", "owner_resource"}) | {"description": "An older text."}
    await client.update_automation(automation.id, AutomationCore.model_validate(fields))
    [older] = (await found(pool))["automations"]
    assert (older.verdict, older.said) == ("warning", f"not as in automations.yaml: {automation.name}")

    await client.update_deployment(ids[manual], DeploymentUpdate(tags=["other"]))
    await client.delete_deployment(ids[sweep])
    await client.update_work_pool(pool, WorkPoolUpdate(is_paused=True))
    await client.delete_automation(automation.id)
    broken = await found(pool)
    assert [check.verdict for check in broken["deployments"]] == ["failed", "failed"]
    assert f"missing: {sweep}" in broken["deployments"][0].said
    assert f"{manual} (tags)" in broken["deployments"][1].said
    assert "paused" in broken[name][0].said
    assert broken["automations"][0].verdict == "failed"
    for each in read_definitions():
        if each.full_name != sweep:
            await client.delete_deployment((await client.read_deployment_by_name(each.full_name)).id)
    assert (await found(pool))["deployments"][0].verdict == "warning", "a server that nobody set up"


@pytest.mark.stack
def test_a_door_that_is_open_to_everybody_is_warned_of(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    checks, is_open = access_checks(str(PREFECT_API_URL.value()), "the test's")
    assert is_open
    assert {check.name: check.verdict for check in checks} == {
        "prefect server": "ok", "clock (prefect server)": "ok", "server authentication": "ok",
    }  # fmt: skip
    monkeypatch.setattr("deployments.doctor.prefect_server.probe", lambda url: ProbeResult(200, "3.8.8", 0.0))
    checks, _ = access_checks("http://127.0.0.1:1/api", "the test's")
    assert checks[-1].verdict == "warning"
    assert "secrets of all blocks" in checks[-1].said
    monkeypatch.undo()
    checks, is_open = access_checks("http://127.0.0.1:1/api", "the test's")
    assert (is_open, [check.verdict for check in checks]) == (False, ["failed"])


@pytest.mark.parametrize(("minor", "verdict"), [(0, "ok"), (-1, "failed"), (1, "warning")])
def test_versions_of_client_and_server_are_compared(minor: int, verdict: str) -> None:
    ours = Version(importlib.metadata.version("prefect"))
    assert _versions(f"{ours.major}.{ours.minor + minor}.99").verdict == verdict


def planned(name: str, stands: Block | None) -> Step[Block]:
    """A block as it stands, compared with the settings."""
    differences = () if stands is None else block_differences(get_settings(), stands)
    return Step("block", name, "missing" if stands is None else "kept", "", stands, differences)


@pytest.mark.parametrize(
    ("here", "block", "verdict"),
    [("sk-one", "sk-one", "ok"), ("", "sk-one", "ok"), ("sk-one", "sk-two", "warning"), ("sk-one", None, "ok"),
     ("", None, "failed")],
)  # fmt: skip
def test_keys_of_block_and_environment_are_compared_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, here: str, block: str | None, verdict: str
) -> None:
    monkeypatch.setenv("MEMORIES_API_KEY", here)
    stands = None if block is None else MemoriesCredentials(api_key=SecretStr(block))
    [check] = block_checks(get_settings(), [planned("memories-credentials/default", stands)])
    assert check.verdict == verdict
    assert "sk-" not in check.line


def test_a_block_that_points_elsewhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMORIES_API_KEY", "sk-one")
    blocks: dict[str, Block] = {
        "memories-credentials/default": MemoriesCredentials(
            api_key=SecretStr("sk-one"), v2_base_url="http://127.0.0.1:8650/serve/api/v2"
        ),
        "tagtrail-database/default": TagtrailDatabase(url=SecretStr("postgresql+psycopg://u:hidden@db/tagtrail")),
    }

    def lines() -> list[str]:
        return [check.line for check in block_checks(get_settings(), [planned(*each) for each in blocks.items()])]

    assert [line.partition(" ")[0] for line in lines()] == ["ok"], (
        "settings at their defaults say nothing: the block does"
    )
    monkeypatch.setenv("MEMORIES_V2_BASE_URL", "https://metadata.example/v2")
    monkeypatch.setenv("TAGTRAIL_DATABASE_URL", "sqlite:///elsewhere.db")
    assert [line.partition(" ")[0] for line in lines()] == ["warning", "warning"]
    assert "MEMORIES_V2_BASE_URL" in lines()[0]
    assert "hidden" not in " ".join(lines())
