"""The service that kills are measured against: the sandbox, as a process or wherever it listens, and its books."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deployments.sandbox.app import V1, V2

KEY = "sk-invented-for-tests"

IN_FLIGHT = 4
"""Metadata calls under way at once, and so the most that one kill may have bought again."""

QUICK = {
    "TAGTRAIL_IMPORTS_PER_MINUTE": "6000",
    "TAGTRAIL_STATUS_PER_SECOND": "200",
    "TAGTRAIL_METADATA_PER_SECOND": "200",
    "TAGTRAIL_POLL_SECONDS": "0.05",
    "TAGTRAIL_IMPORT_QUIET_SECONDS": "1",
    "TAGTRAIL_IMPORT_DEADLINE_SECONDS": "600",
    "TAGTRAIL_RETRY_SECONDS": "0",
    "TAGTRAIL_TIMEOUT_SECONDS": "60",
    "TAGTRAIL_IN_FLIGHT": str(IN_FLIGHT),
}

# Every fifth post is found by both hashtags, posts appear over half a second, and calls take long enough that a kill
# at any moment finds some under way.
SANDBOX = ("--time-scale=20", "--latency-ms=120", "--scenario=shared-posts")


class Sandbox:
    """The remote API at a URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def settings(self) -> dict[str, str]:
        """What a run needs in its environment to work with it, quickly."""
        urls = {"MEMORIES_V1_BASE_URL": self.url + V1, "MEMORIES_V2_BASE_URL": self.url + V2}
        return {"MEMORIES_API_KEY": KEY, **urls, **QUICK}

    def accounting(self) -> dict[str, Any]:
        return self._call("GET", "books")

    def reset(self) -> None:
        self._call("POST", "reset")

    def _call(self, method: str, page: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request(method, f"/sandbox/{page}")
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return answer


@contextlib.contextmanager
def sandbox_process() -> Iterator[Sandbox]:
    """The sandbox as a process of its own, on a free port."""
    command = [sys.executable, str(Path(__file__).parents[1] / "sandbox_process.py"), *SANDBOX]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Sandbox(process.stdout.readline().split()[-1])
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
