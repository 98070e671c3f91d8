"""What killed, cancelled or halted runs leave behind is taken up by a sweep, and nothing is submitted by it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from blocks.database.store import export, filters, imports, report
from blocks.database.store.filters import Filters
from flows.collect_imports import collect_imports
from flows.resolve_import import resolve_import


async def sweep(weather: Any, **more: Any) -> Any:
    return await weather._run(lambda: collect_imports(**more, return_state=True))


async def test_items_without_a_url_are_looked_at_again_at_no_cost(weather: Any) -> None:
    weather.play("ids-only")
    first = await weather.track("LVMH", collection="fashion")
    assert (first.enriched, first.failures) == (0, {"ItemWithoutUrl": 10})
    looked_at = [first.imports[0].import_id, "no-such-import"]
    still = await sweep(weather, look_again_at=looked_at)
    assert (still.requested, still.cost_usd) == (0, 0)
    assert any("no-such-import is not polled again" in note for note in still.notes)
    assert len(open_failures(weather)) == 10
    assert all(f"import {looked_at[0]} listed item VI" in row["message"] for row in open_failures(weather))

    weather.play("default")
    again = await sweep(weather, look_again_at=looked_at)
    assert (again.outcome, again.requested, again.enriched, again.cost_usd) == ("done", 10, 10, 0.1)
    assert open_failures(weather) == []
    assert spent(weather) == {"fashion": 200_000}
    assert weather.submissions() == {"hashtag:lvmh": 1}
    once_more = await sweep(weather, look_again_at=looked_at)
    assert (once_more.requested, once_more.cost_usd) == (0, 0)
    with weather.store() as store:
        found = list(export.rows(store, "posts", Filters()))
    assert [(row["status"], row["collections"]) for row in found] == [("enriched", ["fashion"])] * 10


def open_failures(weather: Any) -> list[dict[str, Any]]:
    with weather.store() as store:
        return [row for row in export.rows(store, "failures", Filters()) if row["resolved_at"] is None]


async def test_a_run_that_does_not_wait_is_collected_by_the_sweep(weather: Any) -> None:
    left = await weather.track("LVMH", wait=False)
    assert (left.outcome, [one.state for one in left.imports]) == ("done", ["submitted"])
    assert "1 import under way; the sweep" in left.message

    swept = await sweep(weather)
    assert (swept.outcome, swept.enriched, swept.pending) == ("done", 10, 0)
    assert [one.state for one in swept.imports] == ["complete"]
    assert swept.collection is None
    assert weather.submissions() == {"hashtag:lvmh": 1}

    again = await sweep(weather)
    assert (again.outcome, again.requested, again.imports) == ("done", 0, [])
    with weather.store() as store:
        assert {row["collections"][0] for row in export.rows(store, "posts", Filters())} == {"default"}


async def test_posts_of_a_halted_run_are_enriched_by_the_sweep(weather: Any) -> None:
    weather.play("credits-gone")
    halted = await weather.track("LVMH", "dior")
    assert halted.outcome == "halted"
    weather.play("default")
    swept = await sweep(weather)
    assert (swept.outcome, swept.failed, swept.pending) == ("done", 0, 0)
    with weather.store() as store:
        statuses = [row["status"] for row in export.rows(store, "posts", Filters())]
    assert statuses == ["enriched"] * 20
    assert set(weather.bought().values()) == {1}


async def test_an_import_in_doubt_is_left_alone_until_somebody_decides(weather: Any) -> None:
    weather.play("submit-dropped")
    doubtful = (await weather.track("LVMH")).imports[0]
    assert (await sweep(weather)).imports == []
    [task] = weather.sandbox.accounting()["imports"]

    wrong = await resolve_import(doubtful.import_id, "attach", return_state=True)
    assert (wrong.is_failed(), "--attach" in wrong.message) == (True, True)
    for task_id in ("mistyped", task["task_id"]):
        decided = await resolve_import(doubtful.import_id[:8], "attach", task_id, return_state=True)
        assert decided.is_completed(), decided.message

    swept = await sweep(weather)
    assert (swept.outcome, swept.enriched) == ("done", 10)
    late = await resolve_import(doubtful.import_id, "drop", return_state=True)
    assert "nothing to decide" in late.message
    assert weather.submissions() == {"hashtag:lvmh": 1}
    with weather.store() as store, store.connect() as conn:
        assert imports.get(conn, doubtful.import_id).state == "complete"


async def test_an_empty_import_is_looked_at_again_when_that_is_due(
    weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_IMPORT_DEADLINE_SECONDS", "0.4")
    weather.play("never-fills")
    empty = (await weather.track("LVMH")).imports[0]
    assert (await sweep(weather)).imports == [], "the first look is due after an hour"
    with weather.store() as store, store.connect() as conn:
        row = imports.get(conn, empty.import_id)
    assert row.next_look_at is not None
    assert row.finished_at is not None
    assert (row.next_look_at - row.finished_at).total_seconds() == 3600


async def test_what_a_sweep_buys_is_paid_by_the_collection_that_found_it(
    weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_MAX_SPEND_USD_PER_COLLECTION", "0.13")
    await weather.track("LVMH", collection="fashion", wait=False)
    await weather.track("dior", posts_per_hashtag=3, collection="scent", wait=False)
    # 0.10 of fashion's 0.13 go to its import, and so its cap is reached after three posts; scent's is not.
    swept = await sweep(weather)
    assert (swept.outcome, swept.halted_because, swept.exit_status) == ("attention", None, 3)
    assert (swept.enriched, swept.pending) == (6, 7)
    assert any("collection fashion" in note and "its posts stay pending" in note for note in swept.notes)
    assert spent(weather) == {"fashion": 130_000, "scent": 60_000}
    again = await sweep(weather)
    assert (again.outcome, again.enriched, again.pending, again.cost_usd) == ("attention", 0, 7, 0)

    monkeypatch.setenv("TAGTRAIL_MAX_SPEND_USD_PER_COLLECTION", "1")
    rest = await sweep(weather)
    assert (rest.outcome, rest.enriched, rest.pending) == ("done", 7, 0)
    assert spent(weather) == {"fashion": 200_000, "scent": 60_000}
    assert set(weather.bought().values()) == {1}


def spent(weather: Any) -> dict[str, int]:
    """Millionths of a US dollar by collection, as the reports tell them."""
    with weather.store() as store, store.connect() as conn:
        return {
            name: sum(
                line.spent_micros + line.open_micros
                for line in report.spending(conn, name, None, datetime(9999, 1, 1, tzinfo=UTC))
            )
            for name in filters.collections(conn)
        }


async def test_a_short_import_is_looked_at_again_and_only_what_is_new_is_bought(
    weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_IMPORT_QUIET_SECONDS", "0.3")
    weather.play("fills-late")
    short = await weather.track("lvmh", collection="fashion")
    assert (short.outcome, short.enriched) == ("done", 3)
    weather.sandbox.advance(1200)
    assert (await sweep(weather)).requested == 0, "the first look is due after an hour"

    def an_hour_passes() -> None:
        with weather.store() as store, store.begin() as conn:
            for column in ("next_look_at", "finished_at"):
                earlier = f"UPDATE imports SET {column} = datetime({column}, '-61 minutes') || '.000000'"
                conn.exec_driver_sql(earlier)

    an_hour_passes()
    # What was measured is by now too old to be fresh, and is not bought again all the same.
    late = await sweep(weather, max_age_hours=0)
    assert (late.outcome, late.requested, late.enriched, late.cost_usd) == ("done", 7, 7, pytest.approx(0.07))
    assert any("had ended short, and lists 7 more posts by now" in note for note in late.notes)
    assert set(weather.bought().values()) == {1}
    assert spent(weather) == {"fashion": 200_000}
    an_hour_passes()
    assert (await sweep(weather)).requested == 0, "it lists all by now"
    assert weather.submissions() == {"hashtag:lvmh": 1}
