"""Prints time and peak memory of exports of many snapshots, on SQLite and Postgres; run by hand.

    python tests/benchmarks/export.py [--rows 1000000] [--formats parquet csv jsonl xlsx] [--what snapshots]

Each export is a process of its own (`tagtrail export`), whose peak resident memory the system tells. Postgres is taken
from TAGTRAIL_TEST_POSTGRES_URL (a database is made there), or left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import insert

from blocks.database.engine import open_store, upgrade
from blocks.database.store.statements import table_of
from blocks.database.tables import Snapshot

T0 = datetime(2026, 1, 1, tzinfo=UTC)
PER_POST = 6


def fill(url: str, rows: int) -> None:
    """Snapshots of invented posts, six each."""
    store = open_store(url, create=True)
    table = table_of(Snapshot)
    for start in range(0, rows, 10_000):
        batch = [_snapshot(number) for number in range(start, min(rows, start + 10_000))]
        with store.begin() as conn:
            conn.execute(insert(table), batch)
    store.close()


def _snapshot(number: int) -> dict[str, object]:
    post, at = divmod(number, PER_POST)
    return {
        "platform": "tiktok", "post_id": f"{7_500_000_000_000_000_000 + post}",
        "observed_at": T0 + timedelta(hours=at, seconds=post % 3600), "age_seconds": 3600 * (at + 1),
        "target_age": 3600, "lateness_seconds": 12, "plays": number * 37, "likes": number, "comments": number % 97,
        "shares": number % 13, "author_followers": 1_000_000 + number, "channel": "apify", "run_id": "r" * 36,
        "null_reasons": {"views": "not_in_payload", "saves": "not_in_payload"}, "parser_version": "1",
        "raw_sha256": f"{number:064x}",
    }  # fmt: skip


def measure(url: str, home: Path, what: str, shape: str) -> tuple[float, float, float]:
    """Seconds, peak megabytes of memory, megabytes of the file."""
    target = home / f"{what}.{shape}"
    command = [sys.executable, "-m", "deployments.cli.main", "export", what, "--output", str(target)]
    environment = os.environ | {"TAGTRAIL_HOME": str(home), "TAGTRAIL_DATABASE_URL": url}
    began = time.monotonic()
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    assert process.returncode == 0
    return seconds, used.ru_maxrss / 1024, target.stat().st_size / 1e6


def databases(home: Path) -> dict[str, str]:
    """SQLite, and Postgres where there is one."""
    found = {"sqlite": f"sqlite:///{home / 'tagtrail.db'}"}
    if given := os.environ.get("TAGTRAIL_TEST_POSTGRES_URL"):
        server = sa.make_url(given).set(drivername="postgresql+psycopg")
        name = f"tagtrail_bench_{uuid.uuid4().hex[:8]}"
        with sa.create_engine(server, isolation_level="AUTOCOMMIT").connect() as conn:
            conn.exec_driver_sql(f"CREATE DATABASE {name}")
        found["postgres"] = server.set(database=name).render_as_string(hide_password=False)
        upgrade(found["postgres"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--formats", nargs="+", default=["parquet", "csv"])
    parser.add_argument("--what", default="snapshots")
    asked = parser.parse_args()
    print("| database | rows | format | seconds | peak memory, MB | file, MB |\n|---|---:|---|---:|---:|---:|")
    for rows in asked.rows:
        with tempfile.TemporaryDirectory() as folder:
            for kind, url in databases(Path(folder)).items():
                fill(url, rows)
                for shape in asked.formats:
                    seconds, memory, size = measure(url, Path(folder), asked.what, shape)
                    print(f"| {kind} | {rows:,} | {shape} | {seconds:.1f} | {memory:.0f} | {size:.0f} |", flush=True)


if __name__ == "__main__":
    main()
