"""Posts per second of enrich-and-store, beside a bare HTTP loop that stores nothing; `make bench` runs it.

Every variant is a process of its own against one sandbox process (20 ms answers, limits off) and one local
Prefect server. Machines are noisy: read the ratios of one run, not single figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LATENCY_MS = 20
IN_FLIGHT = 50
KEY = "sk-bench-invented"


def urls(count: int) -> list[str]:
    """Distinct invented Instagram post URLs."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    made = []
    for number in range(count):
        value, code = 3_500_000_000_000_000_000 + number * 7_919, ""
        while value:
            value, digit = divmod(value, 64)
            code = alphabet[digit] + code
        made.append(f"https://www.instagram.com/p/{code}/")
    return made


async def bare(count: int) -> float:
    """One httpx client, a semaphore, the answer parsed and thrown away."""
    import httpx
    import orjson

    endpoint = f"{os.environ['MEMORIES_V2_BASE_URL']}/instagram/video/metadata"
    gate = asyncio.Semaphore(IN_FLIGHT)
    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    async with httpx.AsyncClient(headers={"Authorization": KEY}, timeout=60, limits=limits) as client:

        async def one(url: str) -> None:
            async with gate:
                answer = await client.post(endpoint, json={"video_url": url, "channel": "apify"})
                assert orjson.loads(answer.content)["code"] == "0000"

        started = time.perf_counter()
        await asyncio.gather(*(one(url) for url in urls(count)))
        return time.perf_counter() - started


async def tasks(count: int, posts_per_task: int) -> float:
    """The real flow: claimed, bought, stored raw, parsed, stored."""
    from flows.enrich_posts import enrich_posts
    from flows.steps.run.progress import Progress, watch

    with watch(Progress()) as progress:
        await enrich_posts(
            urls(count), channel="apify", max_spend_usd=1e9, posts_per_task=posts_per_task, return_state=True
        )
    summary = progress.summary
    assert summary is not None
    assert summary.enriched == count, summary.message
    return summary.seconds


async def mapped(count: int) -> float:
    """The same chain written as an async `.map`: an event loop per task, so no client can be shared."""
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    from flows.steps.run.request import request_for_urls

    @task(persist_result=False, cache_policy=NO_CACHE)
    async def enrich_alone(url: str) -> str:
        from flows.steps.enrichment.fetch import enrich_one
        from flows.steps.enrichment.post_state import PostTask
        from flows.steps.imports.plan import take_given_posts
        from flows.steps.run.lifecycle import open_run

        async with open_run("mapped") as opened:
            run = await opened.accept(request_for_urls, [url], channel="apify", max_spend_usd=1e9)
            [found] = await take_given_posts(run)
            post = PostTask(found.ref, found.source_url)
            run.journal.posts["only"] = post
            await enrich_one(run, post)
        assert post.outcome == "enriched", opened.summary
        return post.outcome

    @flow(persist_result=False)
    async def mapped_flow() -> float:
        started = time.perf_counter()
        futures = enrich_alone.map(urls(count))
        for future in futures:
            future.wait()
        assert all(future.state.is_completed() for future in futures)
        return time.perf_counter() - started

    return await mapped_flow()


VARIANTS = {
    "bare httpx loop, stores nothing": ("bare", 0),
    "one task per post": ("tasks", 1),
    "one task per 50 posts": ("tasks", 50),
    "async .map, one post each": ("mapped", 0),
}


def child(kind: str, count: int, posts_per_task: int) -> None:
    """Run one variant in this process and print its figures."""
    work = {"bare": lambda: bare(count), "tasks": lambda: tasks(count, posts_per_task), "mapped": lambda: mapped(count)}
    seconds = asyncio.run(work[kind]())
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak_mb = used.ru_maxrss / (1024 if sys.platform != "darwin" else 1024 * 1024)
    print(json.dumps({"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "peak_mb": peak_mb}))


@contextmanager
def sandbox() -> Iterator[str]:
    """The sandbox as a process of its own on a free port; gives its address."""
    command = [sys.executable, "-m", "deployments.sandbox", "--port", "0", "--limits", "off"]
    with subprocess.Popen([*command, "--latency-ms", str(LATENCY_MS)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def measure(name: str, count: int, environment: dict[str, str]) -> dict[str, float]:
    """One variant in a process and a home of its own."""
    kind, per_task = VARIANTS[name]
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, __file__, "--child", kind, "--posts", str(count), "--per-task", str(per_task)],
            env={**environment, "TAGTRAIL_HOME": home},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures | {"rate": count / figures["seconds"]}


def main() -> None:
    """Run all variants in turn, several times, and print the medians as a table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--child", choices=["bare", "tasks", "mapped"])
    options.add_argument("--posts", type=int, default=1000)
    options.add_argument("--per-task", type=int, default=1)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--without-map", action="store_true")
    options.add_argument("--growth", action="store_true", help="also 10,000 posts in batches, for the memory")
    given = options.parse_args()
    if given.child:
        child(given.child, given.posts, given.per_task)
        return

    from deployments.cli.servers import PrefectServer
    from deployments.stack import own_server

    with tempfile.TemporaryDirectory() as home, sandbox() as address:
        server = own_server.ensure(Path(home), announce=lambda line: print(line, file=sys.stderr))
        try:
            environment = {
                **os.environ,
                "MEMORIES_API_KEY": KEY,
                "MEMORIES_V1_BASE_URL": f"{address}/serve/api/v1",
                "MEMORIES_V2_BASE_URL": f"{address}/serve/api/v2",
                "TAGTRAIL_METADATA_PER_SECOND": "100000",
                "TAGTRAIL_MAX_SPEND_USD_PER_DAY": "none",
                "TAGTRAIL_IN_FLIGHT": str(IN_FLIGHT),
            }
            # As the commands do it: this server, and Prefect's log off the terminal.
            PrefectServer(server.url, server).into(environment)
            names = [name for name in VARIANTS if not (given.without_map and "map" in name)]
            rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
            for _ in range(given.rounds):
                for name in names:
                    # The map variant is slow enough to be read from a tenth of the posts.
                    count = given.posts // 10 if "map" in name else given.posts
                    rounds[name].append(measure(name, count, environment))
            growth = measure("one task per 50 posts", 10 * given.posts, environment) if given.growth else None
        finally:
            own_server.stop(Path(home))
    show(rounds, given.posts, growth)


def show(rounds: dict[str, list[dict[str, float]]], posts: int, growth: dict[str, float] | None) -> None:
    """Print the medians, and each rate as a ratio to the bare loop's."""
    middle = {
        name: {key: statistics.median(one[key] for one in figures) for key in ("rate", "cpu", "peak_mb")}
        for name, figures in rounds.items()
    }
    reference = next(iter(middle.values()))["rate"]
    times = len(next(iter(rounds.values())))
    print(f"\n{posts} posts, {LATENCY_MS} ms answers, {IN_FLIGHT} in flight; medians of {times}")
    print(f"{'variant':34} {'posts/s':>8} {'ratio':>6} {'CPU s':>7} {'peak MB':>8}")
    for name, figures in middle.items():
        print(
            f"{name:34} {figures['rate']:8.1f} {figures['rate'] / reference:6.2f} "
            f"{figures['cpu']:7.1f} {figures['peak_mb']:8.0f}"
        )
    if growth is not None:
        grown = growth["peak_mb"] - middle["one task per 50 posts"]["peak_mb"]
        print(
            f"{10 * posts} posts in batches: {growth['rate']:.1f} posts/s, {growth['peak_mb']:.0f} MB (+{grown:.0f} MB)"
        )


if __name__ == "__main__":
    main()
