"""`tagtrail up`: its ports, its home, and what a killed one left (a whole stack: `tests/deployments/browser`)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.database.engine import open_store
from blocks.database.store import runs
from blocks.errors import UsageError
from blocks.settings import get_settings
from deployments.cli import main as command_line
from deployments.stack import local_stack, own_server
from deployments.stack.local_stack import AlreadyUp, Stack, Wanted, state_file
from deployments.stack.process import ManagedProcess, end_stack, find_stack, locked, of_stack
from tests.waiting import READY_SECONDS, free_ports, until


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


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_a_killed_up_left_is_ended_by_the_next_which_obeys_every_signal(
    home: Path, sleeper: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    said: list[str] = []

    def say(sentence: str) -> None:
        said.append(sentence)
        os.kill(os.getpid(), number)

    assert Stack(get_settings(), Wanted(), say).run() == 0
    assert said == ["ended 1 process that a killed `tagtrail up` had left"]
    assert sleeper.wait(30) != 0


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
    assert {one.pid for one in find_stack(home)} == {sleeper.pid}
    assert find_stack(home, [sleeper.pid]) == set()


@pytest.mark.integration
@pytest.mark.parametrize("option", ["--sandbox-port", "--receiver-port", "--server-port"])
def test_a_taken_port_is_one_clear_sentence(home: Path, option: str, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert command_line.call(["up", "--sandbox", option, str(port)]) == 2
    [said] = capfd.readouterr().err.splitlines()
    assert said == f"tagtrail: port {port} of 127.0.0.1 is in use; choose another with {option}"
    assert [path.name for path in home.rglob("*")] == ["up", "lock"], "nothing was started"


@pytest.mark.stack
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
    assert find_stack(home) == set()


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
    local_stack.claim(get_settings(), sandbox=False)
    with closing(open_store(f"sqlite:///{home / 'tagtrail.db'}")) as store, store.begin() as conn:
        runs.start_run(conn, run_id="r1", flow="track-hashtags", now=get_now())
    with pytest.raises(UsageError, match=r"TAGTRAIL_HOME=… tagtrail up --sandbox"):
        local_stack.claim(get_settings(), sandbox=True)
    local_stack.claim(get_settings(), sandbox=False)


def test_a_sandbox_s_home_is_never_the_real_service_s(home: Path) -> None:
    local_stack.claim(get_settings(), sandbox=True)
    local_stack.claim(get_settings(), sandbox=True)
    with pytest.raises(UsageError, match="is the sandbox's home"):
        local_stack.claim(get_settings(), sandbox=False)


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
