"""Answers to a submission that come when others gave its sender up, or have sent it again."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.database.store import import_planning
from blocks.database.store import imports as ledger

Ledger = Any  # the class of the fixture `book`, see conftest.py

HOUR = 3600.0


def sent_again(book: Ledger) -> str:
    """An import that r1 sent and died over, and that r2 is about to send, because somebody decided so."""
    import_id = book.plan("r1").import_id
    book.send(import_id, "r1")
    book.dead.add("r1")
    book.plan("r2")
    book.do(import_planning.resolve, import_id, "resubmit")
    assert book.plan("r2").action == "submit"
    return str(import_id)


def test_a_task_that_comes_too_late_is_kept_in_the_note(book: Ledger) -> None:
    first = sent_again(book)
    assert book.send(first, "r2")
    assert not book.do(ledger.mark_submitted, first, "T-late", owner="r1")
    assert "T-late" in (book.get(first).note or "")
    assert book.do(ledger.mark_submitted, first, "T-second", owner="r2")


@pytest.mark.parametrize("step", [ledger.back_to_planned, ledger.mark_failed])
def test_a_refusal_that_comes_late_ends_the_doubt_too(book: Ledger, step: Any) -> None:
    first = book.plan("r1").import_id
    book.send(first, "r1")
    book.wait(20)
    with book.store.begin() as conn:
        ledger.recover_sending(conn, now=book.now, alive=book.alive)
    assert not book.do(step, first, note="busy")
    assert not book.do(step, first, note="busy", owner="somebody else")
    assert book.do(step, first, note="busy", owner="r1")


def test_a_refusal_that_comes_after_another_has_sent_it_changes_nothing(book: Ledger) -> None:
    first = sent_again(book)
    assert not book.do(ledger.mark_failed, first, note="refused", owner="r1"), "r2 is about to send it"
    assert book.send(first, "r2")
    assert book.do(ledger.mark_submitted, first, "T-second", owner="r2")
    assert not book.do(ledger.mark_failed, first, note="refused", owner="r1")
    assert (book.get(first).state, book.get(first).task_id) == ("submitted", "T-second")


def test_a_late_refusal_beside_a_newer_plan_breaks_no_index(book: Ledger) -> None:
    old = book.plan("r1").import_id
    book.send(old, "r1")
    book.wait(20)
    with book.store.begin() as conn:
        ledger.recover_sending(conn, now=book.now, alive=book.alive)
    book.submit("r2", fresh=True)
    book.wait(7 * HOUR)
    assert book.plan("r3").action == "submit"  # a shared plan
    assert book.do(ledger.back_to_planned, old, note="busy", owner="r1")
