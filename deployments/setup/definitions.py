"""The deployments as prefect.yaml defines them: from the installed package, or from the clone that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from blocks.errors import UsageError

HERE = Path(__file__).parent
DEFINITIONS_FILES = (HERE / "prefect.yaml", HERE.parent.parent / "prefect.yaml")
"""A wheel carries the file beside this module; an editable install runs from the clone."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One deployment; `schedules` are as in the file: slug, cron, timezone, active, parameters."""

    entrypoint: str
    name: str
    description: str
    tags: tuple[str, ...]
    parameters: Mapping[str, Any]
    job_variables: Mapping[str, Any]
    concurrency_limit: int | None = None
    collision_strategy: str | None = None
    schedules: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def full_name(self) -> str:
        """`flow-name/deployment-name`, by the rule that a flow is named like its function."""
        return f"{self.entrypoint.rpartition('.')[2].replace('_', '-')}/{self.name}"


def definitions_file() -> Path:
    """Where the definitions stand.

    Raises:
        UsageError: neither the package nor the clone has them.
    """
    for path in DEFINITIONS_FILES:
        if path.is_file():
            return path
    raise UsageError("this installation of Tagtrail has no prefect.yaml; install it again, from a wheel or a clone")


def read_definitions() -> list[Definition]:
    """All deployments, in the file's order."""
    read = yaml.safe_load(definitions_file().read_text(encoding="utf-8"))
    return [_definition(each) for each in read["deployments"]]


def _definition(each: Mapping[str, Any]) -> Definition:
    limit = each.get("concurrency_limit") or {}
    return Definition(
        entrypoint=each["entrypoint"],
        name=each["name"],
        description=each["description"],
        tags=tuple(each["tags"]),
        parameters=each["parameters"],
        job_variables=each["work_pool"].get("job_variables", {}),
        concurrency_limit=limit.get("limit"),
        collision_strategy=limit.get("collision_strategy"),
        schedules=tuple(each.get("schedules", ())),
    )
