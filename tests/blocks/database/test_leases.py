"""Leases: when one is free, and renewing and giving back what one holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from blocks.database.engine import Store
from blocks.database.store import imports as ledger
from blocks.database.store import leases, work
from blocks.database.store.statements import table_of
from blocks.database.tables import Import, Work
from blocks.posts.record import PostRef
from blocks.processes import name_holder
from tests.stored import plan

T0 = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
POST = PostRef("tiktok", "7000000000000000001", "https://www.tiktok.com/player/v1/7000000000000000001")


def seconds(count: float) -> datetime:
    return T0 + timedelta(seconds=count)


def test_when_a_lease_is_free() -> None:
    def dead(name: str) -> bool | None:
        return {"dead": False, "alive": True}.get(name)

    def free(owner: str | None, until: datetime | None) -> bool:
        return leases.is_free(owner, until, now=T0, me="me", alive=dead)

    assert free(None, None)
    assert free("alive", None)
    assert free("me", seconds(5))
    assert free("dead", seconds(5))
    assert not free("alive", seconds(5))
    assert not free("unknown", seconds(5))
    assert free("unknown", seconds(0))
    assert not free("alive", seconds(0))
    assert not free("alive", seconds(-119))
    assert free("alive", seconds(-120))


def test_a_holder_that_lives_here_and_was_silent_keeps_what_it_has_for_a_while(store: Store) -> None:
    sleeper, other = name_holder(), name_holder()
    sending = new_import(store, "sending", sleeper)
    with store.begin() as conn:
        work.claim(conn, sleeper, [POST], "enrich", fresh_after=None, now=T0)
        ledger.mark_sending(conn, sending, owner=sleeper, now=T0)
        assert work.claim(conn, other, [POST], "enrich", fresh_after=None, now=seconds(134)).busy == [POST]
        assert ledger.recover_sending(conn, now=seconds(134)) == []
        assert len(work.claim(conn, other, [POST], "enrich", fresh_after=None, now=seconds(135)).claimed) == 1
        assert ledger.recover_sending(conn, now=seconds(135)) == [sending]


def test_the_clock_is_the_database_s_unless_one_is_given(store: Store) -> None:
    with store.begin() as conn:
        assert leases.clock(conn, T0) == T0
        before = datetime.now(UTC)
        first = leases.clock(conn)
        # One machine has one clock; what is rounded is milliseconds.
        assert before - timedelta(seconds=1) <= first <= datetime.now(UTC) + timedelta(seconds=1)
        assert leases.clock(conn) > first  # it goes on within a transaction


def leased(store: Store, owner: str) -> dict[str, datetime | None]:
    imports, claims = table_of(Import).c, table_of(Work).c
    with store.connect() as conn:
        rows = conn.execute(sa.select(imports.import_id, imports.lease_until).where(imports.lease_owner == owner)).all()
        rows += conn.execute(sa.select(claims.post_id, claims.lease_until).where(claims.lease_owner == owner)).all()
    return dict(rows)


def new_import(store: Store, tag: str, owner: str) -> str:
    with store.begin() as conn:
        return plan(conn, "r", hashtag=tag, owner=owner, now=T0).import_id


def test_a_heartbeat_renews_everything_of_its_holder_and_nothing_else(store: Store) -> None:
    mine, other = new_import(store, "mine", "me"), new_import(store, "other", "you")
    with store.begin() as conn:
        work.claim(conn, "me", [POST], "enrich", fresh_after=None, now=T0)
        assert leases.renew_all(conn, "me", now=seconds(5)) == 2
    assert leased(store, "me") == {mine: seconds(20), POST.post_id: seconds(20)}
    assert leased(store, "you") == {other: seconds(15)}


def test_a_heartbeat_and_an_end_reach_work_of_every_purpose(store: Store) -> None:
    purposes = ("enrich", "refresh:3600", "refresh:86400", "a")
    with store.begin() as conn:
        for purpose in purposes:
            work.claim(conn, "me", [POST], purpose, fresh_after=None, now=T0)
        assert leases.renew_all(conn, "me", now=seconds(5)) == len(purposes)
        leases.release_all(conn, "me", now=seconds(6))
        assert leases.renew_all(conn, "me", now=seconds(7)) == 0
        for purpose in purposes:
            assert len(work.claim(conn, "you", [POST], purpose, fresh_after=None, now=seconds(7)).claimed) == 1


def test_what_somebody_else_took_is_not_renewed(store: Store) -> None:
    new_import(store, "mine", "me")
    with store.begin() as conn:
        work.claim(conn, "me", [POST], "enrich", fresh_after=None, now=T0)
        work.claim(conn, "you", [POST], "enrich", fresh_after=None, now=seconds(16))
        assert leases.renew_all(conn, "me", now=seconds(17)) == 1
        assert leases.renew_all(conn, "you", now=seconds(17)) == 1


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_heartbeat_does_not_wait_for_rows_that_are_being_stored(store: Store) -> None:
    new_import(store, "mine", "me")
    polled = new_import(store, "polled", "me")
    with store.begin() as conn:
        work.claim(conn, "me", [POST], "enrich", fresh_after=None, now=T0)
    with store.begin() as storing:
        storing.execute(sa.update(table_of(Work)).values(attempts=1))
        storing.execute(sa.update(table_of(Import)).where(table_of(Import).c.import_id == polled).values(polls=1))
        with store.begin() as beat:
            beat.execute(sa.text("set local lock_timeout = '500ms'"))
            assert leases.renew_all(beat, "me", now=seconds(5)) == 1


def test_a_holder_that_ends_gives_everything_back_but_what_it_is_sending(store: Store) -> None:
    planned, sending, doubt = (new_import(store, tag, "me") for tag in ("planned", "sending", "doubt"))
    with store.begin() as conn:
        ledger.mark_sending(conn, doubt, owner="me", now=T0)
        ledger.mark_ambiguous(conn, doubt, note="no answer", owner="me", now=T0)
        ledger.mark_sending(conn, sending, owner="me", now=T0)
        work.claim(conn, "me", [POST], "enrich", fresh_after=None, now=T0)
        leases.release_all(conn, "me", now=seconds(1))
        assert ledger.get(conn, planned).lease_owner is None
        assert ledger.get(conn, sending).lease_owner == ledger.get(conn, doubt).lease_owner == "me"
        assert len(work.claim(conn, "you", [POST], "enrich", fresh_after=None, now=seconds(1)).claimed) == 1
