"""What a run tells Prefect at its end: each event once, with counts and ids; a server that is away changes nothing."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from prefect.assets import Asset, materialize
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.settings import get_settings
from flows.steps.prefect_side import events
from flows.steps.run.summary import ImportSummary, RunSummary

SEEN_SECONDS = 60.0
"""How long an event may take to be stored; Prefect's server writes them in batches."""


KINDS = (
    events.IMPORT_COMPLETED, events.RUN_COMPLETED, events.RUN_HALTED, events.POSTS_FAILED, events.MATERIALIZED,
)  # fmt: skip


async def stored(run_id: str, *, until: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """The events of a run that the server has, once they are what is waited for."""
    deadline = time.monotonic() + SEEN_SECONDS
    async with get_client() as client:
        while True:
            answer = await client._client.post(
                "/events/filter", json={"filter": {"event": {"name": list(KINDS)}}, "limit": 50}
            )
            found = [one for one in answer.json()["events"] if one["payload"]["run_id"] == run_id]
            if until(found) or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.2)


def ended(found: list[dict[str, Any]]) -> bool:
    """A run's own event is the last that it sends."""
    return any(one["event"] == events.RUN_COMPLETED for one in found)


def by_kind(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in found if one["event"] == kind]


def roles(event: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in event["related"]:
        found.setdefault(one["prefect.resource.role"], []).append(one["prefect.resource.id"])
    return found


def check_run(event: dict[str, Any], summary: RunSummary) -> None:
    """The event of a run that followed two hashtags."""
    assert event["resource"] == {"prefect.resource.id": f"tagtrail.run.{summary.run_id}"}
    payload = event["payload"]
    assert {name: payload[name] for name in events.COUNTS} == summary.model_dump(
        mode="json", include=set(events.COUNTS)
    )
    assert {one["state"] for one in payload["imports"]} == {"complete"}
    about = roles(event)
    assert about["collection"] == ["tagtrail.collection.houses"]
    assert about["hashtag"] == ["tagtrail.hashtag.dior", "tagtrail.hashtag.lvmh"]


def tables(weather: Any) -> dict[str, int]:
    """Rows of the tables, by the keys of their assets."""
    with weather.store() as store, store.connect() as conn:
        return {
            f"tagtrail://default/{table}": conn.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            for table in ("posts", "snapshots", "creators", "comments")
        }


def private_texts(weather: Any) -> list[str]:
    """What no event may hold: captions, people's names, the key, the address of the service, the database's path."""
    with weather.store() as store, store.connect() as conn:
        rows = conn.exec_driver_sql("SELECT caption, author_username, author_name FROM posts").all()
    people = [text for row in rows for text in row if text]
    assert len(people) > 20
    return [*people, get_settings().memories_api_key.get_secret_value(), weather.sandbox.url, "tagtrail.db"]


async def test_every_end_is_announced_once_with_its_numbers(weather: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One test for all kinds of ends: the server stores events every five seconds, which is waited for once."""
    first = await weather.track("LVMH", "dior", collection="houses")
    texts = private_texts(weather)
    held = tables(weather)
    again = await weather.track("lvmh", "Dior", collection="houses")
    # As if the same run had ended once more, and once more in another way.
    events.run_ended(first, None)
    events.run_ended(first.model_copy(update={"outcome": "attention"}), None)
    weather.play("unknown-shape")
    odd = await weather.track("gucci")
    weather.play("never-fills")
    with monkeypatch.context() as patch:
        patch.setenv("TAGTRAIL_IMPORT_DEADLINE_SECONDS", "0.4")
        empty = await weather.track("chanel")
    weather.play("default")
    halted = await weather.track("prada", max_spend_usd=0.14)
    weather.play("permission-denied")
    refused = await weather.track("fendi")
    await stored(refused.run_id, until=ended)

    found = await stored(first.run_id, until=lambda now: len(by_kind(now, events.RUN_COMPLETED)) == 2)
    assert Counter(one["event"] for one in found) == {
        events.IMPORT_COMPLETED: 2,
        events.MATERIALIZED: 4,
        events.RUN_COMPLETED: 2,
    }
    run, other = by_kind(found, events.RUN_COMPLETED)
    if run["payload"]["outcome"] != "done":
        run, other = other, run
    assert (run["payload"]["outcome"], other["payload"]["outcome"]) == ("done", "attention")
    check_run(run, first)
    for one in by_kind(found, events.IMPORT_COMPLETED):
        counts = {name: one["payload"][name] for name in ("state", "requested", "seen", "new", "known")}
        assert counts == {"state": "complete", "requested": 10, "seen": 10, "new": 10, "known": 0}
        assert one["resource"]["prefect.resource.id"] == f"tagtrail.import.{one['payload']['import_id']}"
        assert len(roles(one)["hashtag"]) == 1
    assert {
        one["resource"]["prefect.resource.id"]: one["payload"]["rows"] for one in by_kind(found, events.MATERIALIZED)
    } == held
    said = json.dumps(found)
    assert not [text for text in texts if text in said]

    found = await stored(again.run_id, until=ended)
    assert [one["event"] for one in found] == [events.RUN_COMPLETED], "nothing was imported or written anew"

    found = await stored(odd.run_id, until=ended)
    [failed] = by_kind(found, events.POSTS_FAILED)
    assert (failed["payload"]["error_class"], failed["payload"]["count"]) == ("UnknownShape", odd.failed)

    found = await stored(empty.run_id, until=ended)
    [of_import] = by_kind(found, events.IMPORT_COMPLETED)
    assert (of_import["payload"]["state"], of_import["payload"]["seen"]) == ("empty", 0)
    assert by_kind(found, events.MATERIALIZED) == []

    found = await stored(halted.run_id, until=ended)
    [halt] = by_kind(found, events.RUN_HALTED)
    assert halt["payload"]["error_class"] == "SpendCapReached"
    assert halt["payload"]["reason"] == halted.halted_because
    [end] = by_kind(found, events.RUN_COMPLETED)
    assert (end["payload"]["outcome"], end["payload"]["exit_status"]) == ("halted", 4)

    found = await stored(refused.run_id, until=ended)
    [of_import] = by_kind(found, events.IMPORT_COMPLETED)
    assert of_import["payload"]["state"] == "failed"
    [end] = by_kind(found, events.RUN_COMPLETED)
    assert (end["payload"]["outcome"], end["payload"]["exit_status"]) == ("failed", 1)


def test_a_server_that_is_away_or_missing_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def send(*_: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(EventsWorker, "instance", classmethod(lambda _: pytest.fail("nobody is to be told")))
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        events.announce("tagtrail.test", resource_id="tagtrail.test", payload={})
    monkeypatch.setattr(events, "emit_event", send)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        events.announce("tagtrail.test", resource_id="tagtrail.test", payload={})


def test_gaps_and_holds_are_told_as_events(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(events, "announce", lambda event, *, payload, **_: told.append((event, payload)))
    at = datetime(2026, 3, 1, tzinfo=UTC)
    of = {"task_id": "t", "kind": "hashtag", "hashtag": "moss", "how": "submitted", "state": "complete"}
    counts = {"requested": 5, "seen": 5, "new": 5, "known": 0, "planned_at": at}
    imports = [ImportSummary(import_id=str(shared), overlap=shared, **of, **counts) for shared in (None, 0, 3)]
    summary = RunSummary(
        run_id="r", flow="track-hashtags", outcome="done", message="", imports=imports, started_at=at, finished_at=at
    )
    events.run_ended(summary, None)
    assert "tagtrail.run.held" not in dict(told)
    [gap] = [payload for event, payload in told if event == "tagtrail.import.gap"]
    assert (gap["import_id"], gap["hashtag"], gap["run_id"]) == ("0", "moss", "r")
    events.run_ended(summary.model_copy(update={"outcome": "cancelled", "held": 3}), None)
    held = dict(told)["tagtrail.run.held"]
    assert (held["posts"], held["imports"], held["run_id"]) == (3, 0, "r")


def test_an_asset_is_named_by_its_database_never_by_a_path() -> None:
    assert events.asset_key("default", "posts") == "tagtrail://default/posts"
    for name in ("brand data #1", "äöü"):
        Asset(key=events.asset_key(name, "posts"))


@pytest.mark.usefixtures("prefect_server")
async def test_our_asset_events_are_like_prefect_s_own() -> None:
    from prefect import flow

    @materialize("tagtrail://own/posts", persist_result=False)
    async def store() -> None:
        from prefect.assets import add_asset_metadata

        add_asset_metadata("tagtrail://own/posts", {"run_id": "by prefect", "rows": 3})

    @flow(persist_result=False)
    async def both() -> None:
        await store()
        events.announce(
            events.MATERIALIZED,
            resource_id="tagtrail://own/posts",
            payload={"run_id": "by us", "rows": 3},
        )

    await both()
    [theirs], [ours] = [await stored(who, until=bool) for who in ("by prefect", "by us")]
    assert ours["event"] == theirs["event"]
    assert ours["resource"] == theirs["resource"]
