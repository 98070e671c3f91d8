"""The set-up on a real Prefect server: what it makes, what it finds, and what of the user's it leaves alone."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.settings import PREFECT_DEFAULT_WORK_POOL_NAME, temporary_settings

from blocks.database.credentials import TagtrailDatabase
from blocks.database.engine import open_store
from blocks.errors import UsageError
from blocks.memories.credentials import MemoriesCredentials
from deployments.setup.automations import read_automations
from deployments.setup.deployments import read_definitions
from deployments.setup.step import Step
from deployments.stack.own_server import ServerInfo, env_for
from flows.steps.prefect_side.kill_switch import KILL_SWITCH

pytestmark = pytest.mark.stack

if TYPE_CHECKING:
    import sqlalchemy as sa

SetUp = Callable[..., Awaitable[dict[str, Step[Any]]]]
ROOT = Path(__file__).parent.parent.parent.parent
NOTIFY = ("automation Tagtrail: notify", "automation Tagtrail: trending posts")


def changed(steps: dict[str, Step[Any]]) -> dict[str, str]:
    """What was made or updated; the automations that need a block of the user's are left out."""
    return {name: step.did for name, step in steps.items() if step.did != "kept" and name not in NOTIFY}


async def edit(client: PrefectClient, automation: Automation, **changes: object) -> None:
    """Change an automation as a person would in the UI."""
    fields = automation.model_dump(exclude={"id", "owner_resource"})
    await client.update_automation(automation.id, AutomationCore.model_validate(fields | changes))


async def wipe(client: PrefectClient) -> None:
    """Leave nothing of what other tests made on this server."""
    for deployment in await client.read_deployments():
        await client.delete_deployment(deployment.id)
    for automation in await client.read_automations():
        await client.delete_automation(automation.id)
    for document in await client.read_block_documents():
        await client.delete_block_document(document.id)
    for pool in await client.read_work_pools():
        await client.delete_work_pool(pool.name)


async def test_the_first_makes_everything_and_the_second_finds_it(client: PrefectClient, set_up_here: SetUp) -> None:
    await wipe(client)
    first = await set_up_here(work_pool="mine", memories_api_key="sk-first")
    made_anew = ("block memories", "work pool", "deployment", "automation")
    assert {step.did for name, step in first.items() if name.startswith(made_anew) and name not in NOTIFY} == {"made"}
    made = {f"deployment {each.full_name}" for each in read_definitions()}
    made |= {f"automation {each['name']}" for each in read_automations()}
    assert first.keys() >= made | {"work pool mine", f"limit {KILL_SWITCH}", "block memories-credentials/default"}
    for name in NOTIFY:
        assert first[name].did == "missing"
        assert "--notify" in first[name].sentence
    assert not [step for step in first.values() if "sk-first" in step.sentence]
    for each in read_definitions():
        stands = await client.read_deployment_by_name(each.full_name)
        assert (stands.work_pool_name, stands.pull_steps, stands.path) == ("mine", [], None)
        assert stands.parameters == each.parameters
        assert {one.slug: (one.active, one.parameters) for one in stands.schedules} == {
            one["slug"]: (one["active"], one.get("parameters", {})) for one in each.schedules
        }
        limit = stands.global_concurrency_limit
        assert (None if limit is None else limit.limit) == each.concurrency_limit
    second = await set_up_here(memories_api_key="sk-second")
    assert changed(second) == {}
    assert second.keys() >= first.keys()
    assert (await MemoriesCredentials.aload("default")).api_key.get_secret_value() == "sk-first"
    third = await set_up_here(memories_api_key="sk-second", overwrite=True)
    assert third["block memories-credentials/default"].did == "updated"
    assert (await MemoriesCredentials.aload("default")).api_key.get_secret_value() == "sk-second"
    assert (await TagtrailDatabase.aload("default")).get_url().startswith("sqlite:////")


async def test_what_the_user_set_survives_also_where_the_rest_is_updated(
    client: PrefectClient, set_up_here: SetUp
) -> None:
    await set_up_here()
    daily = await client.read_deployment_by_name("track-hashtags/daily")
    idle = next(one for one in daily.schedules if one.slug == "example-fashion")
    theirs = CronSchedule(cron="5 9 * * *", timezone="Asia/Tokyo")
    fashion = {"hashtags": ["tweed"], "collection": "fashion"}
    await client.update_deployment_schedule(daily.id, idle.id, active=True, schedule=theirs, parameters=fashion)
    one_of_them = await client.read_deployment_by_name("track-hashtags/daily")
    change = {
        "description": "An older text.",
        "tags": ["tagtrail"],
        "parameters": {"hashtags": ["linen"], "max_spend_usd": 1.5},
        "job_variables": {"env": {"TAGTRAIL_COMMENTS": "drop"}},
        "schedules": [
            one.model_dump(include={"slug", "schedule", "active", "parameters"}) for one in one_of_them.schedules
        ],
    }
    await client.update_deployment(daily.id, DeploymentUpdate.model_validate(change))
    sweep = await client.read_deployment_by_name("collect-imports/sweep")
    await client.update_deployment_schedule(sweep.id, sweep.schedules[0].id, active=False)
    [dead] = await client.read_automations_by_name("Tagtrail: mark dead runs")
    await edit(client, dead, enabled=False, description="An older text.")
    await client.upsert_global_concurrency_limit_by_name(KILL_SWITCH, 0)

    steps = await set_up_here()

    assert steps["deployment track-hashtags/daily"].did == "updated"
    assert steps["deployment collect-imports/sweep"].did == "kept"
    assert steps["automation Tagtrail: mark dead runs"].did == "updated"
    assert "disabled" in steps["automation Tagtrail: mark dead runs"].sentence
    assert "at 0" in steps[f"limit {KILL_SWITCH}"].sentence
    now = await client.read_deployment_by_name("track-hashtags/daily")
    assert now.description != "An older text."
    assert now.parameters == {"hashtags": ["linen"], "max_spend_usd": 1.5}
    assert now.job_variables["env"] == {**daily.job_variables["env"], "TAGTRAIL_COMMENTS": "drop"}
    by_slug = {one.slug: one for one in now.schedules}
    assert by_slug["example-fashion"].active
    assert by_slug["example-fashion"].schedule == theirs
    assert by_slug["example-fashion"].parameters == fashion
    assert not by_slug["every-day"].active
    assert not (await client.read_deployment_by_name("collect-imports/sweep")).schedules[0].active
    [dead] = await client.read_automations_by_name("Tagtrail: mark dead runs")
    assert not dead.enabled
    assert changed(await set_up_here()) == {}
    # As the other tests on this server expect it.
    await edit(client, dead, enabled=True)
    await client.update_deployment_schedule(sweep.id, sweep.schedules[0].id, active=True)


async def test_a_missing_key_is_said_and_is_not_fatal(client: PrefectClient, set_up_here: SetUp) -> None:
    await set_up_here()
    document = await client.read_block_document_by_name("default", "memories-credentials")
    await client.delete_block_document(document.id)
    step = (await set_up_here(memories_api_key=""))["block memories-credentials/default"]
    assert step.did == "missing"
    assert "MEMORIES_API_KEY" in step.sentence
    assert (await set_up_here())["block memories-credentials/default"].did == "made"


async def test_a_postgres_is_migrated(set_up_here: SetUp, request: pytest.FixtureRequest) -> None:
    databases = request.getfixturevalue("postgres")
    url: sa.URL = databases.create()
    clear = url.render_as_string(hide_password=False)
    before = await TagtrailDatabase.aload("default") if await _stands() else None
    try:
        steps = await set_up_here(overwrite=True, tagtrail_database_url=clear)
        [name] = [name for name in steps if name.startswith("database ")]
        assert steps[name].did == "made"
        open_store(clear).close()
        assert (await set_up_here())[name].did == "kept"
    finally:
        if before is not None:
            await before.asave("default", overwrite=True)
        databases.drop(url)


async def _stands() -> bool:
    try:
        await TagtrailDatabase.aload("default")
    except ValueError:
        return False
    return True


async def test_a_notification_block_that_is_not_there(set_up_here: SetUp) -> None:
    with pytest.raises(UsageError, match="no block slack-webhook/nobody"):
        await set_up_here(notify="slack-webhook/nobody")


def environ(server: ServerInfo, **more: str) -> dict[str, str]:
    """Of a process that works with this server and has no setting of ours."""
    return {"PATH": str(Path(sys.executable).parent), **env_for(server), **more}


def test_the_command_from_an_empty_folder(own_server: ServerInfo, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deployments.cli.main", "setup", "--json"]
    more = {"TAGTRAIL_HOME": str(tmp_path / "home"), "MEMORIES_API_KEY": "sk-never-shown"}
    ran = subprocess.run(
        command, cwd=tmp_path, env=environ(own_server, **more), capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 0, ran.stderr
    steps = json.loads(ran.stdout)
    assert {"kind", "name", "did", "note"} == steps[0].keys()
    assert len(steps) == ran.stderr.count("\n") - 1, "each step is one line, after the one that names the server"
    assert "sk-never-shown" not in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


async def test_prefects_own_deploy_and_the_set_up_agree(
    client: PrefectClient, set_up_here: SetUp, own_server: ServerInfo, tmp_path: Path
) -> None:
    """Whichever comes first, the other finds all as it would have made it, also in a pool of the user's."""
    for name in ("prefect.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    said = (ROOT / "docs" / "own-prefect-server.md").read_text(encoding="utf-8")
    create, deploy = "prefect work-pool create tagtrail --type process", "prefect --no-prompt deploy --all"

    async def typed(command: str, **variables: str) -> str:
        assert f"$ {command}" in said
        ran = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", *command.split()],
            cwd=tmp_path, env=environ(own_server, **variables), capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    async def are_in(pool: str) -> None:
        for each in read_definitions():
            stands = await client.read_deployment_by_name(each.full_name)
            assert (stands.work_pool_name, stands.pull_steps, stands.path) == (pool, [], None)

    await wipe(client)
    await typed(create)
    assert (await typed(deploy)).count("successfully created") == len(read_definitions())
    after = await set_up_here()
    assert {step.did for name, step in after.items() if name.startswith(("deployment", "work pool"))} == {"kept"}
    await are_in("tagtrail")

    await wipe(client)
    with temporary_settings({PREFECT_DEFAULT_WORK_POOL_NAME: "wool"}):
        await set_up_here()
        await typed(deploy, PREFECT_DEFAULT_WORK_POOL_NAME="wool")
        assert changed(await set_up_here()) == {}
    await are_in("wool")


async def test_a_deployment_stays_in_the_pool_that_the_user_gave_it(client: PrefectClient, set_up_here: SetUp) -> None:
    await set_up_here(work_pool="mine")
    sweep = await client.read_deployment_by_name("collect-imports/sweep")
    daily = await client.read_deployment_by_name("track-hashtags/daily")
    await set_up_here()
    await client.create_work_pool(WorkPoolCreate(name="strong", type="process"))
    await client.update_deployment(daily.id, DeploymentUpdate(work_pool_name="strong"))
    await client.delete_deployment(sweep.id)
    steps = await set_up_here()
    anew = {"deployment collect-imports/sweep": "made", "automation Tagtrail: sweep after a crash": "updated"}
    assert changed(steps) == anew, "what starts a deployment follows it"
    assert {"work pool mine", "work pool strong"} <= steps.keys()
    assert (await client.read_deployment_by_name("collect-imports/sweep")).work_pool_name == "mine"
    assert (await set_up_here(work_pool="mine"))["deployment track-hashtags/daily"].differences == ("work pool",)
    await client.delete_work_pool("strong")
