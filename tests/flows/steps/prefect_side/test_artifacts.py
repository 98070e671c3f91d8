"""The closing words and the Markdown of a run: every number is there, and no text of others can break its tables."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.database.store import import_planning, imports, money, runs
from blocks.database.store.money import Caps
from blocks.errors import NoCredits, StoreError
from blocks.quotas.budget import Budget
from blocks.settings import Prices
from flows.steps.prefect_side.artifacts import SAMPLE, TODAY, artifact_key, look_into_books, markdown
from flows.steps.run.progress import Progress
from flows.steps.run.request import RunRequest
from flows.steps.run.summary import (
    EXIT_STATUS,
    Ending,
    ImportSummary,
    LeadingPost,
    RunSummary,
    message_of,
    outcome_of,
    plural,
)

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def summary(**changes: Any) -> RunSummary:
    known: dict[str, Any] = {
        "run_id": "r", "flow": "track-hashtags", "outcome": "done", "message": "words", "collection": "fibres",
        "started_at": NOW, "finished_at": NOW + timedelta(seconds=90),
    }  # fmt: skip
    return RunSummary(**known | changes)


def one_import(**changes: Any) -> ImportSummary:
    known: dict[str, Any] = {
        "import_id": "i", "task_id": "t", "kind": "hashtag", "hashtag": "moss", "how": "submitted", "state": "complete",
        "requested": 10, "seen": 9, "new": 8, "known": 1, "planned_at": NOW,
    }  # fmt: skip
    return ImportSummary(**known | changes)


def ending(closed: RunSummary, **how: Any) -> tuple[str, str]:
    came = Ending(**{"request": RunRequest(), **how})
    return outcome_of(came, closed), message_of(came, closed)


def test_a_plain_run_says_its_counts_and_cost() -> None:
    closed = summary(requested=5, enriched=3, fresh=1, gone=1, failed=1, cost_usd=0.0512)
    assert ending(closed) == (
        "attention",
        "5 posts: 3 enriched (1 of them fresh already), 1 failed, 1 gone; about 0.05 USD",
    )
    assert ending(summary(requested=1, enriched=1)) == ("done", "1 post: 1 enriched; about 0.00 USD")


def test_posts_that_are_gone_need_nobody() -> None:
    assert ending(summary(requested=2, gone=2))[0] == "done"


@pytest.mark.parametrize(
    ("states", "outcome", "words"),
    [
        (["complete", "complete"], "done", ""),
        (["complete", "empty"], "attention", "1 import empty or ambiguous"),
        (["ambiguous", "empty"], "attention", "2 imports empty or ambiguous"),
        (["complete", "failed"], "attention", "1 import not accepted (#moss: see"),
        (["failed", "failed"], "failed", "failed: no import was accepted (#moss, #moss: see"),
        (["complete", "collecting"], "attention", "1 import not finished"),
        (["planned"], "attention", "1 import not finished"),
    ],
)
def test_imports_that_need_a_look_are_told(states: list[str], outcome: str, words: str) -> None:
    came_to, message = ending(summary(imports=[one_import(state=state) for state in states]))
    assert came_to == outcome
    assert words in message


def refused(hashtag: str, why: str) -> ImportSummary:
    return one_import(hashtag=hashtag, state="failed", seen=0, new=0, known=0, note=why)


def test_imports_that_were_not_accepted_are_named_with_the_reason() -> None:
    away = 'the API could not be reached at /scraper_tag: "127.0.0.1:9: All connection attempts failed"'
    none = ending(summary(imports=[refused("moss", away), refused("fern", away)]))
    assert none == (
        "failed",
        f"failed: no import was accepted (#moss, #fern: {away}). 0 posts: 0 enriched; about 0.00 USD",
    )
    said = 'the account may not do this at /scraper_tag (code 9009): "permission denied"'
    one = ending(summary(requested=2, enriched=2, imports=[one_import(), refused("fern", said)]))
    assert one == ("attention", f"2 posts: 2 enriched, 1 import not accepted (#fern: {said}); about 0.00 USD")
    halted = ending(summary(imports=[one_import(), refused("fern", said)]), halted=NoCredits("none"))[1]
    assert halted.startswith("halted: ")
    assert f"1 import not accepted (#fern: {said})" in halted


def test_a_message_of_many_refusals_stays_short() -> None:
    many = [refused(f"t{number}", f"reason {number % 5}") for number in range(40)]
    message = ending(summary(imports=many))[1]
    assert "#t0, #t5, #t10, #t15, #t20 …: reason 0; #t1," in message
    assert "reason 2; …)." in message
    assert "reason 3" not in message


@pytest.mark.parametrize(
    "note", ['the API does not know it at /scraper: "no such user loom.works"', '"loom.works" no', None]
)
def test_the_services_words_on_a_creator_stay_in_the_ledger(note: str | None) -> None:
    creator = one_import(import_id="a" * 32, kind="creator", hashtag=None, state="failed", note=note)
    message = ending(summary(imports=[creator]))[1]
    assert "loom" not in message
    why = "the API does not know it at /scraper" if note and "API" in note else "see `tagtrail export imports`"
    assert f"failed: no import was accepted (creator aaaaaaaa: {why})." in message


def test_a_run_that_was_not_to_wait_is_done_with_imports_under_way_and_posts_pending() -> None:
    closed = summary(requested=1, pending=1, imports=[one_import(state="collecting")])
    assert ending(closed, request=RunRequest(wait=False))[0] == "done"
    assert ending(closed)[0] == "attention"


def test_a_halt_says_why_and_that_the_same_command_continues() -> None:
    outcome, message = ending(summary(requested=3, pending=3), halted=NoCredits("none"))
    assert outcome == "halted"
    assert message.startswith("halted: the account has no credits left")
    assert "The same command continues. 3 posts: 0 enriched, 3 pending" in message


@pytest.mark.parametrize("where", ["error", "halted"])
def test_a_database_that_cannot_be_used_is_a_failure_wherever_it_was_met(where: str) -> None:
    full = StoreError("the disk is full; free some space")
    outcome, message = ending(summary(requested=3, enriched=1, pending=2), **{where: full})
    assert (outcome, message) == (
        "failed",
        "failed: the disk is full; free some space. 3 posts: 1 enriched, 2 pending; about 0.00 USD",
    )


def test_sums_that_differ_fail_the_run_with_the_difference() -> None:
    outcome, message = ending(summary(requested=5, enriched=3, pending=1))
    assert outcome == "failed"
    assert "requested 5 posts, but enriched + failed + gone + pending = 4" in message
    outcome, message = ending(summary(requested=2, enriched=2), posts=3)
    assert outcome == "failed"
    assert "took in 3 posts, but the database accounts for 2" in message


def test_faults_of_our_own_and_cancellations_are_told_apart() -> None:
    assert "a fault of Tagtrail's own" in ending(summary(), broken=ZeroDivisionError())[1]
    assert "cancelled; the same command goes on" in ending(summary(), broken=KeyboardInterrupt())[1]


def test_exit_statuses_are_the_public_ones() -> None:
    assert EXIT_STATUS == {"done": 0, "failed": 1, "attention": 3, "halted": 4}
    assert [summary(outcome=name).exit_status for name in EXIT_STATUS] == [0, 1, 3, 4]
    assert summary().seconds == 90


def test_the_markdown_has_every_number_and_the_two_warnings() -> None:
    text = markdown(
        summary(
            message="9 posts: 7 enriched",
            requested=9,
            enriched=7,
            fresh=2,
            failed=1,
            gone=1,
            cost_usd=0.1234,
            usd_per_1000_new=24.68,
            imports=[one_import()],
            platforms={"tiktok": 5, "instagram": 4},
            failures={"NotFound": 1},
            calls={"tiktok/apify": 7},
            notes=["channel rapid rested 1 time"],
        )
    )
    # The artifact's description says it.
    assert "7 enriched" not in text
    assert "| 9 | 7 | 2 | 1 | 1 | 0 | 0.1234 | 24.68 |" in text
    assert "| \\#moss | submitted | complete | 10 | 9 | 8 | 1 |" in text
    assert SAMPLE in text
    assert TODAY in text
    assert "Platforms: tiktok 5, instagram 4." in text
    assert "Failures: NotFound 1." in text
    assert "Calls: tiktok/apify 7." in text
    assert text.endswith("- channel rapid rested 1 time")


def test_where_nothing_new_came_the_cost_of_a_thousand_is_unknown_and_not_0() -> None:
    text = markdown(summary(requested=1, enriched=1, fresh=1))
    assert "| 0.00 | – |" in text
    assert SAMPLE not in text


@pytest.mark.parametrize(("amount", "shown"), [(0.24, "0.24"), (0.004, "0.0040"), (12.0, "12.00"), (0.2401, "0.2401")])
def test_amounts_have_as_many_digits_as_they_need(amount: float, shown: str) -> None:
    assert f"| {shown} | – |" in markdown(summary(cost_usd=amount))


def test_a_hashtag_cannot_break_the_table() -> None:
    assert "| \\#a\\|b | submitted |" in markdown(summary(imports=[one_import(hashtag="a|b")]))


def test_keys_of_artifacts_are_lower_case_digits_and_dashes() -> None:
    accented = artifact_key("track-hashtags", "Été & Fibres/2026")
    assert re.fullmatch(r"track-hashtags-t-fibres-2026-[0-9a-f]{6}", accented)
    assert len({artifact_key("report", name) for name in ("🔥", "***", "q4 2026", "q4-2026", "Q4-2026")}) == 5
    assert artifact_key("track-hashtags", None) == "track-hashtags-default"
    assert (plural(1, "post"), plural(2, "post"), plural(0, "post")) == ("1 post", "2 posts", "0 posts")


def test_counts_of_outcomes_are_not_lost_in_words() -> None:
    words = ending(summary(requested=4, enriched=1, failed=1, gone=1, pending=1))[1]
    assert Counter(part.split()[-1] for part in words.split(": ")[1].split(";")[0].split(", ")) == Counter(
        ["enriched", "failed", "gone", "pending"]
    )


async def test_a_watcher_is_told_what_is_billed_and_which_imports_have_ended(sqlite_store: Store) -> None:
    run: Any = SimpleNamespace(store=sqlite_store, run_id="r1", progress=Progress(imports_open=1, imports_done=1))
    prices = Prices(import_post=0.01, metadata_default=0.01)
    async with Budget(sqlite_store, "acc", "r1", "fibres", Caps(), prices) as run.budget:
        await look_into_books(run.store, run.budget, run.run_id, run.progress)
        assert (run.progress.spent_usd, run.progress.imports_finished) == (0, 0)
        with sqlite_store.begin() as conn:
            runs.start_run(conn, run_id="r1", flow="track-hashtags", account="acc", collection="fibres", now=NOW)
            for hashtag in ("moss", "linen"):
                ticket = import_planning.plan_import(
                    conn, account="acc", kind="hashtag", hashtag=hashtag, wanted={"hashtag": hashtag},
                    dedup_key=hashtag, collection="fibres", namespace="fibres", library="private", requested=5,
                    run_id="r1", owner="o", reuse_after=None, fresh=False, now=NOW,
                )  # fmt: skip
            imports.mark_sending(conn, ticket.import_id, owner="o", now=NOW)
            imports.mark_failed(conn, ticket.import_id, note="no", owner="o", now=NOW)
        await run.budget.reserve_import(ticket.import_id, 5)
        failed, refused, _under_way = [await run.budget.reserve("tiktok", "apify") for _ in range(3)]
        await failed.settle(1)
        await refused.settle(0)
        await look_into_books(run.store, run.budget, run.run_id, run.progress)
        # Neither the import, which may list fewer posts, nor a call that is under way, and may be refused.
        assert (run.progress.spent_usd, run.progress.imports_finished) == (0.01, 1)
        await (await run.budget.reserve("tiktok", "apify")).release()
        await look_into_books(run.store, run.budget, run.run_id, run.progress)
        assert run.progress.spent_usd == 0.01
        with sqlite_store.begin() as conn:
            money.settle_import(conn, ticket.import_id, spent_micros=30_000, posts=3, now=NOW)
        await look_into_books(run.store, run.budget, run.run_id, run.progress)
        assert run.progress.spent_usd == 0.04


def test_leading_posts_are_links_without_names() -> None:
    leading = [
        LeadingPost(link="https://www.tiktok.com/player/v1/7500000000000000001", plays=1234567, likes=None),
        LeadingPost(link="https://www.instagram.com/p/DTagtrail01/", plays=None, likes=3),
    ]
    text = markdown(summary(leading=leading))
    first, second = (one.link for one in leading)
    assert f"| [{first}]({first}) | 1,234,567 | – |" in text
    assert f"| [{second}]({second}) | – | 3 |" in text
    assert "leading posts" not in markdown(summary())
