"""Beside each other on one Postgres during an upgrade: an old version's run, and one of this version."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from blocks.database.engine import open_store
from blocks.database.store import export
from deployments.stack import own_server
from tests.conftest import PostgresDatabases

pytestmark = pytest.mark.soak

ROOT = Path(__file__).parent.parent.parent
HASHTAGS = ("lvmh", "dior")
POSTS = 24

OLD = {
    "the same schema": "22b0b61",
    "schema 0008": "b59aed8~1",
}
"""Versions that somebody may still run while this one begins."""

MAIN = "import sys; from deployments.cli.main import main; sys.exit(main())"


def unpacked(commit: str, folder: Path) -> Path:
    """The code of an old version."""
    made = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit, "blocks", "flows", "deployments"], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"commit {commit} is not in this clone: git fetch --unshallow")
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("commit", OLD.values(), ids=OLD)
def test_an_old_and_a_new_run_buy_each_post_once(
    commit: str, sandbox: Any, prefect_home: own_server.ServerInfo, postgres: PostgresDatabases, tmp_path: Path
) -> None:
    sandbox.reset()
    old = unpacked(commit, tmp_path / "old")
    database: URL = postgres.create()
    url = database.render_as_string(hide_password=False)

    def start(code: Path, name: str, *words: str) -> subprocess.Popen[bytes]:
        ours = {"TAGTRAIL_HOME": str(tmp_path / name), "TAGTRAIL_DATABASE_URL": url, "PYTHONPATH": str(code)}
        env = {**os.environ, **own_server.env_for(prefect_home), **sandbox.settings(), **ours}
        with (tmp_path / f"{name}.err").open("ab") as err:
            return subprocess.Popen([sys.executable, "-c", MAIN, *words], env=env, cwd=code, stdout=err, stderr=err)

    def told(name: str) -> str:
        return (tmp_path / f"{name}.err").read_text()[-3000:]

    assert start(old, "old", "db", "upgrade").wait(280) == 0, told("old")
    track = ("run", *HASHTAGS, "--posts", str(POSTS))
    before = start(old, "old", *track)
    while before.poll() is None and len(sandbox.accounting()["metadata_served"]) < 3:
        time.sleep(0.1)
    assert start(ROOT, "new", "db", "upgrade").wait(280) == 0, told("new")
    now = start(ROOT, "new", *track)
    if before.wait(280):
        # It says so where the schema moved under it; what it has bought is stored.
        assert "is newer than this Tagtrail" in told("old")
    assert now.wait(280) == 0, told("new")
    last = start(ROOT, "new", *track).wait(280)

    books = sandbox.accounting()
    store = open_store(url)
    enriched = sum(row["status"] == "enriched" for row in export.rows(store, "posts"))
    store.close()
    again = {post: calls for post, calls in books["metadata_served"].items() if calls > 1}
    assert len(books["imports"]) == len(HASHTAGS), told("new")
    assert last == 0, told("new")
    assert enriched == len(books["metadata_served"]) > POSTS
    assert again == {}
