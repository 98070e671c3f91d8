"""Several accounts side by side: each a block of its own, with its own limits and its own spend."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr
from sqlalchemy import text

from blocks.database.credentials import TagtrailDatabase
from blocks.errors import UsageError
from blocks.memories.credentials import MemoriesCredentials
from flows.steps.run import accounts as run_accounts

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


async def test_a_refused_key_of_a_block_names_the_block(weather: Any, two_blocks: None) -> None:
    weather.play("key-revoked", after=4)
    halted = await weather.track("lvmh", credentials="studio")
    assert halted.exit_status == 4
    assert "; put a valid key into the block memories-credentials/studio. " in halted.message
    assert "MEMORIES_API_KEY" not in halted.message


async def test_a_new_key_goes_on_where_the_refused_one_stopped(weather: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    weather.play("key-revoked", after=4)
    halted = await weather.track("lvmh")
    assert (halted.exit_status, halted.enriched) == (4, 4)
    assert "; set MEMORIES_API_KEY to a valid key. The same command continues." in halted.message
    weather.play("default")
    monkeypatch.setenv("MEMORIES_API_KEY", "sk-invented-and-new")
    done = await weather.track("lvmh")
    assert (done.outcome, done.enriched) == ("done", 10)
    assert weather.submissions() == {"hashtag:lvmh": 1}
    assert set(weather.bought().values()) == {1}
    assert len(set(figures(weather, "SELECT run_id, account FROM runs").values())) == 1
    assert any("TAGTRAIL_ACCOUNT" in note for note in done.notes)
    again = await weather.track("lvmh")
    assert (again.cost_usd, again.imports[0].how) == (0.0, "reused")
    assert len(set(figures(weather, "SELECT run_id, account FROM runs").values())) == 1


async def test_another_key_is_another_account_unless_both_are_named_alike(
    weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_ACCOUNT", "the-agency")
    await weather.track("lvmh")
    monkeypatch.setenv("MEMORIES_API_KEY", "sk-invented-and-new")
    same = await weather.track("lvmh")
    assert (same.cost_usd, weather.submissions()) == (0.0, {"hashtag:lvmh": 1})
    assert set(figures(weather, "SELECT run_id, account FROM runs").values()) == {"the-agency"}
    monkeypatch.delenv("TAGTRAIL_ACCOUNT")
    await weather.track("lvmh")
    assert weather.submissions() == {"hashtag:lvmh": 2}
    monkeypatch.setenv("TAGTRAIL_ACCOUNT", "the agency")
    refused = await weather.track("lvmh")
    assert refused.exit_status == 2
    assert "TAGTRAIL_ACCOUNT" in refused.message


@pytest.fixture
async def real_block(weather: Any) -> Any:
    """A saved account of a service elsewhere, which nobody answers at."""
    block = MemoriesCredentials(
        api_key="sk-invented-real", v1_base_url="https://api.invalid/v1", v2_base_url="https://api.invalid/v2"
    )
    document = await block.asave("elsewhere", overwrite=True)
    yield
    async with get_client() as client:
        await client.delete_block_document(document)


@pytest.mark.usefixtures("real_block")
async def test_a_saved_account_buys_nothing_into_a_database_of_the_sandbox(weather: Any) -> None:
    """Also where the sandbox was asked with another key than its own, and for metadata alone."""
    url = "https://www.instagram.com/p/CxYz012ab0D/"
    assert (await weather.enrich(url)).enriched == 1
    refused = await weather.enrich(url, credentials="elsewhere", max_age_hours=0)
    assert (refused.outcome, refused.exit_status) == ("failed", 2)
    assert "holds answers of 127.0.0.1:" in refused.message
    assert refused.message.endswith("for api.invalid use another database; nothing was sent")
    with weather.store() as store, store.connect() as conn:
        assert conn.execute(text("select count(*) from runs")).scalar_one() == 1
    assert (await weather.enrich(url, max_age_hours=0)).enriched == 1


async def test_a_database_that_cannot_be_used_is_mended_in_the_block_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def saved(*_: Any) -> TagtrailDatabase:
        return TagtrailDatabase(url=SecretStr("mysql://me:hidden@nowhere/x"))

    monkeypatch.setattr(run_accounts, "_saved", saved)
    with pytest.raises(UsageError, match="mend the block tagtrail-database/default") as refused:
        await run_accounts.saved_database_url()
    assert "hidden" not in str(refused.value)
