"""Checks of the Prefect server in use: reachable, protected, of our version, and set up as this Tagtrail would."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Final

from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import WorkerStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from blocks.database.credentials import TagtrailDatabase
from blocks.memories.credentials import MemoriesCredentials
from blocks.settings import Settings
from deployments.doctor.asking import Silence, hear
from deployments.doctor.machine import clock_check
from deployments.doctor.verdicts import Check, failed, ok, warning
from deployments.setup import deploying
from deployments.setup.automations import read_automations
from deployments.setup.definitions import Definition, read_definitions
from deployments.setup.deploying import Plan
from deployments.setup.server import default_pool
from flows.steps.prefect_side.kill_switch import KILL_SWITCH

SET_UP: Final = "run `tagtrail setup`"
NO_AUTHENTICATION: Final = (
    "it asks for no credentials: whoever reaches it can read the secrets of all blocks, the API key among them"
)


def door_checks(api_url: str, shown: str) -> tuple[list[Check], bool]:
    """Whether the server answers, asks strangers for credentials, fits the client, and has the right time."""
    name = "prefect server"
    page = f"{api_url.rstrip('/')}/admin/version"
    try:
        heard = hear(page)
    except Silence as silence:
        return [failed(name, f"{shown} cannot be reached ({silence})", "start it, or unset PREFECT_API_URL")], False
    checks = [ok(name, f"{shown} is reachable"), clock_check("prefect server", heard)]
    if heard.status in (401, 403):
        checks.append(ok("server authentication", "on"))
    elif heard.status == 200:
        advice = "set PREFECT_SERVER_API_AUTH_STRING for the server, and PREFECT_API_AUTH_STRING for clients"
        checks.append(warning("server authentication", NO_AUTHENTICATION, advice))
    else:
        checks.append(warning("server authentication", f"unknown: {page} answers with HTTP {heard.status}"))
    return checks, True


async def server_checks(settings: Settings, work_pool: str | None) -> tuple[list[Check], dict[str, Block]]:
    """All that is seen with credentials; also the saved blocks (see `block_checks`), by type.

    To be called with Prefect's settings for that server; a server that refuses is one failed check.
    """
    checks: list[Check] = []
    blocks: dict[str, Block] = {}
    try:
        async with get_client() as client:
            checks.append(_versions(await client.api_version()))
            blocks = await saved_blocks(client)
            checks += block_checks(settings, blocks)
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


async def saved_blocks(client: PrefectClient) -> dict[str, Block]:
    """The blocks that runs use by themselves, by the slug of their type; those that are not there are left out."""
    found: dict[str, Block] = {}
    for kind in (MemoriesCredentials, TagtrailDatabase):
        slug = kind.get_block_type_slug()
        try:
            await client.read_block_document_by_name("default", slug, include_secrets=False)
        except ObjectNotFound:
            continue
        found[slug] = await kind.aload("default", client=client)
    return found


def block_checks(settings: Settings, blocks: Mapping[str, Block]) -> list[Check]:
    """Whether the saved blocks, which come first in every run, say the same as the environment; nothing is shown."""
    checks = []
    account = blocks.get("memories-credentials")
    ours = settings.memories_api_key.get_secret_value()
    name = "block memories-credentials/default"
    if not isinstance(account, MemoriesCredentials):
        none = "there is none: runs use the settings of their own environment"
        advice = f"set MEMORIES_API_KEY, then {SET_UP}"
        checks.append(ok(name, none) if ours else failed(name, f"{none}, and no key is here", advice))
    elif not account.api_key.get_secret_value():
        checks.append(failed(name, "its key is empty", "open it in the Prefect UI and save the key"))
    elif ours and _digest(account.api_key.get_secret_value()) != _digest(ours):
        checks.append(
            warning(
                name,
                "it holds another key than MEMORIES_API_KEY here; runs use the block's",
                "`tagtrail setup --overwrite` makes the block from the environment",
            )
        )
    else:
        checks.append(ok(name, "it holds the key of this environment" if ours else "it holds a key"))
    if isinstance(account, MemoriesCredentials):
        of_block = {"memories_v1_base_url": account.v1_base_url, "memories_v2_base_url": account.v2_base_url}
        what = {"memories_v1_base_url": "imports", "memories_v2_base_url": "metadata"}
        # A setting that was left at its default says nothing: the block decides.
        differ = [
            what[setting]
            for setting, url in of_block.items()
            if setting in settings.model_fields_set and url.rstrip("/") != getattr(settings, setting).rstrip("/")
        ]
        if differ:
            checks.append(
                warning(name, f"it sends {' and '.join(differ)} to another address than these settings", _WHICH)
            )
    database = blocks.get("tagtrail-database")
    named_here = bool(settings.tagtrail_database_url)
    if isinstance(database, TagtrailDatabase) and named_here and database.get_url() != settings.database_url:
        checks.append(
            warning("block tagtrail-database/default", "it names another database than these settings", _WHICH)
        )
    return checks


_WHICH: Final = "runs use the block's; make sure that it is the one you mean"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


async def _set_up_checks(client: PrefectClient, work_pool: str | None) -> list[Check]:
    plans = [await deploying.plan(client, each, None) for each in read_definitions()]
    if not any(each.stands for each in plans):
        return [warning("deployments", "there are none: only commands run here, no schedule and no event", SET_UP)]
    return [
        *deployment_checks(plans),
        await _pool_check(client, work_pool or deploying.pool_in_use(each.stands for each in plans) or default_pool()),
        await _automation_check(client),
        await _kill_switch_check(client),
    ]


def deployment_checks(plans: Sequence[Plan]) -> list[Check]:
    """What `setup` would do about the deployments; parameters and schedules are the user's to change."""
    name = "deployments"
    checks = []
    if missing := [each.definition.full_name for each in plans if each.stands is None]:
        checks.append(failed(name, f"missing: {', '.join(missing)}", SET_UP))
    if stale := [f"{each.definition.full_name} ({', '.join(each.differences)})" for each in plans if each.differences]:
        checks.append(failed(name, f"of another version of Tagtrail: {', '.join(stale)}", SET_UP))
    if not checks:
        changed = [
            f"{each.definition.full_name} ({', '.join(mine)})"
            for each in plans
            if each.stands is not None and (mine := _changed_by_user(each.definition, each.stands))
        ]
        yours = f"; set by you: {', '.join(changed)}" if changed else ""
        checks.append(ok(name, f"all {len(plans)} are as in prefect.yaml{yours}"))
    return checks


def _changed_by_user(wanted: Definition, stands: DeploymentResponse) -> list[str]:
    crons = {each["slug"]: (each["cron"], each["active"]) for each in wanted.schedules}
    theirs = {each.slug: (getattr(each.schedule, "cron", None), each.active) for each in stands.schedules}
    pairs = {
        "parameters": (dict(wanted.parameters), stands.parameters or {}),
        "schedules": (crons, theirs),
        "paused": (False, bool(stands.paused)),
    }
    return [what for what, (ours, found) in pairs.items() if ours != found]


async def _pool_check(client: PrefectClient, pool: str) -> Check:
    name = f"work pool {pool}"
    try:
        found = await client.read_work_pool(pool)
    except ObjectNotFound:
        return failed(name, "there is none of that name", f"`tagtrail setup --work-pool {pool}`, or name another")
    if found.is_paused:
        return failed(name, "it is paused: no run starts", "resume it in the Prefect UI")
    workers = await client.read_workers_for_work_pool(pool)
    live = [worker for worker in workers if worker.status == WorkerStatus.ONLINE]
    if live:
        return ok(name, f"{len(live)} live worker{'' if len(live) == 1 else 's'}")
    return failed(name, "no live worker: runs wait for ever", f"prefect worker start --pool {pool}")


async def _kill_switch_check(client: PrefectClient) -> Check:
    name = f"limit {KILL_SWITCH}"
    try:
        limit = (await client.read_global_concurrency_limit_by_name(KILL_SWITCH)).limit
    except ObjectNotFound:
        return ok(name, "is made by the first run")
    return ok(name, f"{limit}") if limit else warning(name, "it is 0: nothing is bought", "raise it when that is over")


async def _automation_check(client: PrefectClient) -> Check:
    name = "automations"
    written = read_automations()
    enabled = {each.name: each.enabled for each in await client.read_automations()}
    # The one for notifications is only made where somebody named a block for it.
    wanted = [each["name"] for each in written if not any("block" in action for action in each["actions"])]
    if missing := [each for each in wanted if each not in enabled]:
        return failed(name, f"missing: {', '.join(missing)}", SET_UP)
    if off := [each["name"] for each in written if enabled.get(each["name"]) is False]:
        return warning(name, f"switched off: {', '.join(off)}", "switch them on in the Prefect UI if you miss them")
    return ok(name, f"all {sum(each['name'] in enabled for each in written)} are enabled")
