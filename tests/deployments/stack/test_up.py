"""`tagtrail up --sandbox` from an empty home: four ways to run, a second `up`, and an end that leaves no process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from blocks.database.engine import open_store
from blocks.database.store import runs
from blocks.errors import UsageError
from blocks.settings import get_settings
from deployments.cli import main as command_line
from deployments.stack import homes, local_stack, own_server
from deployments.stack.local_stack import AlreadyUp, Running, Stack, Wanted, state_file
from deployments.stack.process import ManagedProcess, end_stack, living_of_stack, locked, of_stack, start_time

READY_SECONDS = 150.0
"""Generous: machines are loaded. What is waited for ends the wait."""

POSTS = {"byclock": 3, "byhand": 4, "byevent": 5, "bycallback": 6}


@pytest.fixture
def home(clean_environment: Path) -> Iterator[Path]:
    clean_environment.mkdir(mode=0o700)
    yield clean_environment
    local_stack.end(clean_environment, lambda _: None)
    own_server.stop(clean_environment)


@pytest.fixture
def sleeper(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that some `up` of this home left behind."""
    asleep = [sys.executable, "-c", "import time; time.sleep(300)"]
    with subprocess.Popen(asleep, env=os.environ | of_stack(home)) as one:
        yield one
        with suppress(ProcessLookupError):
            one.kill()


def until(ready: Callable[[], Any], what: str, seconds: float = READY_SECONDS) -> Any:
    give_up_at = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < give_up_at, f"waited in vain for {what}"
        time.sleep(0.2)
    return found


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return found


@pytest.mark.alone
@pytest.mark.timeout(600)
async def test_the_whole_stack_runs_in_four_ways_and_ends_without_a_trace(
    home: Path, migrated: Callable[[Path], None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    migrated(home)
    sandbox_port, receiver_port, server_port = free_ports(3)
    named = ["--sandbox-port", str(sandbox_port), "--receiver-port", str(receiver_port)]
    command = [sys.executable, "-m", "deployments.cli.main", "up", "--sandbox", "--time-scale", "60", *named]
    told = tmp_path / "told"
    with told.open("wb") as output:
        command += ["--server-port", str(server_port)]
        up = subprocess.Popen(command, stderr=output, stdin=subprocess.DEVNULL)  # noqa: ASYNC220
    try:
        until(lambda: up.poll() is not None or "Ctrl-C ends" in told.read_text(), "the stack")
        assert up.poll() is None, told.read_text()
        info = own_server.running(home)
        assert info is not None
        assert info.port == server_port
        assert info.auth_string not in told.read_text()
        assert str(own_server.auth_file(home)) in told.read_text()

        with temporary_settings({PREFECT_API_URL: info.api_url, PREFECT_API_AUTH_STRING: info.auth_string}):
            await start_runs()
            until(lambda: stored(home) == POSTS, "the posts of all four", seconds=300)
            assert await how_they_began() == {"byclock": "SCHEDULE", "byevent": "AUTOMATION"}

        doctor = [sys.executable, "-m", "deployments.cli.main", "doctor", "--json"]
        examined = subprocess.run(doctor, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)  # noqa: ASYNC221
        checks = {check["name"]: check for check in json.loads(examined.stdout)["checks"] if check["name"] != "rooms"}
        assert [check for check in checks.values() if check["verdict"] != "ok"] == [], "no false alarm"
        assert checks.keys() >= {"deployments", "automations", "work pool tagtrail", "callback", "key"}

        [worker] = [one for one in psutil.Process(up.pid).children() if "worker" in one.cmdline()]
        worker.kill()
        until(lambda: "the worker ended by itself" in told.read_text(), "a word about the worker's death")
        assert up.poll() is None

        capfd.readouterr()
        assert command_line.call(["up", "--sandbox"]) == 0
        assert f"runs already (process {up.pid})" in capfd.readouterr().err
        assert command_line.call(["up"]) == 2
        assert "on the sandbox; `tagtrail down` ends it" in capfd.readouterr().err

        members_of_stack = living_of_stack(home)
        assert len(members_of_stack) >= 3
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0, told.read_text()
        assert living_of_stack(home) == set()
        # Whoever is their parent by now may not have looked yet: a zombie is over too.
        assert not [pid for pid in (*members_of_stack, info.pid) if start_time(pid) is not None]
        assert state_file(home).read() == {}
        for port in (sandbox_port, receiver_port, server_port):
            socket.create_server(("127.0.0.1", port)).close()
    finally:
        if up.poll() is None:
            up.kill()
            up.wait()


async def start_runs() -> None:
    """One run by each way; each has a hashtag of its own."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import IntervalSchedule

    async with get_client() as client:
        daily = await client.read_deployment_by_name("track-hashtags/daily")
        # A minute apart, so that only the first comes while the test looks; the clock is the server's.
        often = IntervalSchedule(interval=timedelta(seconds=60))
        parameters = {"hashtags": ["byclock"], "posts_per_hashtag": POSTS["byclock"]}
        schedule = DeploymentScheduleCreate(schedule=often, active=True, parameters=parameters, slug="often")
        await client.create_deployment_schedules(daily.id, [schedule])

        manual = await client.read_deployment_by_name("track-hashtags/manual")
        request: dict[str, Any] = {"hashtags": ["byhand"], "posts_per_hashtag": POSTS["byhand"]}
        await client.create_flow_run_from_deployment(manual.id, parameters=request)
        request = {"hashtags": ["bycallback"], "posts_per_hashtag": POSTS["bycallback"], "wait": False}
        await client.create_flow_run_from_deployment(manual.id, parameters=request)

        event = {
            "event": "tagtrail.track.requested",
            "resource": {"prefect.resource.id": "tests.campaign.7"},
            "payload": {"hashtags": ["byevent"], "posts_per_hashtag": POSTS["byevent"]},
            "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "id": "5d0c5c1e-2a3d-4d0f-9a57-7461677472a1",
        }
        assert (await client._client.post("/events", json=[event])).status_code == 204


async def how_they_began() -> dict[str, str]:
    """What made those runs that nobody made by hand, by their hashtags."""
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        found = {}
        for one in await client.read_flow_runs(limit=200):
            tags = one.parameters.get("hashtags") or [""]
            if tags[0] in ("byclock", "byevent") and one.created_by is not None:
                found[tags[0]] = one.created_by.type
        return found


def stored(home: Path) -> dict[str, int]:
    """Enriched posts by the hashtag whose import found them."""
    if not (home / "tagtrail.db").exists():
        return {}
    with closing(open_store(f"sqlite:///{home / 'tagtrail.db'}", create=True)) as store, store.connect() as conn:
        rows = conn.exec_driver_sql(
            "SELECT imports.hashtag, count(DISTINCT posts.post_id) FROM posts"
            " JOIN import_items ON import_items.platform = posts.platform AND import_items.post_id = posts.post_id"
            " JOIN imports ON imports.import_id = import_items.import_id"
            " WHERE posts.status = 'enriched' GROUP BY imports.hashtag"
        )
        return dict(rows.all())  # type: ignore[arg-type]


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_a_killed_up_left_is_ended_by_the_next_which_obeys_every_signal(
    home: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    said: list[str] = []
    stack = Stack(get_settings(), Wanted(), said.append)

    def start(before: Running | None) -> None:
        sleeper.wait(30)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(stack, "_start", start)
    assert stack.run() == 0
    assert said == ["ended 1 process that a killed `tagtrail up` had left"]


@pytest.mark.integration
def test_down_ends_what_a_killed_up_left(
    home: Path, sleeper: subprocess.Popen[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    state_file(home).write(pid=sleeper.pid, started=0.5, server_is_ours=True)
    assert command_line.call(["down"]) == 0
    assert "Ended 1 process of" in capfd.readouterr().err
    assert sleeper.wait(30) != 0
    assert state_file(home).read() == {}
    assert command_line.call(["down"]) == 0
    assert "Nothing of Tagtrail's was running" in capfd.readouterr().err


@pytest.mark.integration
def test_processes_of_another_home_are_left_alone(home: Path, sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert end_stack(other) == 0
    assert living_of_stack(home) == {sleeper.pid}
    assert living_of_stack(home, but=[sleeper.pid]) == set()


@pytest.mark.integration
@pytest.mark.parametrize("option", ["--sandbox-port", "--receiver-port", "--server-port"])
def test_a_taken_port_is_one_clear_sentence(home: Path, option: str, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert command_line.call(["up", "--sandbox", option, str(port)]) == 2
    [said] = capfd.readouterr().err.splitlines()
    assert said == f"tagtrail: port {port} of 127.0.0.1 is in use; choose another with {option}"
    assert [path.name for path in home.rglob("*")] == ["up", "lock"], "nothing was started"


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_a_port_that_is_taken_while_the_stack_starts_is_one_clear_sentence(
    home: Path, migrated: Callable[[Path], None], tmp_path: Path
) -> None:
    migrated(home)
    [port] = free_ports(1)
    command = [sys.executable, "-m", "deployments.cli.main", "up", "--sandbox", "--receiver-port", str(port)]
    told = tmp_path / "told"
    with told.open("wb") as output:
        up = subprocess.Popen(command, stderr=output, stdin=subprocess.DEVNULL)
    try:
        until(lambda: state_file(home).read(), "its choice of ports")
        with socket.create_server(("127.0.0.1", port)):
            assert up.wait(READY_SECONDS) == 2
    finally:
        up.kill()
        up.wait()
    assert told.read_text().splitlines()[-1] == (
        f"tagtrail: port {port} of 127.0.0.1 is in use; choose another with --receiver-port"
    )
    assert living_of_stack(home) == set()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--server-port", "70000"), "--server-port is 1 to 65535, not 70000"),
        (("--sandbox", "--time-scale", "0"), "--time-scale is between 0.001 and 100,000; not 0"),
        (("--scenario", "nonsense"), "there is no scenario nonsense; `tagtrail sandbox --scenarios` lists them"),
    ],
)
def test_wrong_usage_is_refused(words: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert command_line.call(["up", *words]) == 2
    assert capfd.readouterr().err == f"tagtrail: {said}\n"


def test_one_up_at_a_time(home: Path) -> None:
    (home / "up").mkdir()
    with locked(home / "up" / "lock", seconds=0, error=AlreadyUp()), pytest.raises(AlreadyUp):
        Stack(get_settings(), Wanted(), pytest.fail).run()


def test_a_home_with_real_posts_is_never_the_sandbox_s(home: Path, migrated_sqlite: Path) -> None:
    (home / "tagtrail.db").write_bytes(migrated_sqlite.read_bytes())
    homes.claim(get_settings(), sandbox=False)
    with closing(open_store(f"sqlite:///{home / 'tagtrail.db'}")) as store, store.begin() as conn:
        runs.start_run(conn, run_id="r1", flow="track-hashtags", now=get_now())
    with pytest.raises(UsageError, match=r"TAGTRAIL_HOME=… tagtrail up --sandbox"):
        homes.claim(get_settings(), sandbox=True)
    homes.claim(get_settings(), sandbox=False)


def test_a_sandbox_s_home_is_never_the_real_service_s(home: Path) -> None:
    homes.claim(get_settings(), sandbox=True)
    homes.claim(get_settings(), sandbox=True)
    with pytest.raises(UsageError, match="is the sandbox's home"):
        homes.claim(get_settings(), sandbox=False)


@pytest.mark.usefixtures("prefect_server")
async def test_a_real_account_is_never_replaced_by_the_sandbox_s() -> None:
    from prefect.client.orchestration import get_client

    from blocks.memories.credentials import MemoriesCredentials
    from deployments.stack.setup_process import refuse_real_account

    await refuse_real_account()
    for key, allowed in (("sk-sandbox", True), ("key-of-somebody", False)):
        saved = await MemoriesCredentials(api_key=SecretStr(key)).asave("default", overwrite=True)
        try:
            with nullcontext() if allowed else pytest.raises(UsageError, match="holds an account of yours") as refused:
                await refuse_real_account()
            assert refused is None or key not in str(refused.value)
        finally:
            async with get_client() as client:
                await client.delete_block_document(saved)


@pytest.mark.integration
def test_a_process_that_dies_too_often_is_given_up(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no luck')"]
    worker = ManagedProcess("worker", command, os.environ, tmp_path / "log", tmp_path)
    worker.start()
    assert worker.wait_until(lambda: worker.exit_status == 0, 30)
    assert worker.last_line() == "no luck"
    assert [worker.may_start_again() for _ in range(4)] == [True, True, True, False]


def get_now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)
