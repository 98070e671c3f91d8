"""What polls bring that nobody can read: it hides nothing, it is kept, and it is told."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from blocks.database.purge import Target, purge
from blocks.database.store import failures, import_planning, import_polls, money
from blocks.database.store import imports as ledger
from blocks.database.store.import_planning import decide
from blocks.database.store.import_polls import ItemSeen, end_import, keep_unreadable
from blocks.database.store.money import Caps, Purpose
from blocks.database.store.raw_payloads import find_raw, load_raw
from blocks.errors import Unreadable, UsageError
from blocks.posts.identity import parse_post_url

Ledger = Any  # the class of the fixture `book`, see conftest.py

FAILED = b'{"cause":"decode error","status":"FAILED"}'


def listed(number: int) -> ItemSeen:
    url = f"https://www.tiktok.com/player/v1/{7000000000000000000 + number}"
    return ItemSeen(f"VI{number}", url, "PARSE", parse_post_url(url))


def odd(item: bytes) -> ItemSeen:
    return ItemSeen(None, None, None, None, odd=item)


def rows(book: Ledger, import_id: str) -> list[Any]:
    with book.store.connect() as conn:
        return [row for row in failures.find(conn) if row.import_id == import_id]


def end(book: Ledger, import_id: str) -> None:
    with book.store.begin() as conn:
        assert end_import(conn, import_id, state="complete", post_micros=10_000, run_id="r", now=book.now)


def test_an_odd_item_is_a_failure_beside_the_posts_and_is_kept(book: Ledger) -> None:
    import_id = book.submit("r1")
    for _ in range(2):
        result = book.do(
            import_polls.record_poll, import_id, [listed(1), odd(FAILED), listed(2), odd(b"true"), odd(b"true")]
        )
        book.wait(60)
    assert (result.row.seen, result.row.new) == (4, 2)
    end(book, import_id)
    found = {row.message: row for row in rows(book, import_id)}
    assert len(found) == 2
    row = next(row for message, row in found.items() if "decode error" in message)
    assert (row.stage, row.error_class, row.url) == ("identify", "UnreadableItem", None)
    with book.store.connect() as conn:
        assert load_raw(conn, row.raw_sha256) == FAILED


def test_what_a_later_answer_tells_better_is_no_failure_any_more(book: Ledger) -> None:
    import_id = book.submit("r1")
    book.do(import_polls.record_poll, import_id, [listed(1), odd(FAILED)])
    assert len(rows(book, import_id)) == 1
    result = book.do(import_polls.record_poll, import_id, [listed(1), listed(2)])
    assert result.row.seen == 2
    assert rows(book, import_id) == []


def test_an_answer_that_cannot_be_read_is_kept_once_until_one_can(book: Ledger) -> None:
    import_id = book.submit("r1")
    for body in (b'{"code":"0000","data":true}', b'{"code":"0000","data":7}'):
        error = Unreadable("an item list of unknown shape", endpoint="/status", code="0000", body=body)
        book.do(keep_unreadable, import_id, error, run_id="r1")
    [row] = rows(book, import_id)
    assert (row.stage, row.error_class, row.item_key) == ("poll", "Unreadable", import_id)
    with book.store.connect() as conn:
        assert json.loads(load_raw(conn, row.raw_sha256))["data"] is True
    book.poll(import_id, 1)
    assert rows(book, import_id) == []


def test_an_import_that_cannot_be_read_can_be_dropped_and_its_money_counts(book: Ledger) -> None:
    import_id = book.submit("r1")
    with book.store.begin() as conn:
        purpose = Purpose("acc", "r1", "c", "import", import_id=import_id)
        money.reserve(conn, purpose, micros=250_000, caps=Caps(), now=book.now)
    book.do(keep_unreadable, import_id, Unreadable("no", body=b"true"), run_id="r1")
    assert book.do(ledger.lease_import, import_id, owner="r1", alive=book.alive)
    with book.store.begin() as conn:
        assert not import_planning.resolve(conn, import_id, "drop", now=book.now, alive=lambda _: True)
    with book.store.begin() as conn:
        ledger.release_import(conn, import_id, owner="r1")
        assert decide(conn, import_id, "drop").state == "dropped"
        assert money.counted_for_import(conn, import_id) == 250_000
    assert rows(book, import_id) == []
    assert book.plan("r2").action == "submit", "the hashtag is free for a new import"


def test_what_a_run_follows_is_not_dropped_under_it(book: Ledger) -> None:
    import_id = book.submit("r1")
    with book.store.begin() as conn:
        # By the clock of the machine, as the command goes.
        assert ledger.lease_import(conn, import_id, owner="r1")
    with pytest.raises(UsageError, match="a run follows"), book.store.begin() as conn:
        decide(conn, import_id, "drop")
    assert book.get(import_id).state == "submitted"


def test_a_repeated_submission_gives_way_to_the_one_under_way(book: Ledger) -> None:
    first = book.submit("r1")
    again = book.plan("r2", fresh=True)
    assert again.action == "submit"
    assert book.send(again.import_id, "r2")
    with book.store.begin() as conn:
        twin = import_planning.give_way(conn, again.import_id, run_id="r2", owner="r2", why="repeated operation")
    assert twin == first
    assert book.get(again.import_id).state == "dropped"
    with book.store.connect() as conn:
        assert {row.import_id for row, _ in ledger.of_run(conn, "r2")} == {first, again.import_id}

    other = book.plan("r3", dedup_key="w2", fresh=True)
    assert book.send(other.import_id, "r3")
    with book.store.begin() as conn:
        assert import_planning.give_way(conn, other.import_id, run_id="r3", owner="r3", why="repeated") is None
    assert book.get(other.import_id).state == "sending"


async def test_erasure_and_retention_reach_what_was_kept(book: Ledger) -> None:
    import_id = book.submit("r1")
    about = b'{"author":"invented.person","profile":"https://www.tiktok.com/@invented.person"}'
    book.do(import_polls.record_poll, import_id, [listed(1), odd(about), odd(FAILED)])
    hashes = [row.raw_sha256 for row in rows(book, import_id)]

    def kept() -> list[bytes]:
        with book.store.connect() as conn:
            return sorted(body for sha in hashes if (body := find_raw(conn, sha)) is not None)

    assert kept() == sorted([about, FAILED])
    await purge(book.store, Target(creator="invented.person"))
    assert [row.error_class for row in rows(book, import_id)] == ["UnreadableItem"]
    assert kept() == [FAILED]
    await purge(book.store, Target(cutoff=book.now - timedelta(days=1)))
    assert kept() == [FAILED], "it is not older than that"
    for _ in range(2):  # The failure goes first, and what it referred to with the next purge at the latest.
        await purge(book.store, Target(cutoff=book.now + timedelta(days=1)))
    assert (rows(book, import_id), kept()) == ([], [])
