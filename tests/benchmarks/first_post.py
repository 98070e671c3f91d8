"""Seconds from a request to the first call and the first stored post, beside a flow that does nothing; run by hand.

    python tests/benchmarks/first_post.py [--rounds 5]

`tagtrail up --sandbox` runs. Each round starts in turn, on its one server: a bare flow as a script, `tagtrail run`, a
run of the deployment of a bare flow, and one of `track-hashtags/manual`, as the form's Submit makes it. The best of all
rounds is printed, and its ratio to the bare flow's.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from deployments.cli.servers import PrefectServer
from deployments.sandbox.app import SANDBOX_KEY
from deployments.stack import own_server
from deployments.stack.environment import POOL
from deployments.stack.local_stack import find_running

ROOT = Path(__file__).parents[2]
BARE, RUN, BARE_DEPLOYED, FORM = "bare flow, a script", "`tagtrail run`", "bare flow, deployed", "form's Submit"


class Rounds:
    """One stack, and what can be started on it."""

    def __init__(self, home: Path, sandbox: str) -> None:
        server = own_server.running(home)
        assert server is not None
        self.sandbox = sandbox
        self.database = home / "tagtrail.db"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TAGTRAIL_HOME": str(home),
            "MEMORIES_API_KEY": SANDBOX_KEY,
            "MEMORIES_V1_BASE_URL": f"{sandbox}/serve/api/v1",
            "MEMORIES_V2_BASE_URL": f"{sandbox}/serve/api/v2",
            "TAGTRAIL_POLL_SECONDS": "0.2",
            "TAGTRAIL_IMPORTS_PER_MINUTE": "30",
            "TAGTRAIL_IMPORT_QUIET_SECONDS": "4",
        }
        PrefectServer.of_our_own(server).into(self.environment)
        signed_in = tuple(server.auth_string.split(":", 1))
        self.api = httpx.Client(base_url=f"{server.api_url}/", auth=signed_in, timeout=60)  # type: ignore[arg-type]
        flow = self._post("flows/", {"name": "bare"})["id"]
        self.bare_deployment = self._post(
            "deployments/",
            {
                "name": "bare",
                "flow_id": flow,
                "entrypoint": "tests.benchmarks.bare_flow.bare",
                "work_pool_name": POOL,
                "job_variables": {"env": {"PYTHONPATH": str(ROOT)}},
            },
        )["id"]
        self.newest = {"flows": {"name": {"any_": ["bare"]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 1}
        self.form = self.api.get("deployments/name/track-hashtags/manual").json()["id"]

    def one(self, number: int) -> dict[str, float]:
        """Seconds of each, started one after the other has ended."""
        began = time.time()
        subprocess.run([sys.executable, ROOT / "tests/benchmarks/bare_flow.py"], env=self.environment, check=True)
        [run] = self._post("flow_runs/filter", self.newest)
        found = {BARE: _unix(run["start_time"]) - began}
        began = time.time()
        run_it = [sys.executable, "-m", "deployments.cli.main", "run", f"script{number}", "--posts", "3"]
        subprocess.run(run_it, env=self.environment, check=True, capture_output=True)
        found[f"{RUN}: first request"] = self._first_call(began) - began
        found[f"{RUN}: first stored post"] = self._first_post(began) - began
        began = time.time()
        found[BARE_DEPLOYED] = _unix(self._run_deployment(self.bare_deployment)["start_time"]) - began
        began = time.time()
        self._run_deployment(self.form, {"hashtags": [f"form{number}"], "posts_per_hashtag": 3})
        found[f"{FORM}: first request"] = self._first_call(began) - began
        found[f"{FORM}: first stored post"] = self._first_post(began) - began
        return found

    def _run_deployment(self, deployment: str, parameters: dict[str, Any] | None = None) -> Any:
        made = self._post(
            f"deployments/{deployment}/create_flow_run",
            {"parameters": parameters or {}, "state": {"type": "SCHEDULED", "name": "Scheduled"}},
        )
        while True:
            run = self.api.get(f"flow_runs/{made['id']}").json()
            if run["state_type"] not in ("SCHEDULED", "PENDING", "RUNNING"):
                assert run["state_type"] == "COMPLETED", run["state"]
                return run
            time.sleep(0.5)

    def _first_call(self, began: float) -> float:
        with urllib.request.urlopen(f"{self.sandbox}/sandbox/books") as answer:
            times = json.load(answer)["times"]
        return min(at for of_kind in times.values() for at in of_kind if at >= began)

    def _first_post(self, began: float) -> float:
        since = datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        with sqlite3.connect(self.database) as connection:
            [(first,)] = connection.execute("SELECT min(enriched_at) FROM posts WHERE enriched_at >= ?", (since,))
        return datetime.fromisoformat(first).replace(tzinfo=UTC).timestamp()

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self.api.post(path, json=body).raise_for_status().json()


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        up = [sys.executable, "-m", "deployments.cli.main", "up", "--sandbox"]
        environment = {
            name: text for name, text in os.environ.items() if not name.startswith(("PREFECT_", "TAGTRAIL_"))
        }
        with open(home / "up.log", "w") as log:
            stack = subprocess.Popen(up, env=environment | {"TAGTRAIL_HOME": folder}, stdout=log, stderr=log)
        try:
            while (running := find_running(home)) is None or not running.ready:
                assert stack.poll() is None, (home / "up.log").read_text()
                time.sleep(0.5)
            [address] = [line.split()[2] for line in running.lines if line.startswith("Sandbox API: ")]
            rounds = Rounds(home, address.rstrip("/"))
            found = [rounds.one(number) for number in range(asked.rounds)]
        finally:
            stack.terminate()
            stack.wait(timeout=120)
    best = {name: min(one[name] for one in found) for name in found[0]}
    print(f"seconds, best of {asked.rounds}; times the bare flow's")
    for name, seconds in best.items():
        bare = best[BARE_DEPLOYED if name.startswith((BARE_DEPLOYED, FORM)) else BARE]
        print(f"{name:36} {seconds:6.1f} {seconds / bare:5.1f}")


if __name__ == "__main__":
    main()
