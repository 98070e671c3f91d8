"""Checks of the machine, the database, the API and the callback's address, each made to pass and to fail."""

from __future__ import annotations

import importlib.metadata
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.database.engine import Store
from blocks.errors import UsageError
from blocks.memories.credentials import MemoriesCredentials
from blocks.settings import get_settings
from deployments.doctor.checks import (
    ProbeFailed,
    ProbeResult,
    clock_check,
    packages_check,
    probe,
    python_check,
    rooms_check,
)
from deployments.doctor.examination import examine
from deployments.doctor.service import (
    BLOCK,
    HEALTHY,
    KEY,
    Account,
    accepted_check,
    api_clock_check,
    callback_check,
    database_checks,
    key_check,
)
from deployments.sandbox.server import SandboxServer


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(time_scale=100, limits=False) as running:
        yield running


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_python_is_judged_by_what_the_package_asks_for() -> None:
    assert python_check().verdict == "ok"
    assert python_check((3, 10, 4)).verdict == "failed"
    assert python_check((3, 15, 0)).verdict == "failed"


def test_packages_are_judged_by_their_ranges() -> None:
    assert packages_check().verdict == "ok"

    def version_of(name: str) -> str:
        if name == "uvicorn":
            raise importlib.metadata.PackageNotFoundError(name)
        return "2.0.58" if name == "sqlalchemy" else importlib.metadata.version(name)

    wrong = packages_check(version_of)
    assert wrong.verdict == "failed"
    assert "sqlalchemy 2.0.58 is not" in wrong.said
    assert "uvicorn is missing" in wrong.said
    assert "requirements.lock" in wrong.line


def test_rooms_are_tagtrails_own_and_a_folder_of_that_name_is_told(tmp_path: Path) -> None:
    assert rooms_check(tmp_path).verdict == "ok"
    (tmp_path / "flows").mkdir()
    assert rooms_check(tmp_path).verdict == "ok", "a folder that is no package hides none"
    (tmp_path / "flows" / "__init__.py").touch()
    assert rooms_check(tmp_path).verdict == "warning"
    assert rooms_check(tmp_path, rooms=["json"]).verdict == "failed"
    assert rooms_check(tmp_path, rooms=["no_such_room"]).verdict == "failed"


@pytest.mark.parametrize(
    ("ahead", "verdict"), [(0.4, "ok"), (-9.0, "ok"), (30.0, "warning"), (-400.0, "failed"), (None, "warning")]
)
def test_a_clock_is_judged_by_how_far_it_is_off(ahead: float | None, verdict: str) -> None:
    assert clock_check("api", ahead).verdict == verdict


@pytest.mark.integration
def test_a_database_is_reachable_and_at_head_or_what_to_do_is_told(sqlite_store: Store, tmp_path: Path) -> None:
    [good], store = database_checks(sqlite_store.url_shown)
    assert good.verdict == "ok"
    assert store is not None
    store.close()
    [absent], none = database_checks(f"sqlite:///{tmp_path / 'nothing.db'}")
    assert (absent.verdict, none) == ("ok", None)
    assert not (tmp_path / "nothing.db").exists(), "a check makes nothing"
    [unreachable], none = database_checks(f"postgresql+psycopg://invented:secret@127.0.0.1:{unused_port()}/x")
    assert (unreachable.verdict, none) == ("failed", None)
    assert "secret" not in unreachable.line
    [wrong], none = database_checks("mysql://nowhere/x")
    assert (wrong.verdict, none) == ("failed", None)
    assert wrong.advice == "mend TAGTRAIL_DATABASE_URL"
    [of_block], _ = database_checks("mysql://nowhere/x", of_block=True)
    assert of_block.advice == "mend the URL in the block tagtrail-database/default (Prefect UI, Blocks)"


def test_a_schema_that_is_behind_is_no_reason_to_stop_on_sqlite(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    [behind], none = database_checks(f"sqlite:///{tmp_path / 'empty.db'}")
    assert (behind.verdict, none) == ("warning", None)
    assert "db upgrade" in behind.line


def test_a_database_server_has_a_clock_too(store: Store, database_url: str) -> None:
    checks, opened = database_checks(database_url)
    assert opened is not None
    opened.close()
    assert [check.verdict for check in checks] == ["ok"] * (1 if store.is_sqlite else 2)


def test_a_key_is_set_and_can_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert key_check(get_settings(), None).verdict == "warning"
    block = MemoriesCredentials(api_key=SecretStr("sk-invented"))
    assert key_check(get_settings(), block).line == f"ok      key: the {BLOCK} holds it"
    for key, verdict in (("sk-invented", "ok"), ("Bearer sk-invented", "failed")):
        monkeypatch.setenv("MEMORIES_API_KEY", key)
        found = key_check(get_settings(), None)
        assert found.verdict == verdict
        assert "sk-invented" not in found.line
    monkeypatch.setenv(KEY, "sk-invented")
    empty = key_check(get_settings(), MemoriesCredentials(api_key=SecretStr("")))
    assert (empty.verdict, KEY in empty.line, BLOCK in empty.line) == ("failed", False, True), "the block decides"


@pytest.mark.integration
async def test_a_key_is_accepted_refused_or_nothing_is_known(sandbox: SandboxServer) -> None:
    async def asked(v1: str | None = None) -> str:
        account = Account("tests", SecretStr("sk-invented"), v1 or sandbox.v1_base_url, sandbox.v2_base_url, 2)
        async with account.client() as client:
            check = await accepted_check(client, account)
        assert "sk-invented" not in check.line
        if check.verdict == "ok":
            assert f"the key is accepted by {sandbox.url.removeprefix('http://')}: " in check.line
        return check.verdict

    for scenario, verdict in (
        ("default", "ok"),
        ("no-videos-code", "ok"),
        ("key-revoked", "failed"),
        ("account-disabled", "failed"),
    ):
        sandbox.play(scenario, **({"after": 0} if verdict == "failed" else {}))
        assert await asked() == verdict, scenario
    assert sandbox.accounting()["accepted"] == {}, "asking costs nothing"
    assert await asked(f"http://127.0.0.1:{unused_port()}/serve/api/v1") == "failed"
    sandbox.play("default")
    [agrees] = api_clock_check(sandbox.v1_base_url)
    assert agrees.verdict == "ok"
    assert api_clock_check(f"http://127.0.0.1:{unused_port()}") == []


@pytest.mark.integration
@pytest.mark.parametrize(
    ("whose", "where", "elsewhere"),
    [(KEY, f"set {KEY}", "the block"), (BLOCK, f"into the {BLOCK}", "MEMORIES_")],
)
async def test_a_refused_key_is_mended_where_it_came_from(
    sandbox: SandboxServer, whose: str, where: str, elsewhere: str
) -> None:
    async def asked(v1_base_url: str) -> str:
        account = Account(whose, SecretStr("sk-invented"), v1_base_url, sandbox.v2_base_url, 2)
        async with account.client() as client:
            check = await accepted_check(client, account)
        assert check.verdict == "failed"
        return check.line

    sandbox.play("key-revoked", after=0)
    refused = await asked(sandbox.v1_base_url)
    assert where in refused
    assert elsewhere not in refused
    assert elsewhere not in await asked(f"http://127.0.0.1:{unused_port()}/serve/api/v1")


@pytest.mark.integration
def test_a_key_that_goes_in_clear_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account("tests", SecretStr("sk-invented"), "http://api.example/v1", "https://api.example/v2", 2)
    assert account.unencrypted == ["api.example"]
    with pytest.raises(UsageError, match="TAGTRAIL_ALLOW_HTTP"):
        account.client()
    monkeypatch.setenv("MEMORIES_API_KEY", "sk-invented")
    monkeypatch.setenv("MEMORIES_V1_BASE_URL", f"http://0.0.0.0:{unused_port()}/v1")
    checks = examine(get_settings(), None).checks
    assert [check.verdict for check in checks if "sends the key unencrypted" in check.line] == ["failed"]
    monkeypatch.setenv("TAGTRAIL_ALLOW_HTTP", "1")
    found = [check.line for check in examine(get_settings(), None).checks]
    assert any("the key goes unencrypted to 0.0.0.0:" in line for line in found), found


@pytest.mark.integration
def test_a_callbacks_address_answers_or_what_to_do_is_told(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callback_check("", "").verdict == "ok"
    assert "TAGTRAIL_CALLBACK_SECRET" in callback_check("https://hooks.example.com", "").line
    assert "TAGTRAIL_CALLBACK_URL" in callback_check("", "hidden-secret").line
    for url in (f"http://127.0.0.1:{unused_port()}/hooks", f"{sandbox.url}/hooks"):
        found = callback_check(url, "hidden-secret")
        assert found.verdict == "failed"
        assert "hidden-secret" not in found.line
    asked: list[str] = []

    def answers(page: str) -> ProbeResult:
        asked.append(page)
        return ProbeResult(200 if page == "https://hooks.example.com/health" else 404, HEALTHY, None)

    monkeypatch.setattr("deployments.doctor.service.probe", answers)
    assert callback_check("https://hooks.example.com/tagtrail", "hidden-secret").verdict == "ok"
    assert all("hidden-secret" not in page for page in asked)


@pytest.mark.integration
@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "nothing", "http://127.0.0.1:1/x"])
def test_what_does_not_answer_fails_the_probe(url: str) -> None:
    with pytest.raises(ProbeFailed):
        probe(url, seconds=5)


def test_the_command_checks_a_bare_machine_and_starts_nothing(
    tagtrail: Callable[..., Any], clean_environment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    called = tagtrail("doctor", "--json")
    assert called.status == 0
    found = {check["name"]: check["verdict"] for check in called.json["checks"]}
    assert found == {
        "python": "ok", "packages": "ok", "rooms": "ok", "key": "warning", "database": "ok", "prefect server": "ok",
        "callback": "ok",
    }  # fmt: skip
    assert not clean_environment.exists()
    monkeypatch.setenv("TAGTRAIL_POLL_SECONDS", "soon")
    broken = tagtrail("doctor")
    assert broken.status == 1
    assert "failed  settings: TAGTRAIL_POLL_SECONDS" in broken.out
    monkeypatch.delenv("TAGTRAIL_POLL_SECONDS")
    for arguments, words in ((["--max-spend", "1"], "--live"), (["--live"], "MEMORIES_API_KEY is not set")):
        refused = tagtrail("doctor", *arguments)
        assert refused.status == 2
        assert words in refused.err
