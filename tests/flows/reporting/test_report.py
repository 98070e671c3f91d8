"""The report's flow: a file for each collection, an artifact of counts, and nothing asked of the API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from sqlalchemy import Connection

from blocks.database.engine import open_store
from flows.report import report
from flows.steps.exported import exported


@pytest.mark.usefixtures("prefect_server")
async def test_a_report_for_each_collection_and_the_same_again(
    clean_environment: Path, fill: Callable[[Connection], None]
) -> None:
    store = open_store(f"sqlite:///{clean_environment / 'tagtrail.db'}", create=True)
    with store.begin() as conn:
        fill(conn)
    store.close()

    state = await report(return_state=True)
    assert (state.name, state.message) == ("Completed", "2 reports, 5 posts")
    written = sorted((clean_environment / "reports").iterdir())
    assert [path.name[: path.name.index("-20")] for path in written] == ["report-autumn", "report-rival"]
    assert "rival" not in written[0].read_text(encoding="utf-8")
    assert "autumn" not in written[1].read_text(encoding="utf-8")

    async with get_client() as client:
        kept = await client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["report-all"])))
    assert "| autumn | 4 | 4 | 1 | 0 |" in str(kept[0].data)
    assert "loom" not in str(kept[0].data)

    wrong = await report(collection="winter", return_state=True)
    assert (wrong.name, "there is no collection winter" in (wrong.message or "")) == ("Failed", True)

    again = await report(return_state=True)
    assert again.message == state.message
    assert sorted((clean_environment / "reports").iterdir()) == written
    # What a purge names as files that may hold what it erased.
    assert sorted(one.path for one in exported(clean_environment)) == written
