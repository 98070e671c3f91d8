"""The ledger's transitions: each happens once, only where it is legal, and what becomes of crashes and doubt."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.completion import finished_state
from blocks.database.store import import_planning, leases
from blocks.database.store import imports as ledger
from blocks.database.store.imports import give_up_submissions
from blocks.errors import StoreError, UsageError

Ledger = Any  # the class of the fixture `book`, see conftest.py

T0 = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
HOUR = 3600.0


# -- one import from its plan to its end


def test_a_whole_life_is_written_down(book: Ledger) -> None:
    ticket = book.plan("r1")
    assert (ticket.action, ticket.state, ticket.since) == ("submit", "planned", T0)
    assert book.get(ticket.import_id).task_id is None
    book.wait(1)
    assert book.send(ticket.import_id, "r1")
    book.wait(1)
    assert book.do(ledger.mark_submitted, ticket.import_id, "T1", owner="r1")
    assert book.poll(ticket.import_id).row.state == "submitted"
    book.wait(5)
    assert book.poll(ticket.import_id, 1, 2).row.state == "collecting"
    assert book.do(ledger.finish_import, ticket.import_id, state="complete")
    row = book.get(ticket.import_id)
    assert (row.state, row.task_id, row.seen, row.new, row.known) == ("complete", "T1", 2, 2, 0)
    assert (row.sending_at, row.submitted_at) == (T0 + timedelta(seconds=1), T0 + timedelta(seconds=2))
    assert row.first_item_at == row.finished_at == T0 + timedelta(seconds=7)
    assert (row.lease_owner, row.wanted, row.hashtag) == (None, {"hashtag": "LVMH"}, "lvmh")


STEPS: dict[str, tuple[Any, dict[str, Any]]] = {
    "mark_sending": (ledger.mark_sending, {"owner": "x"}),
    "mark_submitted": (ledger.mark_submitted, {"task_id": "T"}),
    "back_to_planned": (ledger.back_to_planned, {"note": "n"}),
    "mark_failed": (ledger.mark_failed, {"note": "n"}),
    "mark_ambiguous": (ledger.mark_ambiguous, {"note": "n"}),
    "complete": (ledger.finish_import, {"state": "complete"}),
    "empty": (ledger.finish_import, {"state": "empty"}),
    "resubmit": (import_planning.resolve, {"decision": "resubmit"}),
    "attach": (import_planning.resolve, {"decision": "attach", "task_id": "T by hand"}),
    "drop": (import_planning.resolve, {"decision": "drop"}),
}
RUNS = itertools.count()
LEGAL = {
    "planned": {"mark_sending", "mark_failed", "drop"},
    "sending": {"mark_submitted", "back_to_planned", "mark_failed", "mark_ambiguous"},
    "submitted": {"empty", "drop"},
    "collecting": {"complete", "drop"},
    "ambiguous": {"resubmit", "attach", "drop"},
    "complete": set(),
    "empty": set(),
    "failed": set(),
    "dropped": set(),
}


def bring_to(book: Ledger, state: str) -> str:
    """A new import in the state asked for, with nobody's lease where that may be."""
    run = f"run {next(RUNS)}"
    import_id = book.plan(run, dedup_key=run).import_id
    steps: dict[str, list[Any]] = {
        "sending": [ledger.mark_sending],
        "submitted": [ledger.mark_sending, ledger.mark_submitted],
        "failed": [ledger.mark_failed],
        "ambiguous": [ledger.mark_sending, ledger.mark_ambiguous],
    }
    steps["collecting"] = steps["complete"] = steps["empty"] = steps["submitted"]
    steps["dropped"] = steps["ambiguous"]
    options = {
        ledger.mark_sending: {"owner": run},
        ledger.mark_submitted: {"task_id": f"T of {run}"},
        ledger.mark_failed: {"note": "no"},
        ledger.mark_ambiguous: {"note": "who knows"},
    }
    for step in steps.get(state, []):
        assert book.do(step, import_id, **options[step])
    if state in ("collecting", "complete"):
        book.poll(import_id, 1)
    if state in ("complete", "empty"):
        assert book.do(ledger.finish_import, import_id, state=state)
    if state == "dropped":
        assert book.do(import_planning.resolve, import_id, "drop")
    with book.store.begin() as conn:
        ledger.release_import(conn, import_id, owner=run)
    assert book.get(import_id).state == state
    return import_id


def test_only_legal_transitions_change_anything(book: Ledger) -> None:
    for state, legal in LEGAL.items():
        import_id = bring_to(book, state)
        before = book.get(import_id)
        for name in [one for one in STEPS if one not in legal]:
            step, options = STEPS[name]
            assert book.do(step, import_id, **options) is None, (state, name)
            # A task id that comes for an import that does not wait for it is kept in the note, for it is paid for.
            but = {"note"} if name == "mark_submitted" else set[str]()
            after = book.get(import_id)
            assert after.model_dump(exclude=but) == before.model_dump(exclude=but), (state, name)
            before = after


def test_legal_transitions_happen_once(book: Ledger) -> None:
    for state, names in LEGAL.items():
        for name in sorted(names):
            step, options = STEPS[name]
            import_id = bring_to(book, state)
            assert book.do(step, import_id, **options) == book.get(import_id), (state, name)
            assert book.get(import_id).state != state
            if name not in ("mark_sending", "back_to_planned"):
                assert book.do(step, import_id, **options) is None, (state, name)
            # Its task id, if it got one by hand, is free for the next.
            book.do(ledger.mark_failed, import_id, note="away")


def test_an_unknown_import_is_one_clear_sentence(book: Ledger) -> None:
    with pytest.raises(StoreError, match="the ledger has no import nothing"):
        book.get("nothing")
    with pytest.raises(StoreError, match="the ledger has no import"):
        book.do(import_planning.resolve, "nothing", "drop")


def test_ids_may_be_shortened_by_people(book: Ledger) -> None:
    import_id = book.plan("r1").import_id
    with book.store.connect() as conn:
        assert [row.import_id for row in ledger.find_imports(conn, import_id[:6])] == [import_id]
        assert ledger.find_imports(conn, "%") == []


# -- empty, and in doubt


def test_an_empty_import_is_looked_at_again_and_not_bought_again(book: Ledger) -> None:
    first = book.submit("r1")
    book.wait(900)
    book.poll(first)
    assert book.do(ledger.finish_import, first, state="empty")
    assert book.get(first).next_look_at == book.now + timedelta(hours=1)
    book.wait(600)
    ticket = book.plan("r2")
    assert (ticket.import_id, ticket.action, ticket.state) == (first, "reused", "empty")
    assert book.do(ledger.lease_import, first, owner="r2")
    row = book.do(ledger.start_following, first)
    assert (row.state, row.looks) == ("collecting", 1)
    assert row.clocks().deadline(900) == book.now + timedelta(seconds=900)
    book.wait(5)
    row = book.poll(first).row
    assert finished_state(row.clocks(), book.now, quiet_seconds=120, deadline_seconds=900) is None
    row = book.poll(first, 1).row
    assert (row.state, row.seen, row.first_item_at) == ("collecting", 1, book.now)
    assert book.do(ledger.finish_import, first, state="complete")
    assert book.get(first).next_look_at == book.now + timedelta(hours=1), "it lists 1 of 25"


def test_looks_at_an_empty_import_come_after_1_6_and_24_hours(book: Ledger) -> None:
    first = book.submit("r1")
    book.do(ledger.finish_import, first, state="empty")
    looks = []
    for minutes in range(0, 26 * 60, 10):
        book.now = T0 + timedelta(minutes=minutes)
        with book.store.connect() as conn:
            due = [row.import_id for row in ledger.open_imports(conn, "acc", now=book.now)]
        if due:
            looks.append(minutes)
            book.do(ledger.start_following, first)
            book.poll(first)
            assert book.do(ledger.finish_import, first, state="empty")
    assert looks == [60, 360, 1440]
    assert (book.get(first).looks, book.get(first).next_look_at, book.get(first).finished_at) == (3, None, T0)


def test_following_anything_else_changes_nothing(book: Ledger) -> None:
    first = book.submit("r1")
    before = book.get(first)
    book.wait(60)
    assert book.do(ledger.start_following, first) == before


def test_an_import_in_doubt_stands_in_the_way_whatever_its_age_and_count(book: Ledger) -> None:
    first = book.plan("r1")
    book.send(first.import_id, "r1")
    book.do(ledger.mark_ambiguous, first.import_id, note="no answer", owner="r1")
    book.wait(240 * HOUR)
    for run, count in (("r2", 25), ("r3", 50)):
        ticket = book.plan(run, count)
        assert (ticket.import_id, ticket.action, ticket.state) == (first.import_id, "attached", "ambiguous")
    with book.store.connect() as conn:
        assert [row.import_id for row in ledger.read(conn, ledger.imports.c.state == "ambiguous")] == [first.import_id]
    second = book.submit("r4", fresh=True)
    book.wait(7 * HOUR)
    assert book.plan("r5").action == "submit"  # somebody decided, by asking for a fresh one
    assert second != first.import_id


@pytest.mark.parametrize("how", ["dead", "silent"])
def test_a_sender_that_ended_leaves_doubt(book: Ledger, how: str) -> None:
    first = book.plan("r1")
    book.send(first.import_id, "r1")
    with book.store.begin() as conn:
        assert ledger.recover_sending(conn, now=book.now, alive=book.alive) == []
    if how == "dead":
        book.dead.add("r1")
    else:
        book.wait(15)
    with book.store.begin() as conn:
        assert ledger.recover_sending(conn, account="other", now=book.now, alive=book.alive) == []
        assert ledger.recover_sending(conn, now=book.now, alive=book.alive) == [first.import_id]
        assert ledger.recover_sending(conn, now=book.now, alive=book.alive) == []
    row = book.get(first.import_id)
    assert (row.state, row.note) == ("ambiguous", "its sender ended between sending and the answer")


@pytest.mark.parametrize("finder", ["plan", "lease"])
def test_planning_and_leasing_notice_a_dead_sender_by_themselves(book: Ledger, finder: str) -> None:
    first = book.plan("r1")
    book.send(first.import_id, "r1")
    assert not book.do(ledger.lease_import, first.import_id, owner="r2", alive=book.alive)
    assert book.get(first.import_id).state == "sending"
    book.dead.add("r1")
    if finder == "plan":
        assert book.plan("r2").state == "ambiguous"
    else:
        assert not book.do(ledger.lease_import, first.import_id, owner="r2", alive=book.alive)
    assert book.get(first.import_id).state == "ambiguous"


def test_an_answer_that_comes_late_ends_the_doubt(book: Ledger) -> None:
    for late in ("ambiguous", "planned"):
        first = book.plan("r1", dedup_key=late).import_id
        book.send(first, "r1")
        book.wait(20)
        with book.store.begin() as conn:
            ledger.recover_sending(conn, now=book.now, alive=book.alive)
        if late == "planned":
            book.do(import_planning.resolve, first, "resubmit")
        assert book.get(first).state == late
        assert not book.do(ledger.mark_submitted, first, "T-other", owner="somebody else")
        assert book.do(ledger.mark_submitted, first, f"T-{late}", owner="r1")
        assert (book.get(first).state, book.get(first).task_id) == ("submitted", f"T-{late}")


def test_a_sender_that_renewed_its_lease_meanwhile_is_not_given_up(book: Ledger) -> None:
    first = book.plan("r1").import_id
    book.send(first, "r1")
    seen = book.get(first)
    book.wait(20)
    with book.store.begin() as conn:
        assert leases.renew_all(conn, "r1", now=book.now) == 1
        assert give_up_submissions(conn, [seen], now=book.now, alive=book.alive) == []
    assert book.get(first).state == "sending"


def test_the_three_decisions(book: Ledger) -> None:
    def in_doubt(dedup_key: str) -> str:
        import_id = book.plan("r1", dedup_key=dedup_key).import_id
        book.send(import_id, "r1")
        book.do(ledger.mark_ambiguous, import_id, note="no answer", owner="r1")
        return import_id

    dropped, attached, resubmitted = in_doubt("a"), in_doubt("b"), in_doubt("c")
    assert book.do(import_planning.resolve, dropped, "drop")
    assert (book.get(dropped).state, book.plan("r2", dedup_key="a").action) == ("dropped", "submit")
    for bad, sentence in (("  ", "name the task"), (None, "name the task")):
        with pytest.raises(UsageError, match=sentence):
            book.do(import_planning.resolve, attached, "attach", task_id=bad)
    assert book.do(import_planning.resolve, attached, "attach", task_id=" T9 ")
    assert (book.get(attached).state, book.get(attached).task_id) == ("submitted", "T9")
    with pytest.raises(UsageError, match=f"belongs to import {attached}"):
        book.do(import_planning.resolve, resubmitted, "attach", task_id="T9")
    for times in (1, 2):
        assert book.do(import_planning.resolve, resubmitted, "resubmit")
        assert f"sent again by hand ({times})" in (book.get(resubmitted).note or "")
        assert book.send(resubmitted, f"r{times}")
        # The count of the note outlives the sending.
        assert book.do(ledger.mark_ambiguous, resubmitted, note="no answer", owner=f"r{times}")


def test_a_plan_is_dropped_only_if_nobody_is_about_to_send_it(book: Ledger) -> None:
    plan = book.plan("r1").import_id
    assert book.do(import_planning.resolve, plan, "drop", alive=book.alive) is None
    book.dead.add("r1")
    assert book.do(import_planning.resolve, plan, "drop", alive=book.alive) == book.get(plan)
    assert (book.get(plan).state, book.get(plan).note, book.plan("r2").action) == (
        "dropped",
        "dropped by hand",
        "submit",
    )


def test_a_plan_resubmitted_beside_a_newer_one_breaks_no_index(book: Ledger) -> None:
    old = book.plan("r1").import_id
    book.send(old, "r1")
    book.do(ledger.mark_ambiguous, old, note="no answer", owner="r1")
    book.wait(1)
    book.submit("r2", fresh=True)
    book.wait(7 * HOUR)
    assert book.plan("r3").action == "submit"  # a shared plan
    assert book.do(import_planning.resolve, old, "resubmit")
    assert book.get(old).state == "planned"


def test_an_import_that_its_run_does_not_follow_is_nobodys_as_soon_as_it_is_sent(book: Ledger) -> None:
    for follows in (True, False):
        ticket = book.plan("r1", dedup_key=f"w{follows}")
        assert book.send(ticket.import_id, "r1")
        sent = book.do(ledger.mark_submitted, ticket.import_id, f"T{follows}", owner="r1", follows=follows)
        assert (sent.lease_owner, sent.lease_until is not None) == (("r1", True) if follows else (None, False))


# -- answers that come when others gave the sender up, or have sent it again


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
