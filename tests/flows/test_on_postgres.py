"""The chain on a real Postgres gives what it gives on SQLite."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.database.store import export
from blocks.database.store.filters import Filters
from blocks.settings import get_settings

# Ids and times of their own differ from run to run; all else has to be the same.
OWN = {"first_seen_at", "enriched_at", "observed_at", "import_ids", "run_id", "import_id", "task_id", "submitted_at"}
OWN |= {
    "finished_at",
    "age_seconds",
    "target_age",
    "lateness_seconds",
    "posted_at",
    "raw_sha256",
    "created_at",
    "extra",
    "first_at",
    "last_at",
}


def contents(weather: Any) -> dict[str, list[dict[str, Any]]]:
    with weather.store() as store:
        return {
            what: sorted(
                (
                    {key: value for key, value in row.items() if key not in OWN}
                    for row in export.rows(store, what, Filters())
                ),
                key=repr,
            )
            for what in export.COLUMNS
        }


async def test_both_databases_hold_the_same_after_the_same_run(
    weather: Any, postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pseudonyms are by a key that each database has for itself.
    monkeypatch.setenv("TAGTRAIL_COMMENTS", "keep")
    first = await weather.track("LVMH", "dior")
    sqlite = contents(weather)

    url = postgres.migrated().render_as_string(hide_password=False)
    monkeypatch.setenv("TAGTRAIL_DATABASE_URL", url)
    assert get_settings().database_url == url
    second = await weather.track("LVMH", "dior")
    again = await weather.track("lvmh", "Dior")

    assert (first.outcome, second.outcome, again.outcome) == ("done", "done", "done")
    assert second.requested == first.requested
    assert (again.fresh, again.cost_usd) == (second.enriched, 0)
    assert contents(weather) == sqlite


async def test_on_a_postgres_without_the_schema_the_sentence_says_what_to_do(
    weather: Any, postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_DATABASE_URL", postgres.create().render_as_string(hide_password=False))
    summary = await weather.track("LVMH")
    assert summary.outcome == "failed"
    assert "tagtrail db upgrade" in summary.message
    assert weather.submissions() == {}
