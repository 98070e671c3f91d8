"""The inbox: each callback once, told once, handled by a poll; what ended too early is looked at again."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select

from blocks.completion import Callback
from blocks.database.store import imports as ledger
from blocks.database.store import inbox, money, runs, stale_work
from blocks.database.store.import_polls import SAID_FAILED, end_import
from blocks.database.store.money import Caps, Purpose
from blocks.memories.callbacks import read_callback

MICROS = 10_000


def said(task_id: str, status: str = "SUCCEEDED", **more: Any) -> Callback:
    return read_callback(json.dumps({"taskId": task_id, "status": status, **more}).encode())


def task_of(import_id: str) -> str:
    return f"task-{import_id}"


def receive(book: Any, *callbacks: Callback) -> None:
    with book.store.begin() as conn:
        inbox.receive(conn, callbacks, now=book.now)


def rows(book: Any) -> list[Any]:
    with book.store.connect() as conn:
        return list(conn.execute(select(inbox.inbox).order_by(inbox.inbox.c.status)))


def heard(book: Any, import_id: str) -> inbox.Heard:
    with book.store.connect() as conn:
        return inbox.heard(conn, import_id)


def end(book: Any, import_id: str, state: Any, **more: Any) -> bool:
    with book.store.begin() as conn:
        return end_import(conn, import_id, state=state, post_micros=MICROS, run_id="r", now=book.now, **more)


def look(book: Any, **more: Any) -> stale_work.StaleWork:
    with book.store.begin() as conn:
        return stale_work.take_up(conn, run_id="sweep", account="acc", now=book.now, **more)


def test_a_callback_is_stored_once_and_unknown_tasks_are_not(book: Any) -> None:
    mine = book.submit("r")
    news = [said(task_of(mine)), said("of-nobody"), said(task_of(mine), message="again"), said(task_of(mine), "ODD")]
    with book.store.connect() as conn:
        assert inbox.known_tasks(conn, [one.task_id for one in news]) == {task_of(mine)}
    receive(book, *news)
    stored = [(row.status, row.import_id, row.handled_at, row.emitted_at is None) for row in rows(book)]
    assert stored == [("ODD", mine, None, False), ("SUCCEEDED", mine, None, True)]

    book.wait(5)
    receive(book, *reversed(news))
    assert len(rows(book)) == 2
    assert {row.received_at for row in rows(book)} != {book.now}


def test_prefect_is_told_oldest_first_and_once(book: Any) -> None:
    first, second = book.submit("r", dedup_key="a"), book.submit("r", dedup_key="b")
    receive(book, said(task_of(second), videoId="VI1"), said(task_of(second), "INDEXING_SUCCEEDED", videoId="VI1"))
    book.wait(1)
    receive(book, said(task_of(first), "FAILED"))
    with book.store.connect() as conn:
        untold = inbox.unemitted(conn, limit=10)
        assert [one.import_id for one in inbox.unemitted(conn, limit=1)] == [untold[0].import_id]
    assert [one.import_id for one in untold] == [second, second, first]
    assert (untold[2].status, untold[2].hashtag, untold[2].collection) == ("FAILED", "lvmh", "c")
    with book.store.begin() as conn:
        inbox.mark_emitted(conn, [one.event_id for one in untold[:2]], now=book.now)
        assert [one.import_id for one in inbox.unemitted(conn, limit=10)] == [first]


def test_success_outweighs_failure_whatever_the_order(book: Any) -> None:
    mine = book.submit("r")
    assert heard(book, mine) == inbox.Heard(None)
    receive(book, said(task_of(mine), "FAILED"))
    failed = heard(book, mine).said
    assert failed is not None
    assert (failed.succeeded, failed.at) == (False, book.now)
    book.wait(3)
    receive(book, said(task_of(mine)))
    both = heard(book, mine)
    assert both.said is not None
    assert (both.said.succeeded, both.said.at, len(both.unhandled)) == (True, book.now, 2)

    with book.store.begin() as conn:
        inbox.mark_handled(conn, both.unhandled, now=book.now)
    assert heard(book, mine) == inbox.Heard(both.said)
    with book.store.connect() as conn:
        assert inbox.unhandled(conn, mine) == ()


def test_news_about_an_import_that_ended_short_opens_it_again_and_its_money_follows(book: Any) -> None:
    mine = book.submit("r")
    with book.store.begin() as conn:
        purpose = Purpose("acc", "r", "c", "import", import_id=mine)
        money.reserve(conn, purpose, micros=25 * MICROS, caps=Caps(None, None, None), now=book.now)
    book.poll(mine, 1, 2)
    assert end(book, mine, "complete")
    assert look(book).tickets == [], "complete, and nobody said otherwise"

    receive(book, said(task_of(mine), "INDEXING_SUCCEEDED", videoId="VI2"), said(task_of(mine), "FAILED"))
    assert look(book).tickets == [], "both tell nothing new"
    assert all(row.handled_at is not None for row in rows(book))

    receive(book, said(task_of(mine), "INDEXING_SUCCEEDED", videoId="VI3"))
    left = look(book)
    assert [(one.import_id, one.state) for one in left.tickets] == [(mine, "collecting")]
    assert left.called_back == {mine}
    assert look(book).called_back == frozenset(), "opened once"
    book.poll(mine, 1, 2, 3)
    assert end(book, mine, "complete")
    with book.store.begin() as conn:
        inbox.mark_handled(conn, inbox.unhandled(conn, mine))
        assert money.totals(conn, "r").counted_micros == 3 * MICROS
        assert money.used_micros(conn, "run:r") == 3 * MICROS
    assert look(book).tickets == []


def test_news_about_an_import_with_all_its_posts_needs_no_look(book: Any) -> None:
    mine = book.submit("r", 2)
    book.poll(mine, 1, 2)
    assert end(book, mine, "complete")
    receive(book, said(task_of(mine)), said(task_of(mine), "INDEXING_SUCCEEDED", videoId="VI9"))
    assert all(row.handled_at is not None and row.emitted_at is None for row in rows(book))
    assert look(book).tickets == []


def test_success_opens_what_ended_empty_also_after_a_failure(book: Any) -> None:
    empty, failed = book.submit("r", dedup_key="a"), book.submit("r", dedup_key="b")
    assert end(book, empty, "empty")
    receive(book, said(task_of(failed), "FAILED"))
    assert end(book, failed, "empty", note=SAID_FAILED)
    assert book.get(failed).note == SAID_FAILED
    assert not end(book, failed, "empty")
    assert look(book).tickets == []
    receive(book, said(task_of(empty)), said(task_of(failed)))
    assert {one.import_id: one.state for one in look(book).tickets} == {empty: "empty", failed: "empty"}


def test_what_is_said_to_have_failed_holds_its_money_until_its_last_look(book: Any) -> None:
    mine = book.submit("r")
    with book.store.begin() as conn:
        purpose = Purpose("acc", "r", "c", "import", import_id=mine)
        money.reserve(conn, purpose, micros=25 * MICROS, caps=Caps(None, None, None), now=book.now)
    receive(book, said(task_of(mine), "FAILED"))
    assert end(book, mine, "empty", note=SAID_FAILED)
    with book.store.begin() as conn:
        assert money.totals(conn, "r").open_micros == 25 * MICROS
        ledger.start_following(conn, mine)
    book.poll(mine, 1, 2)
    assert end(book, mine, "complete")
    with book.store.begin() as conn:
        assert (money.totals(conn, "r").counted_micros, money.totals(conn, "r").open_micros) == (2 * MICROS, 0)


def test_items_speak_against_failure(book: Any) -> None:
    mine = book.submit("r")
    book.poll(mine, 1)
    assert not end(book, mine, "empty", note=SAID_FAILED)
    assert (book.get(mine).state, book.get(mine).note) == ("collecting", None)


def test_what_another_run_follows_is_left_to_it(sqlite_book: Any) -> None:
    book = sqlite_book
    with book.store.begin() as conn:
        runs.start_run(conn, run_id="somebody", flow="track-hashtags", account="acc", now=book.now)
    mine = book.submit("somebody")
    book.poll(mine, 1)
    left = look(book, owner="me")
    assert (left.tickets, left.posts, list(left.held)) == ([], [], [mine])
    book.wait(16)
    left = look(book, owner="me")
    assert ([one.import_id for one in left.tickets], len(left.posts), left.held) == ([mine], 1, {})
    assert look(book, owner="me", most_posts=0).posts == []


def test_the_ledger_takes_no_news_of_an_import_without_a_task(book: Any) -> None:
    planned = book.plan("r").import_id
    with book.store.begin() as conn:
        assert ledger.mark_failed(conn, planned, note="refused")
        assert not ledger.reopen(conn, planned)
