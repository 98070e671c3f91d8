"""Several accounts side by side: each a block of its own, with its own limits and its own spend."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from sqlalchemy import text

from blocks.memories.credentials import MemoriesCredentials

KEYS = {"agency": "sk-invented-agency", "studio": "sk-invented-studio"}


@pytest.fixture
async def two_blocks(weather: Any) -> Any:
    """Two accounts of the service of this test, saved as blocks."""
    for name, key in KEYS.items():
        block = MemoriesCredentials(
            api_key=key, v1_base_url=weather.sandbox.v1_base_url, v2_base_url=weather.sandbox.v2_base_url
        )
        await block.asave(name, overwrite=True)
    yield
    async with get_client() as client:
        for name in KEYS:
            try:
                found = await client.read_block_document_by_name(name, "memories-credentials")
            except ObjectNotFound:
                continue
            await client.delete_block_document(found.id)


def figures(weather: Any, question: str) -> dict[str, Any]:
    with weather.store() as store, store.connect() as conn:
        return {row[0]: row[1] for row in conn.execute(text(question))}


async def test_each_account_has_its_own_limits_and_its_own_spend(weather: Any, two_blocks: None) -> None:
    # The same collection and hashtag: an import that one account paid for is not the other's.
    agency = await weather.track("lvmh", posts_per_hashtag=6, credentials="agency")
    studio = await weather.track("lvmh", "dior", posts_per_hashtag=6, credentials="studio", max_age_hours=0)
    assert (agency.exit_status, studio.exit_status) == (0, 0)
    assert weather.submissions() == {"hashtag:lvmh": 2, "hashtag:dior": 1}

    runs = figures(weather, "SELECT run_id, account FROM runs")
    accounts = {name: runs[summary.run_id] for name, summary in (("agency", agency), ("studio", studio))}
    assert len(set(accounts.values())) == 2
    assert not any(key in str(accounts) for key in KEYS.values())
    limits = figures(weather, "SELECT account, count(*) FROM rate_limits GROUP BY account")
    assert limits.keys() == set(accounts.values())
    spent = figures(weather, "SELECT account, sum(spent_micros) FROM spend GROUP BY account")
    assert {name: spent[account] / 1_000_000 for name, account in accounts.items()} == {
        "agency": pytest.approx(agency.cost_usd),
        "studio": pytest.approx(studio.cost_usd),
    }

    # Again, and the counts are the same: each account finds its own import.
    again = await asyncio.gather(weather.track("lvmh", posts_per_hashtag=6, credentials="agency"))
    assert [one.cost_usd for one in again] == [0.0]
    assert weather.submissions() == {"hashtag:lvmh": 2, "hashtag:dior": 1}


async def test_an_account_that_is_not_there_is_named(weather: Any) -> None:
    summary = await weather.track("lvmh", credentials="nobody")
    assert summary.exit_status == 2
    assert "there is no block memories-credentials/nobody" in summary.message
    assert weather.submissions() == {}
