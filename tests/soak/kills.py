"""A scene of kills: the same command, in processes of its own, on one database and one service until it is done."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services import IN_FLIGHT, Sandbox
from verdicts import Database, Result, Rows, billed_usd, judge

from blocks.database.store.leases import LEASE_SECONDS

HASHTAGS = ("lvmh", "dior")
POSTS = 12

TAKE_UP_SECONDS = 6.0
"""A rerun has to store its first post so soon after it began: well before a dead holder's leases would end.

Where it began so late that they end by then anyway, as on a busy machine, nothing is to be seen.
"""

CHILD = Path(__file__).with_name("child.py")


@dataclass
class Ended:
    """A run that ended: its exit status, its summary (None if it was killed), and when things happened in it."""

    status: int
    summary: dict[str, Any]
    moments: dict[str, float]
    stderr: str

    @property
    def take_up_seconds(self) -> float | None:
        """From the run's beginning to its first stored post; None where it stored none."""
        if "stored" not in self.moments:
            return None
        return self.moments["stored"] - self.moments["started"]


@dataclass
class AtKill:
    """What stood when the process was dead: all calls served, and the posts that it had asked for and not stored."""

    served: Counter[str]
    in_flight: set[str]


class Scene:
    """One database, one service, and the same command run on them again and again."""

    def __init__(self, folder: Path, database_url: str, sandbox: Sandbox, prefect: Mapping[str, str]) -> None:
        self.folder, self.sandbox, self.database = folder, sandbox, Database(database_url)
        self.kills: list[AtKill] = []
        self.doubts = 0
        self.killed_at = 0.0
        self._runs = 0
        ours = {"TAGTRAIL_HOME": str(folder / "home"), "TAGTRAIL_DATABASE_URL": database_url}
        self.env = {**os.environ, **prefect, **sandbox.settings(), **ours}

    def track(self, *, point: str = "-", kill_after_seconds: float | None = None, wait_seconds: float = 280) -> Ended:
        """`tagtrail run` for the two hashtags, killed at `point`, or so long after its beginning, or not at all."""
        process, files = self._start("run", *HASHTAGS, "--posts", str(POSTS), "--json", point=point)
        try:
            if kill_after_seconds is not None:
                while process.poll() is None and "started" not in _moments(files["trace"]):
                    time.sleep(0.005)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(kill_after_seconds)
                process.kill()
            status = process.wait(wait_seconds)
        finally:
            process.kill()
            process.wait()
        out = files["out"].read_text()
        return Ended(status, json.loads(out) if out else {}, _moments(files["trace"]), files["err"].read_text())

    def _start(self, *words: str, point: str = "-") -> tuple[subprocess.Popen[bytes], dict[str, Path]]:
        self._runs += 1
        files = {name: self.folder / f"{name}-{self._runs}" for name in ("trace", "out", "err")}
        with files["out"].open("wb") as out, files["err"].open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, CHILD, point, *words], env={**self.env, "KILL_TRACE": str(files["trace"])},
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip
        return process, files

    def kill(self, *, point: str = "-", kill_after_seconds: float | None = None) -> bool:
        """A run that is killed; what stood then is kept. False where it had ended before a time by lot."""
        ended = self.track(point=point, kill_after_seconds=kill_after_seconds)
        if ended.status != -signal.SIGKILL:
            assert kill_after_seconds is not None, f"{point} was not reached: {ended}"
            return False
        self.note_kill()
        return True

    def note_kill(self) -> None:
        """Look at the books and the rows, once what was under way at the service has ended."""
        self.killed_at = time.time()
        requests = -1
        while requests != (requests := self.sandbox.accounting()["requests"]):
            time.sleep(0.15)
        served = Counter(self.sandbox.accounting()["metadata_served"])
        by_it = served - (self.kills[-1].served if self.kills else Counter())
        self.kills.append(AtKill(served, set(by_it) - self.database.stored_posts()))

    def settle(self) -> Ended:
        """Rerun until it is done; an import in doubt is decided by what the service's books say of it."""
        ended = self.track()
        if self.decide_doubts():
            assert ended.status == 3, ended
            ended = self.track()
        return ended

    def decide_doubts(self) -> int:
        """Attach each import in doubt to its task if the service has one, else have it sent again; how many."""
        books = self.sandbox.accounting()
        doubts = self.database.ambiguous()
        for one in doubts:
            tasks = [job["task_id"] for job in books["imports"] if f"hashtag:{one.hashtag}" in job["targets"]]
            process, _ = self._start("resolve", one.import_id, *(("--attach", tasks[0]) if tasks else ("--resubmit",)))
            assert process.wait(280) == 0
        self.doubts += len(doubts)
        return len(doubts)

    def judge(self, point: str, ended: Ended | None, expected: Rows) -> Result:
        """Compare with the rows of an undisturbed run, and with the service's books; `ended` is the last rerun."""
        books = self.sandbox.accounting()
        over_usd = self.database.spent_usd() - billed_usd(books)
        faults: list[str] = []
        if ended is not None:
            posts = sum(what == "posts" for what, _ in expected.elements())
            sums = [ended.summary.get(name) for name in ("requested", "enriched")]
            if ended.status != 0 or sums != [posts, posts]:
                faults.append(f"the rerun ended with {ended.status}, {sums}: {ended.stderr[-500:]}")
            leases_run = ended.moments.get("started", 0.0) < self.killed_at + LEASE_SECONDS - TAKE_UP_SECONDS
            if leases_run and (ended.take_up_seconds or 0) > TAKE_UP_SECONDS:
                faults.append(f"the rerun stored its first post after {ended.take_up_seconds} s")
        result = Result(
            point=point,
            engine=self.database.engine,
            kills=len(self.kills),
            doubts=self.doubts,
            over_usd=over_usd,
            take_up_seconds=None if ended is None else ended.take_up_seconds,
            faults=faults,
        )
        return judge(
            result,
            books,
            self.database.rows(),
            expected,
            requests=[f"hashtag:{tag}" for tag in HASHTAGS],
            in_flight=[one.in_flight for one in self.kills],
            most_in_flight=IN_FLIGHT,
        )


def _moments(trace: Path) -> dict[str, float]:
    """When things happened first, by name, as Unix times."""
    moments: dict[str, float] = {}
    for line in trace.read_text().splitlines() if trace.exists() else ():
        name, _, at = line.partition(" ")
        moments.setdefault(name, float(at))
    return moments
