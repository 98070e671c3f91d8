"""Listed items that name no post: open failures, until a later look names them or somebody closes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from blocks.database.engine import Store
from blocks.database.store import failures, import_polls, imports, money
from blocks.database.store.import_polls import ItemSeen, end_import, record_late_look
from blocks.posts.identity import parse_post_url
from tests.stored import submit

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
URLS = [f"https://www.tiktok.com/@loom/video/750000000000000000{number}" for number in range(4)]


def seen(number: int, url: str | None) -> ItemSeen:
    return ItemSeen(f"VI{number}", url, "PARSE", None if url is None else parse_post_url(url))


def test_a_late_look_closes_what_it_names_and_leaves_the_import_finished(store: Store) -> None:
    with store.begin() as conn:
        import_id = submit(conn, "r1", account="a", requested=4, now=T0)
        purpose = money.Purpose("a", "r1", "c", "import", import_id=import_id)
        money.reserve(conn, purpose, micros=40, caps=money.Caps(), now=T0)
        first = [seen(0, URLS[0]), seen(1, None), seen(2, None)]
        import_polls.record_poll(conn, import_id, first, post_micros=10, now=T0)
        assert end_import(conn, import_id, state="complete", post_micros=10, run_id="r1", now=T0)
        opened = failures.find(conn)
        assert [row.message for row in opened] == [
            f"import {import_id} listed item VI{number} without a URL, so that there is no post to enrich"
            for number in (1, 2)
        ]
        # Closed by hand, it stays closed, whatever is listed later.
        assert failures.resolve(conn, [f"{import_id}/no:VI2"], T0, stages=["identify"]) == 1

        def look(*items: ItemSeen, hours: int) -> list[str]:
            late = {"post_micros": 10, "run_id": "r2", "now": T0 + hours * HOUR}
            result = record_late_look(conn, import_id, items, **late)  # type: ignore[arg-type]
            assert (result.row.state, result.recorded) == ("complete", True)
            return [post.ref.post_id for post in result.new_posts]

        assert look(*first, hours=1) == []
        assert [row.item_key for row in failures.find(conn)] == [f"{import_id}/no:VI1"]
        assert money.totals(conn, "r1").spent_micros() == 30
        assert look(seen(0, URLS[0]), seen(1, URLS[1]), seen(2, None), hours=2) == [URLS[1].rpartition("/")[2]]
        assert failures.find(conn) == []
        assert money.totals(conn, "r1").spent_micros() == 30, "an item that is told better costs nothing"
        # One more is listed: it costs, and without a URL it is a failure of its own.
        assert look(seen(1, URLS[1]), seen(2, None), seen(3, None), hours=3) == []
        assert [row.item_key for row in failures.find(conn)] == [f"{import_id}/no:VI3"]
        assert money.totals(conn, "r1").spent_micros() == 40


def test_an_import_that_ended_short_is_due_three_times(store: Store) -> None:
    def ended(dedup_key: str, requested: int) -> str:
        import_id = submit(conn, "r1", account="a", dedup_key=dedup_key, requested=requested, now=T0)
        import_polls.record_poll(conn, import_id, [seen(0, URLS[0])], now=T0)
        assert imports.finish_import(conn, import_id, state="complete", now=T0)
        return import_id

    def due(hours: float, account: str = "a", most: int = 9) -> list[str]:
        looks = imports.take_late_looks(conn, account, most=most, now=T0 + hours * HOUR)
        return [row.import_id for row in looks]

    with store.begin() as conn:
        short, whole, other = ended("short", 2), ended("whole", 1), ended("other", 3)
        assert imports.get(conn, whole).next_look_at is None
        assert due(0.9) == due(1, "another account") == []
        first = due(1, most=1)
        assert sorted(first + due(1)) == sorted([short, other])
        assert due(1) == due(5.9) == []
        import_polls.record_poll(conn, other, [seen(n, URLS[n]) for n in range(3)], now=T0 + 2 * HOUR)
        if imports.get(conn, other).state != "complete":
            imports.finish_import(conn, other, state="complete", now=T0 + 2 * HOUR)
        assert due(7) == [short]
        assert (due(23.9), due(24), due(99)) == ([], [short], [])
        assert imports.get(conn, short).looks == 3
