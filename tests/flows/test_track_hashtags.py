"""The chain from hashtags to enriched posts, end to end on the sandbox; each test ends with "again, the same"."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from blocks.database.store import export
from blocks.database.store.filters import Filters
from flows.track_hashtags import track_hashtags


def rows(weather: Any, what: str) -> list[dict[str, Any]]:
    with weather.store() as store:
        return list(export.rows(store, what, Filters()))


async def test_hashtags_become_enriched_posts_and_again_buys_nothing(weather: Any) -> None:
    first = await weather.track("LVMH", "#dior")

    assert (first.outcome, first.exit_status) == ("done", 0)
    assert (first.requested, first.enriched, first.new_enriched) == (20, 20, 20)
    assert first.platforms == {"instagram": 10, "tiktok": 10}
    assert weather.submissions() == {"hashtag:lvmh": 1, "hashtag:dior": 1}
    assert set(weather.bought().values()) == {1}
    assert first.cost_usd == 20 * 0.01 + 20 * 0.01
    assert first.usd_per_1000_new == first.cost_usd / 20 * 1000
    assert {one.hashtag: (one.state, one.how, one.seen) for one in first.imports} == {
        "lvmh": ("complete", "submitted", 10),
        "dior": ("complete", "submitted", 10),
    }
    before = {what: rows(weather, what) for what in export.COLUMNS}
    assert {what: len(found) for what, found in before.items()} | {"comments": 0, "creators": 0} == {
        "posts": 20,
        "snapshots": 20,
        "creators": 0,
        "comments": 0,
        "imports": 2,
        "failures": 0,
    }
    assert all(row["status"] == "enriched" and row["source_hashtags"] for row in before["posts"])

    asked = weather.asked()
    again = await weather.track("lvmh", "Dior")

    assert (again.outcome, again.requested, again.fresh, again.new_enriched) == ("done", 20, 20, 0)
    assert again.cost_usd == 0
    assert [(one.how, one.new, one.known) for one in again.imports] == [("reused", 0, 10), ("reused", 0, 10)]
    assert weather.asked() == asked
    assert sum(weather.submissions().values()) == 2
    assert {what: rows(weather, what) for what in export.COLUMNS} == before


async def test_old_metadata_is_bought_again_and_only_adds_snapshots(weather: Any) -> None:
    await weather.track("LVMH")
    weather.sandbox.advance(3600)
    again = await weather.track("LVMH", max_age_hours=0)

    assert (again.enriched, again.fresh, again.new_enriched) == (10, 0, 0)
    assert again.usd_per_1000_new is None
    assert len(rows(weather, "posts")) == 10
    assert len(rows(weather, "snapshots")) == 20


async def test_today_a_hashtag_finds_tiktok_only(weather: Any) -> None:
    weather.play("today")
    summary = await weather.track("LVMH")
    assert summary.platforms == {"tiktok": 10}
    assert summary.outcome == "done"


async def test_enrichment_does_not_wait_for_the_import(weather: Any) -> None:
    # Three items come soon, the others after minutes of virtual time, beyond the quiet time.
    weather.play("fills-late")
    summary = await weather.track("LVMH")
    assert summary.enriched >= 3
    with weather.store() as store:
        [row] = export.rows(store, "imports", Filters())
        times = [post["enriched_at"] for post in export.rows(store, "posts", Filters())]
    assert min(times) < row["finished_at"]


async def test_batches_give_the_same_as_single_posts(weather: Any) -> None:
    weather.play("busy")
    summary = await weather.track("LVMH", posts_per_hashtag=12, posts_per_task=5)
    assert (summary.outcome, summary.enriched) == ("done", 12)
    assert set(weather.bought().values()) == {1}


async def test_posts_of_no_platform_and_items_without_url_are_kept_and_counted(weather: Any) -> None:
    weather.play("no-url")
    summary = await weather.track("LVMH")
    failures = rows(weather, "failures")
    assert (summary.outcome, summary.exit_status) == ("attention", 3)
    assert summary.requested == 10
    assert summary.enriched + summary.failed == 10
    assert summary.failed == len(failures) > 0
    assert {row["stage"] for row in failures} == {"identify"}


async def test_payloads_of_unknown_shape_are_failures_that_name_their_keys(weather: Any) -> None:
    weather.play("unknown-shape")
    odd = await weather.track("dior")
    assert (odd.outcome, odd.failed) == ("attention", 2)
    [one, two] = rows(weather, "failures")
    for row in (one, two):
        assert (row["stage"], row["error_class"]) == ("parse", "UnknownShape")
        assert "its keys: " in row["message"]
        assert row["raw_sha256"]


async def test_a_spend_cap_is_used_up_and_never_overstepped(weather: Any) -> None:
    halted = await weather.track("LVMH", max_spend_usd=0.10 + 0.04)
    assert (halted.outcome, halted.exit_status) == ("halted", 4)
    assert halted.enriched == 4
    assert halted.cost_usd <= 0.14
    assert weather.asked() == 4
    done = await weather.track("LVMH")
    assert (done.outcome, done.enriched) == ("done", 10)
    assert weather.asked() == 10


async def test_two_runs_at_once_share_the_import_and_buy_each_post_once(weather: Any) -> None:
    one, two = await asyncio.gather(weather.track("LVMH"), weather.track("LVMH"))
    assert weather.submissions() == {"hashtag:lvmh": 1}
    assert set(weather.bought().values()) == {1}
    assert (one.enriched, two.enriched) == (10, 10)
    assert one.cost_usd + two.cost_usd == 0.2


async def test_passing_faults_of_many_kinds_end_well(weather: Any) -> None:
    weather.play("storm")
    summary = await weather.track("LVMH", "dior", posts_per_hashtag=15)
    assert summary.requested == summary.enriched + summary.failed + summary.gone + summary.pending
    assert (summary.failed, summary.pending) == (0, 0)
    assert set(weather.submissions().values()) <= {1}


async def test_a_wrong_request_is_refused_in_one_sentence(weather: Any) -> None:
    summary = await weather.track("two words")
    assert summary.outcome == "failed"
    assert "two words" in summary.message
    assert "\n" not in summary.message
    assert weather.submissions() == {}


async def test_a_service_that_cannot_be_reached_is_the_reason_of_the_failed_state(
    weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MEMORIES_V1_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/serve/api/v1")
        state = await track_hashtags(["LVMH"], posts_per_hashtag=2, return_state=True)
    assert state.is_failed()
    reason = "failed: no import was accepted (#lvmh: the API could not be reached at /scraper_tag"
    assert (state.message or "").startswith(reason)


async def test_a_namespace_is_not_sent_to_the_public_library_and_that_is_said(weather: Any) -> None:
    summary = await weather.track("LVMH", posts_per_hashtag=2, library="public", permanent=True, namespace="spring")
    assert (summary.outcome, summary.enriched) == ("done", 2)
    assert "the public library knows no namespaces: 'spring' is not sent" in summary.notes
