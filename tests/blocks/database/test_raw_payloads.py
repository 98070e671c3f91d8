"""Raw answers: byte for byte, each content once, and offered for parsing until somebody has looked at them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, select, text

from blocks.database.engine import Store, open_store
from blocks.database.store import erasure, raw_payloads
from blocks.database.store.posts import ensure_posts
from blocks.database.store.raw_payloads import RawAnswer
from blocks.database.store.statements import table_of
from blocks.database.tables import RawFetch, RawPayload
from blocks.errors import StoreError
from blocks.posts.record import PostRef
from tests.unparsed import unparsed

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
REFS = [PostRef("tiktok", str(n), f"https://www.tiktok.com/player/v1/{n}") for n in range(3)]


def answer(number: int, body: bytes, *, minutes: int = 0, run_id: str = "r1") -> RawAnswer:
    at = T0 + timedelta(minutes=minutes)
    return RawAnswer(REFS[number], body, "rapid", "https://asked.example", "enrich", at, run_id)


def test_bodies_come_back_byte_for_byte_and_are_kept_once(store: Store) -> None:
    bodies = [b"", b'{"a": "\xc3\xa9"}' * 4000, bytes(range(256))]
    with store.begin() as conn:
        hashes = raw_payloads.save_raw(conn, [answer(n, body) for n, body in enumerate(bodies)])
        assert hashes == [hashlib.sha256(body).hexdigest() for body in bodies]
        again = [answer(0, bodies[1], minutes=1), answer(1, bodies[1]), answer(2, bodies[1], minutes=2)]
        assert raw_payloads.save_raw(conn, again) == [hashes[1]] * 3
    with store.connect() as conn:
        assert [raw_payloads.load_raw(conn, sha) for sha in hashes] == bodies
        payloads, fetches = table_of(RawPayload), table_of(RawFetch)
        sizes = dict(conn.execute(select(payloads.c.sha256, payloads.c.size)).all())
        stored = conn.execute(select(func.length(payloads.c.body)).where(payloads.c.sha256 == hashes[1])).scalar_one()
        assert conn.execute(select(func.count()).select_from(fetches)).scalar_one() == 5
    assert sizes == {sha: len(body) for sha, body in zip(hashes, bodies, strict=True)}
    assert stored < len(bodies[1]) / 20


@pytest.fixture
def left_over(postgres: Any) -> Iterator[Store]:
    """A payload to which nothing refers any more, on a database with more than one writer."""
    url = postgres.migrated()
    store = open_store(url.render_as_string(hide_password=False))
    with store.begin() as conn:
        raw_payloads.save_raw(conn, [answer(0, b"the same")])
        conn.execute(delete(table_of(RawFetch)))
    yield store
    store.close()
    postgres.drop(url)


def waits(store: Store) -> bool:
    with store.connect() as conn:
        return bool(conn.execute(text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")).scalar())


@pytest.mark.parametrize("first", ["purge", "answer"])
def test_a_purge_beside_it_takes_no_payload_away(left_over: Store, first: str) -> None:
    def save(conn: Connection) -> None:
        raw_payloads.save_raw(conn, [answer(1, b"the same", minutes=5)])

    def purge(conn: Connection) -> None:
        erasure.erase_answers_before(conn, T0 - timedelta(days=1), limit=100)

    def in_one_transaction(work: Callable[[Connection], None]) -> None:
        with left_over.begin() as conn:
            work(conn)

    earlier, later = (purge, save) if first == "purge" else (save, purge)
    with ThreadPoolExecutor(1) as other:
        with left_over.begin() as conn:
            earlier(conn)
            beside = other.submit(in_one_transaction, later)
            give_up_at = time.monotonic() + 60
            while not (beside.done() or waits(left_over)) and time.monotonic() < give_up_at:
                time.sleep(0.01)
        beside.result(60)
    with left_over.connect() as conn:
        [fetch] = conn.execute(select(table_of(RawFetch))).all()
        assert raw_payloads.load_raw(conn, fetch.raw_sha256) == b"the same"


def test_an_unknown_hash_is_one_sentence(store: Store) -> None:
    with store.connect() as conn, pytest.raises(StoreError, match="no raw answer 00ff is stored"):
        raw_payloads.load_raw(conn, "00ff")


def test_what_was_parsed_or_is_of_no_use_is_marked(store: Store) -> None:
    with store.begin() as conn:
        ensure_posts(conn, [(ref, None) for ref in REFS], T0, "r1")
        first, second, third = raw_payloads.save_raw(
            conn, [answer(0, b"0", minutes=5), answer(1, b"1", minutes=1), answer(2, b"2", minutes=3, run_id="r2")]
        )
        assert [row.raw_sha256 for row in unparsed(conn)] == [second, third, first]
        raw_payloads.mark_parsed(conn, [("tiktok", "1", second), ("tiktok", "1", second)], parser_version="p1", now=T0)
        raw_payloads.mark_seen(conn, [("tiktok", "2")], T0, until=T0 + timedelta(minutes=3))
        [left] = unparsed(conn)
    assert (left.platform, left.post_id) == (REFS[0].platform, REFS[0].post_id)
    assert (left.channel, left.url, left.purpose) == ("rapid", "https://asked.example", "enrich")
    assert (left.fetched_at, left.run_id) == (T0 + timedelta(minutes=5), "r1")
