"""The look at the whole, and the leading posts of a hashtag."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert

from blocks.database.engine import Store
from blocks.database.store import overview, runs, snapshots
from blocks.database.store.failures import GivenUp
from blocks.database.store.posts import EnrichedPost, mark_failed, mark_gone, save_posts
from blocks.database.store.statements import table_of
from blocks.database.tables import Import, ImportItem, Spend
from blocks.errors import NoAnswer, NotFound, UsageError
from blocks.posts.record import PostRecord, PostRef
from blocks.posts.snapshot_plan import SnapshotPlan

T0 = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def ref(number: int) -> PostRef:
    return PostRef("tiktok", str(number), f"https://www.tiktok.com/player/v1/{number}")


def save(conn: Connection, number: int, **facts: Any) -> None:
    record = PostRecord(platform="tiktok", post_id=str(number), url=ref(number).url, shape="s", **facts)
    save_posts(conn, [EnrichedPost(record=record, channel="apify", observed_at=T0, parser_version="p1")], T0)


def add_import(conn: Connection, import_id: str, state: str, listed: tuple[int, ...] = (), **more: Any) -> None:
    conn.execute(
        insert(table_of(Import)).values(
            {
                "import_id": import_id, "account": "a", "kind": "hashtag", "hashtag": import_id, "dedup_key": import_id,
                "collection": "default", "namespace": "n", "library": "private", "requested": 5, "state": state,
                "planned_at": T0, "run_id": "r1",
            }
            | more
        )
    )  # fmt: skip
    for number in listed:
        conn.execute(
            insert(table_of(ImportItem)).values(
                import_id=import_id, item_key=f"tiktok:{number}", platform="tiktok", post_id=str(number), was_new=True,
                first_seen_at=T0, last_seen_at=T0,
            )
        )  # fmt: skip


def add_spend(
    conn: Connection, spend_id: str, day: str, reserved: int, spent: int | None, run_id: str = "r1", **more: Any
) -> None:
    conn.execute(
        insert(table_of(Spend)).values(
            spend_id=spend_id, account="a", day=day, run_id=run_id, kind="metadata", reserved_micros=reserved,
            spent_micros=spent, reserved_at=T0, settled_at=None if spent is None else T0, **more,
        )
    )  # fmt: skip


def test_an_empty_database_has_nothing(store: Store) -> None:
    with store.connect() as conn:
        assert overview.overview(conn, T0) == overview.Overview({}, 0, [], [], {}, {}, 0, 0, None)
        assert overview.top(conn) == []


def test_figures(store: Store) -> None:
    with store.begin() as conn:
        add_import(conn, "open", "collecting", seen=3, last_polled_at=T0 + HOUR / 2, task_id="t1")
        add_import(conn, "planned", "planned", planned_at=T0 + HOUR / 4)
        add_import(conn, "doubt", "ambiguous", note="killed")
        for state in ("complete", "empty", "failed", "dropped"):
            add_import(conn, state, state)
        runs.start_run(conn, run_id="r0", flow="track-hashtags", now=T0 - HOUR)
        runs.start_run(conn, run_id="r1", flow="enrich-posts", collection="c", now=T0)
        runs.finish_run(conn, "r1", outcome="attention", message="m", summary=None, now=T0 + HOUR)
        runs.take_posts(conn, "r1", [(ref(1), None), (ref(2), None)], now=T0)
        runs.take_posts(conn, "r1", [(ref(1), None)], now=T0, purpose="refresh:60")
        save(conn, 3)
        mark_failed(conn, [GivenUp.post(ref(4), "metadata", NotFound(""), attempts=1)], T0)
        mark_failed(conn, [GivenUp.post(ref(number), "metadata", NoAnswer(""), attempts=1) for number in (5, 6)], T0)
        mark_gone(conn, [ref(7)], None, T0)
        add_spend(conn, "s1", "2026-03-01", 500, 200)
        add_spend(conn, "s2", "2026-03-01", 70, None, run_id="r0")
        add_spend(conn, "s3", "2026-02-28", 9000, 9000)
        # Shortly after midnight in Paris it is still the day before by UTC, which counts.
        seen = overview.overview(conn, T0 + HOUR)
    assert seen.posts == {"tiktok": {"enriched": 1, "failed": 3, "gone": 1, "pending": 2}}
    assert seen.snapshots == 1
    assert [
        (one.import_id, one.state, one.seen, one.age_seconds, one.polled_seconds_ago) for one in seen.open_imports
    ] == [
        ("open", "collecting", 3, 3600.0, 1800.0),
        ("planned", "planned", 0, 2700.0, None),
    ]
    assert [(one.import_id, one.note) for one in seen.ambiguous] == [("doubt", "killed")]
    # What a refresh left behind is due again, and shown with the next snapshots.
    assert seen.pending_work == {"enrich": 2}
    assert seen.failures == {"NoAnswer": 2, "NotFound": 1}
    assert (seen.spent_micros, seen.reserved_micros) == (270, 70)
    assert seen.last_run is not None
    assert (seen.last_run.run_id, seen.last_run.outcome, seen.last_run.spent_micros) == ("r1", "attention", 9200)


def test_one_collection(store: Store) -> None:
    with store.begin() as conn:
        for number, name in enumerate(("mine", "theirs"), 1):
            add_import(conn, name, "collecting", (number,), collection=name, run_id=name)
            runs.start_run(conn, run_id=name, flow="track-hashtags", collection=name, now=T0)
            save(conn, number)
            add_spend(conn, name, "2026-03-01", 500, number, run_id=name, collection=name)
        seen = overview.overview(conn, T0 + HOUR, collection="mine")
        nobodys = overview.overview(conn, T0 + HOUR, collection="other")
    assert (seen.posts, seen.snapshots, seen.spent_micros) == ({"tiktok": {"enriched": 1}}, 1, 1)
    assert [one.import_id for one in seen.open_imports] == ["mine"]
    assert (seen.today.new_posts, seen.today.new_enriched, seen.today.spent_micros) == (1, 1, 1)
    assert seen.last_run is not None
    assert seen.last_run.run_id == "mine"
    assert nobodys == overview.Overview({}, 0, [], [], {}, {}, 0, 0, None)


def test_the_day_is_the_utc_day(store: Store) -> None:
    from zoneinfo import ZoneInfo

    with store.begin() as conn:
        add_spend(conn, "s1", "2026-02-28", 5, 5)
        in_paris = datetime(2026, 3, 1, 0, 30, tzinfo=ZoneInfo("Europe/Paris"))
        assert overview.overview(conn, in_paris).spent_micros == 5


def test_leading_posts(store: Store) -> None:
    with store.begin() as conn:
        add_import(conn, "dior", "complete", (1, 2, 3))
        save(conn, 1, plays=10, likes=3_000_000_000)
        save(conn, 2, plays=10, likes=0)
        save(conn, 3, plays=0)
        save(conn, 4, plays=99)

        def leaders(**wanted: Any) -> list[str]:
            return [post.post_id for post in overview.top(conn, **wanted)]

        assert leaders() == ["4", "1", "2", "3"]
        assert leaders(hashtag="dior") == ["1", "2", "3"]
        assert leaders(metric="likes", hashtag="dior") == ["1", "2"]
        assert leaders(collection="default", limit=1) == ["1"]
        assert leaders(platform="x") == []
        with pytest.raises(UsageError, match="cannot be ranked by caption; choose one of plays, views"):
            overview.top(conn, metric="caption")
        with pytest.raises(UsageError, match="at least one post"):
            overview.top(conn, limit=0)


def test_no_look_at_the_whole_reads_a_large_table_from_end_to_end(sqlite_store: Store) -> None:
    """`status` on 100,000 posts of one day: what it counts stands in indexes, or is found by one."""
    asked: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        asked.append((statement, parameters))

    event.listen(sqlite_store.engine, "before_cursor_execute", note)
    with sqlite_store.begin() as conn:
        runs.start_run(conn, run_id="r1", flow="track-hashtags", collection="c", now=T0)
        overview.overview(conn, T0 + HOUR)
        snapshots.next_snapshots(conn, SnapshotPlan(), T0 + HOUR)
        looked = [one for one in asked if one[0].startswith("SELECT")]
        steps = [
            row[3]
            for statement, values in looked
            for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
    event.remove(sqlite_store.engine, "before_cursor_execute", note)
    assert len(looked) > 20
    large = ("posts", "import_items", "snapshots", "spend", "work", "run_posts")
    scans = [step for step in steps if step.startswith("SCAN") and step.split()[1] in large]
    assert [step for step in scans if "USING COVERING INDEX" not in step] == []
    used = {word for step in steps for word in step.split() if word.startswith("ix_")}
    assert used >= {"ix_import_items_listed_again", "ix_posts_status", "ix_snapshots_target", "ix_spend_day"}
