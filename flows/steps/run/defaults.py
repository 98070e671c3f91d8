"""Settings of the machine that runs a flow, where the flow's parameter was left as it is in the signature."""

from __future__ import annotations

from typing import Any

from blocks.settings import Settings
from flows.steps.run.request import RunRequest

_LEFT = {name: field.default for name, field in RunRequest.model_fields.items()}


def by_settings(request: RunRequest, settings: Settings) -> RunRequest:
    """The request with the settings' cap and ages for those parameters that have their default.

    A form or a deployment cannot leave a parameter out, so that nobody can tell a default from the same number that
    was typed: for the cap the smaller of the two holds.
    """
    cap = settings.tagtrail_max_spend_usd_per_run
    decided: dict[str, Any] = {}
    if request.max_spend_usd == _LEFT["max_spend_usd"] and cap is not None:
        decided["max_spend_usd"] = min(request.max_spend_usd, cap)
    if request.max_age_hours == _LEFT["max_age_hours"]:
        decided["max_age_hours"] = settings.tagtrail_max_age_hours
    if request.reuse_hours == _LEFT["reuse_hours"]:
        decided["reuse_hours"] = settings.tagtrail_import_reuse_hours
    return request.changed(**decided)
