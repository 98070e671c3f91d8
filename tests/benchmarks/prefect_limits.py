"""Prints how well Prefect's own rate limits keep a rate, against a local server in a temporary folder; run by hand.

    python tests/benchmarks/prefect_limits.py [--rates 10 50] [--seconds 15]

These figures are why Tagtrail's rates are kept in its database (see CONTRIBUTING). `block` is how many calls share
one acquisition (`occupy`); `limit` is the size of Prefect's bucket, the most that can go in one burst.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

WAITERS = 50


async def keep(rate: int, limit: int, block: int, seconds: float, how: str) -> tuple[float, int]:
    """Percent of the rate reached at steady state by 50 tasks, and the most calls let go in any one second."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.concurrency.asyncio import concurrency, rate_limit

    name = f"{how}-{rate}-{limit}-{block}"
    async with get_client() as client:
        wanted = GlobalConcurrencyLimitCreate(name=name, limit=limit, slot_decay_per_second=rate)
        await client.create_global_concurrency_limit(wanted)
    granted: list[float] = []

    async def caller() -> None:
        while True:
            if how == "rate_limit":
                await rate_limit(name, occupy=block, strict=True)
                granted.extend([time.monotonic()] * block)
            else:
                async with concurrency(name, occupy=block, strict=True):
                    granted.extend([time.monotonic()] * block)

    start = time.monotonic()
    callers = [asyncio.create_task(caller()) for _ in range(WAITERS)]
    await asyncio.wait(callers, timeout=3 + seconds)
    steady = [at for at in granted if start + 3 <= at < start + 3 + seconds]
    most = max(bisect.bisect_left(granted, at + 1.0) - number for number, at in enumerate(granted))
    return 100 * len(steady) / (rate * seconds), most


async def cost(calls: int) -> tuple[float, float, float]:
    """Median and longest milliseconds, and CPU milliseconds of this process, for one call that waits for nobody."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.concurrency.asyncio import rate_limit

    async with get_client() as client:
        wanted = GlobalConcurrencyLimitCreate(name="free", limit=1_000_000, slot_decay_per_second=1_000_000)
        await client.create_global_concurrency_limit(wanted)
    await rate_limit("free", strict=True)
    cpu, took = time.process_time(), []
    for _ in range(calls):
        start = time.perf_counter()
        await rate_limit("free", strict=True)
        took.append(1000 * (time.perf_counter() - start))
    return statistics.median(took), max(took), 1000 * (time.process_time() - cpu) / calls


async def _row(how: str, rate: int, limit: int, block: int, seconds: float) -> None:
    if how == "cost":
        from prefect import __version__

        median, longest, cpu = await cost(200)
        print(f"Prefect {__version__}: one call {median:.1f} ms (longest {longest:.0f}), {cpu:.1f} ms of CPU here")
        print("call         rate  limit  block  reached  most in 1 s")
    else:
        percent, most = await keep(rate, limit, block, seconds, how)
        print(f"{how:11}  {rate:4}  {limit:5}  {block:5}  {percent:6.1f}%  {most:11}")
    sys.stdout.flush()
    os._exit(0)  # calls under way would be waited for in Prefect's own threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", nargs=4)
    parser.add_argument("--rates", nargs="+", type=int, default=[10, 50])
    parser.add_argument("--seconds", type=float, default=15)
    asked = parser.parse_args()
    if asked.row:
        asyncio.run(_row(asked.row[0], *map(int, asked.row[1:]), asked.seconds))
        return
    rows = [("cost", 0, 0, 0)]
    for rate in asked.rates:
        ways = [(1, 1), (rate, 1), (rate, rate // 5), (rate, rate)]
        rows += [("rate_limit", rate, limit, block) for limit, block in ways]
        rows += [("concurrency", rate, limit, block) for limit, block in ways[1:3]]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        api = f"http://127.0.0.1:{port}/api"
        environment = {
            **os.environ,
            "PREFECT_HOME": home,
            "PREFECT_API_URL": api,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(f"{api}/health")
            for row in rows:
                # A process for each, so that none is slowed by what another left behind.
                own = [sys.executable, __file__, "--seconds", str(asked.seconds), "--row", *map(str, row)]
                subprocess.run(own, env=environment, check=True)
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise SystemExit("the server did not start")


if __name__ == "__main__":
    main()
