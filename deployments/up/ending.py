"""Ends the stack of a home from outside, whether its `up` still lives or was killed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from blocks.errors import TagtrailError
from deployments import local_server
from deployments.up import members, state

WAIT_SECONDS: Final = local_server.START_SECONDS + 60.0
"""How long an `up` may take to end by itself; it waits for runs, and for a server that is still starting."""


def end_stack(home: Path, say: Callable[[str], None]) -> bool:
    """End a running `up`, and what a killed one left; False if there was neither.

    Raises:
        TagtrailError: it did not end.
    """
    known = state.read(home)
    ended = False
    if known is not None and state.alive(known):
        with contextlib.suppress(ProcessLookupError):
            os.kill(known.pid, signal.SIGTERM)
        give_up_at = time.monotonic() + WAIT_SECONDS
        while state.alive(known):
            if time.monotonic() > give_up_at:
                raise TagtrailError(f"`tagtrail up` (process {known.pid}) was asked to end, and has not ended yet")
            time.sleep(0.1)
        say(f"Ended the local stack of {home}.")
        ended = True
    if left := members.end(home):
        say(f"Ended {members.counted(left)} of the local stack of {home} that had been left.")
        ended = True
    if known is not None:
        state.forget(home)
    return ended
