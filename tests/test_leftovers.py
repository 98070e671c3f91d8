"""What a killed session leaves behind: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.integration

SESSION = """
import runpy, subprocess, sys
leftovers = runpy.run_path(sys.argv[1])
guard = leftovers["guard"]()
forever = [sys.executable, "-c", "import time; time.sleep(600)"]
server = subprocess.Popen(forever, start_new_session=True)
kept = subprocess.Popen(forever, start_new_session=True, env=leftovers["unmarked"](leftovers["os"].environ))
print(server.pid, kept.pid, flush=True)
server.wait()
"""


def test_a_killed_session_takes_its_servers_along_and_nobody_elses() -> None:
    command = [sys.executable, "-c", SESSION, str(Path(__file__).parent / "leftovers.py")]
    session = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert session.stdout is not None
    server, kept = (psutil.Process(int(pid)) for pid in session.stdout.readline().split())
    try:
        os.kill(session.pid, signal.SIGKILL)
        session.wait(60)
        session.stdout.close()
        gone, _ = psutil.wait_procs([server], timeout=60)
        assert gone == [server]
        assert kept.is_running()
    finally:
        for left in (server, kept):
            if left.is_running():
                left.kill()
