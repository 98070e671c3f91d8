"""Known posts are measured again by the snapshot plan: what is due, once, most valuable first, under the cap."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.database.store import export, filters, raw_payloads, report, work
from blocks.database.store import snapshots as snapshots_store
from blocks.database.store.raw_payloads import RawAnswer
from blocks.posts.identity import parse_post_url
from blocks.posts.snapshot_plan import SnapshotPlan
from blocks.quotas.rate_limiter import Limiter
from flows.refresh_metrics import refresh_metrics
from flows.steps.run.lifecycle import open_run, utc_now
from flows.steps.run.summary import RunSummary
from tests.unparsed import unparsed


@pytest.fixture
def later(weather: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the flows' clock, and the sandbox's, so many hours ahead."""
    ahead = timedelta(0)
    monkeypatch.setitem(open_run.__init__.__kwdefaults__, "clock", lambda: utc_now() + ahead)

    def move(hours: float) -> None:
        nonlocal ahead
        ahead += timedelta(hours=hours)
        weather.sandbox.advance(hours * 3600)

    return move


@pytest.fixture
def refresh(weather: Any) -> Callable[..., Any]:
    async def run(**more: Any) -> RunSummary:
        summary: RunSummary = await weather._run(lambda: refresh_metrics(**more, return_state=True))
        return summary

    return run


def snapshots(weather: Any) -> list[dict[str, Any]]:
    with weather.store() as store:
        return list(export.rows(store, "snapshots"))


def due(weather: Any, hours: float) -> list[snapshots_store.DuePost]:
    with weather.store() as store, store.connect() as conn:
        return snapshots_store.due(conn, SnapshotPlan(), utc_now() + timedelta(hours=hours))


async def test_a_refresh_buys_what_is_due_once_and_the_numbers_moved(
    weather: Any, refresh: Callable[..., Any], later: Callable[[float], None]
) -> None:
    assert (await weather.track("LVMH", collection="study")).enriched == 10
    before = snapshots(weather)
    later(80)
    wanted = len(due(weather, 80))
    assert 5 <= wanted <= 10
    # Two at once: what one buys, the other waits for.
    one, other = await asyncio.gather(refresh(), refresh())
    assert {one.outcome, other.outcome} == {"done"}
    assert one.enriched + other.enriched - one.fresh - other.fresh == wanted
    after = snapshots(weather)
    assert sum(weather.bought().values()) == len(after) == 10 + wanted
    assert [row for row in after if row in before] == before, "snapshots are never changed"
    new = [row for row in after if row not in before]
    assert {row["target_age"] for row in new} == {259_200}
    assert all(row["lateness_seconds"] == row["age_seconds"] - 259_200 >= 0 for row in new)
    assert all(row["author_followers"] is not None for row in new)
    plays = {row["post_id"]: row["plays"] for row in before}
    assert any((row["plays"] or 0) > (plays[row["post_id"]] or 0) for row in new)

    # Again, and the counts are the same.
    again = await refresh()
    assert (again.outcome, again.requested, again.cost_usd) == ("done", 0, 0)
    assert snapshots(weather) == after
    assert sum(weather.bought().values()) == len(after)


async def test_at_the_cap_the_most_valuable_are_bought_and_the_rest_stays_due(
    weather: Any, refresh: Callable[..., Any], later: Callable[[float], None]
) -> None:
    await weather.track("LVMH")
    later(80)
    wanted = due(weather, 80)
    halted = await refresh(max_spend_usd=0.03, channel="apify")
    assert (halted.outcome, halted.enriched, halted.exit_status) == ("halted", 3, 4)
    assert halted.cost_usd == pytest.approx(0.03)
    bought = {row["post_id"] for row in snapshots(weather) if row["target_age"] == 259_200}
    assert bought == {one.ref.post_id for one in wanted[:3]}
    left = due(weather, 80)
    assert [one.ref for one in left] == [one.ref for one in wanted[3:]]
    assert (await refresh()).enriched == len(left)
    assert due(weather, 80) == []


async def test_gone_posts_are_left_alone(
    weather: Any, refresh: Callable[..., Any], later: Callable[[float], None]
) -> None:
    await weather.track("LVMH")
    later(80)
    with weather.store() as store, store.begin() as conn:
        conn.exec_driver_sql("UPDATE posts SET status = 'gone' WHERE platform = 'tiktok'")
    asked = weather.asked()
    summary = await refresh()
    assert summary.platforms == {"instagram": weather.asked() - asked}
    assert summary.requested > 0


async def test_an_answer_kept_from_before_does_not_make_a_post_gone(
    weather: Any, refresh: Callable[..., Any], later: Callable[[float], None]
) -> None:
    url = "https://www.instagram.com/p/CxYz012abcD/"
    assert (await weather.enrich(url)).enriched == 1
    # Five hours before, a refresh had stored that the post was away, and was killed before it read that.
    away = b'{"code": "0000", "data": {"data": {"xdt_shortcode_media": null}, "status": "ok"}}'
    ref, then = parse_post_url(url), utc_now() - timedelta(hours=5)
    with weather.store() as store, store.begin() as conn:
        raw_payloads.save_raw(conn, [RawAnswer(ref, away, "apify", url, "refresh:3600", then, "killed")])
        work.enqueue(conn, [ref], "refresh:3600")
    later(13)
    summary = await refresh()
    assert (summary.requested, summary.enriched, summary.cost_usd) == (1, 1, 0)
    with weather.store() as store, store.connect() as conn:
        [post] = export.rows(store, "posts")
        assert post["status"] == "enriched"
        assert unparsed(conn) == []
    assert (await refresh()).requested == 0


async def test_each_collection_pays_for_what_it_found(
    weather: Any, refresh: Callable[..., Any], later: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    await weather.track("LVMH", collection="fashion")
    await weather.track("dior", collection="scent", posts_per_hashtag=5)
    later(80)
    names = Counter(one.collection for one in due(weather, 80))
    assert names["fashion"] > 2
    assert names["scent"] > 0
    # Fashion has money for two more posts, the most valuable of its own; scent for more than all of its own.
    monkeypatch.setenv("TAGTRAIL_MAX_SPEND_USD_PER_COLLECTION", "0.225")
    best = [one.ref for one in due(weather, 80) if one.collection == "fashion"][:2]
    summary = await refresh()
    assert (summary.outcome, summary.halted_because, summary.enriched) == ("attention", None, 2 + names["scent"])
    assert f"collection fashion: {names['fashion'] - 2} posts due beyond its cap; they stay due" in summary.notes
    assert spent(weather) == {"fashion": 220_000, "scent": 100_000 + 10_000 * names["scent"]}
    left = due(weather, 80)
    assert {one.collection for one in left} == {"fashion"}
    assert not {one.ref for one in left} & set(best)

    # Of one collection alone, there is nothing to go on with.
    alone = await refresh(collection="fashion")
    assert (alone.outcome, alone.exit_status, alone.cost_usd) == ("halted", 4, 0)
    assert due(weather, 80) == left


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


async def test_what_became_too_late_while_it_waited_is_not_bought(
    weather: Any, refresh: Callable[..., Any], later: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    await weather.track("LVMH")
    with weather.store() as store, store.begin() as conn:
        conn.exec_driver_sql("UPDATE posts SET status = 'gone' WHERE platform = 'instagram'")
    later(80)
    wanted, asked = len(due(weather, 80)), weather.asked()
    assert wanted > 2
    monkeypatch.setenv("TAGTRAIL_IN_FLIGHT", "1")
    slot, slots = Limiter.acquire, 0

    async def slow(self: Limiter, *names: str) -> None:
        nonlocal slots
        slots += 1
        if slots == 2:
            later(100)
        await slot(self, *names)

    with monkeypatch.context() as patched:
        patched.setattr(Limiter, "acquire", slow)
        late = await refresh()
    assert slots == 2, "nobody waits for a slot for what is over"
    assert weather.asked() - asked == late.enriched == 1
    assert (late.pending, late.cost_usd) == (wanted - 1, 0.01)
    assert any(f"{wanted - 1} post" in note and "the window of the checkpoint closed" in note for note in late.notes)
    assert unfinished(weather) == wanted - 1

    # The next refresh drops what is missed, and buys what is due by now.
    again = await refresh()
    assert (again.outcome, again.pending) == ("done", 0)
    assert unfinished(weather) == 0
    assert [row["target_age"] for row in snapshots(weather)].count(259_200) == 1
    assert (await refresh()).requested == 0


def unfinished(weather: Any) -> int:
    """Checkpoints of 72 h whose work was begun and not done."""
    query = "SELECT count(*) FROM work WHERE purpose = 'refresh:259200' AND state IN ('pending', 'claimed')"
    with weather.store() as store, store.connect() as conn:
        count: int = conn.exec_driver_sql(query).scalar_one()
        return count


async def test_wrong_input_is_refused(refresh: Callable[..., Any]) -> None:
    summary = await refresh(hashtag="two words")
    assert summary.wrong_usage


async def test_what_a_killed_refresh_paid_for_is_stored_and_not_bought_again(
    weather: Any, refresh: Callable[..., Any], later: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    await weather.track("LVMH")
    later(80)
    wanted = due(weather, 80)

    def killed(*_: Any, **__: Any) -> Any:
        raise RuntimeError("killed between the raw answer and its rows")

    with monkeypatch.context() as patched:
        patched.setattr("flows.steps.enrichment.fetch.map_post", killed)
        await refresh_metrics(return_state=True)
    asked = weather.asked()
    assert asked > 10
    assert {one.ends_at for one in due(weather, 80)} != {one.ends_at for one in wanted}, "some are paid for"
    # Too late to buy them for this checkpoint, and not too late to store what was bought in time.
    later(200)
    await refresh()
    stored = [row for row in snapshots(weather) if row["target_age"] == 259_200]
    assert len(stored) == asked - 10
    assert all(row["lateness_seconds"] < 100 * 3600 for row in stored)
