"""Posts a second, CPU and memory of enrich-and-store, beside a bare HTTP loop and a plain script (`make bench`).

Every contestant is a process of its own against one sandbox process (20 ms answers, limits off) and one local Prefect
server. They take turns, A B C D A B C D: machines are noisy, so read the ratios of one run, not single figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from deployments.cli.servers import PrefectServer
from deployments.stack import own_server

LATENCY_MS = 20
IN_FLIGHT = 50
KEY = "sk-bench-invented"

CONTESTANTS = {
    "bare": "bare httpx loop, stores nothing",
    "plain": "plain script, stores row by row",
    "single": "Tagtrail, one post a task",
    "batches": "Tagtrail, 50 posts a task",
}
FIGURES = ("rate", "client_cpu", "client_mb", "server_cpu", "server_mb", "task_runs")


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


def endpoint() -> str:
    return f"{os.environ['MEMORIES_V2_BASE_URL']}/instagram/video/metadata"


async def bare(count: int) -> float:
    """One httpx client, a semaphore, the answer parsed and thrown away."""
    import httpx
    import orjson

    gate = asyncio.Semaphore(IN_FLIGHT)
    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    async with httpx.AsyncClient(headers={"Authorization": KEY}, timeout=60, limits=limits) as client:

        async def one(url: str) -> None:
            async with gate:
                answer = await client.post(endpoint(), json={"video_url": url, "channel": "apify"})
                assert orjson.loads(answer.content)["code"] == "0000"

        started = time.perf_counter()
        await asyncio.gather(*(one(url) for url in urls(count)))
        return time.perf_counter() - started


async def plain(count: int) -> float:
    """The script of 40 lines."""
    import plain_script

    database = f"{os.environ['TAGTRAIL_HOME']}/plain.db"
    return await plain_script.enrich(urls(count), endpoint(), KEY, database, IN_FLIGHT)


async def tagtrail(count: int, posts_per_task: int) -> float:
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


def child(kind: str, count: int) -> None:
    """Run one contestant in this process and print how long its posts took."""
    work = {
        "bare": lambda: bare(count),
        "plain": lambda: plain(count),
        "single": lambda: tagtrail(count, 1),
        "batches": lambda: tagtrail(count, 50),
    }
    print(json.dumps(asyncio.run(work[kind]())))


class ServerMeter:
    """CPU seconds and peak memory of the Prefect server while a contestant ran, until it is as quiet as before."""

    def __init__(self, server: own_server.ServerInfo) -> None:
        self._server = server
        self._process = psutil.Process(server.pid)
        self._share = 0.0
        self._settle()
        began, cpu = time.monotonic(), self._cpu()
        time.sleep(10)
        self._share = (self._cpu() - cpu) / (time.monotonic() - began)

    @contextmanager
    def measure(self, figures: dict[str, float]) -> Iterator[None]:
        """Adds to the figures; what the idle server uses is taken off."""
        began, cpu, task_runs, ended = time.monotonic(), self._cpu(), self._task_runs(), threading.Event()
        peak = [self._memory_mb()]

        def watch() -> None:
            while not ended.wait(0.1):
                peak[0] = max(peak[0], self._memory_mb())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
            self._settle()
        finally:
            ended.set()
            watcher.join()
        idle = self._share * (time.monotonic() - began)
        figures |= {
            "server_cpu": max(0.0, self._cpu() - cpu - idle),
            "server_mb": peak[0],
            "task_runs": self._task_runs() - task_runs,
        }

    def _settle(self) -> None:
        """Until three seconds cost it little more than idling: its queues are empty then."""
        while True:
            cpu = self._cpu()
            time.sleep(3)
            if self._cpu() - cpu < 3 * (self._share + 0.1):
                return

    def _processes(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]

    def _cpu(self) -> float:
        return sum(one.cpu_times().user + one.cpu_times().system for one in self._processes())

    def _memory_mb(self) -> float:
        return sum(one.memory_info().rss for one in self._processes()) / 1024**2

    def _task_runs(self) -> int:
        return int(own_server.ask(self._server, "POST", "/task_runs/count")[1])


@contextmanager
def sandbox(latency_ms: int = LATENCY_MS) -> Iterator[str]:
    """The sandbox as a process of its own on a free port; gives its address."""
    command = [sys.executable, str(Path(__file__).parents[1] / "sandbox_process.py")]
    with subprocess.Popen([*command, "--latency-ms", str(latency_ms)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def measure(kind: str, count: int, environment: dict[str, str], meter: ServerMeter) -> dict[str, float]:
    """One contestant in a process and a home of its own: posts a second, and what client and server used."""
    figures: dict[str, float] = {}
    command = [sys.executable, __file__, "--child", kind, "--posts", str(count)]
    with tempfile.TemporaryDirectory() as home, meter.measure(figures), open(Path(home) / "said", "w+") as said:
        process = subprocess.Popen(command, env={**environment, "TAGTRAIL_HOME": home}, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        output = said.read()
        if process.returncode:
            raise SystemExit(f"{kind} failed:\n{output[-3000:]}")
        seconds = float(output.strip().splitlines()[-1])
    peak_mb = used.ru_maxrss / (1024 if sys.platform != "darwin" else 1024 * 1024)
    return figures | {"rate": count / seconds, "client_cpu": used.ru_utime + used.ru_stime, "client_mb": peak_mb}


def main() -> None:
    """Run all contestants in turn, several times, and print the medians as a table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--child", choices=CONTESTANTS)
    options.add_argument("--posts", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    options.add_argument("--growth", action="store_true", help="also 10,000 posts in batches, for the memory")
    given = options.parse_args()
    if given.child:
        child(given.child, given.posts)
        return
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
            meter = ServerMeter(server)
            rounds = [
                {kind: measure(kind, given.posts, environment, meter) for kind in given.only}
                for _ in range(given.rounds)
            ]
            grown = measure("batches", 10 * given.posts, environment, meter) if given.growth else None
        finally:
            own_server.stop(Path(home))
    show(rounds, given.posts)
    if grown is not None:
        print(f"{10 * given.posts} posts in batches: {grown['rate']:.0f} posts/s, {grown['client_mb']:.0f} MB")


def show(rounds: list[dict[str, dict[str, float]]], posts: int) -> None:
    """Print the medians; each ratio is the median of those of the rounds, to the first contestant of the same round."""
    first = next(iter(rounds[0]))
    print(f"\n{posts} posts, {LATENCY_MS} ms answers, {IN_FLIGHT} in flight; medians of {len(rounds)} rounds")
    print(f"{'':32}   posts/s  ratio  client: CPU s  ratio   MB   server: CPU s   MB  task runs")
    for kind in rounds[0]:
        middle = {name: statistics.median(one[kind][name] for one in rounds) for name in FIGURES}
        rate, cpu = (
            statistics.median(one[kind][name] / one[first][name] for one in rounds) for name in ("rate", "client_cpu")
        )
        print(
            f"{CONTESTANTS[kind]:32} {middle['rate']:9.1f} {rate:6.2f} {middle['client_cpu']:14.1f} {cpu:6.2f}"
            f" {middle['client_mb']:4.0f} {middle['server_cpu']:15.1f} {middle['server_mb']:4.0f}"
            f" {middle['task_runs']:10.0f}"
        )


if __name__ == "__main__":
    main()
