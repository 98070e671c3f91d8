"""The settings of a stack, as variables, say to its processes what they say here."""

from __future__ import annotations

import pytest

from blocks.settings import Settings, get_settings
from deployments.stack.environment import of_settings

CHOSEN = {
    "MEMORIES_API_KEY": "sk-invented", "MEMORIES_V1_BASE_URL": "http://127.0.0.1:1/v1",
    "MEMORIES_V2_BASE_URL": "http://127.0.0.1:1/v2", "TAGTRAIL_DATABASE_URL": "sqlite:///x.db",
    "TAGTRAIL_SNAPSHOT_AGES": "90m,6h,4d", "TAGTRAIL_CHANNEL_ORDER": "rapid,apify", "TAGTRAIL_COMMENTS": "drop",
    "TAGTRAIL_MAX_SPEND_USD_PER_RUN": "none", "TAGTRAIL_MAX_SPEND_USD_PER_DAY": "2.5",
    "TAGTRAIL_MAX_SPEND_USD_PER_COLLECTION": "none", "TAGTRAIL_RETENTION_DAYS": "90",
    "TAGTRAIL_PRICES": '{"metadata": {"youtube/rapid": 0.02}}', "TAGTRAIL_CALLBACK_URL": "https://h.example/t",
    "TAGTRAIL_CALLBACK_SECRET": "not-to-be-guessed-by-anybody", "TAGTRAIL_ACCOUNT": "fibres",
    "TAGTRAIL_REPORTS_URL": "https://reports.example/", "TAGTRAIL_TRENDING_TIMES": "20,200",
}  # fmt: skip


@pytest.mark.parametrize("ages", ["90m,6h,4d", "none"])
def test_every_setting_reaches_the_processes_as_it_was_chosen(monkeypatch: pytest.MonkeyPatch, ages: str) -> None:
    for name, value in (CHOSEN | {"TAGTRAIL_SNAPSHOT_AGES": ages}).items():
        monkeypatch.setenv(name, value)
    # All others are set to another number than their default.
    for name, field in Settings.model_fields.items():
        if name.upper() not in CHOSEN and isinstance(field.default, int | float):
            monkeypatch.setenv(name.upper(), str(field.default + 1))
    chosen = get_settings()
    assert chosen.model_fields_set == set(Settings.model_fields)
    for name, value in of_settings(chosen).items():
        monkeypatch.setenv(name, value)
    told = get_settings()
    assert {**told.model_dump(), "tagtrail_home": chosen.home} == {**chosen.model_dump(), "tagtrail_home": chosen.home}
