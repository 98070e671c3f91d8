"""The report's flow: a file for each collection, an artifact of counts, and nothing asked of the API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import State
from prefect.client.schemas.sorting import ArtifactSort
from sqlalchemy import Connection

from blocks.database.engine import open_store
from blocks.database.store import runs
from blocks.memories.identity import parse_post_url
from flows.report import report
from flows.steps.exported import exported
from flows.steps.reporting import write_reports

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@flow(persist_result=False)
async def report_at_noon(collection: str = "") -> State[Any]:
    """The step under the flow `report`, at the time that the invented posts were measured for."""
    return await write_reports(collection, "", 0, now=NOW)


@pytest.mark.usefixtures("prefect_server")
async def test_a_report_for_each_collection_and_the_same_again(
    clean_environment: Path, fill: Callable[[Connection], None]
) -> None:
    store = open_store(f"sqlite:///{clean_environment / 'tagtrail.db'}", create=True)
    with store.begin() as conn:
        fill(conn)
    store.close()

    state = await report_at_noon(return_state=True)
    assert (state.name, state.message) == ("Completed", "2 reports, 5 posts")
    written = sorted((clean_environment / "reports").iterdir())
    assert [path.name[: path.name.index("-20")] for path in written] == ["report-autumn", "report-rival"]
    assert "rival" not in written[0].read_text(encoding="utf-8")
    assert "autumn" not in written[1].read_text(encoding="utf-8")

    kept = await shown()
    assert "| autumn | 4 | 4 | 1 | 0 |" in kept
    assert "loom" not in kept

    wrong = await report_at_noon(collection="winter", return_state=True)
    assert (wrong.name, "there is no collection winter" in (wrong.message or "")) == ("Failed", True)

    again = await report_at_noon(return_state=True)
    assert again.message == state.message
    assert sorted((clean_environment / "reports").iterdir()) == written

    # A post of both collections stands in two files, and is one post.
    store = open_store(f"sqlite:///{clean_environment / 'tagtrail.db'}")
    with store.begin() as conn:
        refs = [(parse_post_url("https://www.tiktok.com/@loom.0/video/7500000000000000000"), None)]
        runs.take_posts(conn, "r-rival", refs, now=NOW)
    store.close()
    shared = await report_at_noon(return_state=True)
    assert shared.message == "2 reports, 5 posts"
    assert "| rival | 2 |" in await shown()
    # What a purge names as files that may hold what it erased.
    assert sorted(one.path for one in exported(clean_environment)) == written

    today = await report(collection="rival", return_state=True)
    assert (today.name, today.message) == ("Completed", "1 report, 2 posts")


async def shown() -> str:
    """The newest artifact of the report on all collections."""
    async with get_client() as client:
        key = ArtifactFilter(key=ArtifactFilterKey(any_=["report-all"]))
        kept = await client.read_artifacts(artifact_filter=key, sort=ArtifactSort.CREATED_DESC)
    return str(kept[0].data)
