"""A holder that lost a post's work, held or done by another meanwhile, leaves what became of the post alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, select

from blocks.database.engine import Store
from blocks.database.store import failures, posts, work
from blocks.database.store.failures import GivenUp
from blocks.database.store.statements import table_of
from blocks.database.tables import Post, Work
from blocks.errors import NoAnswer
from blocks.posts.record import PostRef
from tests.stored import measured

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = T0 + timedelta(minutes=1)


def ref(number: int) -> PostRef:
    return PostRef("instagram", str(number), f"https://www.instagram.com/p/{number}/")


REFS = [ref(number) for number in (1, 2, 3, 4)]


def lose_most(conn: Connection) -> None:
    """`late` claims four posts: another takes over 1 and does 2, 3 is released, and 4 stays with it."""
    posts.ensure_posts(conn, [(one, None) for one in REFS], T0, "r1")
    work.claim(conn, "late", REFS, "enrich", fresh_after=T0, now=T0)
    work.release(conn, "late", [ref(3)], "enrich", now=LATER)
    work.claim(conn, "other", [ref(1), ref(2)], "enrich", fresh_after=T0, now=LATER)
    posts.save_posts(conn, [measured(ref(2), LATER)], LATER)


def states(conn: Connection) -> dict[str, tuple[str, str, str | None]]:
    row, post = table_of(Work).c, table_of(Post).c
    query = select(row.post_id, row.state, post.status, row.lease_owner).join(
        table_of(Post), post.post_id == row.post_id
    )
    return {number: (state, status, owner) for number, state, status, owner in conn.execute(query)}


UNTOUCHED = {"1": ("claimed", "pending", "other"), "2": ("done", "enriched", None)}


def test_giving_up_what_another_has(store: Store) -> None:
    given_up = [GivenUp.post(one, "metadata", NoAnswer(""), attempts=2) for one in REFS]
    with store.begin() as conn:
        lose_most(conn)
        posts.mark_failed(conn, given_up, LATER, owner="late")
        assert states(conn) == UNTOUCHED | {"3": ("failed", "failed", None), "4": ("failed", "failed", None)}
        assert [failure.post_id for failure in failures.find(conn)] == ["3", "4"]
        posts.mark_failed(conn, given_up, LATER)
        assert {state for state, _, _ in states(conn).values()} == {"failed"}


def test_gone_for_one_and_not_for_another(store: Store) -> None:
    with store.begin() as conn:
        lose_most(conn)
        work.claim(conn, "other", [ref(4)], "refresh:60", fresh_after=None, now=LATER)
        posts.mark_gone(conn, REFS, "r1", LATER, owner="late")
        kept = table_of(Work).c
        query = select(kept.state).where(kept.post_id == "4", kept.purpose == "refresh:60")
        assert conn.execute(query).scalar_one() == "claimed"
        work.release(conn, "other", [ref(4)], "refresh:60", now=LATER)
        conn.execute(table_of(Work).delete().where(kept.purpose == "refresh:60"))
        assert states(conn) == UNTOUCHED | {"3": ("gone", "gone", None), "4": ("gone", "gone", None)}
        posts.mark_gone(conn, REFS, "r1", LATER)
        assert {state for state, _, _ in states(conn).values()} == {"gone"}
