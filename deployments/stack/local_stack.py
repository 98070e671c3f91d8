"""The stack of `tagtrail up`: starts its processes in order, watches them, and ends them all, whatever happens."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final

from blocks.database.store import overview
from blocks.errors import TagtrailError, UsageError
from blocks.settings import Settings
from deployments.cli import account, stores
from deployments.receiver.server import DEFAULT_PORT as RECEIVER_PORT
from deployments.sandbox.server import DEFAULT_PORT as SANDBOX_PORT
from deployments.stack import environment, own_server, process
from deployments.stack.own_server import ServerInfo
from deployments.stack.process import (
    HOST,
    ManagedProcess,
    StateFile,
    choose_port,
    is_alive,
    locked,
    start_time,
    wait_until,
)

LOOK_SECONDS: Final = 0.5
READY_SECONDS: Final = 180.0
"""How long a process may take to be ready."""
END_SECONDS: Final = own_server.START_SECONDS + 60.0
"""How long an `up` may take to end by itself; it waits for runs, and for a server that is still starting."""
LOCK_SECONDS: Final = 0.5
"""An `up` that is just ending holds the home's lock for a moment longer."""
WRONG_USAGE: Final = 2
"""Exit status of a process that cannot be started so: its port is taken, for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What `tagtrail up` was asked for; a port that is None is chosen."""

    sandbox: bool = False
    scenario: str = "default"
    time_scale: float = environment.TIME_SCALE
    server_port: int | None = None
    receiver_port: int | None = None
    sandbox_port: int | None = None


class AlreadyUp(Exception):
    """Another `tagtrail up` has this home."""


@dataclass(slots=True)
class Running:
    """A stack that runs, as its state file has it: the process of `tagtrail up`, and what it printed once ready."""

    pid: int
    started: float
    server_is_ours: bool = False
    """It started the Prefect server, and so ends it."""
    server_pid: int = 0
    sandbox: bool = False
    ready: bool = False
    lines: list[str] = field(default_factory=list)
    """The addresses, as they were printed."""


def state_file(home: Path) -> StateFile:
    """What is known of the stack of a home."""
    return StateFile(home / "up.json")


def find_running(home: Path) -> Running | None:
    """The stack that runs in a home."""
    state = state_file(home).read()
    return _noted(state) if is_alive(state) else None


def _noted(state: dict[str, Any]) -> Running | None:
    try:
        return Running(**state)
    except TypeError:
        return None


def end(home: Path, say: Callable[[str], None]) -> bool:
    """End a running `up` from outside, and what a killed one left; False if there was neither.

    Raises:
        TagtrailError: it did not end.
    """
    state = state_file(home).read()
    ended = False
    if is_alive(state):
        pid = int(state["pid"])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        if not wait_until(lambda: not is_alive(state), END_SECONDS, alive=lambda: True):
            raise TagtrailError(f"`tagtrail up` (process {pid}) was asked to end, and has not ended yet")
        say(f"Ended the local stack of {home}.")
        ended = True
    if left := process.end_stack(home):
        say(f"Ended {process.counted(left)} of the local stack of {home} that had been left.")
        ended = True
    state_file(home).remove()
    return ended


def folder_of(home: Path) -> Path:
    """Where the stack keeps its lock and its mark, and where its processes run."""
    return home / "up"


def claim(settings: Settings, *, sandbox: bool) -> None:
    """Make sure that the home is for what is asked; one that is the sandbox's stays the sandbox's.

    Raises:
        UsageError: it holds data of the other kind.
    """
    mark = _mark(settings.home)
    if sandbox and not mark.exists():
        if _holds_data(settings):
            raise UsageError(
                f"{settings.home} holds what earlier runs found, and the sandbox's posts are invented; "
                "give it a home of its own: TAGTRAIL_HOME=… tagtrail up --sandbox"
            )
        folder_of(settings.home).mkdir(exist_ok=True, mode=0o700)
        mark.touch()
    if not sandbox and mark.exists():
        raise UsageError(
            f"{settings.home} is the sandbox's home, with invented posts in it; for the real service set TAGTRAIL_HOME "
            "to another folder, and for the sandbox say --sandbox"
        )


def _mark(home: Path) -> Path:
    return folder_of(home) / "is-of-sandbox"


def _holds_data(settings: Settings) -> bool:
    own = settings.model_copy(update={"tagtrail_database_url": ""})
    with stores.opened(own, quiet=True) as store:
        if store is None:
            return False
        with store.connect() as conn:
            seen = overview.overview(conn, datetime.now(UTC))
    return seen.last_run is not None or bool(seen.posts)


class _EndWanted(Exception):
    """Somebody asked the stack to end."""


class Stack:
    """The local stack of one home; `say` gets sentences, and must not raise."""

    def __init__(self, settings: Settings, wanted: Wanted, say: Callable[[str], None]) -> None:
        self.home = settings.home
        self.settings = settings
        self.wanted = wanted
        self.say = say
        self.logs = self.home / "logs"
        self.processes: dict[str, ManagedProcess] = {}
        self.server: ServerInfo | None = None
        self.running = Running(os.getpid(), start_time(os.getpid()) or 0.0, sandbox=wanted.sandbox)
        self.sandbox_port = self.receiver_port = 0
        self._end_wanted = threading.Event()

    def run(self) -> int:
        """Start, print the addresses, and stay until a signal or a process's death ends it; gives the exit status.

        Raises:
            AlreadyUp: another `up` has this home.
            UsageError: a port is in use, or the home is for something else.
            TagtrailError: a process did not start.
        """
        folder = folder_of(self.home)
        folder.mkdir(exist_ok=True, mode=0o700)
        with locked(folder / "lock", seconds=LOCK_SECONDS, error=AlreadyUp()), self._signals():
            before = _noted(state_file(self.home).read())
            if left := process.end_stack(self.home):
                self.say(f"ended {process.counted(left)} that a killed `tagtrail up` had left")
            try:
                self._start(before)
                return self._watch()
            except _EndWanted:
                return 0
            finally:
                self._end()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C, `kill`, and a terminal that is closed all mean the same: end in order."""

        def stop(number: int, frame: FrameType | None) -> None:
            self._end_wanted.set()

        before = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _go_on(self) -> None:
        if self._end_wanted.is_set():
            raise _EndWanted

    def _note(self, **facts: Any) -> None:
        """Note down what has become true of this stack."""
        for name, value in facts.items():
            setattr(self.running, name, value)
        state_file(self.home).write(**asdict(self.running))

    def _start(self, before: Running | None) -> None:
        self._go_on()
        self._choose_ports()
        claim(self.settings, sandbox=self.wanted.sandbox)
        if not self.wanted.sandbox:
            account.must_not_mix(self.settings, account.service_of(self.settings, None), self.say)
        self._note()
        if self.wanted.sandbox:
            self._start_sandbox()
        self._start_server(before)
        self._go_on()
        assert self.server is not None
        self._start_rest(self.server)
        self._note(ready=True, lines=self._addresses())
        for line in self.running.lines:
            self.say(line)
        self.say("Ctrl-C ends all of it.")

    def _start_server(self, before: Running | None) -> None:
        there = own_server.running(self.home)
        # A killed `up` may have left the server that it started, maybe before it knew its number.
        left = there is not None and before is not None and before.server_pid in (0, there.pid)
        self._note(server_is_ours=there is None or (left and before is not None and before.server_is_ours))
        self.server = own_server.ensure(self.home, self.say, port=self.wanted.server_port, begun=self._begin_setup)
        self._note(server_pid=self.server.pid)

    def _choose_ports(self) -> None:
        if self.wanted.server_port is not None and own_server.running(self.home) is None:
            choose_port(self.wanted.server_port, option="--server-port")
        if self.wanted.sandbox:
            asked = self.wanted.sandbox_port
            self.sandbox_port = choose_port(asked, option="--sandbox-port", preferred=SANDBOX_PORT)
        named = environment.local_port(self.settings.tagtrail_callback_url) if not self.wanted.sandbox else None
        if self.has_receiver:
            asked = self.wanted.receiver_port if self.wanted.receiver_port is not None else named
            self.receiver_port = choose_port(asked, option="--receiver-port", preferred=RECEIVER_PORT)

    @property
    def has_receiver(self) -> bool:
        """Callbacks need a URL that the vendor can reach, and a secret; the sandbox needs neither from the user."""
        secret = self.settings.tagtrail_callback_secret.get_secret_value()
        return self.wanted.sandbox or bool(self.settings.tagtrail_callback_url and secret)

    def _start_sandbox(self) -> None:
        asked = ["--scenario", self.wanted.scenario, "--time-scale", f"{self.wanted.time_scale:g}"]
        command = [sys.executable, "-m", "deployments.cli.main", "sandbox", "--port", str(self.sandbox_port), *asked]
        self._begin("sandbox", command, environment.of_process(self.home, None, {}))

    def _begin_setup(self, server: ServerInfo) -> None:
        """It takes seconds to load, which the server's start takes too; it waits for the server by itself."""
        if (elsewhere := self.processes.get("setup")) is not None:
            process.end_with_children(elsewhere.pid)
        preparing = environment.of_process(self.home, server, self.chosen)
        preparing |= {environment.IS_SANDBOX: "1"} if self.wanted.sandbox else {}
        (self.logs / "up-setup.log").unlink(missing_ok=True)
        self._begin("setup", [sys.executable, "-m", "deployments.stack.setup_process"], preparing)

    def _start_rest(self, server: ServerInfo) -> None:
        """What needs the server: all at once, for each takes seconds to load."""
        chosen = self.chosen
        of_process = environment.of_process(self.home, server, chosen)
        worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", environment.POOL, "--type", "process"]
        name = ["--name", f"tagtrail-up-{os.getpid()}"]
        self._begin("worker", [*worker, *name], environment.of_worker(self.home, server, chosen))
        if self.has_receiver:
            receive = [sys.executable, "-m", "deployments.cli.main", "receive", "--port", str(self.receiver_port)]
            without_key = {each: value for each, value in of_process.items() if each != environment.KEY}
            self._begin("receiver", receive, without_key)
        self._wait_for_setup()
        self._wait_for("worker", lambda: _worker_is_online(server, name[1]))
        if self.has_receiver:
            self._wait_for("receiver", lambda: self.processes["receiver"].listens_at(self.receiver_port))
        if self.wanted.sandbox:
            self._wait_for("sandbox", lambda: self.processes["sandbox"].listens_at(self.sandbox_port))

    @functools.cached_property
    def chosen(self) -> dict[str, str]:
        if not self.wanted.sandbox:
            return environment.of_settings(self.settings)
        sandbox, receiver = (f"http://{HOST}:{port}" for port in (self.sandbox_port, self.receiver_port))
        return environment.of_sandbox(self.settings, sandbox, receiver, self.wanted.time_scale)

    def _begin(self, name: str, command: list[str], variables: dict[str, str]) -> None:
        log = self.logs / f"up-{name}.log"
        self.processes[name] = ManagedProcess(name, command, variables, log, folder_of(self.home))
        self.processes[name].start()

    def _wait_for_setup(self) -> None:
        setup = self.processes["setup"]
        if not self._wait_until(setup, lambda: setup.exit_status is not None):
            raise TagtrailError(f"the set-up took longer than {READY_SECONDS:.0f} s; its log is {setup.log}")
        del self.processes["setup"]
        if setup.exit_status == WRONG_USAGE:
            raise UsageError(setup.last_line())
        if setup.exit_status != 0:
            raise TagtrailError(f"the set-up failed; its log is {setup.log} ({setup.last_line()})")
        self._tell_setup(setup.log)

    def _tell_setup(self, log: Path) -> None:
        lines = [line.partition(": ") for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        made = sum(did == "made" for did, _, _ in lines)
        self.say(f"set-up: {made} things made; what and where is in {log}" if made else "set-up: all stood already")
        for did, _, sentence in lines:
            if did == "warning" or (did == "missing" and sentence.startswith("block")):
                self.say(sentence)

    def _wait_for(self, name: str, ready: Callable[[], bool]) -> None:
        one = self.processes[name]
        if self._wait_until(one, ready):
            return
        if one.exit_status is None:
            raise TagtrailError(f"the {name} was not ready within {READY_SECONDS:.0f} s; its log is {one.log}")
        self._refuse_wrong_usage(one)
        raise TagtrailError(f"the {name} ended while it was starting ({one.last_line()}); log: {one.log}")

    def _wait_until(self, one: ManagedProcess, ready: Callable[[], bool]) -> bool:
        def look() -> bool:
            self._go_on()
            return ready()

        return one.wait_until(look, READY_SECONDS)

    def _refuse_wrong_usage(self, one: ManagedProcess) -> None:
        """Say why a process can never be started so; its own option for the port is called after it here.

        Raises:
            UsageError: it said that it was used wrongly, as where somebody else has its port by now.
        """
        if one.exit_status == WRONG_USAGE and one.name in ("receiver", "sandbox"):
            raise UsageError(one.last_line().removeprefix("tagtrail: ").replace("--port", f"--{one.name}-port"))

    def _watch(self) -> int:
        while not self._end_wanted.wait(LOOK_SECONDS):
            if not self._server_lives():
                return 0
            for one in self.processes.values():
                if one.exit_status is None:
                    continue
                self._refuse_wrong_usage(one)
                again = one.may_start_again()
                then = "starting it again" if again else "it dies too often, so the stack ends"
                self.say(
                    f"the {one.name} ended by itself (exit status {one.exit_status}); {then}; its log is {one.log}"
                )
                if not again:
                    return 1
                one.start()
        return 0

    def _server_lives(self) -> bool:
        """Whether the stack goes on: a server that died is started again, one that was ended on purpose is not."""
        server = self.server
        if server is None or own_server.lives(server):
            return True
        if own_server.ended_on_purpose(self.home):
            self.say("the Prefect server was ended, and the rest of the stack with it")
            return False
        self.say(f"the Prefect server ended by itself; starting it again; its log is {own_server.log_file(self.home)}")
        self.server = own_server.ensure(self.home, self.say, port=server.port)
        self._note(server_is_ours=True, server_pid=self.server.pid)
        return True

    def _end(self) -> None:
        if self.processes:
            self.say("ending …")
        # Runs first: they store what they bought, for which they need the others.
        needed = [one.pid for name, one in self.processes.items() if name != "worker"]
        process.end_stack(self.home, but=needed)
        process.end_stack(self.home)
        if self.running.server_is_ours:
            own_server.stop(self.home)
        state_file(self.home).remove()

    def _addresses(self) -> list[str]:
        assert self.server is not None
        auth = own_server.auth_file(self.home)
        lines = [
            f"Prefect UI: {self.server.url} (sign in with the string in {auth})",
            f"Worker: polls the pool {environment.POOL}",
        ]
        if self.wanted.sandbox:
            at = f"http://{HOST}:{self.sandbox_port}"
            lines.append(f"Sandbox API: {at} ({self.wanted.time_scale:g} times as fast; all its posts are invented)")
        if self.has_receiver:
            lines.append(f"Webhook receiver: http://{HOST}:{self.receiver_port}/<secret>")
        else:
            lines.append("Webhook receiver: none; it needs TAGTRAIL_CALLBACK_URL and TAGTRAIL_CALLBACK_SECRET")
        database = str(self.home / "tagtrail.db") if self.wanted.sandbox else stores.shown(self.settings)
        return [*lines, f"Database: {database}", f"Logs: {self.logs}"]


def _worker_is_online(server: ServerInfo, name: str) -> bool:
    status, body = own_server.ask(server, "POST", f"/work_pools/{environment.POOL}/workers/filter")
    return status == 200 and any(one["name"] == name and one["status"] == "ONLINE" for one in json.loads(body))
