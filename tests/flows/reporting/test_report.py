"""The report's flow: a file for each collection, an artifact of sentences and counts, and nothing asked of the API."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import State
from prefect.client.schemas.sorting import ArtifactSort

from blocks.database.engine import open_store
from blocks.exported_files import exported
from flows.report import report
from flows.steps.upkeep.reports import write_reports

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@flow(persist_result=False)
async def report_at_noon(collection: str = "", days: int = 7) -> State[Any]:
    """The step under the flow `report`, at the time that the invented posts were measured for."""
    return await write_reports(collection, "", days, now=NOW)


@pytest.mark.usefixtures("prefect_server")
async def test_a_report_for_each_collection_and_the_same_again(
    clean_environment: Path, fill_weeks: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{clean_environment / 'tagtrail.db'}", create=True)
    with store.begin() as conn:
        fill_weeks(conn, until=NOW, collection="autumn")
        fill_weeks(conn, until=NOW, collection="rival", number=1, hashtags=("fl|ax",), a_week=2)
    store.close()
    monkeypatch.setenv("TAGTRAIL_REPORTS_URL", "https://files.example/reports")

    state = await report_at_noon(return_state=True)
    assert (state.name, state.message) == ("Completed", "2 reports, 32 posts")
    written = sorted((clean_environment / "reports").iterdir())
    assert [path.name for path in written] == ["report-autumn-2026-11-20.html", "report-rival-2026-11-20.html"]
    assert "rival" not in written[0].read_text(encoding="utf-8")
    assert "autumn" not in written[1].read_text(encoding="utf-8")

    kept = await shown()
    assert "linen: " in kept
    assert "linen | 30 | 30 | 15 | 30 |" in kept
    assert "ax | 2 |" in kept
    assert "fl|ax" not in kept
    assert "(https://files.example/reports/report-autumn-2026-11-20.html)" in kept
    # The main plot is in it: nothing is fetched to see it, and only hashtags are named.
    packed = re.findall(r"\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", kept)
    words = [" ".join(fromstring(base64.b64decode(one)).itertext()) for one in packed]
    assert "#linen" in words[0]
    assert "fl|ax" in " ".join(words)
    # No names of people on the Prefect server.
    assert "weaver" not in kept + "".join(words)

    wrong = await report(collection="winter", return_state=True)
    assert (wrong.name, "there is no collection winter" in (wrong.message or "")) == ("Failed", True)

    again = await report_at_noon(return_state=True)
    assert again.message == state.message
    assert sorted((clean_environment / "reports").iterdir()) == written
    everything = await report_at_noon("autumn", days=0, return_state=True)
    assert everything.message == "1 report, 60 posts"
    # What a purge names as files that may hold what it erased.
    assert sorted(one.path for one in exported(clean_environment)) == written


async def shown() -> str:
    """The newest artifact of the report on all collections."""
    async with get_client() as client:
        key = ArtifactFilter(key=ArtifactFilterKey(any_=["report-all"]))
        kept = await client.read_artifacts(artifact_filter=key, sort=ArtifactSort.CREATED_DESC)
    return str(kept[0].data)
