"""The commands as a person calls them: processes of their own, a real Prefect server, the sandbox over real sockets."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments.sandbox.server import SandboxServer
from deployments.stack import own_server

pytestmark = pytest.mark.stack


@dataclass
class Shell:
    """A shell with settings; `run` calls a command and waits for it."""

    environ: dict[str, str]
    sandbox: SandboxServer
    database: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "deployments.cli.main", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environ,
            # A shell's job in the background ignores Ctrl-C, and so would all that it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip

    def run(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=600)
        assert process.returncode == status, err
        assert "Traceback" not in err
        assert " | " not in err, "a line of Prefect's log reached the terminal"
        return out, err

    def counts(self) -> dict[str, int]:
        tables = ("posts", "snapshots", "creators", "comments", "imports", "failures", "raw_payloads")
        with closing(sqlite3.connect(self.database)) as conn:
            return {name: conn.execute(f"select count(*) from {name}").fetchone()[0] for name in tables}

    def bought(self) -> int:
        """Calls that the sandbox took money for: metadata and accepted imports."""
        books = self.sandbox.accounting()
        calls = [count for post in books["metadata"].values() for codes in post.values() for count in codes.values()]
        return sum(calls) + sum(books["accepted"].values())


@pytest.fixture
def shell(server_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell on a sandbox whose time runs a hundred times as fast, and on the session's Prefect server."""
    database = tmp_path / "tagtrail.db"
    with SandboxServer(time_scale=100) as sandbox:
        settings = {
            "HOME": str(tmp_path / "user"),
            "TAGTRAIL_HOME": str(server_home),
            "TAGTRAIL_DATABASE_URL": f"sqlite:///{database}",
            "MEMORIES_API_KEY": "sk-invented",
            "MEMORIES_V1_BASE_URL": sandbox.v1_base_url,
            "MEMORIES_V2_BASE_URL": sandbox.v2_base_url,
            "TAGTRAIL_IMPORTS_PER_MINUTE": "100",
            "TAGTRAIL_STATUS_PER_SECOND": "50",
            "TAGTRAIL_METADATA_PER_SECOND": "200",
            "TAGTRAIL_POLL_SECONDS": "0.1",
            "TAGTRAIL_IMPORT_QUIET_SECONDS": "1",
            "TAGTRAIL_IMPORT_DEADLINE_SECONDS": "120",
        }
        yield Shell(os.environ | settings, sandbox, database)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_run_export_and_run_again(shell: Shell, server_home: Path) -> None:
    out, err = shell.run("run", "#Linen", "denim", "--posts", "6", "--json")
    first: dict[str, Any] = json.loads(out)
    assert (first["outcome"], first["requested"], first["enriched"]) == ("done", 12, 12)
    assert first["platforms"] == {"instagram": 6, "tiktok": 6}
    own = own_server.running(server_home)
    assert own is not None
    api = shell.sandbox.url.removeprefix("http://")
    assert err == (
        f"Prefect server: {own.url} (Tagtrail's own) · database: {shell.database} · API: {api}\n"
        "Estimate: up to 0.24 USD by the price table (0.12 for imports, 0.12 for metadata).\n"
    )

    posts, _ = shell.run("export", "posts")
    exported = rows(posts)
    assert {row["status"] for row in exported} == {"enriched"}
    assert len(exported) == 12
    assert {tag for row in exported for tag in json.loads(row["source_hashtags"])} == {"linen", "denim"}
    counts, bought = shell.counts(), shell.bought()
    assert (counts["posts"], counts["snapshots"], counts["imports"], bought) == (12, 12, 2, 14)

    out, err = shell.run("run", "linen", "Denim", "--posts", "6")
    assert "12 posts: 12 enriched" in out
    assert "a sample, not a census" in out
    assert "TikTok posts only" in " ".join(out.split())
    assert "12 posts found of 12 asked for" in err
    assert "Estimate: nothing to buy.\n" in err
    assert (shell.counts(), shell.bought()) == (counts, bought)
    assert shell.run("export", "posts")[0] == posts


def test_what_needs_somebody_is_3_and_what_halts_is_4(shell: Shell) -> None:
    shell.sandbox.play("submit-dropped")
    out, _ = shell.run("run", "tweed", "--posts", "3", "--json", status=3)
    (doubtful,) = json.loads(out)["imports"]
    assert doubtful["state"] == "ambiguous"
    shell.run("resolve", doubtful["import_id"][:8], "--drop")

    shell.sandbox.play("no-credits")
    out, err = shell.run("enrich", "https://www.instagram.com/p/DTagtrail01/", "--json", status=4)
    assert "RunHalted" not in err
    halted = json.loads(out)
    assert (halted["outcome"], halted["pending"], halted["exit_status"]) == ("halted", 1, 4)

    shell.sandbox.play("default")
    out, _ = shell.run("enrich", "https://www.instagram.com/p/DTagtrail01/", "--json")
    assert json.loads(out)["enriched"] == 1


def test_a_prefect_server_that_cannot_be_reached_is_one_sentence(shell: Shell) -> None:
    shell.environ |= {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_CLIENT_MAX_RETRIES": "0"}
    out, err = shell.run("run", "linen", status=1)
    assert out == ""
    (sentence,) = err.splitlines()  # and nothing of Prefect
    assert sentence.startswith(
        "tagtrail: the Prefect server http://127.0.0.1:9/api (PREFECT_API_URL) cannot be reached"
    )


def test_the_demo_shows_the_chain_in_a_home_of_any_name_and_leaves_nothing_running(
    migrated: Callable[[Path], None], tmp_path: Path
) -> None:
    home = tmp_path / "odd" / "x?y #%41 'q\" é"
    migrated(home / "demo")
    before, there = set(psutil.Process().children(recursive=True)), set(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli.main", "demo"],
        # Settings of the user's that would lead it astray.
        env=os.environ
        | {"TAGTRAIL_DATABASE_URL": "postgresql://nowhere/at_all", "PREFECT_API_URL": "http://nowhere"}
        | {"TAGTRAIL_HOME": str(home), "HOME": str(tmp_path / "user")},
        cwd=tmp_path, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "30 posts: 30 enriched" in done.stdout
    assert "2 posts: 2 enriched" in done.stdout
    assert "a sample, not a census" in done.stdout
    assert "@" in done.stdout
    assert "hashtag import finds TikTok posts only today" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    database, page = home / "demo" / "tagtrail.db", home / "demo" / "report.html"
    assert str(database) in done.stderr
    assert str(page) in done.stderr
    shown = page.read_text(encoding="utf-8")
    assert "simulated month" in shown
    assert "Invented data" in shown
    with closing(sqlite3.connect(database)) as conn:
        [enriched] = conn.execute("select count(*) from posts where status = 'enriched'").fetchone()
        assert enriched > 32, "the two runs and a month"
    assert own_server.recorded(home / "demo") is None
    assert set(psutil.Process().children(recursive=True)) == before
    assert [path for path in set(tmp_path.rglob("*")) - there if not path.is_relative_to(home)] == []
    assert {stat.S_IMODE(path.stat().st_mode) for path in (home / "demo").glob("*.db*")} == {0o600}
    assert stat.S_IMODE((home / "demo" / "prefect").stat().st_mode) == 0o700
