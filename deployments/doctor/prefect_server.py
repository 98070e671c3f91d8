"""Checks of the Prefect server in use: reachable, protected, of our version, and set up as this Tagtrail would."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Final

from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import WorkerStatus, WorkPool
from prefect.client.schemas.responses import DeploymentResponse, GlobalConcurrencyLimitResponse
from prefect.events.schemas.automations import Automation
from prefect.exceptions import PrefectHTTPStatusError

from blocks.memories.credentials import MemoriesCredentials
from blocks.settings import Settings
from deployments.doctor.checks import Check, ProbeFailed, clock_check, failed, ok, probe, warning
from deployments.setup.blocks import plan_blocks
from deployments.setup.plan import plan_pool, plan_server
from deployments.setup.step import Step

SET_UP: Final = "run `tagtrail setup`"
NO_AUTHENTICATION: Final = (
    "it asks for no credentials: whoever reaches it can read the secrets of all blocks, the API key among them"
)


def access_checks(api_url: str, shown: str) -> tuple[list[Check], bool]:
    """Whether the server answers, asks strangers for credentials, fits the client, and has the right time."""
    name = "prefect server"
    page = f"{api_url.rstrip('/')}/admin/version"
    try:
        found = probe(page)
    except ProbeFailed as error:
        return [failed(name, f"{shown} cannot be reached ({error})", "start it, or unset PREFECT_API_URL")], False
    checks = [ok(name, f"{shown} is reachable"), clock_check("prefect server", found.ahead_seconds)]
    if found.status in (401, 403):
        checks.append(ok("server authentication", "on"))
    elif found.status == 200:
        advice = "set PREFECT_SERVER_API_AUTH_STRING for the server, and PREFECT_API_AUTH_STRING for clients"
        checks.append(warning("server authentication", NO_AUTHENTICATION, advice))
    else:
        checks.append(warning("server authentication", f"unknown: {page} answers with HTTP {found.status}"))
    return checks, True


async def server_checks(settings: Settings, work_pool: str | None) -> tuple[list[Check], list[Block]]:
    """All that is seen with credentials, and the saved blocks that runs use by themselves.

    To be called with Prefect's settings for that server; a server that refuses is one failed check.
    """
    checks: list[Check] = []
    blocks: list[Block] = []
    try:
        async with get_client() as client:
            checks.append(_versions(await client.api_version()))
            planned = await plan_blocks(client, settings)
            blocks = [each.stands for each in planned if each.stands is not None]
            checks += block_checks(settings, planned)
            checks += await _set_up_checks(client, work_pool)
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        what = "does not accept your credentials" if status in (401, 403) else f"answers with HTTP {status}"
        checks.append(failed("prefect server", f"it {what}", "mend PREFECT_API_AUTH_STRING or PREFECT_API_KEY"))
    except (RuntimeError, OSError) as error:
        checks.append(failed("prefect server", f"it stopped answering: {error}", "look at its log"))
    return checks, blocks


def _versions(of_server: str) -> Check:
    name, ours = "prefect versions", importlib.metadata.version("prefect")
    said = f"client {ours}, server {of_server}"
    lines = [tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) for version in (ours, of_server)]
    if lines[0] == lines[1]:
        return ok(name, said)
    if lines[1] < lines[0]:
        return failed(name, f"{said}: the server is older than the client", "upgrade the server to the client's line")
    return warning(name, f"{said}: not the line that Tagtrail is run on", "make them the same where you can")


def block_checks(settings: Settings, planned: Sequence[Step[Block]]) -> list[Check]:
    """Whether the saved blocks, which come first in every run, say the same as the environment; nothing is shown."""
    checks = []
    ours = settings.memories_api_key.get_secret_value()
    for each in planned:
        name = f"block {each.name}"
        if each.differences:
            checks.append(warning(name, f"it holds {' and '.join(each.differences)}", _WHICH))
        elif isinstance(each.stands, MemoriesCredentials):
            if each.stands.api_key.get_secret_value():
                checks.append(ok(name, "it holds the key of this environment" if ours else "it holds a key"))
        elif each.name.startswith("memories-credentials"):
            none = "there is none: runs use the settings of their own environment"
            advice = f"set MEMORIES_API_KEY, then {SET_UP}"
            checks.append(ok(name, none) if ours else failed(name, f"{none}, and no key is here", advice))
    return checks


_WHICH: Final = "runs use the block's; if these settings are meant, `tagtrail setup --overwrite` makes it from them"


async def _set_up_checks(client: PrefectClient, work_pool: str | None) -> list[Check]:
    plan = await plan_server(client)
    if not any(each.stands for each in plan.deployments):
        return [warning("deployments", "there are none: only commands run here, no schedule and no event", SET_UP)]
    pools = plan.work_pools if work_pool is None else [await plan_pool(client, work_pool)]
    return [
        *deployment_checks(plan.deployments),
        *[await _pool_check(client, each) for each in pools],
        _automation_check(plan.automations),
        _kill_switch_check(plan.kill_switch),
    ]


def deployment_checks(planned: Sequence[Step[DeploymentResponse]]) -> list[Check]:
    """What `setup` would do about the deployments; parameters and schedules are the user's to change."""
    name = "deployments"
    checks = []
    if missing := [each.name for each in planned if each.stands is None]:
        checks.append(failed(name, f"missing: {', '.join(missing)}", SET_UP))
    if stale := _listed({each.name: each.differences for each in planned}):
        checks.append(failed(name, f"of another version of Tagtrail: {stale}", SET_UP))
    if not checks:
        changed = _listed({each.name: each.set_by_user for each in planned})
        yours = f"; set by you: {changed}" if changed else ""
        checks.append(ok(name, f"all {len(planned)} are as in prefect.yaml{yours}"))
    return checks


def _listed(found: dict[str, tuple[str, ...]]) -> str:
    """`name (what, what), name (what)`, of those where there is something."""
    return ", ".join(f"{name} ({', '.join(what)})" for name, what in found.items() if what)


async def _pool_check(client: PrefectClient, planned: Step[WorkPool]) -> Check:
    name, pool = f"work pool {planned.name}", planned.stands
    if pool is None:
        return failed(
            name, "there is none of that name", f"`tagtrail setup --work-pool {planned.name}`, or name another"
        )
    if pool.is_paused:
        return failed(name, "it is paused: no run starts", "resume it in the Prefect UI")
    workers = await client.read_workers_for_work_pool(planned.name)
    live = [worker for worker in workers if worker.status == WorkerStatus.ONLINE]
    if live:
        return ok(name, f"{len(live)} live worker{'' if len(live) == 1 else 's'}")
    return failed(name, "no live worker: runs wait for ever", f"prefect worker start --pool {planned.name}")


def _kill_switch_check(planned: Step[GlobalConcurrencyLimitResponse]) -> Check:
    name = f"limit {planned.name}"
    if planned.stands is None:
        return ok(name, "is made by the first run")
    limit = planned.stands.limit
    return ok(name, f"{limit}") if limit else warning(name, "it is 0: nothing is bought", "raise it when that is over")


def _automation_check(planned: Sequence[Step[Automation]]) -> Check:
    name = "automations"
    # One for notifications is "missing" where nobody named a block for it, which is no fault.
    if missing := [each.name for each in planned if each.did == "made"]:
        return failed(name, f"missing: {', '.join(missing)}", SET_UP)
    if changed := [each.name for each in planned if each.differences]:
        return warning(name, f"not as in automations.yaml: {', '.join(changed)}", f"{SET_UP}, which puts them back")
    if off := [each.name for each in planned if each.set_by_user]:
        return warning(name, f"switched off: {', '.join(off)}", "switch them on in the Prefect UI if you miss them")
    return ok(name, f"all {sum(each.stands is not None for each in planned)} are enabled")
