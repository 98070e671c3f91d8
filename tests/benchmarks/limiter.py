"""Prints how much of a rate the limiter uses, and never more of it, on SQLite and Postgres; run by hand.

    python tests/benchmarks/limiter.py [--rates 10 50 1000] [--seconds 20] [--processes 1 2 4]

Postgres is taken from TAGTRAIL_TEST_POSTGRES_URL (a database is made there), or left out.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from blocks.database.engine import open_store, upgrade
from blocks.quotas.rate_limiter import Limiter

WAITERS = 50
LATE_SECONDS = 0.05
"""Whoever is later than this is held up by the machine."""


async def _child(url: str, rate: float, warm_up_seconds: float, seconds: float) -> None:
    """Take slots with 50 tasks; print when each was granted, the CPU milliseconds that one took, and what held it up.

    A process that gets no CPU, or waits for the disk, misses slots, and never makes up for them: `stuck_seconds`.
    """
    granted: list[float] = []
    stuck: list[float] = []
    store = open_store(url)
    limiter = Limiter(store, "benchmark", {"metadata/apify": rate})
    run = store.run

    async def timed(*arguments: Any, **more: Any) -> Any:
        began = time.monotonic()
        got = await run(*arguments, **more)
        stuck.append(max(0.0, time.monotonic() - began - LATE_SECONDS))
        return got

    async def watch() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(LATE_SECONDS)
            late = time.monotonic() - began - LATE_SECONDS
            stuck.append(late if late > LATE_SECONDS / 2 else 0.0)

    store.run = timed  # type: ignore[method-assign]

    async def caller() -> None:
        while True:
            await limiter.acquire("metadata/apify")
            granted.append(time.time())

    print("ready", flush=True)
    start_at = float(sys.stdin.readline())
    await asyncio.sleep(start_at - time.time())
    callers = [asyncio.create_task(watch()), *(asyncio.create_task(caller()) for _ in range(WAITERS))]
    await asyncio.sleep(warm_up_seconds)
    stuck.clear()
    cpu, warm = time.process_time(), len(granted)
    await asyncio.sleep(seconds)
    cpu_ms = 1000 * (time.process_time() - cpu) / max(1, len(granted) - warm)
    stuck_seconds = sum(stuck)
    for task in callers:
        task.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    await limiter.aclose()
    store.close()
    print(json.dumps({"granted": granted, "cpu_ms": cpu_ms, "stuck_seconds": stuck_seconds}))


def measure(url: str, rate: float, processes: int, seconds: float, warm_up_seconds: float = 2.0) -> dict[str, float]:
    """Percent of the rate used at steady state, most grants in any one second, CPU milliseconds per grant.

    `stuck_percent`: for how much of the time processes were held up by the machine, all together.
    """
    command = [sys.executable, __file__, "--child", url, str(rate), str(warm_up_seconds), str(seconds)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, **pipes) for _ in range(processes)]
    try:
        assert [child.stdout.readline() for child in children] == ["ready\n"] * processes
        start_at = time.time() + 0.2
        for child in children:
            child.stdin.write(f"{start_at}\n")
            child.stdin.flush()
        told = [json.loads(child.communicate(timeout=seconds + 60)[0]) for child in children]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    granted = sorted(at for one in told for at in one["granted"])
    first, last = start_at + warm_up_seconds, start_at + warm_up_seconds + seconds - 0.1
    steady = [at for at in granted if first <= at < last]
    return {
        # From one grant to the last one, so that where the window's ends fall between two grants does not count.
        "percent": 100 * (len(steady) - 1) / (rate * (steady[-1] - steady[0])),
        "most": max(bisect.bisect_left(granted, at + 1.0) - number for number, at in enumerate(granted)),
        "cpu_ms": sum(one["cpu_ms"] for one in told) / processes,
        "stuck_percent": 100 * sum(one["stuck_seconds"] for one in told) / seconds,
        "smallest_share": min(len(one["granted"]) for one in told) / len(granted) * processes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=4)
    parser.add_argument("--rates", nargs="+", type=float, default=[10, 50, 1000])
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=20)
    asked = parser.parse_args()
    if asked.child:
        url, *numbers = asked.child
        asyncio.run(_child(url, *map(float, numbers)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "limiter.db"
        open_store(f"sqlite:///{path}", create=True).close()
        urls = {"SQLite": f"sqlite:///{path}"}
        given = os.environ.get("TAGTRAIL_TEST_POSTGRES_URL")
        server = sa.make_url(given).set(drivername="postgresql+psycopg") if given else None
        name = f"tagtrail_bench_{uuid.uuid4().hex[:8]}"
        if server is not None:
            _on(server, f"CREATE DATABASE {name}")
            urls["Postgres"] = server.set(database=name).render_as_string(hide_password=False)
            upgrade(urls["Postgres"])
        try:
            print("database  rate  processes   used  most in 1 s  CPU ms  smallest share")
            for kind, url in urls.items():
                for rate in asked.rates:
                    for processes in asked.processes:
                        got = measure(url, rate, processes, asked.seconds)
                        print(
                            f"{kind:9} {rate:4g}  {processes:9}  {got['percent']:4.1f}%  {got['most']:11g}"
                            f"  {got['cpu_ms']:6.2f}  {got['smallest_share']:14.2f}",
                            flush=True,
                        )
        finally:
            if server is not None:
                _on(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _on(server: sa.URL, statement: str) -> None:
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as conn:
        conn.exec_driver_sql(statement)


if __name__ == "__main__":
    main()
