"""Prints how soon good callbacks are answered while others flood the receiver, by kind of flood; run by hand.

    python tests/benchmarks/receiver.py [--seconds 8] [--connections 50] [--kinds none wrong away ...] [--beside FOLDER]

The receiver (`tagtrail receive`), the flood and the good callbacks are a process each. `MB` is how much the receiver's
memory grew by that flood, `stopped` its exit status. Figures depend on what else the machine does: its load is printed
beside them, and `--beside` measures the receiver of another checkout right before this one's, kind by kind.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from blocks.database.engine import Store, open_store
from blocks.database.store import import_planning
from blocks.database.store import imports as ledger

SECRET = "q7Zk2CALLBACKmark9wXv4"
PATH = f"/tagtrail/{SECRET}"
PAUSE_SECONDS = 0.02

KINDS = {
    "none": "nobody floods",
    "wrong": "a wrong secret, waits for each answer",
    "known": "a callback that is stored already, waits",
    "unknown": "a task that no import has, waits",
    "large": "a body that is too large, waits",
    "odd": "a body that is no JSON, waits",
    "mixed": "all of these at once, wait",
    "idle": "connects and sends nothing",
    "away": "a wrong secret, sends and closes",
    "away-known": "a callback that is stored already, sends and closes",
    "away-unknown": "a task that no import has, sends and closes",
}


def request(path: str, body: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def good(task_id: str) -> bytes:
    return request(PATH, f'{{"taskId": "{task_id}", "status": "SUCCEEDED"}}')


REFUSED = {
    "wrong": request(PATH[:-3] + "xxx", '{"taskId": "t0", "status": "SUCCEEDED"}'),
    "known": good("t0"),
    "unknown": good("of-nobody"),
    "large": request(PATH, "x" * 30_000),
    "odd": request(PATH, "{nonsense"),
}


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 30)


def flood(kind: str, port: int, number: int, sent: list[int]) -> None:
    """One connection of a flood after the other; `sent` counts its requests."""
    base = kind.removeprefix("away").removeprefix("-") or "wrong"
    raw = REFUSED[list(REFUSED)[number % len(REFUSED)] if kind == "mixed" else base] if kind != "idle" else b""
    while True:
        with contextlib.suppress(OSError), connected(port) as connection:
            sent[number] += 1
            if kind.startswith("away"):
                connection.sendall(raw)
                continue
            connection.sendall(raw)
            while connection.recv(65_536) and raw:
                sent[number] += 1
                connection.sendall(raw)


def flooding(kind: str, port: int, connections: int) -> None:
    sent = [0] * connections
    for number in range(connections):
        threading.Thread(target=flood, args=(kind, port, number, sent), daemon=True).start()
    print("flooding", flush=True)
    sys.stdin.read()
    print(sum(sent), flush=True)


def posted(port: int, raw: bytes) -> tuple[int, float]:
    """The status of an answer (0: none) and how long it took, from connecting on."""
    began = time.perf_counter()
    answer = b""
    with contextlib.suppress(OSError), connected(port) as connection:
        connection.sendall(raw)
        answer = connection.recv(65_536)
    return int(answer.split()[1]) if answer else 0, time.perf_counter() - began


def measure(kind: str, port: int, seconds: float, connections: int, tasks: list[str]) -> tuple[int, list[float], int]:
    """Requests of the flood, seconds of the good answers in order, and how many good callbacks were not taken."""
    command = [sys.executable, __file__, "--child", kind, str(port), str(connections)]
    child = None
    if kind != "none":
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(1)
    took, lost, end = [], 0, time.monotonic() + seconds
    while time.monotonic() < end and tasks:
        status, answered = posted(port, good(tasks.pop()))
        took.append(answered)
        lost += status not in (200, 202)
        time.sleep(PAUSE_SECONDS)
    sent = int(child.communicate("")[0]) if child is not None else 0
    return sent, sorted(took), lost


def megabytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def submitted(store: Store, tasks: list[str]) -> None:
    with store.begin() as conn:
        for task in tasks:
            ticket = import_planning.plan_import(
                conn, account="acc", kind="hashtag", hashtag="moss", wanted={}, dedup_key=task, collection="c",
                namespace="c", library="private", requested=5, run_id="r", owner="o", reuse_after=None, fresh=False,
            )  # fmt: skip
            ledger.mark_sending(conn, ticket.import_id, owner="o")
            ledger.mark_submitted(conn, ticket.import_id, task, owner="o")


def one(kind: str, home: Path, seconds: float, connections: int, code: Path) -> None:
    """A receiver of its own for each kind, stopped while the flood of the last second still arrives."""
    home.mkdir()
    url = f"sqlite:///{home / kind}.db"
    store = open_store(url, create=True)
    tasks = [f"t{number}" for number in range(int(seconds / PAUSE_SECONDS) + 2)]
    submitted(store, tasks)
    own = {
        "TAGTRAIL_CALLBACK_URL": "https://hooks.example.com/tagtrail",
        "TAGTRAIL_CALLBACK_SECRET": SECRET,
        "TAGTRAIL_DATABASE_URL": url,
        "TAGTRAIL_HOME": str(home),
        "PREFECT_API_URL": "http://127.0.0.1:1/api",
        "PREFECT_HOME": str(home / "prefect"),
    }
    log = home / f"{kind}.log"
    with log.open("w") as written:
        command = [sys.executable, "-m", "deployments.cli.main", "receive", "--port", "0"]
        receiver = subprocess.Popen(command, env=os.environ | own, stderr=written, cwd=code)
    try:
        while (found := re.search(r"received on 127.0.0.1:(\d+)", log.read_text())) is None:
            assert receiver.poll() is None, log.read_text()
            time.sleep(0.1)
        port = int(found[1])
        posted(port, good(tasks.pop(0)))
        before = megabytes(receiver.pid)
        sent, took, lost = measure(kind, port, seconds, connections, tasks)
        grown = megabytes(receiver.pid) - before
    finally:
        receiver.send_signal(signal.SIGINT)
        receiver.wait(60)
        store.close()
    p50, p95 = (1000 * took[min(int(len(took) * share), len(took) - 1)] for share in (0.5, 0.95))
    traces = log.read_text().count("Traceback")
    print(
        f"{kind:13} {sent:8,} {len(took):6} {lost:5} {p50:8.1f} {p95:8.1f} {1000 * took[-1]:8.1f} {grown:6.0f} "
        f"{receiver.returncode:7} {traces:6} {os.getloadavg()[0]:6.1f}  {KINDS[kind]} ({code.name})",
        flush=True,
    )


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        flooding(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--beside", type=Path, nargs="*", default=[])
    asked = parser.parse_args()
    print(f"{os.cpu_count()} cores, {asked.connections} connections, {asked.seconds:g} s each; milliseconds")
    print("flood         requests   good  lost      p50      p95      max     MB stopped traces   load")
    with tempfile.TemporaryDirectory() as home:
        for kind in asked.kinds:
            for code in (*asked.beside, Path(__file__).parent.parent.parent):
                one(kind, Path(home) / f"{kind}-{code.name}", asked.seconds, asked.connections, code)


if __name__ == "__main__":
    main()
