"""The command line in a process that kills itself at a named point: `python child.py POINT run LVMH …`.

POINT is `NAME:WHEN:N` (at the N-th time), or `-` for none. NAME is a function that the store carries out, and WHEN
`before` it is asked for, `inside` its transaction (all is written, nothing is committed) or `after` its commit; or NAME
is one of the API's calls (`submit`, `status`, `metadata`), and WHEN `before` it is sent, at the answer's `head`, or
when it is `answered` whole; or it is `map_post:before`. The product knows nothing of this: its functions are wrapped
from outside. Moments are written to the file KILL_TRACE, a line `MOMENT UNIX_TIME` each.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

TRACED = {("start_run", "after"): "started", ("save_posts", "after"): "stored"}


class Killer:
    """Counts how often each point was passed, and kills this process at the one that was asked for."""

    def __init__(self, point: str, trace: str) -> None:
        name, _, rest = point.partition(":")
        when, _, number = rest.partition(":")
        self._target = (name, when)
        self._number = int(number or 0)
        self._passed: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._trace = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def passed(self, name: str, when: str) -> None:
        with self._lock:
            self._passed[name, when] += 1
            if (name, when) == self._target and self._passed[name, when] == self._number:
                self._note("killed")
                os.kill(os.getpid(), signal.SIGKILL)
            if (name, when) in TRACED:
                self._note(TRACED[name, when])

    def _note(self, moment: str) -> None:
        os.write(self._trace, f"{moment} {time.time()}\n".encode())


def wrap_store(killer: Killer) -> None:
    from blocks.database import engine, grouping

    plain_write = grouping.Write

    @cache
    def watched(fn: Callable[..., Any]) -> Callable[..., Any]:
        def inside(*args: Any, **kwargs: Any) -> Any:
            result = fn(*args, **kwargs)
            killer.passed(fn.__name__, "inside")
            return result

        # Merged calls stay merged: a group's commit is what is to be interrupted.
        return grouping.mergeable(inside) if fn in grouping._MERGEABLE else inside

    def write(fn: Any, args: Any, kwargs: Any) -> Any:
        return plain_write(watched(fn), args, kwargs)

    def around(original: Any) -> Any:
        async def method(self: Any, fn: Any, *args: Any, **kwargs: Any) -> Any:
            killer.passed(fn.__name__, "before")
            result = await original(self, fn, *args, **kwargs)
            killer.passed(fn.__name__, "after")
            return result

        return method

    wrapped: Any = engine
    wrapped.Write = write
    for name in ("run", "run_durable", "run_grouped"):
        setattr(wrapped.Store, name, around(getattr(wrapped.Store, name)))


def wrap_client(killer: Killer) -> None:
    from blocks.memories import client, requests
    from blocks.posts.payloads import mapping

    call, whole_body, map_post = client.MemoriesClient._call, client._whole_body, mapping.map_post

    def kind_of(path: str) -> str:
        if path.endswith("/video/metadata"):
            return "metadata"
        return "status" if path.endswith(requests.STATUS_PATH) else "submit"

    async def watched_call(self: Any, method: str, url: Any, *rest: Any, **more: Any) -> Any:
        killer.passed(kind_of(url.path), "before")
        answer = await call(self, method, url, *rest, **more)
        killer.passed(kind_of(url.path), "answered")
        return answer

    async def watched_body(response: Any, *rest: Any, **more: Any) -> bytes:
        killer.passed(kind_of(response.request.url.path), "head")
        return await whole_body(response, *rest, **more)

    def watched_map(*args: Any, **more: Any) -> Any:
        killer.passed("map_post", "before")
        return map_post(*args, **more)

    wrapped: Any = client
    wrapped.MemoriesClient._call, wrapped._whole_body = watched_call, watched_body
    mappers: Any = mapping
    mappers.map_post = watched_map


def main() -> int:
    killer = Killer(sys.argv[1], os.environ.pop("KILL_TRACE"))
    # Before the flows are imported, which take these functions by name.
    wrap_store(killer)
    wrap_client(killer)
    from deployments.cli.main import call

    return call(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
