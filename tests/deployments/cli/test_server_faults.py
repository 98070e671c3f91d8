"""A Prefect server that fails a run: what is wrong with it is named, and the sums that are known are told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.exceptions import PrefectHTTPStatusError

from blocks.errors import TagtrailError
from deployments.cli import running
from deployments.cli.options import Output
from deployments.cli.servers import PrefectServer
from deployments.stack import own_server
from deployments.stack.own_server import ServerInfo
from flows.steps.run.progress import current_progress
from flows.steps.run.summary import RunEnded, RunFailed, RunHalted, RunSummary

NOW = datetime(2026, 11, 20, tzinfo=UTC)
DONE = RunSummary(
    run_id="r", flow="f", outcome="done", message="3 posts: 3 enriched", requested=3, enriched=3, started_at=NOW,
    finished_at=NOW,
)  # fmt: skip


def status_error(status: int) -> PrefectHTTPStatusError:
    request = httpx.Request("POST", "http://127.0.0.1:1/api/flow_runs/")
    return PrefectHTTPStatusError("no", request=request, response=httpx.Response(status, request=request))


@pytest.fixture
def own(tmp_path: Path) -> PrefectServer:
    (tmp_path / "prefect").mkdir()
    return PrefectServer.of_our_own(ServerInfo(tmp_path, 1, 0.0, 1, "3", "tagtrail:x"))


@pytest.fixture
def fill_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda free: monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


@pytest.fixture(autouse=True)
def _flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running.importlib, "import_module", lambda _: SimpleNamespace(flow=None))
    monkeypatch.setattr(own_server, "recorded", lambda home: "alive")


def run(server: PrefectServer, monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> RunSummary:
    def failing(*_: Any) -> object:
        work()
        raise status_error(500)

    monkeypatch.setattr(running, "_run", failing)
    return running.run_flow("module:flow", {}, server=server, expected=3, output=Output(json=True))


def test_the_sums_are_told_where_the_server_failed_at_the_end(
    own: PrefectServer,
    fill_disk: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work() -> None:
        current_progress().summary = DONE

    fill_disk(0)
    summary = run(own, monkeypatch, work)
    assert (summary.exit_status, summary.enriched) == (1, 3)
    said = capsys.readouterr().err
    assert f"cannot write to {own.own.home / 'prefect'}: no space is left" in said  # type: ignore[union-attr]
    assert "PREFECT_API_KEY" not in said


def test_what_was_counted_is_told_where_there_is_no_result_yet(
    own: PrefectServer, fill_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        progress = current_progress()
        progress.found, progress.enriched, progress.cost_usd = 5, 2, 0.07

    fill_disk(0)
    with pytest.raises(TagtrailError, match=r"no space is left .* 5 posts found, 2 enriched, .* about 0\.07 USD"):
        run(own, monkeypatch, work)
    with pytest.raises(TagtrailError) as caught:
        run(own, monkeypatch, lambda: None)
    assert "Until then" not in str(caught.value)


@pytest.mark.parametrize("error", [RunHalted, RunFailed])
def test_a_run_that_ended_in_order_is_told_by_its_result_alone(
    own: PrefectServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: type[RunEnded]
) -> None:
    refused = DONE.model_copy(update={"outcome": "halted", "message": "halted: the API key is not accepted"})

    def ended(*_: Any) -> object:
        current_progress().summary = refused
        return error(refused)

    monkeypatch.setattr(running, "_run", ended)
    assert running.run_flow("module:flow", {}, server=own, expected=3, output=Output(json=True)) == refused
    assert capsys.readouterr().err == ""


def test_a_limit_that_is_not_seen_from_here_is_found_in_the_log(
    own: PrefectServer, fill_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill_disk(10**12)
    with pytest.raises(TagtrailError, match=r"answers with HTTP 500; its log is .*prefect-server\.log"):
        run(own, monkeypatch, lambda: None)
    log = own_server.log_file(tmp_path)
    log.parent.mkdir()
    log.write_bytes(b"x" * 50_000 + b"sqlite3.OperationalError: database or disk is full\n")
    with pytest.raises(TagtrailError, match="no space is left on its disk"):
        run(own, monkeypatch, lambda: None)
    log.write_bytes(b"database or disk is full\n" + b"x" * 50_000)
    assert own_server.full_disk(tmp_path) is None, "that was long ago"


def test_a_server_of_the_users_own_is_theirs_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = PrefectServer.configured("http://team.example/api", "PREFECT_API_URL")
    with pytest.raises(TagtrailError, match=r"team\.example.* answers with HTTP 500; mend PREFECT_API_KEY"):
        run(theirs, monkeypatch, lambda: None)
