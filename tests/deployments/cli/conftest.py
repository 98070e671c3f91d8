"""A database that commands find, empty and filled."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from blocks.database.engine import Store, open_store
from blocks.database.store import import_planning, import_polls, imports, posts, runs
from blocks.database.store.failures import GivenUp
from blocks.database.store.import_polls import ItemSeen
from blocks.database.store.posts import EnrichedPost
from blocks.errors import UnknownShape
from blocks.posts.identity import parse_post_url
from blocks.posts.record import PostRecord

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def home_store(clean_environment: Path, migrated_sqlite: Path) -> Iterator[Store]:
    """The default database of the home that the commands use."""
    clean_environment.mkdir()
    path = clean_environment / "tagtrail.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    store = open_store(f"sqlite:///{path}")
    yield store
    store.close()


@pytest.fixture(name="record")
def record_fixture() -> Callable[..., PostRecord]:
    """Makes invented TikTok posts."""
    return record


def record(number: int, **changes: Any) -> PostRecord:
    known: dict[str, Any] = {
        "platform": "tiktok",
        "post_id": str(7_500_000_000_000_000_000 + number),
        "url": f"https://www.tiktok.com/@loom.{number}/video/{7_500_000_000_000_000_000 + number}",
        "shape": "invented",
        "author_id": f"a{number}",
        "author_username": f"loom.{number}",
        "caption": "=Linen #linen",
        "hashtags": ["linen"],
        "plays": number * 1000,
        "likes": number,
        "posted_at": NOW,
    }
    return PostRecord(**known | changes)


@pytest.fixture(scope="session")
def filled_sqlite(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file to be copied; what is in it says `filled`."""
    path = tmp_path_factory.mktemp("filled") / "tagtrail.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    with closing(open_store(f"sqlite:///{path}")) as store:
        _fill(store)
    return path


@pytest.fixture
def filled(home_store: Store, filled_sqlite: Path) -> Store:
    """Three enriched posts (one of them with 0 plays) and a failed one, found by one import of #linen."""
    assert home_store.engine.url.database is not None
    with (
        closing(sqlite3.connect(filled_sqlite)) as source,
        closing(sqlite3.connect(home_store.engine.url.database)) as target,
    ):
        source.backup(target)
    return home_store


def _fill(store: Store) -> None:
    refs = [parse_post_url(record(number).url) for number in range(4)]
    with store.begin() as conn:
        runs.start_run(conn, run_id="r1", flow="track-hashtags", account="acc", collection="fibres", now=NOW)
        ticket = import_planning.plan_import(
            conn, account="acc", kind="hashtag", hashtag="linen", wanted={"hashtag": "Linen"}, dedup_key="w",
            collection="fibres", namespace="fibres", library="private", requested=4, run_id="r1", owner="o",
            reuse_after=None, fresh=False, now=NOW,
        )  # fmt: skip
        imports.mark_sending(conn, ticket.import_id, owner="o", now=NOW)
        imports.mark_submitted(conn, ticket.import_id, "task-1", owner="o", now=NOW)
        seen = [ItemSeen(f"VI{number}", ref.url, "PARSE", ref) for number, ref in enumerate(refs)]
        import_polls.record_poll(conn, ticket.import_id, seen, now=NOW)
        imports.finish_import(conn, ticket.import_id, state="complete", now=NOW)
        saved = [
            EnrichedPost(record=record(number), channel="apify", observed_at=NOW, run_id="r1", parser_version="1")
            for number in range(3)
        ]
        posts.save_posts(conn, saved, NOW)
        failure = GivenUp.post(refs[3], "parse", UnknownShape(["odd"]), attempts=1, channel="apify", run_id="r1")
        posts.mark_failed(conn, [failure], NOW)
        runs.finish_run(conn, "r1", outcome="attention", message="4 posts: 3 enriched", summary=None, now=NOW)


@pytest.fixture
def doubtful(home_store: Store) -> str:
    """An import that was sent and never answered; its id."""
    with home_store.begin() as conn:
        ticket = import_planning.plan_import(
            conn, account="acc", kind="hashtag", hashtag="tweed", wanted={"hashtag": "tweed"}, dedup_key="w",
            collection="default", namespace="default", library="private", requested=5, run_id="r1", owner="o",
            reuse_after=None, fresh=False, now=NOW,
        )  # fmt: skip
        imports.mark_sending(conn, ticket.import_id, owner="o", now=NOW)
        imports.mark_ambiguous(conn, ticket.import_id, note="no answer", owner="o", now=NOW)
    return ticket.import_id
