"""Erasure and retention on a real Prefect server, and runs that meet what was erased."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterName,
)
from sqlmodel import SQLModel

from blocks.database.purge import Target, purge
from blocks.database.store import export
from blocks.database.store.erased_names import Names
from blocks.posts.identity import parse_post_url
from flows.purge import purge as purge_flow
from flows.steps.upkeep.erasure import erase_on_server

URL = "https://www.tiktok.com/@moss.bot/video/7300000000000000077"


async def runs_of(name: str) -> dict[str, Any]:
    async with get_client() as client:
        found = await client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[name])))
    return {str(run.id): run.parameters for run in found}


async def recorded(task_name: str, run_id: str) -> None:
    """Wait for a task run of that run: the server records them some seconds later."""
    named = TaskRunFilter(name=TaskRunFilterName(any_=[task_name]))
    its = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run_id)]))
    async with asyncio.timeout(120), get_client() as client:
        while not await client.read_task_runs(task_run_filter=named, flow_run_filter=its):
            await asyncio.sleep(0.2)


async def test_an_erased_post_stays_out_and_no_run_on_the_server_names_it(weather: Any) -> None:
    first = await weather.track("LVMH")
    other = await weather.track("dior", posts_per_hashtag=2)
    given = await weather.enrich(URL)
    assert given.enriched == 1
    with weather.store() as store:
        rows = list(export.rows(store, "posts"))
        listed = next(row for row in rows if "lvmh" in row["source_hashtags"])
        of_listed = await purge(store, Target(post=parse_post_url(listed["url"])))
        done = await purge(store, Target(post=parse_post_url(URL)))
    assert done.naming is not None
    code = listed["shortcode"] or listed["post_id"]
    await recorded(f"enrich {listed['platform']}/{code}", first.run_id)
    assert given.run_id in await runs_of("enrich-posts")
    told = await erase_on_server(naming=done.naming, dry_run=True)
    assert given.run_id in await runs_of("enrich-posts"), "a dry run deletes nothing"
    assert await erase_on_server(naming=done.naming) == told
    assert told["runs"] == 1
    left = await runs_of("enrich-posts")
    assert given.run_id not in left
    assert not any("7300000000000000077" in str(parameters) for parameters in left.values())
    assert first.run_id in await runs_of("track-hashtags")
    # Other tests of this session may have enriched the same post.
    assert (await erase_on_server(naming=of_listed.naming))["runs"] >= 1
    assert first.run_id not in await runs_of("track-hashtags"), "a task of it is called after the post"
    assert other.run_id in await runs_of("track-hashtags")

    bought = weather.bought()
    again = await weather.enrich(URL)
    assert (again.outcome, again.requested) == ("done", 0)
    assert any("erased on request" in note for note in again.notes)
    fresh = await weather.track("LVMH", fresh=True)
    [bought_again] = fresh.imports
    assert (fresh.outcome, fresh.requested, bought_again.withheld) == ("done", 9, 1)
    assert bought_again.overlap is not None
    assert bought_again.overlap + (bought_again.not_seen_again or 0) == 9
    erased = [key for key in bought if key.endswith((listed["post_id"], "7300000000000000077"))]
    assert len(erased) == 2
    assert [weather.bought()[key] for key in erased] == [1, 1], "what was erased is not bought"
    with weather.store() as store:
        assert listed["post_id"] not in {row["post_id"] for row in export.rows(store, "posts")}


async def test_only_our_runs_artifacts_go_and_all_deployments_are_counted(prefect_server: None) -> None:
    naming = Names(codes={"7300000000000000088"}).naming()

    @flow(name="of-another-project", persist_result=False)
    async def theirs() -> None:
        await acreate_markdown_artifact("about 7300000000000000088", key="enrich-posts-of-theirs")

    await theirs()
    async with get_client() as client:
        flow_id = await client.create_flow_from_name("of-another-project")
        made = [
            await client.create_deployment(flow_id, name, parameters={"url": "…/video/7300000000000000088"})
            for name in ("one", "two", "three", "four", "five", "six")
        ]
        try:
            told = await erase_on_server(naming=naming, page=5)
            [artifact] = await client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["enrich-posts-of-theirs"]))
            )
            assert artifact.data == "about 7300000000000000088"
            assert told == {"deployments that name them (not changed)": 6}
            assert await erase_on_server(naming=naming) == told
        finally:
            for one in made:
                await client.delete_deployment(one)


async def test_what_is_older_than_the_setting_goes(weather: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    idle = await purge_flow(return_state=True)
    assert idle.is_completed()
    assert "TAGTRAIL_RETENTION_DAYS is not set" in idle.message
    await weather.enrich(URL)
    with weather.store() as store, store.begin() as conn:
        old = datetime.now(UTC) - timedelta(days=31)
        for table, column in (("posts", "observed_at"), ("snapshots", "observed_at"), ("raw_fetches", "fetched_at")):
            conn.execute(SQLModel.metadata.tables[table].update().values({column: old}))
    monkeypatch.setenv("TAGTRAIL_RETENTION_DAYS", "30")
    dry = await purge_flow(dry_run=True, return_state=True)
    assert "would be erased of what is older than 30 days" in dry.message
    assert "posts 1" in dry.message
    done = await purge_flow(return_state=True)
    assert done.is_completed(), done.message
    assert "posts 1" in done.message
    with weather.store() as store:
        assert list(export.rows(store, "posts")) == []
    again = await purge_flow(return_state=True)
    assert "nothing was that old" in again.message
