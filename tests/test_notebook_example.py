"""The notebook example of `docs/exports.md` runs as it stands there, on data of an invented collection."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.database.engine import open_store
from blocks.database.store import import_polls, posts, runs
from blocks.database.store.import_polls import ItemSeen
from blocks.database.store.posts import EnrichedPost
from blocks.posts.identity import parse_post_url
from blocks.posts.record import PostRecord
from deployments.cli import main as command_line
from tests.stored import submit

pytestmark = pytest.mark.stack

PAGE = Path(__file__).parent.parent / "docs" / "exports.md"
HEADINGS = ("## The shortest way", "## In a notebook")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def section(heading: str) -> str:
    _, found, rest = PAGE.read_text(encoding="utf-8").partition(f"{heading}\n")
    assert found, f"the page has no section {heading!r}"
    return rest.partition("\n## ")[0]


@pytest.fixture
def home(tmp_path: Path, migrated_sqlite: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home folder whose database holds two posts of #linen, measured twice each."""
    database = tmp_path / "user" / ".tagtrail" / "tagtrail.db"
    database.parent.mkdir(parents=True)
    shutil.copyfile(migrated_sqlite, database)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("TAGTRAIL_HOME", str(database.parent))
    refs = [parse_post_url(f"https://www.tiktok.com/@loom/video/{7_500_000_000_000_000_000 + n}") for n in range(2)]
    store = open_store(f"sqlite:///{database}")
    with store.begin() as conn:
        runs.start_run(conn, run_id="r", flow="f", account="a", collection="default", now=NOON)
        import_id = submit(conn, "r", account="a", collection="default", requested=2, now=NOON)
        seen = [ItemSeen(str(at), ref.url, "PARSE", ref) for at, ref in enumerate(refs)]
        import_polls.record_poll(conn, import_id, seen, now=NOON)
        for at in (NOON, NOON + timedelta(hours=6)):
            for ref in refs:
                record = PostRecord(
                    platform="tiktok", post_id=ref.post_id, url=ref.url, shape="invented", posted_at=NOON,
                    plays=100 * at.hour,
                )  # fmt: skip
                measured = EnrichedPost(record=record, channel="apify", observed_at=at, run_id="r", parser_version="1")
                posts.save_posts(conn, [measured], at)
    store.close()
    return database.parent


@pytest.mark.usefixtures("home")
def test_the_notebook_example_runs_as_it_stands_there(tmp_path: Path) -> None:
    commands = re.findall(r"^\$ tagtrail (.*)$", section(HEADINGS[0]), flags=re.MULTILINE)
    assert commands
    for command in commands:
        assert command_line.call(shlex.split(command)) == 0, command
    [code] = re.findall(r"^```python\n(.*?)^```$", section(HEADINGS[1]), flags=re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=600, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert "median plays: 1,800 (of 2 of 2 posts)" in done.stdout
    assert "600" in done.stdout
    assert re.search(r"linen\s+tiktok\s+2026-11-20\s+2\s+3600\s+2", done.stdout)
