"""Starts the stack's parts in order, watches them, and ends them all, whatever happens in between."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Final

from blocks.errors import TagtrailError, UsageError
from blocks.settings import Settings
from deployments import local_server, ports
from deployments.cli import account, stores
from deployments.local_server import ServerInfo
from deployments.processes import began
from deployments.receiver.server import DEFAULT_PORT as RECEIVER_PORT
from deployments.sandbox.server import DEFAULT_PORT as SANDBOX_PORT
from deployments.up import environment, homes, members, state
from deployments.up.parts import Part
from deployments.up.state import Running

LOOK_SECONDS: Final = 0.5
READY_SECONDS: Final = 180.0
"""How long a part may take to be ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What `tagtrail up` was asked for; a port that is None is chosen."""

    sandbox: bool = False
    scenario: str = "default"
    time_scale: float = environment.TIME_SCALE
    server_port: int | None = None
    receiver_port: int | None = None
    sandbox_port: int | None = None


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
        self.parts: dict[str, Part] = {}
        self.server: ServerInfo | None = None
        self.running = Running(os.getpid(), began(os.getpid()) or "", server_is_ours=False, sandbox=wanted.sandbox)
        self.sandbox_port = self.receiver_port = 0
        self._end_wanted = threading.Event()

    def run(self) -> int:
        """Start, tell the addresses, and stay until a signal or a part's death ends it; gives the exit status.

        Raises:
            AlreadyUp: another `up` has this home.
            UsageError: a port is in use, or the home is for something else.
            TagtrailError: a part did not start.
        """
        with state.alone(self.home), self._signals():
            before = state.read(self.home)
            if left := members.end(self.home):
                self.say(f"ended {members.counted(left)} that a killed `tagtrail up` had left")
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

    def _start(self, before: Running | None) -> None:
        self._choose_ports()
        homes.claim(self.settings, sandbox=self.wanted.sandbox)
        if not self.wanted.sandbox:
            homes.must_not_mix(self.settings, account.service_of(self.settings, None), self.say)
        state.write(self.home, self.running)
        if self.wanted.sandbox:
            self._start_sandbox()
        self._start_server(before)
        self._go_on()
        assert self.server is not None
        self._start_rest(self.server)
        self.running = replace(self.running, ready=True, lines=tuple(self._addresses()))
        state.write(self.home, self.running)
        for line in self.running.lines:
            self.say(line)
        self.say("Ctrl-C ends all of it.")

    def _start_server(self, before: Running | None) -> None:
        there = local_server.running(self.home)
        # A killed `up` may have left the server that it started, maybe before it knew its number.
        left = there is not None and before is not None and before.server_pid in (0, there.pid)
        ours = there is None or (left and before is not None and before.server_is_ours)
        self.running = replace(self.running, server_is_ours=ours)
        state.write(self.home, self.running)
        self.server = local_server.ensure(self.home, self.say, port=self.wanted.server_port, begun=self._begin_setup)
        self.running = replace(self.running, server_pid=self.server.pid)
        state.write(self.home, self.running)

    def _choose_ports(self) -> None:
        if self.wanted.server_port is not None and local_server.running(self.home) is None:
            ports.choose(self.wanted.server_port, option="--server-port")
        if self.wanted.sandbox:
            asked = self.wanted.sandbox_port
            self.sandbox_port = ports.choose(asked, option="--sandbox-port", preferred=SANDBOX_PORT)
        named = environment.local_port(self.settings.tagtrail_callback_url) if not self.wanted.sandbox else None
        if self.has_receiver:
            asked = self.wanted.receiver_port if self.wanted.receiver_port is not None else named
            self.receiver_port = ports.choose(asked, option="--receiver-port", preferred=RECEIVER_PORT)

    @property
    def has_receiver(self) -> bool:
        """Callbacks need a URL that the vendor can reach, and a secret; the sandbox needs neither from the user."""
        secret = self.settings.tagtrail_callback_secret.get_secret_value()
        return self.wanted.sandbox or bool(self.settings.tagtrail_callback_url and secret)

    def _start_sandbox(self) -> None:
        asked = ["--scenario", self.wanted.scenario, "--time-scale", f"{self.wanted.time_scale:g}"]
        command = [sys.executable, "-m", "deployments.sandbox", "--port", str(self.sandbox_port), *asked]
        self._begin("sandbox", command, environment.of_process(self.home, None, {}))

    def _begin_setup(self, server: ServerInfo) -> None:
        """It takes seconds to load, which the server's start takes too; it waits for the server by itself."""
        preparing = environment.of_process(self.home, server, self.chosen)
        preparing |= {environment.IS_SANDBOX: "1"} if self.wanted.sandbox else {}
        (self.logs / "up-setup.log").unlink(missing_ok=True)
        self._begin("setup", [sys.executable, "-m", "deployments.up.preparing"], preparing)

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
        self._until("worker", lambda: _worker_is_online(server, name[1]))
        if self.has_receiver:
            self._until("receiver", lambda: ports.answers(self.receiver_port))
        if self.wanted.sandbox:
            self._until("sandbox", lambda: ports.answers(self.sandbox_port))

    @functools.cached_property
    def chosen(self) -> dict[str, str]:
        if not self.wanted.sandbox:
            return environment.of_settings(self.settings)
        sandbox, receiver = (f"http://{ports.HOST}:{port}" for port in (self.sandbox_port, self.receiver_port))
        return environment.of_sandbox(self.settings, sandbox, receiver, self.wanted.time_scale)

    def _begin(self, name: str, command: list[str], variables: dict[str, str]) -> None:
        log = self.logs / f"up-{name}.log"
        self.parts[name] = Part(name, command, variables, log, state.folder(self.home))
        self.parts[name].start()

    def _wait_for_setup(self) -> None:
        setup = self.parts["setup"]
        give_up_at = time.monotonic() + READY_SECONDS
        while (status := setup.ended) is None:
            self._go_on()
            if time.monotonic() > give_up_at:
                raise TagtrailError(f"the set-up took longer than {READY_SECONDS:.0f} s; its log is {setup.log}")
            time.sleep(0.1)
        del self.parts["setup"]
        if status == 2:
            raise UsageError(setup.last_words())
        if status != 0:
            raise TagtrailError(f"the set-up failed; its log is {setup.log} ({setup.last_words()})")
        self._tell_setup(setup.log)

    def _tell_setup(self, log: Path) -> None:
        lines = [line.partition(": ") for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        made = sum(did == "made" for did, _, _ in lines)
        self.say(f"set-up: {made} things made; what and where is in {log}" if made else "set-up: all stood already")
        for did, _, sentence in lines:
            if did == "warning" or (did == "missing" and sentence.startswith("block")):
                self.say(sentence)

    def _until(self, name: str, ready: Callable[[], bool]) -> None:
        part = self.parts[name]
        give_up_at = time.monotonic() + READY_SECONDS
        while not ready():
            self._go_on()
            if part.ended is not None:
                raise TagtrailError(f"the {name} ended while it was starting ({part.last_words()}); log: {part.log}")
            if time.monotonic() > give_up_at:
                raise TagtrailError(f"the {name} was not ready within {READY_SECONDS:.0f} s; its log is {part.log}")
            time.sleep(0.1)

    def _watch(self) -> int:
        while not self._end_wanted.wait(LOOK_SECONDS):
            if not self._server_lives():
                return 0
            for part in self.parts.values():
                if (status := part.ended) is None:
                    continue
                again = part.may_start_again()
                then = "starting it again" if again else "it dies too often, so the stack ends"
                self.say(f"the {part.name} ended by itself (exit status {status}); {then}; its log is {part.log}")
                if not again:
                    return 1
                part.start()
        return 0

    def _server_lives(self) -> bool:
        """Whether the stack goes on: a server that died is started again, one that was ended on purpose is not."""
        server = self.server
        if server is None or began(server.pid) == server.started:
            return True
        if local_server.ended_on_purpose(self.home):
            self.say("the Prefect server was ended, and the rest of the stack with it")
            return False
        self.say(
            f"the Prefect server ended by itself; starting it again; its log is {local_server.log_file(self.home)}"
        )
        self.server = local_server.ensure(self.home, self.say, port=server.port)
        self.running = replace(self.running, server_is_ours=True, server_pid=self.server.pid)
        state.write(self.home, self.running)
        return True

    def _end(self) -> None:
        if self.parts:
            self.say("ending …")
        # Runs first: they store what they bought, for which they need the others.
        needed = {part.process.pid for name, part in self.parts.items() if name != "worker" and part.process}
        members.end(self.home, but=needed)
        members.end(self.home)
        for part in self.parts.values():
            if part.process is not None:
                part.process.wait()
        if self.running.server_is_ours:
            local_server.stop(self.home)
        state.forget(self.home)

    def _addresses(self) -> list[str]:
        assert self.server is not None
        auth = local_server.auth_file(self.home)
        lines = [
            f"Prefect UI: {self.server.url} (sign in with the string in {auth})",
            f"Worker: polls the pool {environment.POOL}",
        ]
        if self.wanted.sandbox:
            at = f"http://{ports.HOST}:{self.sandbox_port}"
            lines.append(f"Sandbox API: {at} ({self.wanted.time_scale:g} times as fast; all its posts are invented)")
        if self.has_receiver:
            lines.append(f"Webhook receiver: http://{ports.HOST}:{self.receiver_port}/<secret>")
        else:
            lines.append("Webhook receiver: none; it needs TAGTRAIL_CALLBACK_URL and TAGTRAIL_CALLBACK_SECRET")
        database = str(self.home / "tagtrail.db") if self.wanted.sandbox else stores.shown(self.settings)
        return [*lines, f"Database: {database}", f"Logs: {self.logs}"]


def _worker_is_online(server: ServerInfo, name: str) -> bool:
    signature = base64.b64encode(server.auth_string.encode()).decode()
    headers = {"Authorization": f"Basic {signature}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(ports.HOST, server.port, timeout=local_server.ANSWER_SECONDS)
    try:
        connection.request("POST", f"/api/work_pools/{environment.POOL}/workers/filter", body="{}", headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            return False
        return any(one["name"] == name and one["status"] == "ONLINE" for one in json.loads(answer.read()))
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()
