"""Failures: one open row for an item and stage, closed by a later success, found by class, platform and age."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from blocks.database.engine import Store
from blocks.database.store import failures
from blocks.database.store.failures import GivenUp
from blocks.database.store.statements import table_of
from blocks.database.tables import Failure
from blocks.errors import NotFound, UnknownShape
from blocks.posts.record import PostRef

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
REF = PostRef("x", "5", "https://x.com/i/status/5")
GIVEN_UP = GivenUp.post(
    REF, "metadata", NotFound("no such post\x00", code="0001", endpoint="/x"), attempts=2, channel="apify", run_id="r1"
)
OF_IMPORT = GivenUp(
    item_key="i1/no:VI1", stage="identify", error_class="NotAPostUrl", message="no URL", attempts=0, import_id="i1"
)


def test_an_open_row_is_brought_up_to_date(store: Store) -> None:
    later = dataclasses.replace(GIVEN_UP, attempts=5, error_class="NoAnswer", code=None, run_id="r2")
    with store.begin() as conn:
        failures.give_up(conn, [GIVEN_UP, OF_IMPORT], T0)
        failures.give_up(conn, [later], T0 + HOUR)
        of_import, row = failures.find(conn)
    assert (row.item_key, row.platform, row.post_id, row.url) == ("x:5", "x", "5", REF.url)
    assert (row.attempts, row.error_class, row.code, row.run_id) == (5, "NoAnswer", None, "r2")
    assert (row.first_at, row.last_at, row.resolved_at) == (T0, T0 + HOUR, None)
    assert "\x00" not in row.message
    assert "no such post" in row.message
    assert (of_import.platform, of_import.import_id, of_import.stage) == (None, "i1", "identify")


def test_a_closed_row_stays_and_a_new_failure_is_a_new_row(store: Store) -> None:
    with store.begin() as conn:
        failures.give_up(conn, [GIVEN_UP], T0)
        assert failures.resolve(conn, ["x:5", "x:6"], T0 + HOUR, stages=["parse"]) == 0
        assert failures.resolve(conn, ["x:5", "x:6"], T0 + HOUR) == 1
        assert failures.resolve(conn, ["x:5"], T0 + 2 * HOUR) == 0
        failures.give_up(conn, [GIVEN_UP], T0 + 3 * HOUR)
        [row] = failures.find(conn)
        assert row.first_at == T0 + 3 * HOUR
        assert conn.execute(select(func.count()).select_from(table_of(Failure))).scalar_one() == 2


def test_failures_are_found_by_class_platform_stage_and_age(store: Store) -> None:
    other = GivenUp.post(PostRef("tiktok", "9", "u"), "parse", UnknownShape(["k"]), attempts=1)
    with store.begin() as conn:
        failures.give_up(conn, [GIVEN_UP], T0)
        failures.give_up(conn, [other], T0 + HOUR)

        def keys(**wanted: object) -> list[str]:
            return [row.item_key for row in failures.find(conn, **wanted)]  # type: ignore[arg-type]

        assert keys() == ["x:5", "tiktok:9"]
        assert keys(error_class="UnknownShape") == ["tiktok:9"]
        assert keys(platform="x") == ["x:5"]
        assert keys(stages=["parse", "store"]) == ["tiktok:9"]
        assert keys(older_than=T0 + HOUR) == ["x:5"]
        assert keys(limit=1) == ["x:5"]
