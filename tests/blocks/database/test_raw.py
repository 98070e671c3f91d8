"""Raw answers: byte for byte, each content once, and offered for parsing until somebody has looked at them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from blocks.database.engine import Store
from blocks.database.store import raw
from blocks.database.store.posts import ensure_posts
from blocks.database.store.raw import RawAnswer
from blocks.database.store.statements import table_of
from blocks.database.tables import RawFetch, RawPayload
from blocks.memories.errors import StoreError
from blocks.memories.posts.record import PostRef

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
REFS = [PostRef("tiktok", str(n), f"https://www.tiktok.com/player/v1/{n}") for n in range(3)]


def answer(number: int, body: bytes, *, minutes: int = 0, run_id: str = "r1") -> RawAnswer:
    at = T0 + timedelta(minutes=minutes)
    return RawAnswer(REFS[number], body, "rapid", "https://asked.example", "enrich", at, run_id)


def test_bodies_come_back_byte_for_byte_and_are_kept_once(store: Store) -> None:
    bodies = [b"", b'{"a": "\xc3\xa9"}' * 4000, bytes(range(256))]
    with store.begin() as conn:
        hashes = raw.save_raw(conn, [answer(n, body) for n, body in enumerate(bodies)])
        assert hashes == [hashlib.sha256(body).hexdigest() for body in bodies]
        again = [answer(0, bodies[1], minutes=1), answer(1, bodies[1]), answer(2, bodies[1], minutes=2)]
        assert raw.save_raw(conn, again) == [hashes[1]] * 3
    with store.connect() as conn:
        assert [raw.load_raw(conn, sha) for sha in hashes] == bodies
        payloads, fetches = table_of(RawPayload), table_of(RawFetch)
        sizes = dict(conn.execute(select(payloads.c.sha256, payloads.c.size)).all())
        stored = conn.execute(select(func.length(payloads.c.body)).where(payloads.c.sha256 == hashes[1])).scalar_one()
        assert conn.execute(select(func.count()).select_from(fetches)).scalar_one() == 5
    assert sizes == {sha: len(body) for sha, body in zip(hashes, bodies, strict=True)}
    assert stored < len(bodies[1]) / 20


def test_an_unknown_hash_is_one_sentence(store: Store) -> None:
    with store.connect() as conn, pytest.raises(StoreError, match="no raw answer 00ff is stored"):
        raw.load_raw(conn, "00ff")


def test_what_was_not_parsed_is_offered_oldest_first(store: Store) -> None:
    with store.begin() as conn:
        ensure_posts(conn, [(ref, None) for ref in REFS], T0, "r1")
        first, second, third = raw.save_raw(
            conn, [answer(0, b"0", minutes=5), answer(1, b"1", minutes=1), answer(2, b"2", minutes=3, run_id="r2")]
        )
        assert [seen.raw_sha256 for seen in raw.unparsed(conn)] == [second, third, first]
        assert [seen.raw_sha256 for seen in raw.unparsed(conn, run_id="r2")] == [third]
        assert [seen.raw_sha256 for seen in raw.unparsed(conn, limit=1)] == [second]
        raw.mark_parsed(conn, [("tiktok", "1", second), ("tiktok", "1", second)], parser_version="p1", now=T0)
        raw.mark_seen(conn, [("tiktok", "2")], T0)
        [left] = raw.unparsed(conn)
    assert (left.ref, left.channel, left.url, left.purpose) == (REFS[0], "rapid", "https://asked.example", "enrich")
    assert (left.fetched_at, left.run_id) == (T0 + timedelta(minutes=5), "r1")
