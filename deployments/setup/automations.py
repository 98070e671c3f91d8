"""Automations on the server: made from the files in `deployments/automations`, and brought up to date."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import orjson
import yaml
from prefect.client.orchestration import PrefectClient
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound

from blocks.errors import UsageError
from deployments.setup.steps import Step

FOLDER: Final = Path(__file__).parent.parent / "automations"

NOTIFY: Final = "notify"
"""In a file, `block: notify` stands for the notification block that the user named."""

NOT_NAMED: Final = "no notification block was named; `tagtrail setup --notify slack-webhook/NAME` makes it"


def read_automations() -> list[dict[str, Any]]:
    """All automations as their files have them: Prefect's own format, but for names where the server has ids.

    `deployment: flow/name` stands for `deployment_id`, `block: notify` for `block_document_id`, and PARAMETERS in a
    template for the names of the started flow's parameters.
    """
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yaml"))]


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


async def ensure_automations(client: PrefectClient, *, notify: UUID | None) -> list[Step]:
    """Make every automation, or bring it up to date; whether it is enabled stays as the user set it.

    `notify`: the block to be told of failures; None leaves the automation for it as it is.
    """
    return [await _ensure(client, written, notify) for written in read_automations()]


async def _ensure(client: PrefectClient, written: Mapping[str, Any], notify: UUID | None) -> Step:
    name = str(written["name"])
    stands = next(iter(await client.read_automations_by_name(name)), None)
    if any(action.get("block") == NOTIFY for action in written["actions"]):
        notify = notify or _told_by(stands)
        if notify is None:
            return Step("automation", name, "missing", NOT_NAMED)
    actions = [await _with_ids(client, action, notify) for action in written["actions"]]
    wanted = AutomationCore.model_validate({**written, "actions": actions})
    if stands is None:
        await client.create_automation(wanted)
        return Step("automation", name, "made")
    note = "" if stands.enabled else "it is disabled"
    if _comparable(stands) == _comparable(wanted):
        return Step("automation", name, "kept", note)
    await client.update_automation(stands.id, wanted.model_copy(update={"enabled": stands.enabled}))
    return Step("automation", name, "updated", note)


def _told_by(stands: AutomationCore | None) -> UUID | None:
    """The block that the automation as it stands tells."""
    actions = [] if stands is None else stands.actions
    return next((found for action in actions if (found := getattr(action, "block_document_id", None))), None)


async def _with_ids(client: PrefectClient, action: Mapping[str, Any], notify: UUID | None) -> dict[str, Any]:
    made = dict(action)
    if made.pop("block", None) == NOTIFY:
        made["block_document_id"] = notify
    if (full_name := made.pop("deployment", None)) is not None:
        deployment = await client.read_deployment_by_name(full_name)
        made |= {"source": "selected", "deployment_id": deployment.id}
        if "parameters" in made:
            schema = deployment.parameter_openapi_schema or {}
            names = orjson.dumps(sorted(schema.get("properties", {}))).decode()
            made["parameters"] = _filled_in(made["parameters"], names)
    return made


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
