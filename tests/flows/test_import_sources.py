"""The chain from post URLs and from creators, end to end on the sandbox; each test ends with "again, the same"."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlmodel import SQLModel

from blocks.database.purge import Target, purge
from blocks.database.store import export
from blocks.database.store.filters import Filters
from blocks.posts.identity import parse_post_url
from flows.collect_imports import collect_imports
from flows.import_creators import import_creators
from flows.import_posts import import_posts
from flows.steps.run.summary import CREATORS, RunSummary

TIKTOK = [f"https://www.tiktok.com/@loom.{number}/video/75000000000000000{number:02}" for number in range(1, 53)]
INSTAGRAM = [f"https://www.instagram.com/p/DTagtrail{number:02}/" for number in range(1, 4)]
CREATOR = "https://www.tiktok.com/@invented.weaver"

Import = Callable[..., Awaitable[RunSummary]]


@pytest.fixture
def by_url(weather: Any) -> Import:
    """Runs the flow on post URLs."""
    return lambda *urls, **more: weather._run(lambda: import_posts(list(urls), **more, return_state=True))


@pytest.fixture
def by_creator(weather: Any) -> Import:
    """Runs the flow on creators."""

    def run(*creators: str, **more: Any) -> Awaitable[RunSummary]:
        more.setdefault("posts_per_creator", 4)
        return weather._run(lambda: import_creators(list(creators), **more, return_state=True))  # type: ignore[no-any-return]

    return run


def rows(weather: Any, what: str) -> list[dict[str, Any]]:
    with weather.store() as store:
        return list(export.rows(store, what, Filters()))


def runs_of(weather: Any) -> list[Any]:
    """What runs were asked for, and what they said."""
    with weather.store() as store, store.connect() as conn:
        return [tuple(row) for row in conn.execute(SQLModel.metadata.tables["runs"].select())]


def code_of(url: str) -> str:
    return parse_post_url(url).post_id


def states(summary: RunSummary) -> list[tuple[str, str, int, int]]:
    return sorted((one.state, one.how, one.requested, one.seen) for one in summary.imports)


async def test_posts_by_url_are_imported_in_batches_of_one_platform_and_again_buys_nothing(
    weather: Any, by_url: Import
) -> None:
    again = [f"{INSTAGRAM[0]}?igsh=again", TIKTOK[0].replace("@loom.1/video", "@loom.1/photo")]
    first = await by_url(*INSTAGRAM, *TIKTOK, *again, collection="study")

    assert (first.outcome, first.requested, first.enriched, first.new_enriched) == ("done", 55, 55, 55)
    assert first.platforms == {"instagram": 3, "tiktok": 52}
    assert states(first) == [
        ("complete", "submitted", 2, 2),
        ("complete", "submitted", 3, 3),
        ("complete", "submitted", 50, 50),
    ]
    assert [(one.new, one.known) for one in first.imports] == [(one.seen, 0) for one in first.imports]
    assert weather.submissions() == {f"url:{post}": 1 for post in weather.bought()}
    assert set(weather.bought().values()) == {1}
    assert round(first.cost_usd, 6) == 55 * 0.02
    before = {what: rows(weather, what) for what in export.COLUMNS}
    assert {row["collection"] for row in before["imports"]} == {"study"}
    assert all(row["import_ids"] and row["collections"] == ["study"] for row in before["posts"])
    assert all(row["source_hashtags"] == [] for row in before["posts"])

    asked = weather.asked()
    second = await by_url(*reversed(TIKTOK), *INSTAGRAM, collection="study")
    assert (second.outcome, second.fresh, second.cost_usd) == ("done", 55, 0)
    assert {one.how for one in second.imports} == {"reused"}
    assert weather.asked() == asked
    assert sum(weather.submissions().values()) == 55
    assert {what: rows(weather, what) for what in export.COLUMNS} == before


async def test_fresh_buys_the_import_again_and_the_posts_are_known_then(weather: Any, by_url: Import) -> None:
    await by_url(*INSTAGRAM)
    again = await by_url(*INSTAGRAM, fresh=True)
    assert [(one.how, one.new, one.known) for one in again.imports] == [("submitted", 0, 3)]
    assert set(weather.submissions().values()) == {2}
    assert set(weather.bought().values()) == {1}


async def test_given_posts_are_enriched_also_where_their_import_stays_empty_or_is_in_doubt(
    weather: Any, by_url: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_IMPORT_DEADLINE_SECONDS", "1")
    weather.play("never-fills")
    empty = await by_url(*INSTAGRAM)
    assert (empty.outcome, empty.exit_status, empty.enriched) == ("attention", 3, 3)
    assert states(empty) == [("empty", "submitted", 3, 0)]

    weather.play("submit-dropped")
    doubt = await by_url(*TIKTOK[:2])
    assert (doubt.outcome, doubt.enriched) == ("attention", 2)
    again = await by_url(*TIKTOK[:2])
    assert [one.state for one in again.imports] == ["ambiguous"]
    assert {request: count for request, count in weather.submissions().items() if "tiktok" in request} == {
        f"url:tiktok:750000000000000000{number}": 1 for number in (1, 2)
    }
    assert any("tagtrail resolve" in note for note in doubt.notes)
    assert set(weather.bought().values()) == {1}


async def test_wrong_addresses_are_named_in_one_sentence_and_nothing_is_submitted(
    weather: Any, by_url: Import, by_creator: Import
) -> None:
    for run, words in (
        (by_url(TIKTOK[0], "https://example.com/p/1", "https://www.instagram.com/nike/"), "2 of 3 addresses name no"),
        (by_url("https://x.com/i/status/1900000000000000001", TIKTOK[0]), "tagtrail enrich"),
        (by_creator(TIKTOK[0]), "is no creator's profile"),
        (by_creator(CREATOR, library="public"), "--permanent"),
    ):
        refused = await run
        assert (refused.outcome, refused.exit_status, words in refused.message) == ("failed", 2, True)
        assert "\n" not in refused.message
    assert weather.submissions() == {}
    assert weather.asked() == 0


async def test_creators_become_enriched_posts_and_again_buys_nothing(weather: Any, by_creator: Import) -> None:
    first = await by_creator(CREATOR, "tiktok.com/@Invented.Weaver/", "https://www.youtube.com/@inventedloom")
    assert (first.outcome, first.requested, first.enriched) == ("done", 8, 8)
    assert first.platforms == {"tiktok": 4, "youtube": 4}
    assert weather.submissions() == {"creator:tiktok:invented.weaver": 1, "creator:youtube:inventedloom": 1}
    told = first.model_dump_json()
    assert "weaver" not in told.lower(), "people's names do not go to Prefect"
    before = {what: rows(weather, what) for what in export.COLUMNS}
    assert {row["kind"] for row in before["imports"]} == {"creator"}

    asked = weather.asked()
    again = await by_creator("https://www.youtube.com/@inventedloom", CREATOR)
    assert (again.outcome, again.fresh, again.cost_usd) == ("done", 8, 0)
    assert [one.how for one in again.imports] == ["reused", "reused"]
    assert weather.asked() == asked
    assert {what: rows(weather, what) for what in export.COLUMNS} == before


async def test_a_creator_whose_import_stays_empty_is_told_and_not_bought_again(
    weather: Any, by_creator: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_IMPORT_DEADLINE_SECONDS", "1")
    weather.play("creators-empty")
    first = await by_creator("https://www.instagram.com/invented.loom/")
    again = await by_creator("https://www.instagram.com/invented.loom/")
    for summary in (first, again):
        assert (summary.outcome, summary.exit_status, summary.requested) == ("attention", 3, 0)
        assert [one.state for one in summary.imports] == ["empty"]
        assert CREATORS in summary.notes
    assert weather.submissions() == {"creator:instagram:invented.loom": 1}


async def test_what_was_submitted_without_waiting_is_collected_by_the_sweep(weather: Any, by_creator: Import) -> None:
    submitted = await by_creator(CREATOR, wait=False)
    assert (submitted.outcome, [one.state for one in submitted.imports]) == ("done", ["submitted"])
    swept = await weather._run(lambda: collect_imports(return_state=True))
    assert (swept.outcome, swept.enriched) == ("done", 4)
    again = await weather._run(lambda: collect_imports(return_state=True))
    assert (again.requested, len(rows(weather, "posts"))) == (0, 4)


async def test_an_erased_creator_is_not_bought_again(weather: Any, by_creator: Import) -> None:
    other = "https://www.youtube.com/@inventedloom"
    assert (await by_creator(CREATOR)).enriched == 4
    with weather.store() as store:
        assert (await purge(store, Target(platform="tiktok", creator="invented.weaver"))).erased["posts"] == 4
    asked = weather.asked()
    for _ in range(2):
        refused = await by_creator(CREATOR)
        assert (refused.outcome, refused.requested, refused.imports, refused.cost_usd) == ("done", 0, [], 0)
        assert any("1 creator left out: erased on request" in note for note in refused.notes)
    beside = await by_creator(CREATOR, other)
    assert (beside.enriched, beside.platforms) == (4, {"youtube": 4})
    assert weather.submissions() == {"creator:tiktok:invented.weaver": 1, "creator:youtube:inventedloom": 1}
    assert weather.asked() == asked + 4
    told = repr(rows(weather, "imports")) + repr(runs_of(weather)) + beside.model_dump_json()
    assert "weaver" not in told.lower(), "what was erased is written down nowhere again"
    again = await by_creator(CREATOR, other)
    assert (again.fresh, again.cost_usd, len(rows(weather, "posts"))) == (4, 0, 4)


async def test_an_erased_post_is_not_sent_and_the_others_are_known_again(weather: Any, by_url: Import) -> None:
    first = await by_url(*INSTAGRAM)
    assert first.enriched == 3
    with weather.store() as store:
        assert (await purge(store, Target(post=parse_post_url(INSTAGRAM[0])))).erased["posts"] == 1
    again = await by_url(*INSTAGRAM)
    assert (again.outcome, again.requested, again.fresh, again.cost_usd) == ("done", 2, 2, 0)
    assert [one.how for one in again.imports] == ["reused"]
    assert any("1 given post left out: erased on request" in note for note in again.notes)
    assert any("1 listed post left out: erased on request" in note for note in again.notes)
    fresh = await by_url(*INSTAGRAM, fresh=True)
    assert (fresh.requested, fresh.imports[0].requested, fresh.imports[0].withheld) == (2, 2, 0)
    assert weather.submissions() == dict(
        zip((f"url:instagram:{code_of(url)}" for url in INSTAGRAM), (1, 2, 2), strict=True)
    )
    assert code_of(INSTAGRAM[0]) not in repr(rows(weather, "imports")) + repr(runs_of(weather))
