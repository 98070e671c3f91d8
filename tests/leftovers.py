"""What a session of tests started ends with it, also where the session is killed: servers outlive their starters."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Mapping

MARK = "TESTED_BY"
"""A variable that all processes of a session inherit, and by which they are found."""

# Waits for as long as its standard input is open, which it is as long as the tests run, then ends what is marked.
GUARD = """
read -r _
for environ in /proc/[0-9]*/environ; do
  process=${environ#/proc/} process=${process%/environ}
  test "$process" = $$ || ! grep -qszFx "$0" "$environ" || kill -KILL "$process"
done 2>&-
"""


def guard() -> subprocess.Popen[bytes]:
    """Mark this process and all that it starts from now on; they end when the guard's standard input is closed."""
    os.environ[MARK] = f"{os.getpid()}-{uuid.uuid4().hex}"
    command = ["/bin/sh", "-c", GUARD, f"{MARK}={os.environ[MARK]}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def unmarked(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that has a keeper of its own."""
    return {name: value for name, value in environ.items() if name != MARK}
