"""From a run that does not wait, through the service's callbacks, to enriched posts; a callback is a hint only."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from sqlalchemy import update

from blocks.database.engine import Store, open_store
from blocks.database.store import export, imports, inbox, money
from blocks.database.store.filters import Filters
from blocks.database.store.statements import table_of
from blocks.database.tables import Import
from blocks.memories.callbacks import read_callback
from blocks.settings import get_settings
from deployments.receiver.outbox_relay import PrefectSender
from deployments.receiver.server import Address
from flows.collect_imports import collect_imports
from tests.receiver_server import ReceiverServer

SECRET = "q7Zk2CALLBACKmark9wXv4"


async def collect(weather: Any) -> Any:
    return await weather._run(lambda: collect_imports(return_state=True))


async def until(holds: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.02)


@pytest.fixture
def store(weather: Any) -> Iterator[Store]:
    opened = open_store(get_settings().database_url, create=True)
    yield opened
    opened.close()


@pytest.fixture
def receiver(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A receiver that the service is told of; its log lines."""
    lines: list[str] = []
    address = Address("", f"/hooks/{SECRET}")
    with ReceiverServer(address, store, PrefectSender(), say=lines.append) as server:
        monkeypatch.setenv("TAGTRAIL_CALLBACK_URL", f"http://127.0.0.1:{server.port}/hooks")
        monkeypatch.setenv("TAGTRAIL_CALLBACK_SECRET", SECRET)
        yield lines
    assert SECRET not in "\n".join(lines)


def said(store: Store, import_id: str, status: str) -> None:
    """The receiver's part of a callback about an import."""
    with store.begin() as conn:
        task_id = imports.get(conn, import_id).task_id
        inbox.receive(conn, [read_callback(json.dumps({"taskId": task_id, "status": status}).encode())])


def letters(store: Store) -> list[Any]:
    with store.connect() as conn:
        return list(conn.execute(inbox.inbox.select()))


def row_of(store: Store, import_id: str) -> Any:
    with store.connect() as conn:
        return imports.get(conn, import_id)


def rows(store: Store) -> list[Any]:
    """The ledger."""
    with store.connect() as conn:
        return imports.read(conn)


def posts(store: Store) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in export.rows(store, "posts", Filters()):
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    return counts


async def events_at_prefect(ids: set[str]) -> dict[str, Any]:
    """The events of these ids as the server keeps them."""
    wanted = {"filter": {"id": {"id": sorted(ids)}}, "limit": 50}
    async with get_client() as client:
        found = (await client.request("POST", "/events/filter", json=wanted)).json()["events"]
    return {event["id"]: event for event in found}


async def test_submitted_called_back_collected_and_again_the_same(
    weather: Any, receiver: list[str], store: Store
) -> None:
    weather.play("callbacks-messy")
    left = await weather.track("LVMH", "dior", wait=False)
    assert (left.outcome, left.exit_status, [one.state for one in left.imports]) == ("done", 0, ["submitted"] * 2)
    assert "2 imports under way; the service calls back" in left.message
    assert any("stay reserved" in note for note in left.notes)

    # Both generations, each twice and out of order: one letter for the task, one for each video.
    await until(lambda: len(weather.sandbox.accounting()["callbacks"]) == 2 * (2 * 10 + 4))
    await until(lambda: len(letters(store)) == 2 * (10 + 1))
    assert {entry["status"] for entry in weather.sandbox.accounting()["callbacks"]} <= {200, 202}
    await until(lambda: all(letter.emitted_at is not None for letter in letters(store)))

    collected = await collect(weather)
    assert (collected.outcome, collected.requested, collected.enriched) == ("done", 20, 20)
    assert [one.state for one in collected.imports] == ["complete"] * 2
    assert all(letter.handled_at is not None for letter in letters(store))
    assert posts(store) == {"enriched": 20}
    assert weather.submissions() == {"hashtag:lvmh": 1, "hashtag:dior": 1}

    again = await weather.track("LVMH", "dior", wait=False)
    assert (again.outcome, again.enriched, again.fresh) == ("done", 20, 20)
    once_more = await collect(weather)
    assert (once_more.requested, once_more.imports) == (0, [])
    assert weather.submissions() == {"hashtag:lvmh": 1, "hashtag:dior": 1}
    assert set(weather.bought().values()) == {1}
    assert (posts(store), len(letters(store))) == ({"enriched": 20}, 22)

    ids = {letter.event_id for letter in letters(store)}
    end = time.monotonic() + 60
    while (found := await events_at_prefect(ids)).keys() != ids and time.monotonic() < end:
        await asyncio.sleep(0.5)
    assert found.keys() == ids
    names = [event["event"] for event in found.values()]
    assert (names.count("tagtrail.import.succeeded"), names.count("tagtrail.video.indexed")) == (2, 20)
    shown = json.dumps(list(found.values()))
    assert SECRET not in shown
    assert {event["resource"]["prefect.resource.id"] for event in found.values()} == {
        f"tagtrail.import.{one.import_id}" for one in left.imports
    }


async def test_success_makes_the_quiet_time_short(
    weather: Any, receiver: list[str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_IMPORT_QUIET_SECONDS", "20")
    monkeypatch.setenv("TAGTRAIL_IMPORT_DEADLINE_SECONDS", "60")
    weather.play("few-posts")
    summary = await weather.track("LVMH")
    assert (summary.outcome, summary.enriched) == ("done", 7)
    row = row_of(store, summary.imports[0].import_id)
    assert (row.state, row.seen, row.requested) == ("complete", 7, 10)
    assert (row.finished_at - row.last_new_at).total_seconds() < 20
    assert (await weather.track("LVMH")).enriched == 7


async def test_a_failure_ends_the_wait_and_not_the_import(
    weather: Any, receiver: list[str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_IMPORT_QUIET_SECONDS", "0.5")
    monkeypatch.setenv("TAGTRAIL_IMPORT_DEADLINE_SECONDS", "600")
    weather.play("callbacks-failed")
    summary = await weather.track("LVMH")
    [told] = summary.imports
    assert (summary.outcome, summary.exit_status, told.state) == ("attention", 3, "empty")
    assert "the service called back that it failed" in (told.note or "")
    row = row_of(store, told.import_id)
    assert (row.next_look_at - row.finished_at).total_seconds() == 3600
    assert (await collect(weather)).imports == [], "the first look is due after an hour"

    again = await weather.track("LVMH")
    assert ([one.state for one in again.imports], weather.submissions()) == (["empty"], {"hashtag:lvmh": 1})


async def test_what_comes_after_a_failure_is_collected_and_paid_for(
    weather: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_IMPORT_QUIET_SECONDS", "0.3")
    monkeypatch.setenv("TAGTRAIL_IMPORT_DEADLINE_SECONDS", "600")
    weather.play("default", first_item_seconds=1e6)
    tracking = asyncio.create_task(weather.track("LVMH"))
    await until(lambda: any(row.state == "submitted" for row in rows(store)))
    [row] = rows(store)
    said(store, row.import_id, "FAILED")
    summary = await tracking
    assert [one.state for one in summary.imports] == ["empty"]
    with store.connect() as conn:
        assert money.totals(conn, summary.run_id).open_micros > 0, "held until the last look"

    weather.sandbox.advance(2e6)
    with store.begin() as conn:
        conn.execute(update(table_of(Import)).values(next_look_at=row.submitted_at))
    later = await collect(weather)
    assert (later.outcome, later.enriched, [one.state for one in later.imports]) == ("done", 10, ["complete"])
    with store.connect() as conn:
        bought = [line for line in money.totals(conn, summary.run_id).lines if line.kind == "import"]
    assert [(line.calls, line.open_micros) for line in bought] == [(10, 0)]
    again = await weather.track("LVMH")
    assert (again.outcome, again.enriched, weather.submissions()) == ("done", 10, {"hashtag:lvmh": 1})
    assert (await collect(weather)).imports == []


async def test_success_after_the_end_brings_the_rest(
    weather: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_IMPORT_QUIET_SECONDS", "0.3")
    weather.play("fills-late", pause_seconds=1e5)
    [early] = (await weather.track("LVMH")).imports
    assert (early.state, early.seen) == ("complete", 3)
    weather.sandbox.advance(2e5)
    assert (await collect(weather)).imports == []

    said(store, early.import_id, "SUCCEEDED")
    rest = await collect(weather)
    assert (rest.outcome, rest.enriched, rest.fresh, [one.seen for one in rest.imports]) == ("done", 10, 3, [10])
    assert row_of(store, early.import_id).state == "complete"
    with store.connect() as conn:
        imported = [
            line for line in money.totals(conn, row_of(store, early.import_id).run_id).lines if line.kind == "import"
        ]
        assert [(line.calls, line.open_micros) for line in imported] == [(10, 0)]
    said(store, early.import_id, "SUCCEEDED")
    assert (await collect(weather)).imports == []
    assert posts(store) == {"enriched": 10}


async def test_what_comes_while_a_run_is_under_way_is_taken_up_by_it(
    weather: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_IMPORT_DEADLINE_SECONDS", "60")
    weather.play("default", first_item_seconds=1e6)
    await weather.track("LVMH", wait=False)
    collecting = asyncio.create_task(collect(weather))
    await until(lambda: any(row.lease_owner for row in rows(store)))
    weather.play("default")
    [second] = (await weather.track("dior", wait=False)).imports
    await until(lambda: row_of(store, second.import_id).state == "complete")
    assert not collecting.done()
    weather.sandbox.advance(2e6)
    summary = await collecting
    assert (summary.outcome, summary.enriched, len(summary.imports)) == ("done", 20, 2)
    assert (await collect(weather)).requested == 0
    assert posts(store) == {"enriched": 20}


async def test_an_import_that_a_living_run_follows_is_left_to_it(
    weather: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.steps.run.lease_health.HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setenv("TAGTRAIL_IMPORT_DEADLINE_SECONDS", "60")
    weather.play("default", first_item_seconds=1e6)
    following = asyncio.create_task(weather.track("LVMH"))
    await until(lambda: any(row.lease_owner and row.state == "submitted" for row in rows(store)))
    swept = await collect(weather)
    assert (swept.outcome, swept.imports, swept.requested) == ("done", [], 0)
    assert not following.done()
    weather.sandbox.advance(2e6)
    assert (await following).enriched == 10
    assert (await collect(weather)).requested == 0
    assert posts(store) == {"enriched": 10}
