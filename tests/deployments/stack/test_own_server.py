"""Tagtrail's own Prefect server: one real start, reused and ended; all else without one."""

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from blocks.errors import TagtrailError, UsageError
from deployments.cli import main as command_line
from deployments.stack import own_server
from deployments.stack.own_server import ServerInfo
from deployments.stack.process import start_time

pytestmark = pytest.mark.integration


@pytest.fixture
def home(clean_environment: Path) -> Iterator[Path]:
    yield clean_environment
    own_server.stop(clean_environment)


@pytest.fixture
def command(home: Path) -> Callable[[Path, int], list[str]]:
    """Starts a small server in the place of Prefect's, with its manners, and in no time."""
    script = home.parent / "stand_in.py"
    script.write_text(
        """
import base64, http.server, os, sys, time
from pathlib import Path
from deployments.stack import own_server
from deployments.cli import main as command_line

home, port = Path(sys.argv[1]), int(sys.argv[2])
mode = (home / "mode").read_text() if (home / "mode").exists() else ""
if mode == "dies":
    sys.exit("cannot start")
signed = "Basic " + base64.b64encode(os.environ["PREFECT_SERVER_API_AUTH_STRING"].encode()).decode()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if mode == "hangs":
            time.sleep(60)
        self.send_response(200 if self.headers.get("Authorization") == signed else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

own_server.note_down(home, port)
time.sleep(0.2)
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
""",
        encoding="utf-8",
    )
    return lambda home, port: [sys.executable, str(script), str(home), str(port)]


@pytest.fixture
def ensure(command: Callable[[Path, int], list[str]]) -> Callable[..., ServerInfo]:
    """The server of a home, a stand-in."""
    return partial(own_server.ensure, command=command)


def status_of(info: ServerInfo, auth_string: str | None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", info.port, timeout=60)
    signature = base64.b64encode((auth_string or "").encode()).decode()
    connection.request(
        "GET", "/api/admin/version", headers={"Authorization": f"Basic {signature}"} if auth_string else {}
    )
    answer = connection.getresponse().status
    connection.close()
    return answer


@pytest.mark.stack
def test_a_real_server_is_started_once_and_ended(
    home: Path, migrated: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    migrated(home)
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:////nowhere/at/all.db")
    secrets = {
        "MEMORIES_API_KEY": "key-of-nobody",
        "TAGTRAIL_CALLBACK_SECRET": "secret-of-nobody",
        "TAGTRAIL_DATABASE_URL": "postgresql://nobody:word-of-nobody@db.example/kites",
        "PGPASSWORD": "word-of-nobody",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    info = own_server.ensure(home, said.append)
    assert said == ["starting Tagtrail's own Prefect server (about 5 s) …"]

    assert status_of(info, info.auth_string) == 200
    assert status_of(info, None) == 401
    assert status_of(info, "tagtrail:guess") == 401
    assert own_server.auth_file(home).read_text() == info.auth_string
    assert own_server.auth_file(home).stat().st_mode & 0o777 == 0o600
    assert info.auth_string not in repr(info)

    process = psutil.Process(info.pid)
    assert os.getsid(info.pid) == info.pid != os.getsid(0)
    assert process.terminal() is None
    environ = process.environ()
    assert environ["DO_NOT_TRACK"] == "1"
    assert environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert not [name for name, value in environ.items() if name in secrets or "of-nobody" in value]
    assert environ["PREFECT_API_DATABASE_CONNECTION_URL"] == "sqlite+aiosqlite:///prefect.db"
    assert (home / "prefect" / "prefect.db").exists()
    outside = {os.readlink(f"/proc/{info.pid}/fd/{number}") for number in (0, 1, 2)}
    assert outside == {"/dev/null", str(own_server.log_file(home))}
    listening = {
        (one.laddr.ip, one.laddr.port) for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", info.port)}

    assert own_server.ensure(home, pytest.fail) == info
    assert command_line.call(["down"]) == 0
    assert start_time(info.pid) is None
    assert own_server.stop(home) is False


def test_the_first_start_says_that_it_takes_longer(home: Path, ensure: Callable[..., ServerInfo]) -> None:
    said: list[str] = []
    ensure(home, said.append)
    assert said == ["starting Tagtrail's own Prefect server (first time: about 20 s) …"]
    assert [path.stat().st_mode & 0o777 for path in (home, home / "prefect")] == [0o700, 0o700]


def test_a_killed_server_is_noticed_and_replaced(home: Path, ensure: Callable[..., ServerInfo]) -> None:
    first = ensure(home, lambda _: None)
    os.kill(first.pid, signal.SIGKILL)
    assert own_server.running(home) is None
    assert not own_server.ended_on_purpose(home)
    second = ensure(home, lambda _: None)
    assert second.pid != first.pid
    assert second.auth_string == first.auth_string
    assert second.port == first.port  # bookmarks stay good


def test_a_pid_that_belongs_to_somebody_else_now_is_left_alone(home: Path, ensure: Callable[..., ServerInfo]) -> None:
    first = ensure(home, lambda _: None)
    own_server.stop(home)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        state = {"pid": bystander.pid, "started": first.started, "port": first.port, "version": first.version}
        (home / "prefect" / "tagtrail-server.json").write_text(json.dumps(state))
        assert own_server.running(home) is None
        assert own_server.stop(home) is False
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_port_that_somebody_else_has_now_is_avoided(home: Path, ensure: Callable[..., ServerInfo]) -> None:
    first = ensure(home, lambda _: None)
    os.killpg(first.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(first.pid)], timeout=60)  # its port is free only when all of it is gone
    with socket.create_server(("127.0.0.1", first.port)):
        second = ensure(home, lambda _: None)
        assert second.port != first.port


def test_a_port_that_is_taken_while_the_server_starts_is_given_up_once(
    home: Path, command: Callable[[Path, int], list[str]]
) -> None:
    """Between choosing a port and listening there, anybody may take it."""
    taken: list[socket.socket] = []
    begun: list[ServerInfo] = []

    def after(times: int) -> Callable[[Path, int], list[str]]:
        """The command, for which the port is taken so often."""

        def taking(home: Path, port: int) -> list[str]:
            if len(taken) < times:
                taken.append(socket.create_server(("127.0.0.1", port)))
            return command(home, port)

        return taking

    try:
        info = own_server.ensure(home, lambda _: None, command=after(1), begun=begun.append)
        assert info.port != taken[0].getsockname()[1]
        assert [one.port for one in begun] == [taken[0].getsockname()[1], info.port]
        own_server.stop(home)
        with pytest.raises(TagtrailError, match="ended while it was starting"):
            own_server.ensure(home, lambda _: None, command=after(3))
        asked = free_port()
        with pytest.raises(UsageError, match=rf"port {asked} of 127\.0\.0\.1 is in use"):
            own_server.ensure(home, lambda _: None, command=after(4), port=asked)
    finally:
        for one in taken:
            one.close()


def test_a_port_that_was_asked_for_is_had_or_refused(home: Path, ensure: Callable[..., ServerInfo]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1]
        with pytest.raises(
            UsageError, match=rf"port {wanted} of 127\.0\.0\.1 is in use; choose another with --server-port"
        ):
            ensure(home, lambda _: None, port=wanted)
    assert ensure(home, lambda _: None, port=wanted).port == wanted
    with pytest.raises(UsageError, match=f"runs at port {wanted} already"):
        ensure(home, lambda _: None, port=wanted - 1)
    own_server.stop(home)
    assert own_server.ended_on_purpose(home)


def test_a_server_without_a_lock_on_its_door_is_not_ours(home: Path) -> None:
    import http.server

    class Open(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Open) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            state = {"pid": os.getpid(), "started": start_time(os.getpid()), "port": server.server_port}
            state["version"] = own_server.prefect_version()
            (home / "prefect").mkdir(parents=True)
            (home / "prefect" / "auth").write_text("tagtrail:x")
            (home / "prefect" / "tagtrail-server.json").write_text(json.dumps(state))
            assert own_server.running(home) is None
        finally:
            server.shutdown()
            thread.join()
            (home / "prefect" / "tagtrail-server.json").unlink()


def test_commands_that_start_at_once_get_one_server(home: Path, ensure: Callable[..., ServerInfo]) -> None:
    found: list[ServerInfo] = []
    said: list[str] = []

    def command() -> None:
        found.append(ensure(home, said.append))

    threads = [threading.Thread(target=command) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({info.pid for info in found}) == 1
    assert len(said) == 1


def test_a_server_whose_starter_was_killed_is_waited_for(
    home: Path, ensure: Callable[..., ServerInfo], command: Callable[[Path, int], list[str]]
) -> None:
    """The server notes itself down, so nothing is lost with the command that started it."""
    with subprocess.Popen(command(home, free_port()), env=server_env(home), start_new_session=True) as starter:
        while own_server.recorded(home) is None:
            time.sleep(0.01)
        info = ensure(home, pytest.fail)
        assert info.pid == starter.pid
        starter.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_env(home: Path) -> dict[str, str]:
    (home / "prefect").mkdir(parents=True, exist_ok=True)
    (home / "prefect" / "auth").write_text("tagtrail:x")
    return os.environ | {"PREFECT_SERVER_API_AUTH_STRING": "tagtrail:x"}


def test_a_start_that_fails_is_one_sentence_with_the_log(home: Path, ensure: Callable[..., ServerInfo]) -> None:
    home.mkdir()
    (home / "mode").write_text("dies")
    with pytest.raises(TagtrailError, match=r"ended while it was starting; its log is .*prefect-server\.log"):
        ensure(home, lambda _: None)
    assert "cannot start" in own_server.log_file(home).read_text()


def test_a_start_that_takes_too_long_is_ended(home: Path, ensure: Callable[..., ServerInfo]) -> None:
    home.mkdir()
    (home / "mode").write_text("hangs")
    with pytest.raises(TagtrailError, match=r"did not start within 2 s; its log is"):
        ensure(home, lambda _: None, start_seconds=1.5)
    left = [process for process in psutil.process_iter(["cmdline"]) if str(home) in (process.info["cmdline"] or [])]
    assert left == []


def test_another_version_of_prefect_gets_a_server_of_its_own(home: Path, ensure: Callable[..., ServerInfo]) -> None:
    first = ensure(home, lambda _: None)
    state = own_server.state_file(home)
    state.write(**state.read() | {"version": "3.8.99"})
    assert own_server.running(home) is None
    second = ensure(home, lambda _: None)
    assert second.pid != first.pid
    assert start_time(first.pid) is None


def test_it_is_ended_also_where_nothing_can_be_written(home: Path, ensure: Callable[..., ServerInfo]) -> None:
    info = ensure(home, lambda _: None)
    # In the way of the state file, as a full disk is.
    (home / "prefect" / "tagtrail-server.tmp").mkdir()
    assert own_server.stop(home)
    assert start_time(info.pid) is None


def test_a_server_that_version_0_2_0_started_is_known(home: Path, ensure: Callable[..., ServerInfo]) -> None:
    info = ensure(home, lambda _: None)
    state = own_server.state_file(home).read()
    ticks = round(info.started * os.sysconf("SC_CLK_TCK"))
    own_server.state_file(home).write(**state | {"started": f"5f1c0e0a-boot/{ticks}"})
    assert own_server.running(home) == info
    own_server.state_file(home).write(**state | {"started": f"5f1c0e0a-boot/{ticks - 1}"})
    assert own_server.running(home) is None
    own_server.state_file(home).write(**state)


def test_stop_makes_no_home(home: Path) -> None:
    assert own_server.stop(home) is False
    assert not home.exists()
