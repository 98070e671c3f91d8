"""What stays quick with a million posts: every question leads along an index, on both kinds of database."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, event

from blocks.database.engine import Store
from blocks.database.store import money, overview, report, stale_work
from blocks.database.store import snapshots as snapshots_store
from blocks.database.store.export import provenance
from blocks.database.store.statements import table_of
from blocks.database.tables import Post, Snapshot
from blocks.posts.snapshot_plan import SnapshotPlan
from tests.benchmarks.many_posts import fill
from tests.blocks.posts.checkpoint_states import checkpoint_states

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLAN = SnapshotPlan()
posts, snapshots = table_of(Post), table_of(Snapshot)
LARGE = ("posts", "snapshots", "work", "import_items", "run_posts", "imports")
KEYS = [("tiktok", f"75{number:017d}") for number in range(40, 45)]

QUESTIONS: dict[str, tuple[Callable[[Connection], Any], set[str]]] = {
    "what is due": (
        lambda conn: snapshots_store.due(conn, PLAN, NOW),
        {"ix_posts_status", "ix_snapshots_target", "pk work", "ix_run_posts_post", "ix_import_items_post"},
    ),
    "the outlook": (
        lambda conn: snapshots_store.outlook(conn, PLAN, NOW),
        {"ix_posts_status", "ix_snapshots_target", "pk work"},
    ),
    "the plan in `status`": (
        lambda conn: snapshots_store.next_snapshots(conn, PLAN, NOW),
        {"ix_posts_status", "ix_snapshots_target", "pk work"},
    ),
    "open work in `status`": (lambda conn: overview.overview(conn, NOW), {"ix_work_state", "ix_posts_status"}),
    "the leaders": (lambda conn: overview.top(conn), {"ix_posts_counts", "pk posts"}),
    "the leaders in likes": (lambda conn: overview.top(conn, metric="likes"), {"ix_posts_counts", "pk posts"}),
    "the leaders of a hashtag": (
        lambda conn: overview.top(conn, hashtag="tag7"),
        {"ix_imports_hashtag", "pk import_items", "pk posts"},
    ),
    "who pays": (lambda conn: money.paying_collections(conn, KEYS), {"ix_import_items_post", "ix_run_posts_post"}),
    "where posts come from": (lambda conn: provenance(conn, KEYS), {"ix_import_items_post", "ix_run_posts_post"}),
    "work that came to nothing": (lambda conn: stale_work.drop_missed(conn, PLAN, NOW), {"ix_work_state"}),
}


@pytest.fixture
def filled(store: Store) -> Store:
    """2,000 posts of a year."""
    assert dict(fill(store, 2000, NOW))["snapshots"] >= 0
    return store


def test_every_question_about_many_posts_leads_along_an_index(filled: Store) -> None:
    for name, (ask, wanted) in QUESTIONS.items():
        plan = plans(filled, ask)
        read_whole = [line for line in plan if _reads_a_table(line)]
        assert read_whole == [], name
        assert wanted <= {index for line in plan for index in _indexes(line)}, (name, plan)


def test_a_collection_is_counted_from_its_imports_to_its_posts(filled: Store) -> None:
    """Each post and each snapshot would be asked whether it is of the collection: 40 s instead of 3 for a million."""
    scope = report.Scope("c1", None, NOW - timedelta(days=90), NOW, NOW)
    for ask in (
        lambda conn: overview.overview(conn, NOW, collection="c1"),
        lambda conn: list(report.post_rows(conn, scope, PLAN.ages, 86_400)),
    ):
        plan = plans(filled, ask)
        assert [
            line for line in plan if re.search("(SCAN|Seq Scan on) (posts|snapshots|import_items|run_posts)", line)
        ] == []
        # With 2,000 posts Postgres may as well begin at the posts of the period.
        wanted = {"pk import_items", "pk posts", "pk snapshots"} if filled.is_sqlite else {"pk snapshots"}
        assert wanted <= {index for line in plan for index in _indexes(line)}


def test_answers_are_looked_for_post_by_post(filled: Store) -> None:
    """A join would read the answers of all posts that are known, to find those of the few in a window."""
    for ask in (
        lambda conn: snapshots_store.due(conn, PLAN, NOW),
        lambda conn: snapshots_store.outlook(conn, PLAN, NOW),
    ):
        plan = plans(filled, ask)
        assert any("CORRELATED SCALAR SUBQUERY" in line or "SubPlan" in line for line in plan)
        assert not [line for line in plan if "Anti Join" in line or "hashed SubPlan" in line]


def test_the_outlook_is_what_the_plan_says_of_each_post(filled: Store) -> None:
    due, past, coming, spared = Counter[str](), Counter[str](), Counter[str](), 0
    with filled.connect() as conn:
        taken = {
            (row.platform, row.post_id, row.target_age)
            for row in conn.execute(sa.select(snapshots.c.platform, snapshots.c.post_id, snapshots.c.target_age))
        }
        for row in conn.execute(sa.select(posts).where(posts.c.status == "enriched")):
            ages = [age for age in PLAN.ages if (row.platform, row.post_id, age) in taken]
            states = checkpoint_states(
                PLAN, NOW, posted_at=row.posted_at, first_seen_at=row.first_seen_at, taken=ages,
                resting_since=row.resting_since, rested_until=row.rested_until,
            )  # fmt: skip
            for checkpoint, state in zip(PLAN.checkpoints, states, strict=True):
                ends_at = row.posted_at + timedelta(seconds=checkpoint.ends_seconds)
                if state == "due":
                    due[row.platform] += 1
                elif state == "upcoming":
                    coming[row.platform] += 1
                elif state == "resting" and ends_at > NOW:
                    spared += 1
                elif ends_at > NOW - timedelta(days=30):
                    past[state] += 1
        told = snapshots_store.outlook(conn, PLAN, NOW)
    assert (told.due, told.past, told.spared) == (due, past, spared)
    assert {platform: sum(days) for platform, days in told.upcoming.items()} == dict(coming)
    assert min(*due.values(), *coming.values(), past["taken"], past["missed"], spared) > 0


def plans(store: Store, ask: Callable[[Connection], Any]) -> list[str]:
    """The lines of the query plans of all statements that answer a question."""
    asked: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        asked.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", note)
    with store.begin() as conn:
        if not store.is_sqlite:
            # 2,000 posts are read from end to end as quickly.
            conn.exec_driver_sql("SET LOCAL enable_seqscan = off")
            asked.clear()
        ask(conn)
        statements, explain = list(asked), "EXPLAIN QUERY PLAN " if store.is_sqlite else "EXPLAIN "
        lines = [
            str(row[3] if store.is_sqlite else row[0])
            for statement, parameters in statements
            for row in conn.exec_driver_sql(explain + statement, parameters)
        ]
    event.remove(store.engine, "before_cursor_execute", note)
    assert lines
    return lines


def _reads_a_table(line: str) -> bool:
    found = re.match(r"SCAN (\w+)(.*)", line) or re.search(r"Seq Scan on (\w+)(.*)", line)
    return found is not None and found[1] in LARGE and "USING COVERING INDEX" not in found[2]


def _indexes(line: str) -> set[str]:
    primary = re.search(r"SEARCH (\w+).* sqlite_autoindex_\1_1 |(?:using|on) (\w+)_pkey\b", line)
    return set(re.findall(r"\bix_\w+", line)) | ({f"pk {primary[1] or primary[2]}"} if primary else set())
