"""A saved account decides, and what the environment says beside it is told, or refused where it would cost money."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.database.engine import Store
from blocks.database.store import money, runs
from blocks.errors import UsageError
from blocks.memories.credentials import MemoriesCredentials
from blocks.memories.requests import account_name
from blocks.settings import V1_BASE_URL, V2_BASE_URL, get_settings
from deployments.cli import account
from deployments.cli.account import Service, overruled, service_of
from deployments.sandbox.imports import task_id_of, was_made_here
from deployments.stack import own_server

SANDBOX_V1 = "http://127.0.0.1:8787/serve/api/v1"
SANDBOX_V2 = "http://127.0.0.1:8787/serve/api/v2"


def saved(**fields: Any) -> MemoriesCredentials:
    return MemoriesCredentials(**{"api_key": SecretStr("sk-of-block")} | fields)


def test_nothing_is_told_where_the_environment_says_nothing_or_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert overruled(get_settings(), saved()) is None
    monkeypatch.setenv("MEMORIES_API_KEY", "sk-of-block")
    monkeypatch.setenv("MEMORIES_V1_BASE_URL", V1_BASE_URL + "/")
    assert overruled(get_settings(), saved()) is None


def test_what_a_saved_account_overrules_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMORIES_V1_BASE_URL", "https://proxy.example/v1")
    sentence = overruled(get_settings(), saved())
    assert sentence == (
        "Account: the saved block memories-credentials/default (api.memories.ai and mavi-backend.memories.ai); "
        "MEMORIES_V1_BASE_URL in the environment or .env is not used"
    )
    monkeypatch.setenv("MEMORIES_API_KEY", "sk-of-environment")
    sentence = overruled(get_settings(), saved(v1_base_url=SANDBOX_V1, v2_base_url=SANDBOX_V2))
    assert sentence is not None
    assert "(127.0.0.1:8787); MEMORIES_API_KEY and MEMORIES_V1_BASE_URL" in sentence
    assert "sk-of" not in sentence


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1.2.3"])
def test_a_sandbox_in_the_environment_beside_a_real_saved_account_is_refused(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMORIES_V2_BASE_URL", f"http://{host}:8787/serve/api/v2")
    with pytest.raises(UsageError, match=r"MEMORIES_V2_BASE_URL names a server on this machine.*nothing was sent; del"):
        overruled(get_settings(), saved())
    # Two addresses of sandboxes: the block's own is free too.
    assert overruled(get_settings(), saved(v2_base_url="http://localhost:1/v2")) is not None


def test_a_service_is_named_by_its_hosts() -> None:
    assert Service(V1_BASE_URL, V2_BASE_URL).is_real
    assert not Service(V1_BASE_URL, SANDBOX_V2).is_real
    assert Service(V1_BASE_URL, SANDBOX_V2).is_here
    assert Service("https://u:p@proxy.example/v1", "https://proxy.example/v2").hosts == "proxy.example"
    assert service_of(get_settings(), None).is_real
    assert not account.is_here("https://api.memories.ai/v1")


@pytest.fixture
async def real_block(prefect_server: None) -> AsyncIterator[None]:
    from prefect.client.orchestration import get_client

    document = await saved().asave("default", overwrite=True)
    yield
    async with get_client() as client:
        await client.delete_block_document(document)


@pytest.mark.usefixtures("real_block")
@pytest.mark.parametrize("command", [("run", "linen"), ("enrich", "https://youtu.be/abcdefghijk")])
def test_a_command_with_the_sandbox_s_variables_buys_nothing_of_the_real_service(
    command: tuple[str, ...],
    tagtrail: Callable[..., Any],
    server_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAGTRAIL_HOME", str(server_home))
    monkeypatch.setenv("TAGTRAIL_DATABASE_URL", f"sqlite:///{tmp_path / 'tagtrail.db'}")
    monkeypatch.setenv("MEMORIES_API_KEY", "sk-sandbox")
    monkeypatch.setenv("MEMORIES_V1_BASE_URL", SANDBOX_V1)
    monkeypatch.setenv("MEMORIES_V2_BASE_URL", SANDBOX_V2)
    called = tagtrail(*command)
    assert called.status == 2
    assert called.err.splitlines()[-1].startswith(
        "tagtrail: MEMORIES_V1_BASE_URL and MEMORIES_V2_BASE_URL name a server on this machine, but the saved block"
    )
    assert not (tmp_path / "tagtrail.db").exists()


def test_a_sandbox_s_imports_are_known_by_their_task_ids() -> None:
    assert was_made_here(task_id_of(7, "fibres"), "fibres")
    assert was_made_here(task_id_of(7, ""), "fibres")
    assert not was_made_here(task_id_of(7, "other"), "fibres")
    assert not was_made_here("task-1", "fibres")


def of_task(store: Store, task_id: str, namespace: str = "fibres") -> None:
    from sqlalchemy import text

    with store.begin() as conn:
        found = conn.execute(text("update imports set task_id = :id, namespace = :n"), {"id": task_id, "n": namespace})
        assert found.rowcount == 1


def test_a_real_service_never_fills_a_database_of_the_sandbox(filled: Store) -> None:
    real, sandbox = Service(V1_BASE_URL, V2_BASE_URL), Service(SANDBOX_V1, SANDBOX_V2)
    said: list[str] = []
    account.must_not_mix(get_settings(), real, said.append)
    of_task(filled, task_id_of(0, "fibres"))
    account.must_not_mix(get_settings(), sandbox, said.append)
    with pytest.raises(UsageError, match=r"holds invented posts of the sandbox; for api\.memories\.ai"):
        account.must_not_mix(get_settings(), real, said.append)
    assert not said
    with filled.begin() as conn:
        runs.start_run(conn, run_id="r2", flow="enrich-posts", account="another", now=datetime.now(UTC))
    account.must_not_mix(get_settings(), real, said.append)
    assert len(said) == 1
    assert "among the real ones" in said[0]


def test_posts_that_were_only_enriched_on_the_sandbox_are_known_by_its_key(home_store: Store) -> None:
    with home_store.begin() as conn:
        runs.start_run(
            conn, run_id="r1", flow="enrich-posts", account=account_name("sk-sandbox"), now=datetime.now(UTC)
        )
    with pytest.raises(UsageError, match="holds invented posts"):
        account.must_not_mix(get_settings(), Service(V1_BASE_URL, V2_BASE_URL), pytest.fail)


def test_posts_that_were_only_enriched_on_the_sandbox_are_known_by_its_address(home_store: Store) -> None:
    now = datetime.now(UTC)
    real = Service(V1_BASE_URL, V2_BASE_URL)
    with home_store.begin() as conn:
        for run_id, hosts in (("r1", "127.0.0.1:8787"), ("r2", "api.memories.ai and mavi-backend.memories.ai")):
            runs.start_run(
                conn, run_id=run_id, flow="enrich-posts", account="another", parameters={"service": hosts}, now=now
            )
    # Neither of them has bought anything: the database holds nobody's answers.
    account.must_not_mix(get_settings(), real, pytest.fail)
    with home_store.begin() as conn:
        money.reserve(conn, money.Purpose("another", "r1", "c", "metadata"), micros=1, caps=money.Caps(), now=now)
    with pytest.raises(UsageError, match="holds invented posts"):
        account.must_not_mix(get_settings(), real, pytest.fail)
    with home_store.begin() as conn:
        money.reserve(conn, money.Purpose("another", "r2", "c", "metadata"), micros=1, caps=money.Caps(), now=now)
    said: list[str] = []
    account.must_not_mix(get_settings(), real, said.append)
    assert len(said) == 1


def test_a_damaged_database_is_told_before_a_server_is_started(
    tagtrail: Callable[..., Any], clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean_environment.mkdir()
    (clean_environment / "tagtrail.db").write_bytes(b"no database" * 500)
    monkeypatch.setenv("MEMORIES_API_KEY", "sk-invented")
    monkeypatch.setattr(own_server, "ensure", lambda *_, **__: pytest.fail("no server is needed to see it"))
    for command in (("run", "linen"), ("up",)):
        called = tagtrail(*command)
        assert called.status == 1
        assert "is damaged, or is no SQLite database" in called.err


def test_a_stack_of_the_real_service_is_refused_a_database_of_the_sandbox(
    filled: Store, tagtrail: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_task(filled, task_id_of(0, "fibres"))
    monkeypatch.setattr(own_server, "ensure", lambda *_, **__: pytest.fail("nothing may be started"))
    called = tagtrail("up")
    assert called.status == 2
    assert "holds invented posts of the sandbox" in called.err
