"""Automations on the server, compared with those in `automations.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import orjson
import yaml
from prefect.client.orchestration import PrefectClient
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound

from blocks.errors import UsageError
from deployments.setup.deployments import PlannedDeployment
from deployments.setup.step import Step

FILE: Final = Path(__file__).with_name("automations.yaml")

NOTIFY: Final = "notify"
"""In a file, `block: notify` stands for the notification block that the user named."""

NOT_NAMED: Final = "no notification block was named; `tagtrail setup --notify slack-webhook/NAME` makes it"


def read_automations() -> list[dict[str, Any]]:
    """All automations as the file has them, with names where the server has ids."""
    read: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["automations"]
    return read


async def notification_block(client: PrefectClient, named: str) -> UUID:
    """The id of the user's block `type-slug/name`.

    Raises:
        UsageError: there is no such block.
    """
    slug, _, name = named.partition("/")
    try:
        return (await client.read_block_document_by_name(name, slug, include_secrets=False)).id
    except ObjectNotFound:
        raise UsageError(
            f"--notify: there is no block {named}; save one in the Prefect UI and name it as type/name, "
            "such as slack-webhook/team"
        ) from None


async def plan_automations(
    client: PrefectClient, deployments: Mapping[str, PlannedDeployment], *, notify: UUID | None = None
) -> list[Step[Automation]]:
    """Compare every automation with the file; whether it is enabled stays as the user set it.

    `notify`: the block to notify of failures; None leaves the automation for it as it is.
    """
    return [await _plan(client, written, deployments, notify) for written in read_automations()]


async def _plan(
    client: PrefectClient,
    written: Mapping[str, Any],
    deployments: Mapping[str, PlannedDeployment],
    notify: UUID | None,
) -> Step[Automation]:
    name = str(written["name"])
    stands = next(iter(await client.read_automations_by_name(name)), None)
    if any(action.get("block") == NOTIFY for action in written["actions"]):
        notify = notify or _notified_by(stands)
        if notify is None:
            return Step("automation", name, "missing", NOT_NAMED)
    set_by_user = () if stands is None or stands.enabled else ("disabled",)
    note = "it is disabled" if set_by_user else ""
    ids = {full_name: each.step.stands.id for full_name, each in deployments.items() if each.step.stands is not None}
    started = {action["deployment"] for action in written["actions"] if "deployment" in action}
    if stands is not None and started <= ids.keys():
        wanted = _automation(written, deployments, ids, notify)
        if _comparable(stands) == _comparable(wanted):
            return Step("automation", name, "kept", note, stands, (), set_by_user)

    async def change() -> None:
        # Deployments that were missing have ids only now.
        made = {full_name: (await client.read_deployment_by_name(full_name)).id for full_name in started}
        automation = _automation(written, deployments, made, notify)
        if stands is None:
            await client.create_automation(automation)
        else:
            await client.update_automation(stands.id, automation.model_copy(update={"enabled": stands.enabled}))

    if stands is None:
        return Step("automation", name, "made", change=change)
    return Step("automation", name, "updated", note, stands, ("trigger, actions or words",), set_by_user, change)


def _notified_by(stands: AutomationCore | None) -> UUID | None:
    """The block that the automation as it stands notifies."""
    actions = [] if stands is None else stands.actions
    return next((found for action in actions if (found := getattr(action, "block_document_id", None))), None)


def _automation(
    written: Mapping[str, Any],
    deployments: Mapping[str, PlannedDeployment],
    ids: Mapping[str, UUID],
    notify: UUID | None,
) -> AutomationCore:
    """The automation of the file, with the server's ids."""
    actions = []
    for action in map(dict, written["actions"]):
        if action.pop("block", None) == NOTIFY:
            action["block_document_id"] = notify
        if (full_name := action.pop("deployment", None)) is not None:
            action |= {"source": "selected", "deployment_id": ids[full_name]}
            if "parameters" in action:
                names = orjson.dumps(deployments[full_name].parameter_names).decode()
                action["parameters"] = _filled_in(action["parameters"], names)
        actions.append(action)
    return AutomationCore.model_validate({**written, "actions": actions})


def _filled_in(value: Any, names: str) -> Any:
    if isinstance(value, dict):
        return {key: _filled_in(each, names) for key, each in value.items()}
    return value.replace("PARAMETERS", names) if isinstance(value, str) else value


def _comparable(automation: AutomationCore) -> Any:
    """All that is in the file's hands; the server gives its triggers ids, and fills in defaults."""
    fields = {"name", "description", "tags", "trigger", "actions"}
    # Not as JSON: sets would become lists in any order.
    return _without_ids(AutomationCore.model_dump(automation, include=fields))


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_ids(each) for key, each in value.items() if key != "id"}
    return [_without_ids(each) for each in value] if isinstance(value, list) else value
