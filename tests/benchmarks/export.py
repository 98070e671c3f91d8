"""Prints what exports cost beside a bare loop that reads the same table and writes JSON lines; run by hand.

    python tests/benchmarks/export.py [--posts 10000] [--rounds 3] [--what posts] [--formats jsonl csv parquet]

Each measurement is a process of its own; the CPU seconds are those of the rows alone, without loading any module, and
the best of the rounds counts. Rounds take turns, so read the ratios of one run. SQLite alone: on Postgres a part of the
work is the server's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KEYS = {"posts": "platform, post_id", "snapshots": "platform, post_id, observed_at"}
BARE = "bare loop"


def fill(home: Path, posts: int) -> None:
    """A year of invented posts, with six snapshots each."""
    # By a process of its own: a child's peak memory is at least that of the process that started it.
    url = f"sqlite:///{home / 'tagtrail.db'}"
    command = [sys.executable, str(Path(__file__).with_name("many_posts.py")), "--url", url, "--posts", str(posts)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def bare(home: Path, what: str, target: Path) -> int:
    """Every row of the one table, read with `sqlite3` and written with `json.dumps`."""
    connection = sqlite3.connect(home / "tagtrail.db")
    rows = connection.execute(f"SELECT * FROM {what} ORDER BY {KEYS[what]}")
    names = [column[0] for column in rows.description]
    count = 0
    with target.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n")
            count += 1
    return count


def child(what: str, shape: str, home: Path) -> None:
    """One measurement: CPU seconds of the rows, how many there are, and the peak memory of this process."""
    target = home / f"rows-{os.getpid()}"
    if shape == BARE:
        began = time.process_time()
        count = bare(home, what, target)
    else:
        from deployments.cli.main import call

        # Everything is loaded before the clock starts.
        arguments = ["export", what, "--format", shape, "--overwrite", "--output", str(target)]
        assert call([*arguments, "--platform", "x"]) == 0
        began = time.process_time()
        assert call(arguments) == 0
        with sqlite3.connect(home / "tagtrail.db") as connection:
            (count,) = connection.execute(f"SELECT count(*) FROM {what}").fetchone()
    seconds = time.process_time() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    print(json.dumps({"us_per_row": seconds / count * 1e6, "peak_mb": peak_mb, "rows": count}))


def measure(what: str, shape: str, home: Path) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--child", what, shape, str(home)]
    environment = os.environ | {"TAGTRAIL_HOME": str(home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{what} as {shape} failed:\n{done.stderr[-3000:]}")
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def main() -> None:
    """Measure all formats in turn, and print the best of each as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "FORMAT", "HOME"))
    parser.add_argument("--posts", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--what", nargs="+", default=["posts", "snapshots"])
    parser.add_argument("--formats", nargs="+", default=["jsonl", "csv", "parquet"])
    asked = parser.parse_args()
    if asked.child:
        what, shape, home = asked.child
        child(what, shape, Path(home))
        return
    print("| what | rows | CPU, µs a row | times the bare loop | peak memory, MB |\n|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), asked.posts)
        for what in asked.what:
            rounds = [
                {shape: measure(what, shape, Path(folder)) for shape in (BARE, *asked.formats)}
                for _ in range(asked.rounds)
            ]
            best = {
                shape: min((one[shape] for one in rounds), key=lambda one: one["us_per_row"]) for shape in rounds[0]
            }
            for shape, one in best.items():
                ratio = one["us_per_row"] / best[BARE]["us_per_row"]
                print(
                    f"| {what}, {shape} | {one['rows']:,} | {one['us_per_row']:.1f} | {ratio:.1f} "
                    f"| {one['peak_mb']:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
