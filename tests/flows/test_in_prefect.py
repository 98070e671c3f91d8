"""A run as its users in Prefect see it: names, tags, log lines, and what a flow that calls it gets."""

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import flow_run
from pydantic import SecretStr

from blocks.memories.credentials import MemoriesCredentials
from flows.results import RunFailed, RunHalted, RunSummary, read_summary
from flows.steps.prefect_side.run_names import MAX_HASHTAG_TAGS, name_of_run, posts_named, tags_of_run
from flows.track_hashtags import track_hashtags

from .conftest import KEY

NAMES = [
    ("track-hashtags", {"hashtags": ["LVMH", "#dior"], "collection": "fashion"}, "fashion: #LVMH #dior · 25 posts"),
    ("track-hashtags", {"hashtags": [str(n) for n in range(9)], "posts_per_hashtag": 5},
     "default: #0 #1 #2 #3 #4 #5 +3 · 5 posts"),
    ("track-hashtags", {"hashtags": ["a\n\x1b[31mb"]}, "default: #a[31mb · 25 posts"),
    ("import-creators", {"creators": ["https://www.tiktok.com/@loom.works"] * 3}, "creators: 3 · tiktok · default"),
    ("enrich-posts", {"urls": ["https://x.com/i/status/12", "nonsense"], "collection": "c"}, "enrich: 2 posts · x · c"),
    ("import-posts", {"urls": "no list"}, "import: 0 posts · canary"),
    ("collect-imports", {}, "collect: open imports and pending posts"),
    ("collect-imports", {"look_again_at": ["1", "2"]}, "look again: 2 imports"),
    ("refresh-metrics", {"hashtag": "#tea"}, "refresh: all collections #tea"),
    ("report", {"days": 7, "collection": "fashion"}, "report: fashion · 7 days"),
    ("purge", {"older_than_days": 90, "dry_run": True}, "purge: older than 90 days (dry run)"),
    ("resolve-import", {"import_id": "1f2e3d4c-aa", "decision": "drop"}, "resolve 1f2e3d4c: drop"),
    ("somebody-elses", {}, "somebody-elses"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "parameters", "shown"), NAMES, ids=[shown for *_, shown in NAMES])
def test_a_run_is_named_by_what_it_does(name: str, parameters: dict[str, Any], shown: str) -> None:
    assert name_of_run(name, parameters) == shown


def test_an_arabic_hashtag_stays_in_its_place_in_a_name() -> None:
    """Without the left-to-right mark the UI shows `#25 · شتاء posts`."""
    name = name_of_run("track-hashtags", {"hashtags": ["שלום", "雲", "شتاء"], "posts_per_hashtag": 25})
    assert name == "default: #שלום\u200e #雲 #شتاء\u200e · 25 posts"


def test_a_run_has_at_most_twenty_hashtags_as_tags() -> None:
    tags = tags_of_run("fashion", [str(number) for number in range(120)])
    assert tags[:3] == ["tagtrail", "fashion", "#0"]
    assert len(tags) == 2 + MAX_HASHTAG_TAGS
    assert posts_named([]) == "0 posts"


async def last_child(parent: str) -> FlowRun:
    """The flow run that a run called."""
    async with get_client() as client:
        [run] = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent]))
        )
        return run


async def test_a_subflow_gives_its_summary_and_is_named_tagged_and_logged(
    weather: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @flow
    async def monday() -> tuple[str, RunSummary]:
        return str(flow_run.id), await track_hashtags(["LVMH"], posts_per_hashtag=4, collection="fashion")

    with caplog.at_level(logging.INFO, logger="prefect.flow_runs"):
        parent, summary = await monday()

    assert isinstance(summary, RunSummary)
    assert (summary.outcome, summary.enriched) == ("done", 4)
    run = await last_child(parent)
    assert run.name == "fashion: #LVMH · 4 posts"
    assert {"tagtrail", "fashion", "#lvmh"} <= set(run.tags)
    lines = [one.getMessage() for one in caplog.records if run.name in str(getattr(one, "flow_run_name", ""))]
    assert 5 <= len([line for line in lines if not line.startswith("Finished in state")]) <= 12, lines
    assert any(line.startswith(f"Accepted: {run.name}; API 127.0.0.1") for line in lines), lines
    assert lines[-2] == "Ended: 4 posts: 4 enriched; about 0.08 USD", lines
    assert await read_summary(run.id) == summary


async def test_a_halted_or_failed_subflow_raises_with_its_summary(weather: Any) -> None:
    @flow
    async def monday(tags: list[str], cap: float) -> RunSummary:
        return await track_hashtags(tags, posts_per_hashtag=4, max_spend_usd=cap)

    with pytest.raises(RunHalted) as halted:
        await monday(["LVMH"], 0.0)
    assert (halted.value.summary.outcome, halted.value.summary.cost_usd) == ("halted", 0)
    with pytest.raises(RunFailed, match="hashtag"):
        await monday(["no hashtag"], 1.0)
    assert weather.submissions() == {}


async def test_failures_are_one_warning_for_each_kind(weather: Any, caplog: pytest.LogCaptureFixture) -> None:
    weather.play("html-502")
    with caplog.at_level(logging.INFO, logger="prefect.flow_runs"):
        summary = await weather.track("LVMH", posts_per_hashtag=15)
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    of_calls = [line for line in warnings if line.startswith("HTTP 502 from apify")]
    assert of_calls == ["HTTP 502 from apify, call 1 of 4"], warnings
    assert (summary.outcome, summary.enriched) == ("done", 15)
    assert "ServerFault from apify: 3 calls in all" in [one.getMessage() for one in caplog.records]


async def test_the_examples_for_flows_of_other_projects_run(weather: Any) -> None:
    page = Path(__file__).parents[2] / "docs" / "use-in-your-flows.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__name__": "example"}
    for code in blocks:
        exec(compile(code, str(page), "exec"), names)
    summary = await names["monday"]()
    assert (summary.outcome, summary.enriched) == ("done", 25)
    assert (await names["numbers"](), weather.asked()) == (1, 26)
    block = MemoriesCredentials(
        api_key=SecretStr(KEY), v1_base_url=weather.sandbox.v1_base_url, v2_base_url=weather.sandbox.v2_base_url
    )
    await block.asave("default", overwrite=True)
    try:
        await names["one_post"]()
    finally:
        await MemoriesCredentials.adelete("default")
    assert weather.asked() == 27


async def test_a_task_of_ours_works_alone_in_anybodys_flow(weather: Any) -> None:
    from flows.enrich_post import enrich_post

    urls = [f"https://www.tiktok.com/@someone/video/{7_311_000_000_000_000_000 + at}" for at in range(2)]

    @flow
    async def theirs() -> tuple[list[RunSummary], list[str]]:
        done = list(await asyncio.gather(*(enrich_post(url) for url in urls)))
        again = await enrich_post(urls[0])
        with pytest.raises(RunHalted):
            await enrich_post("https://www.instagram.com/p/CxYz012abcD/", max_spend_usd=0)
        with pytest.raises(RunFailed, match="no known platform"):
            await enrich_post("https://example.com/p/1")
        return [*done, again], flow_run.tags

    (first, second, again), tags = await theirs()
    assert [one.enriched for one in (first, second, again)] == [1, 1, 1]
    assert len({first.run_id, second.run_id, again.run_id}) == 3
    assert (again.fresh, again.cost_usd, weather.asked()) == (1, 0, 2)
    assert "tagtrail" not in tags, "the flow run is theirs"
