"""What an import costs when it ends, ends again, or was sent twice."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from blocks.database.store import import_planning
from blocks.database.store import imports as ledger
from blocks.database.store import money as money_store
from blocks.database.store.import_planning import decide
from blocks.database.store.import_polls import end_import
from blocks.database.store.money import Caps, Purpose
from blocks.database.store.statements import table_of
from blocks.database.tables import Import, Spend

Ledger = Any  # the class of the fixture `book`, see conftest.py

PRICE = 10_000
HOUR = 3600.0


def reserve(book: Ledger, import_id: str, run: str, posts: int = 25) -> str:
    book.wait(1)
    purpose = Purpose("acc", run, "c", "import", import_id=import_id)
    with book.store.begin() as conn:
        return money_store.reserve(conn, purpose, micros=posts * PRICE, caps=Caps(), now=book.now)


def release(book: Ledger, spend_id: str) -> None:
    book.wait(1)
    with book.store.begin() as conn:
        money_store.release(conn, spend_id, now=book.now)


def end(book: Ledger, import_id: str, state: str = "complete") -> None:
    assert book.do(end_import, import_id, state=state, post_micros=PRICE, run_id="r")


def again(book: Ledger, import_id: str, posts: int) -> None:
    """A callback tells of more: the import is opened, lists so many posts, and ends again."""
    book.wait(60)
    assert book.do(ledger.reopen, import_id)
    book.poll(import_id, *range(posts))
    end(book, import_id)


def money(book: Ledger) -> dict[str, tuple[int | None, int]]:
    """Spent (None: still reserved) and posts, by reservation; the totals are theirs."""
    table = table_of(Spend)
    with book.store.connect() as conn:
        rows = conn.execute(sa.select(table).order_by(table.c.reserved_at)).all()
        counted = sum(row.reserved_micros if row.spent_micros is None else row.spent_micros for row in rows)
        assert money_store.used_micros(conn, "collection:c") == counted
    return {row.spend_id: (row.spent_micros, row.calls) for row in rows}


def sent_twice(book: Ledger, *, refused: bool = False) -> tuple[str, str, str]:
    """An import whose first submission is in doubt, and that was sent again; its id and both reservations."""
    import_id = book.plan("r1").import_id
    doubt = reserve(book, import_id, "r1")
    book.send(import_id, "r1")
    book.do(ledger.mark_ambiguous, import_id, note="lost", owner="r1")
    book.wait(60)
    assert book.do(import_planning.resolve, import_id, "resubmit")
    if refused:
        release(book, reserve(book, import_id, "r2"))
    real = reserve(book, import_id, "r2")
    assert book.send(import_id, "r2")
    assert book.do(ledger.mark_submitted, import_id, "T2", owner="r2")
    return import_id, doubt, real


def test_an_import_that_ends_twice_settles_no_submission_in_doubt(book: Ledger) -> None:
    import_id, doubt, real = sent_twice(book)
    book.poll(import_id, *range(10))
    end(book, import_id)
    assert money(book) == {doubt: (None, 0), real: (10 * PRICE, 10)}
    again(book, import_id, 12)
    assert money(book) == {doubt: (None, 0), real: (12 * PRICE, 12)}
    again(book, import_id, 12)
    assert money(book) == {doubt: (None, 0), real: (12 * PRICE, 12)}


def test_what_was_given_back_for_a_refused_submission_is_not_the_import_s(book: Ledger) -> None:
    import_id, doubt, real = sent_twice(book, refused=True)
    book.poll(import_id, *range(10))
    end(book, import_id)
    again(book, import_id, 12)
    found = money(book)
    assert (found[doubt], found[real], sorted(found.values(), key=str)[0]) == ((None, 0), (12 * PRICE, 12), (0, 0))


def test_what_another_gave_back_while_the_answer_came_is_not_the_import_s(book: Ledger) -> None:
    import_id = book.plan("r1").import_id
    real = reserve(book, import_id, "r1")
    book.send(import_id, "r1")
    assert book.do(ledger.mark_submitted, import_id, "T1", owner="r1")
    release(book, reserve(book, import_id, "r2"))
    book.poll(import_id, *range(10))
    end(book, import_id)
    assert money(book)[real] == (10 * PRICE, 10)


def test_posts_after_the_last_look_are_paid_from_what_was_settled_with_nothing(book: Ledger) -> None:
    import_id, doubt, real = sent_twice(book)
    end(book, import_id, "empty")
    assert money(book)[real] == (None, 0)
    with book.store.begin() as conn:
        conn.execute(sa.update(table_of(Import)).values(finished_at=book.now))
    book.wait(25 * HOUR)
    book.do(ledger.start_following, import_id)
    end(book, import_id, "empty")
    assert book.get(import_id).next_look_at is None
    assert money(book) == {doubt: (None, 0), real: (0, 0)}
    book.do(ledger.start_following, import_id)
    book.poll(import_id, 1, 2)
    end(book, import_id)
    assert money(book) == {doubt: (None, 0), real: (2 * PRICE, 2)}


def test_whoever_resubmits_says_that_it_never_arrived_and_has_its_money_back(book: Ledger) -> None:
    def decided(decision: Any) -> tuple[str, str]:
        import_id = book.plan("r1", fresh=True).import_id
        doubt = reserve(book, import_id, "r1")
        book.send(import_id, "r1")
        book.do(ledger.mark_ambiguous, import_id, note="lost", owner="r1")
        with book.store.begin() as conn:
            state = decide(conn, import_id[:13], decision).state
        return state, doubt

    (planned, given_back), (dropped, kept) = decided("resubmit"), decided("drop")
    assert (planned, dropped) == ("planned", "dropped")
    assert money(book) == {given_back: (0, 0), kept: (None, 0)}
