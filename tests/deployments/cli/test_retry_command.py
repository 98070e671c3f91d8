"""`retry` of what is no post, before it runs and instead: what it asks for, what it says, and what it closes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.database.store import failures
from blocks.database.store.failures import GivenUp
from blocks.settings import Settings
from deployments.cli.commands import retry
from deployments.cli.running import failed_posts
from deployments.cli.servers import PrefectServer
from flows.collect_imports import collect_imports
from flows.steps.run.summary import RunSummary

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FAILED = "https://www.tiktok.com/@loom.3/video/7500000000000000003"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The flows that were called, with their parameters; none is really run."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def run_flow(entrypoint: str, parameters: dict[str, Any], **_: object) -> RunSummary:
        calls.append((entrypoint, parameters))
        return RunSummary(run_id="r", flow="f", outcome="done", message="all is well", started_at=NOW, finished_at=NOW)

    def connect(settings: Settings) -> tuple[PrefectServer, Settings]:
        return PrefectServer("nowhere"), settings

    monkeypatch.setattr(retry, "run_flow", run_flow)
    monkeypatch.setattr(retry, "connect", connect)
    monkeypatch.setenv("MEMORIES_API_KEY", "sk-invented")
    return calls


def unnamed(number: int, **more: Any) -> GivenUp:
    return GivenUp(
        item_key=f"i1/no:VI{number}", stage="identify", error_class="ItemWithoutUrl", attempts=0, import_id="i1",
        message=f"import i1 listed item VI{number} without a URL, so that there is no post to enrich", run_id="r1",
        **more,
    )  # fmt: skip


@pytest.fixture
def nameless(home_store: Store) -> Store:
    """Two items of one import without a URL, and one with a URL that names no post."""
    odd = GivenUp(
        item_key="i1/url:ab", stage="identify", error_class="NotAPostUrl", message="no post", attempts=0,
        url="https://example.com/x", import_id="i1", run_id="r1",
    )  # fmt: skip
    with home_store.begin() as conn:
        failures.give_up(conn, [unnamed(1), unnamed(2), odd], NOW)
    return home_store


def open_items(store: Store) -> list[str]:
    with store.connect() as conn:
        return [row.item_key for row in failures.find(conn)]


def test_imports_of_items_without_a_url_are_polled_again(
    tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]], nameless: Store
) -> None:
    called = tagtrail("retry", "--channel", "rapid", "--max-spend", "1")
    assert called.status == 3
    assert asked == [
        (
            "flows.collect_imports:collect_imports",
            {"channel": "rapid", "max_spend_usd": 1.0, "max_age_hours": 12, "look_again_at": ["i1"]},
        )
    ]
    assert asked[0][1].keys() <= inspect.signature(collect_imports.fn).parameters.keys()
    assert "Listed without a URL: 2 items of 1 import, polled once more, which costs nothing" in called.err
    assert "Listed with a URL that names no post: 1 item; `tagtrail retry --close` gives them up." in called.err
    assert "Still without a URL: 2 of 2 items; `tagtrail retry --close` gives them up." in called.err
    assert "no failed post" not in called.err
    assert "Estimate" not in called.err


def test_what_is_named_by_the_look_is_done(
    tagtrail: Callable[..., Any],
    asked: list[tuple[str, dict[str, Any]]],
    nameless: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_flow = retry.run_flow

    def names(*given: Any, **more: Any) -> RunSummary:
        with nameless.begin() as conn:
            failures.resolve(conn, ["i1/no:VI1", "i1/no:VI2"], NOW)
        return run_flow(*given, **more)

    monkeypatch.setattr(retry, "run_flow", names)
    called = tagtrail("retry", "--error", "ItemWithoutUrl", "--json")
    assert (called.status, [one["message"] for one in called.json]) == (0, ["all is well"])
    assert "Still without" not in called.err
    assert len(asked) == 1


def test_what_names_no_post_can_only_be_closed(
    tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]], nameless: Store
) -> None:
    called = tagtrail("retry", "--error", "NotAPostUrl")
    assert called.status == 0
    assert "There is no failed post to take up again." in called.err
    assert "names no post: 1 item" in called.err
    assert tagtrail("retry", "--close", "--dry-run").out == (
        "Would be closed: 3 failures of listed items that name no post.\n"
    )
    assert len(open_items(nameless)) == 3
    closed = tagtrail("retry", "--close", "--error", "NotAPostUrl")
    assert closed.out == "Closed: 1 failure of listed items that name no post.\n"
    assert open_items(nameless) == ["i1/no:VI1", "i1/no:VI2"]
    assert tagtrail("retry", "--close", "--json").json == {"dry_run": False, "closed": 2}
    assert tagtrail("retry", "--close", "--json").json == {"dry_run": False, "closed": 0}
    assert asked == []


def test_close_leaves_failed_posts_alone(
    tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]], filled: Store
) -> None:
    assert tagtrail("retry", "--close").out == "Closed: 0 failures of listed items that name no post.\n"
    assert len(open_items(filled)) == 1
    assert asked == []


def test_a_dry_run_tells_what_would_be_taken_up(
    tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]], filled: Store
) -> None:
    with filled.begin() as conn:
        failures.give_up(conn, [unnamed(1)], NOW)
    out = tagtrail("retry", "--dry-run").out
    assert out.startswith("1 post by URL, without an import.\nMetadata: up to 0.01 USD through apify")
    assert "By collection: fibres 1.\nListed without a URL: 1 item of 1 import, polled once more" in out
    assert out.endswith("Nothing was called.\n")
    told = tagtrail("retry", "--dry-run", "--json").json
    assert (told["urls"], told["total_usd"], told["collections"]) == (1, 0.01, {"fibres": 1})
    assert (told["items_without_url"], told["imports_to_poll"], told["items_naming_no_post"]) == (1, ["i1"], 0)
    out = tagtrail("retry", "--dry-run", "--error", "ItemWithoutUrl").out
    assert out.startswith("There is no failed post to take up again.\nListed without a URL: 1 item")
    assert tagtrail("retry", "--dry-run", "--error", "NoAnswer", "--json").json["posts"] == 0
    assert asked == []
    assert len(open_items(filled)) == 2


def test_the_cost_is_told_before_the_run(
    tagtrail: Callable[..., Any], asked: list[tuple[str, dict[str, Any]]], filled: Store
) -> None:
    assert "Estimate: up to 0.01 USD by the price table (0.01 for metadata).\n" in tagtrail("retry").err
    assert [parameters["urls"] for _, parameters in asked] == [[FAILED]]


def test_an_item_without_a_url_is_named_by_its_import_and_number(nameless: Store) -> None:
    ended = RunSummary(
        run_id="r1", flow="f", outcome="attention", message="m", failed=3, started_at=NOW, finished_at=NOW
    )
    first, second, odd = failed_posts(nameless, ended)
    assert first == "Failed: import i1 listed item VI1 without a URL, so that there is no post to enrich"
    assert "item VI2" in second
    assert odd == "Failed: https://example.com/x: no post"
