"""Tagtrail's own Prefect server: started once in the background, reused by the next command, ended by `down`.

It is a real server (never Prefect's ephemeral one): on a free port of 127.0.0.1, with its data under the home, with
authentication, without telemetry, in a session of its own, so that it outlives the command that started it. All that
is known of it stands in `HOME/prefect/`: the string for signing in (mode 0600) and which process it is.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib.metadata
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from blocks import network
from blocks.errors import NO_ROOM, TagtrailError, UsageError
from deployments.stack.process import (
    FIRM_SECONDS,
    GENTLE_SECONDS,
    HOST,
    ManagedProcess,
    StateFile,
    choose_port,
    end_with_children,
    is_alive,
    locked,
    start_time,
    wait_until,
)

START_SECONDS = 180.0
"""How long a start may take; the first one makes the database, in 10 to 25 s, and in minutes on a busy machine."""
ANSWER_SECONDS = 5.0
"""How long one question to the server may take."""

ROOM_BYTES: Final = 100_000
"""With less room than this the server's database cannot be written."""
LAST_BYTES: Final = 20_000
"""So much of the end of its log says what the server met last."""

_NO_TELEMETRY: Final = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
_NOT_FOR_IT: Final = ("PREFECT_", "MEMORIES_", "TAGTRAIL_", "PG")
"""What names of variables begin with that the server has no use for: accounts, secrets, databases."""
_TUNED: Final = {
    # With the defaults the server records one task run per transaction: 35 instead of 14 s of CPU per 1,000.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "2",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "200",
    # Its database grows for ever unless flow runs are named too; 30 days of them are kept.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 86_400),
}


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A running server of Tagtrail's own; `pid` and `started` name its process (see `start_time`)."""

    home: Path
    pid: int
    started: float
    port: int
    version: str
    auth_string: str = field(repr=False)

    @property
    def url(self) -> str:
        """Where its UI is; the UI asks for `auth_string`."""
        return f"http://{HOST}:{self.port}"

    @property
    def api_url(self) -> str:
        return f"{self.url}/api"


def ensure(
    home: Path,
    announce: Callable[[str], None],
    *,
    port: int | None = None,
    begun: Callable[[ServerInfo], None] = lambda _: None,
    command: Callable[[Path, int], Sequence[str]] | None = None,
    start_seconds: float = START_SECONDS,
) -> ServerInfo:
    """The server of this home, started if none is running; `announce` gets a sentence if that takes time.

    `port`: where it has to listen; by itself it takes the port of last time, or any that is free.
    `begun`: called with where the server will be, before the wait for it; what takes long to load can begin then. It is
    called once more where somebody else took the port first, and the server gets another one.
    `command`: what is run for a home and a port; by itself this module, which turns into the server.

    Raises:
        TagtrailError: it did not start within `start_seconds`, or another command has been starting it for longer.
        UsageError: that port is in use, or the server listens at another already.
    """
    if (info := running(home)) is not None:
        if port not in (None, info.port):
            raise UsageError(
                f"Tagtrail's own Prefect server runs at port {info.port} already; `tagtrail down` ends it, "
                f"and then it can have port {port}"
            )
        begun(info)
        return info
    with _locked(home):
        known = recorded(home)
        if known is not None:
            # Another command has just started it, or was killed while it did.
            if known.version == prefect_version() and _is_ready(known, start_seconds):
                begun(known)
                return known
            end_with_children(known.pid)
        first = not (_folder(home) / "prefect.db").exists()
        announce(f"starting Tagtrail's own Prefect server ({'first time: about 20' if first else 'about 5'} s) …")
        return _start(home, port, begun, command or server_command, start_seconds)


def running(home: Path) -> ServerInfo | None:
    """The server of this home, if it is running, ours, and of the installed version of Prefect."""
    known = recorded(home)
    return known if known is not None and known.version == prefect_version() and _is_ours(known) else None


def recorded(home: Path) -> ServerInfo | None:
    """The server that was noted down, if its process lives; it may not answer yet."""
    state = state_file(home).read()
    try:
        auth_string = auth_file(home).read_text(encoding="ascii").strip()
        pid, port, version = int(state["pid"]), int(state["port"]), str(state["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return ServerInfo(home, pid, start_time(pid) or 0.0, port, version, auth_string) if is_alive(state) else None


def stop(home: Path) -> bool:
    """End the server of this home with all that it started; False if there was none."""
    if not _folder(home).exists():
        return False
    with _locked(home):
        known = recorded(home)
        if known is not None:
            # Said before it ends, for those who look why it is gone; a full disk does not keep it running.
            with contextlib.suppress(OSError):
                state_file(home).write(**state_file(home).read() | {"ended": True})
            end_with_children(known.pid)
        return known is not None


def ended_on_purpose(home: Path) -> bool:
    """Whether the server that is no longer there was ended by `stop`; False where it died."""
    return bool(state_file(home).read().get("ended"))


def lives(info: ServerInfo) -> bool:
    """Whether its process still is that process."""
    return start_time(info.pid) == info.started


def ask(info: ServerInfo, method: str, path: str, *, signed: bool = True) -> tuple[int, bytes]:
    """Status and body of its answer to a question without content; 0 where it does not answer."""
    signature = base64.b64encode(info.auth_string.encode()).decode()
    headers = {"Authorization": f"Basic {signature}"} if signed else {}
    body = "{}" if method == "POST" else None
    connection = http.client.HTTPConnection(HOST, info.port, timeout=ANSWER_SECONDS)
    try:
        connection.request(method, f"/api{path}", body, headers | {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def env_for(info: ServerInfo) -> dict[str, str]:
    """Environment of a process that works with this server and leaves the user's Prefect profile alone."""
    folder = _folder(info.home)
    return {
        "PREFECT_API_URL": info.api_url,
        "PREFECT_API_AUTH_STRING": info.auth_string,
        "PREFECT_HOME": str(folder),
        # A file that is never made, so the profile is Prefect's own default one, which sets nothing.
        "PREFECT_PROFILES_PATH": str(folder / "profiles.toml"),
        "PREFECT_PROFILE": "ephemeral",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        **_NO_TELEMETRY,
    }


def log_file(home: Path) -> Path:
    """Where the server writes its log."""
    return home / "logs" / "prefect-server.log"


def full_disk(home: Path) -> str | None:
    """A sentence where the server cannot write because its disk is full; None where that is not to be seen."""
    folder = _folder(home)
    full = False
    with contextlib.suppress(OSError):
        full = shutil.disk_usage(folder).free < ROOM_BYTES
    if not full:
        with contextlib.suppress(OSError), log_file(home).open("rb") as log:
            # A quota, or a limit on files, is not seen from here.
            log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_BYTES))
            full = b"disk is full" in log.read()
    return f"Tagtrail's own Prefect server cannot write to {folder}: {NO_ROOM}" if full else None


def auth_file(home: Path) -> Path:
    """The file (mode 0600) with the string that the server's UI asks for."""
    return _folder(home) / "auth"


def _folder(home: Path) -> Path:
    return home / "prefect"


def state_file(home: Path) -> StateFile:
    """Which process the server is, where it listens, and its version."""
    return StateFile(_folder(home) / "tagtrail-server.json")


def prefect_version() -> str:
    return importlib.metadata.version("prefect")


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """One command at a time starts or ends the server."""
    # One after the other: a folder that is made in passing would be open to everybody.
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    _folder(home).mkdir(exist_ok=True, mode=0o700)
    seconds = START_SECONDS + GENTLE_SECONDS + FIRM_SECONDS
    busy = TagtrailError(f"another command has been starting Tagtrail's Prefect server for long; see {log_file(home)}")
    with locked(_folder(home) / "tagtrail-server.lock", seconds=seconds, error=busy):
        yield


def _auth_string(home: Path) -> str:
    path = auth_file(home)
    with contextlib.suppress(FileNotFoundError):
        if known := path.read_text(encoding="ascii").strip():
            return known
    made = f"tagtrail:{secrets.token_urlsafe(24)}"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(made)
    return made


def _is_ours(info: ServerInfo) -> bool:
    """It answers, lets our string in, and nobody without it: another server on that port does not."""
    page = "/admin/version"
    return ask(info, "GET", page)[0] == 200 and ask(info, "GET", page, signed=False)[0] == 401


def _is_ready(info: ServerInfo, seconds: float) -> bool:
    return wait_until(lambda: _is_ours(info), seconds, alive=lambda: lives(info))


def _start(
    home: Path,
    asked_port: int | None,
    begun: Callable[[ServerInfo], None],
    command: Callable[[Path, int], Sequence[str]],
    seconds: float,
) -> ServerInfo:
    last = state_file(home).read().get("port")
    # Bookmarks stay good: the port of last time comes first.
    preferred = last if isinstance(last, int) else 0
    auth_string = _auth_string(home)
    lost_before = False
    while True:
        port = choose_port(asked_port, option="--server-port", preferred=0 if lost_before else preferred)
        process = ManagedProcess(
            "server",
            command(home, port),
            _server_env(home, port, auth_string),
            log_file(home),
            _folder(home),
            # Its database is nobody else's to read, whatever the home's permissions.
            umask=0o077,
        )
        process.start()
        info = ServerInfo(home, process.pid, start_time(process.pid) or 0.0, port, prefect_version(), auth_string)
        begun(info)
        if process.wait_until(partial(_is_ours, info), seconds):
            return info
        died = process.exit_status is not None
        if not died:
            end_with_children(process.pid)
        # Somebody else may take the port after it was chosen: then another one is tried, once.
        lost = died and not lost_before and "already in use" in process.said()
        if not lost:
            how = "ended while it was starting" if died else f"did not start within {seconds:.0f} s"
            message = f"Tagtrail's own Prefect server {how}; its log is {process.log}"
            raise TagtrailError(full_disk(home) or message)
        lost_before = True


def server_command(home: Path, port: int) -> list[str]:
    """What is run: this module, which turns into the server."""
    return [sys.executable, "-m", "deployments.stack.own_server", str(home), str(port)]


def _server_env(home: Path, port: int, auth_string: str) -> dict[str, str]:
    # The user's Prefect settings are for the user's server, and no secret of ours is any business of this one. Proxies
    # and certificates are for its notifications; it does not start with one that cannot be used.
    outward = network.named()
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(_NOT_FOR_IT) and name not in outward
    }
    return (
        inherited
        | network.usable()
        | {
            "PREFECT_HOME": str(_folder(home)),
            "PREFECT_SERVER_API_AUTH_STRING": auth_string,
            "PREFECT_API_AUTH_STRING": auth_string,
            "PREFECT_SERVER_API_HOST": HOST,
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            # Its folder, where it runs: Prefect writes the path into a URL as it is, and a home may be called anything.
            "PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:///prefect.db",
            "PREFECT_CLI_COLORS": "false",
            "PREFECT_CLI_PROMPT": "false",
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
            **_NO_TELEMETRY,
            **_TUNED,
        }
    )


def note_down(home: Path, port: int) -> None:
    """Called by the server's own process, before it serves: who it is, so that nobody else has to remember."""
    pid = os.getpid()
    state_file(home).write(pid=pid, started=start_time(pid), port=port, version=prefect_version())


def _become_the_server(home: Path, port: int) -> None:
    """Same process, so what was noted down is true from the first moment, whatever happens to the starter."""
    note_down(home, port)
    prefect = [sys.executable, "-m", "prefect"]
    os.execv(sys.executable, [*prefect, "server", "start", "--host", HOST, "--port", str(port)])  # noqa: S606


if __name__ == "__main__":
    _become_the_server(Path(sys.argv[1]), int(sys.argv[2]))
