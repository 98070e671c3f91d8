"""Prints how much of the account's limit whole enrichment uses, and the most calls in any second; run by hand.

    python tests/benchmarks/limit_use.py --url postgresql+psycopg://USER@HOST/EMPTY_DATABASE [--workers 1 2 4]

1,000 posts at 10 calls a second, 100 ms answers, shared out between so many processes, each with a run of its own on
the one database. The sandbox wrote down when each call came; it refuses none, so that what is counted was let through.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections import deque
from pathlib import Path

from enrich import KEY, sandbox, urls

from blocks.database.engine import upgrade
from deployments.cli.servers import PrefectServer
from deployments.sandbox.state import busiest
from deployments.stack import own_server

PER_SECOND = 10
LATENCY_MS = 100


async def enrich(part: list[str]) -> None:
    """One worker's run."""
    from flows.enrich_posts import enrich_posts

    await enrich_posts(part, channel="apify", max_spend_usd=1e9)


def call_times(address: str) -> list[float]:
    """When each metadata call came to the sandbox, Unix seconds; its accounting begins anew."""
    with urllib.request.urlopen(f"{address}/sandbox/books") as answer:
        times = json.load(answer)["times"]
    urllib.request.urlopen(urllib.request.Request(f"{address}/sandbox/reset", b"{}", method="POST")).close()
    return sorted(at for kind, of_kind in times.items() if "metadata" in kind for at in of_kind)


def measure(workers: int, posts: list[str], address: str, environment: dict[str, str]) -> list[float]:
    """The times of all calls of so many runs, which take every so-manieth post each."""
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for number in range(workers):
            part = Path(folder) / str(number)
            part.write_text(json.dumps(posts[number::workers]))
            processes.append(subprocess.Popen([sys.executable, __file__, "--child", str(part)], env=environment))
        ended = [process.wait(timeout=600) for process in processes]
    assert ended == [0] * workers, ended
    return call_times(address)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", type=Path)
    parser.add_argument("--url", help="an empty Postgres database")
    parser.add_argument("--posts", type=int, default=1000)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4])
    asked = parser.parse_args()
    if asked.child:
        asyncio.run(enrich(json.loads(asked.child.read_text())))
        return
    upgrade(asked.url)
    with tempfile.TemporaryDirectory() as home, sandbox(LATENCY_MS) as address:
        server = own_server.ensure(Path(home), announce=lambda line: print(line, file=sys.stderr))
        try:
            environment = {
                **os.environ,
                "MEMORIES_API_KEY": KEY,
                "MEMORIES_V1_BASE_URL": f"{address}/serve/api/v1",
                "MEMORIES_V2_BASE_URL": f"{address}/serve/api/v2",
                "TAGTRAIL_HOME": home,
                "TAGTRAIL_DATABASE_URL": asked.url,
                "TAGTRAIL_METADATA_PER_SECOND": str(PER_SECOND),
                "TAGTRAIL_MAX_SPEND_USD_PER_DAY": "none",
            }
            PrefectServer(server.url, server).into(environment)
            fresh = iter(urls(asked.posts * len(asked.workers)))
            print("workers  calls  share of the limit  most in a second", flush=True)
            for workers in asked.workers:
                times = measure(workers, [next(fresh) for _ in range(asked.posts)], address, environment)
                share = (len(times) - 1) / (PER_SECOND * (times[-1] - times[0]))
                print(f"{workers:7} {len(times):6} {share:18.1%} {busiest(deque(times)):17}", flush=True)
        finally:
            own_server.stop(Path(home))


if __name__ == "__main__":
    main()
