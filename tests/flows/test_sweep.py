"""What killed, cancelled or halted runs leave behind is taken up by a sweep, and nothing is submitted by it."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.database.store import export, imports, report
from blocks.database.store.filters import Filters
from flows.collect_imports import collect_imports
from flows.resolve_import import resolve_import


async def sweep(weather: Any) -> Any:
    return await weather._run(lambda: collect_imports(return_state=True))


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
    [task] = weather.sandbox.books()["imports"]

    wrong = await resolve_import(doubtful.import_id, "attach", return_state=True)
    assert (wrong.is_failed(), "--attach" in wrong.message) == (True, True)
    decided = await resolve_import(doubtful.import_id[:8], "attach", task["task_id"], return_state=True)
    assert decided.is_completed(), decided.message
    late = await resolve_import(doubtful.import_id, "drop", return_state=True)
    assert "nothing to decide" in late.message

    swept = await sweep(weather)
    assert (swept.outcome, swept.enriched) == ("done", 10)
    assert weather.submissions() == {"hashtag:lvmh": 1}
    with weather.store() as store, store.connect() as conn:
        assert imports.get(conn, doubtful.import_id).state == "complete"


async def test_an_empty_import_is_looked_at_again_when_that_is_due(weather: Any) -> None:
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
            name: sum(line.spent_micros + line.reserved_micros for line in report.spending(conn, name))
            for name in report.collections(conn)
        }
