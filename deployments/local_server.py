"""Tagtrail's own Prefect server: started once in the background, reused by the next command, ended by `down`.

It is a real server (never Prefect's ephemeral one): on a free port of 127.0.0.1, with its data under the home, with
authentication, without telemetry, in a session of its own, so that it outlives the command that started it. All that
is remembered about it stands in `HOME/prefect/`: the string for signing in (mode 0600) and which process it is.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import http.client
import importlib.metadata
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from blocks import network
from blocks.errors import TagtrailError, UsageError
from blocks.full_disk import NO_ROOM
from deployments import ports
from deployments.ports import HOST
from deployments.processes import began, remember

START_SECONDS = 180.0
"""How long a start may take; the first one makes the database, in 10 to 25 s, and in minutes on a busy machine."""
STOP_SECONDS: Final = 10.0
ANSWER_SECONDS = 5.0
"""How long one question to the server may take."""
LOG_BYTES: Final = 5_000_000
"""A log longer than this is put aside (one generation) at the next start."""

ROOM_BYTES: Final = 100_000
"""With less room than this the server's database cannot be written."""
LAST_BYTES: Final = 20_000
"""So much of the end of its log says what the server met last."""

_NO_TELEMETRY: Final = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
_NOT_ITS_OWN: Final = ("PREFECT_", "MEMORIES_", "TAGTRAIL_", "PG")
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
    """A running server of Tagtrail's own; `started` is the kernel's word on when its process began."""

    home: Path
    pid: int
    started: str
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
) -> ServerInfo:
    """The server of this home, started if none is running; `announce` gets a sentence if that takes time.

    `port`: where it has to listen; by itself it takes the port of last time, or any that is free.
    `begun`: told where the server will be, once, before the wait for it; what takes long to load can begin then.

    Raises:
        TagtrailError: it did not start within START_SECONDS, or another command has been starting it for longer.
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
            if known.version == prefect_version() and _wait(known, lambda: began(known.pid) == known.started):
                begun(known)
                return known
            _end(known)
        first = not (_folder(home) / "prefect.db").exists()
        announce(f"starting Tagtrail's own Prefect server ({'first time: about 20' if first else 'about 5'} s) …")
        return _start(home, port, begun)


def running(home: Path) -> ServerInfo | None:
    """The server of this home, if it is running, ours, and of the installed version of Prefect."""
    known = recorded(home)
    return known if known is not None and known.version == prefect_version() and _is_ours(known) else None


def stop(home: Path) -> bool:
    """End the server of this home with its whole process group; False if there was none."""
    if not _folder(home).exists():
        return False
    with _locked(home):
        known = recorded(home)
        if known is not None:
            # Said before it ends, for those who look why it is gone; a full disk does not keep it running.
            with contextlib.suppress(OSError):
                _write_state(home, {**_read_state(home), "ended": True})
            _end(known)
        return known is not None


def ended_on_purpose(home: Path) -> bool:
    """Whether the server that is no longer there was ended by `stop`; False where it died."""
    return bool(_read_state(home).get("ended"))


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


def _state_file(home: Path) -> Path:
    return _folder(home) / "tagtrail-server.json"


def prefect_version() -> str:
    return importlib.metadata.version("prefect")


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """One command at a time starts or ends the server; the lock goes with its holder, however that dies."""
    # One after the other: a folder that is made in passing would be open to everybody.
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    _folder(home).mkdir(exist_ok=True, mode=0o700)
    with (_folder(home) / "tagtrail-server.lock").open("w") as file:
        deadline = time.monotonic() + START_SECONDS + STOP_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TagtrailError(
                        f"another command has been starting Tagtrail's Prefect server for long; see {log_file(home)}"
                    ) from None
                time.sleep(0.1)
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


def recorded(home: Path) -> ServerInfo | None:
    """What the server noted down, if the process that it names still is that process."""
    state = _read_state(home)
    try:
        auth_string = auth_file(home).read_text(encoding="ascii").strip()
        info = ServerInfo(
            home, int(state["pid"]), str(state["started"]), int(state["port"]), str(state["version"]), auth_string
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return info if began(info.pid) == info.started else None


def _is_ours(info: ServerInfo) -> bool:
    """It answers, lets our string in, and nobody without it: another server on that port does not."""
    return _status(info, signed=True) == 200 and _status(info, signed=False) == 401


def _status(info: ServerInfo, *, signed: bool) -> int | None:
    signature = base64.b64encode(info.auth_string.encode()).decode()
    headers = {"Authorization": f"Basic {signature}"} if signed else {}
    connection = http.client.HTTPConnection(HOST, info.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/api/admin/version", headers=headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _wait(info: ServerInfo, alive: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if _is_ours(info):
            return True
        if not alive():
            return False
        time.sleep(0.1)
    return False


def _start(home: Path, asked_port: int | None, begun: Callable[[ServerInfo], None]) -> ServerInfo:
    auth_string = _auth_string(home)
    log = log_file(home)
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    of_last_time = _read_state(home).get("port")
    # Bookmarks stay good.
    port = ports.choose(
        asked_port, option="--server-port", preferred=of_last_time if isinstance(of_last_time, int) else 0
    )
    with log.open("ab") as output:
        process = subprocess.Popen(
            server_command(home, port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_server_env(home, port, auth_string),
            # No file of the user's folder (.env, prefect.toml) has a say.
            cwd=_folder(home),
            start_new_session=True,
            # Its database is nobody else's to read, whatever the home's permissions.
            umask=0o077,
        )
    remember(process)
    info = ServerInfo(home, process.pid, began(process.pid) or "", port, prefect_version(), auth_string)
    begun(info)
    if _wait(info, lambda: process.poll() is None):
        return info
    died = process.poll() is not None
    if not died:
        _end(info)
    if (sentence := full_disk(home)) is not None:
        raise TagtrailError(sentence)
    how = "ended while it was starting" if died else f"did not start within {START_SECONDS:.0f} s"
    raise TagtrailError(f"Tagtrail's own Prefect server {how}; its log is {log}")


def server_command(home: Path, port: int) -> list[str]:
    """What is run: this module, which turns into the server."""
    return [sys.executable, "-m", "deployments.local_server", str(home), str(port)]


def _server_env(home: Path, port: int, auth_string: str) -> dict[str, str]:
    # The user's Prefect settings are for the user's server, and no secret of ours is any business of this one. Proxies
    # and certificates are for its notifications; it does not start with one that cannot be used.
    outward = network.named()
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(_NOT_ITS_OWN) and name not in outward
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


def _end(info: ServerInfo) -> None:
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        if began(info.pid) != info.started:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(info.pid, signal_number)  # it leads a session, so its group has its number
        deadline = time.monotonic() + STOP_SECONDS
        while began(info.pid) == info.started and time.monotonic() < deadline:
            time.sleep(0.05)


def note_down(home: Path, port: int) -> None:
    """Called by the server's own process, before it serves: who it is, so that nobody else has to remember."""
    _write_state(home, {"pid": os.getpid(), "started": began(os.getpid()), "port": port, "version": prefect_version()})


def _read_state(home: Path) -> dict[str, Any]:
    try:
        state = json.loads(_state_file(home).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _write_state(home: Path, state: dict[str, Any]) -> None:
    temporary = _state_file(home).with_suffix(".tmp")
    temporary.write_text(json.dumps(state), encoding="utf-8")
    temporary.replace(_state_file(home))


def _become_the_server(home: Path, port: int) -> None:
    """Same process, so what was noted down is true from the first moment, whatever happens to the starter."""
    note_down(home, port)
    prefect = [sys.executable, "-m", "prefect"]
    os.execv(sys.executable, [*prefect, "server", "start", "--host", HOST, "--port", str(port)])  # noqa: S606


if __name__ == "__main__":
    _become_the_server(Path(sys.argv[1]), int(sys.argv[2]))
