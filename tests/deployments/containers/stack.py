"""The services of compose.yaml as processes of this machine: their own commands, settings and health checks."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa
import yaml

from deployments.containers.entrypoint import filled_in

CONTAINERS = Path(__file__).parents[3] / "deployments" / "containers"
BIN = Path(sys.executable).parent

START_SECONDS = 900.0
STOP_SECONDS = 60.0

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def compose(**variables: str) -> dict[str, Any]:
    """The compose file with its variables put in, as docker compose would."""

    def put_in(value: Any) -> Any:
        # In what was read, never in the text: a variable that is empty is an empty text there, and no null.
        if isinstance(value, dict):
            return {name: put_in(each) for name, each in value.items()}
        if isinstance(value, list):
            return [put_in(each) for each in value]
        return (
            _VARIABLE.sub(lambda found: variables.get(found[1], found[2]), value) if isinstance(value, str) else value
        )

    read: dict[str, Any] = put_in(yaml.safe_load((CONTAINERS / "compose.yaml").read_text(encoding="utf-8")))
    return read


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Machine:
    """One running service: its process with all its children, its own home, and its log."""

    service: str
    process: psutil.Popen
    home: Path
    log: Path
    environment: dict[str, str] = field(repr=False)

    def runs(self) -> dict[str, psutil.Process]:
        """The flow runs' processes on this machine, by flow run."""
        found = {}
        for child in self.process.children(recursive=True):
            try:
                run_id = child.environ().get("PREFECT__FLOW_RUN_ID")
            except psutil.Error:
                continue
            if run_id:
                found.setdefault(str(run_id), child)
        return found

    def lose(self) -> None:
        """SIGKILL to everything on the machine at once, as when its power goes."""
        everything = [self.process, *self.process.children(recursive=True)]
        for each in everything:
            try:
                each.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(everything, timeout=STOP_SECONDS)

    def said(self, words: str) -> bool:
        return words in self.log.read_text(encoding="utf-8", errors="replace")


class Stack:
    """The services of the compose file on free ports of 127.0.0.1; `databases` are Prefect's and Tagtrail's."""

    def __init__(self, folder: Path, databases: tuple[sa.URL, sa.URL], secrets: Mapping[str, str], **variables: str):
        self.folder, self.secrets = folder, secrets
        self.data_url = databases[1].set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        self.services: dict[str, dict[str, Any]] = compose(**variables)["services"]
        self.machines: list[Machine] = []
        self.ports = {"4200": str(free_port()), "8660": str(free_port())}
        redis = free_port()
        prefect, data = databases
        self._places = {
            "tagtrail:<secret:": f"{prefect.username}:<secret:",
            "@postgres:5432/prefect": f"@{prefect.host}:{prefect.port or 5432}/{prefect.database}",
            "@postgres:5432/tagtrail": f"@{data.host}:{data.port or 5432}/{data.database}",
            "redis://redis:6379": f"redis://127.0.0.1:{redis}",
            "server:4200": f"127.0.0.1:{self.ports['4200']}",
            "127.0.0.1:4200": f"127.0.0.1:{self.ports['4200']}",
            "127.0.0.1:8660": f"127.0.0.1:{self.ports['8660']}",
            "0.0.0.0": "127.0.0.1",
        }
        (folder / "secrets").mkdir()
        for name, content in secrets.items():
            (folder / "secrets" / name).write_text(content + "\n", encoding="utf-8")
        self._redis = redis

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['4200']}/api"

    def setting(self, service: str, **settings: str) -> None:
        """Settings that a user of the compose file would add to a service."""
        self.services[service]["environment"].update(settings)

    def here(self, text: str) -> str:
        """A setting or a word of a command with this machine's addresses."""
        for there, ours in self._places.items():
            text = text.replace(there, ours)
        return self.ports.get(text, text)

    def environment(self, service: str, home: Path) -> dict[str, str]:
        """What the service's process gets, and nothing else of this machine's environment."""
        stated = {name: self.here(str(value)) for name, value in self.services[service]["environment"].items()}
        base = {
            name: os.environ[name] for name in ("PATH", "LANG", "TZ", "PYTHONPATH", "TESTED_BY") if name in os.environ
        }
        return {**base, "HOME": str(home), "PYTHONUNBUFFERED": "1", **filled_in(stated, self.folder / "secrets")}

    def command(self, service: str) -> list[str]:
        program, *words = self.services[service]["command"]
        found = BIN / program
        return [str(found) if found.exists() else program, *(self.here(word) for word in words)]

    def start_redis(self) -> None:
        """The compose file's command on a port of its own, with nothing kept but in this folder."""
        (self.folder / "redis").mkdir()
        more = ["--port", str(self._redis), "--bind", "127.0.0.1", "--dir", str(self.folder / "redis")]
        self._start("redis", [*self.command("redis"), *more], dict(os.environ), self.folder / "redis")
        self._wait(self.machines[-1], ["redis-cli", "-p", str(self._redis), "ping"])

    def start(self, service: str) -> Machine:
        """One more process of this service, in an empty home of its own."""
        home = self.folder / f"{service}-{len(self.machines) + 1}"
        home.mkdir()
        environment = self.environment(service, home)
        if "--with-healthcheck" in self.services[service]["command"]:
            # Containers have a port 8080 each.
            environment["PREFECT_WORKER_WEBSERVER_PORT"] = str(free_port())
        return self._start(service, self.command(service), environment, home)

    def run(self, service: str) -> str:
        """A one-shot service to its end; gives what it said."""
        machine = self.start(service)
        status = machine.process.wait(START_SECONDS)
        said = machine.log.read_text(encoding="utf-8", errors="replace")
        assert status == 0, f"{service} ended with {status}:\n{said}"
        return said

    def wait_healthy(self, *machines: Machine) -> None:
        """Wait until each one's own health check says so."""
        for machine in machines:
            kind, *test = self.services[machine.service]["healthcheck"]["test"]
            assert kind == "CMD"
            own = machine.environment.get("PREFECT_WORKER_WEBSERVER_PORT", "8080")
            test = [self.here(word).replace("127.0.0.1:8080", f"127.0.0.1:{own}") for word in test]
            self._wait(machine, [str(BIN / "python") if test[0] == "python" else test[0], *test[1:]])

    def stop(self) -> None:
        """End everything, the newest first."""
        for machine in reversed(self.machines):
            if machine.process.poll() is None:
                below = machine.process.children(recursive=True)
                machine.process.terminate()
                try:
                    machine.process.wait(STOP_SECONDS)
                except psutil.TimeoutExpired:
                    machine.process.kill()
                    machine.process.wait()
                for child in below:
                    if child.is_running():
                        child.kill()

    def _start(self, service: str, command: Sequence[str], environment: dict[str, str], home: Path) -> Machine:
        log = self.folder / f"{home.name}.log"
        with log.open("wb") as output:
            process = psutil.Popen(
                list(command), cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        self.machines.append(Machine(service, process, home, log, environment))
        return self.machines[-1]

    def _wait(self, machine: Machine, test: Sequence[str]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(test, capture_output=True, env={"PATH": os.environ["PATH"]}).returncode != 0:
            alive = machine.process.poll() is None
            if not alive or time.monotonic() > deadline:
                log = machine.log.read_text(encoding="utf-8", errors="replace")[-3000:]
                raise AssertionError(f"{machine.service} {'did not start' if alive else 'ended'}:\n{log}")
            time.sleep(0.2)


def missing() -> str | None:
    """The sentence that says what this machine lacks for the stack, or None."""
    if shutil.which("redis-server") is None or shutil.which("redis-cli") is None:
        return "no redis-server here: apt-get install redis-server (an own one is started, and ended)"
    return None
