"""All deployments and automations as they are defined: they load, they validate, and nothing changes unseen.

After a change that is meant, `python tests/deployments/setup/test_definitions.py` writes the snapshot anew.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect.events.schemas.automations import AutomationCore
from prefect.flows import load_flow_from_entrypoint
from prefect.server.schemas.schedules import CronSchedule
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from deployments.setup.automations import FILE, read_automations
from deployments.setup.deployments import Definition, definitions_file, read_definitions

ROOT = Path(__file__).parent.parent.parent.parent
SNAPSHOT = Path(__file__).with_name("definitions.yaml")
DEFINITIONS = read_definitions()
BY_NAME = {each.full_name: each for each in DEFINITIONS}

each_deployment = pytest.mark.parametrize("each", DEFINITIONS, ids=lambda each: each.full_name)

NOW = datetime(2026, 3, 1, 12, 1, tzinfo=UTC)

PROMISED = {
    "track-hashtags/manual", "track-hashtags/daily", "track-hashtags/on-request", "collect-imports/sweep",
    "collect-imports/on-callback", "enrich-posts/manual", "resolve-import/manual", "refresh-metrics/daily",
    "report/weekly", "canary/daily", "purge/daily", "import-posts/manual", "import-creators/manual",
}  # fmt: skip

FREE = {"collect-imports/sweep", "report/weekly"}
"""Scheduled deployments that submit nothing: their schedules are active from the start."""

COLLISIONS = {
    "track-hashtags/daily": "ENQUEUE",
    "track-hashtags/on-request": "ENQUEUE",
    "collect-imports/sweep": "CANCEL_NEW",
    "collect-imports/on-callback": "ENQUEUE",
    "refresh-metrics/daily": "CANCEL_NEW",
    "report/weekly": "CANCEL_NEW",
    "canary/daily": "CANCEL_NEW",
    "purge/daily": "CANCEL_NEW",
}
"""A run waits for another only where it carries a request of its own; manual runs are not limited."""


def rendered() -> str:
    """Every definition in full, anchors resolved."""
    deployments = {each.full_name: _plain(dataclasses.asdict(each)) for each in DEFINITIONS}
    automations = {each["name"]: each for each in read_automations()}
    return yaml.safe_dump({"deployments": deployments, "automations": automations}, sort_keys=True, width=120)


def _plain(value: object) -> object:
    return json.loads(json.dumps(value, default=list))


def test_the_definitions_are_those_of_the_snapshot() -> None:
    assert rendered() == SNAPSHOT.read_text(encoding="utf-8"), f"if the change is meant: python {Path(__file__).name}"


def test_all_that_is_promised_is_there_once() -> None:
    assert len(BY_NAME) == len(DEFINITIONS)
    assert BY_NAME.keys() >= PROMISED


@each_deployment
def test_the_entrypoint_loads_as_itself_and_takes_the_parameters(each: Definition) -> None:
    assert re.fullmatch(r"flows\.\w+\.\w+", each.entrypoint)
    flow = load_flow_from_entrypoint(each.entrypoint, use_placeholder_flow=False)
    assert f"{flow.name}/{each.name}" == each.full_name
    schema = parameter_schema(flow)
    for given in ({}, *(schedule.get("parameters", {}) for schedule in each.schedules)):
        parameters = {**each.parameters, **given}
        assert parameters.keys() <= schema.properties.keys()
        # As the server will validate them, and as the run will; what is required may come from the run form.
        validate(parameters, schema.model_dump(), raise_on_error=True, ignore_required=True)
        if parameters.keys() >= set(schema.required):
            flow.validate_parameters(dict(parameters))
    assert each.parameters.keys() >= set(schema.required) or not each.schedules, "a scheduled run would crash"


@each_deployment
def test_description_and_tags(each: Definition) -> None:
    assert each.tags == ("tagtrail",)
    assert each.description.endswith(".")
    assert len(each.description) > 40


@each_deployment
async def test_schedules(each: Definition) -> None:
    slugs = [schedule["slug"] for schedule in each.schedules]
    assert len(set(slugs)) == len(slugs)
    for schedule in each.schedules:
        cron = CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
        [following] = await cron.get_dates(1, start=NOW)
        assert NOW < following <= NOW + timedelta(days=7)
        assert following.astimezone(ZoneInfo(schedule["timezone"])).minute % 10 == 0
        assert schedule["active"] == (each.full_name in FREE), "what can spend waits for the user"


def test_sets_of_hashtags_have_schedules_of_their_own() -> None:
    sets = [
        schedule["parameters"] for schedule in BY_NAME["track-hashtags/daily"].schedules if "parameters" in schedule
    ]
    assert len(sets) >= 2
    assert all(each["hashtags"] and each["max_spend_usd"] > 0 and each["collection"] for each in sets)


@each_deployment
def test_collisions(each: Definition) -> None:
    assert each.collision_strategy == COLLISIONS.get(each.full_name)
    assert (each.concurrency_limit or 0) >= (each.full_name in COLLISIONS)
    if each.collision_strategy == "CANCEL_NEW":
        assert each.concurrency_limit == 1


@each_deployment
def test_the_heartbeat_is_what_the_automation_counts_on(each: Definition) -> None:
    seconds = int(each.job_variables["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    [dead] = [one for one in read_automations() if one["name"] == "Tagtrail: mark dead runs"]
    assert 3 * seconds < dead["trigger"]["within"] < 4 * seconds


def test_no_secret_no_machine_no_block_reference() -> None:
    for text in (path.read_text(encoding="utf-8") for path in (definitions_file(), FILE)):
        assert "prefect.blocks" not in text
        assert not re.search(r"\{\{ *\$", text), "a variable that is not set would stand there as it is"
        assert not re.search(r"(?<![\w*])/(?:home|root|work|tmp|usr|Users|opt|var)\b", text)
        assert not re.search(r"sk-\w|password|api_key|secret", text, flags=re.IGNORECASE)


def test_nothing_is_pulled() -> None:
    # With no word on it Prefect would write this machine's folder into every deployment.
    assert yaml.safe_load(definitions_file().read_text(encoding="utf-8"))["pull"] == []


@pytest.mark.parametrize("written", read_automations(), ids=lambda written: written["name"])
def test_automations_are_prefects_own_format(written: dict[str, object]) -> None:
    actions = []
    for action in written["actions"]:  # type: ignore[attr-defined]
        made = dict(action)
        if made.pop("block", None):
            made["block_document_id"] = "00000000-0000-0000-0000-000000000001"
        if (deployment := made.pop("deployment", None)) is not None:
            assert deployment in BY_NAME
            made["deployment_id"] = "00000000-0000-0000-0000-000000000002"
        actions.append(made)
    parsed = AutomationCore.model_validate({**written, "actions": actions})
    assert parsed.name.startswith("Tagtrail: ")
    assert parsed.enabled


def test_a_crash_never_starts_the_crashed_deployment() -> None:
    for written in read_automations():
        events = json.dumps(written["trigger"])
        started = [action.get("deployment") for action in written["actions"] if action["type"] == "run-deployment"]
        if "prefect.flow-run.Crashed" in events and started:
            assert started == ["collect-imports/sweep"]
            assert '"prefect.resource.name": "!collect-imports"' in events


OTHER_FILES = {
    "blocks/database/migrations/script.py.mako",
    "deployments/cli/prefect_logging.yml",
    "deployments/containers/Dockerfile",
    "deployments/containers/Dockerfile.dockerignore",
    "deployments/containers/compose.yaml",
    "deployments/containers/databases.sql",
    "deployments/containers/entrypoint.py",
    "flows/reporting/page.html.j2",
    "blocks/py.typed",
    "flows/py.typed",
    "deployments/py.typed",
}
"""What a wheel has to bring beside the definitions and the automations; tests run from a clone, and miss nothing."""


@pytest.mark.stack
def test_a_wheel_carries_the_definitions(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    migrations = (ROOT / "blocks" / "database" / "migrations").rglob("*.py")
    assert names >= OTHER_FILES | {str(path.relative_to(ROOT)) for path in migrations}
    assert not [name for name in names if "/secrets/" in name or "__pycache__" in name]
    code = "from deployments.setup.deployments import *; print(definitions_file(), len(read_definitions()))"
    code += "; from deployments.setup.automations import *; print(len(read_automations()))"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "installed", check=True, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    where, count, automations = ran.stdout.split()
    assert Path(where) == tmp_path / "installed" / "deployments" / "setup" / "prefect.yaml"
    assert (int(count), int(automations)) == (len(DEFINITIONS), len(read_automations()))


if __name__ == "__main__":
    SNAPSHOT.write_text(rendered(), encoding="utf-8")
