"""What one failed metadata call means for its post: the table of cases."""

from __future__ import annotations

from typing import Any

import pytest

from blocks import errors
from blocks.errors import (
    AccountDisabled,
    BadKey,
    BadParameters,
    Busy,
    Duplicate,
    MemoriesError,
    NoAnswer,
    NoCredits,
    NotFound,
    NotSent,
    PermissionDenied,
    Refused,
    ServerFault,
    SpendCapReached,
    TagtrailError,
    TooManyRequests,
    Transient,
    Unreadable,
)
from blocks.posts.identity import parse_post_url
from blocks.posts.record import CHANNELS
from flows.steps.enrichment.post_state import PostTask
from flows.steps.enrichment.verdict import (
    MAX_RETRIES,
    RETRY_LIMITS,
    History,
    Service,
    Verdict,
    is_unbilled,
    kind_of,
    retry_delays_seconds,
    retry_limit,
    verdict,
)

BUSY = Busy("service is busy", code="0409")
FAULT = ServerFault("overloaded", http_status=503)
LOST = NoAnswer("connection reset")
UNREADABLE = Unreadable("no envelope")
NOT_SENT = NotSent("connection refused")
ABNORMAL = Transient("network abnormal", code="0001")
TOO_MANY = TooManyRequests("rate limit exceeded", code="0429")
FORBIDDEN = PermissionDenied("<html>", http_status=403)
DENIED = PermissionDenied("permission denied", code="9009", http_status=403)

FINE = Service()
SILENT = Service(silent=True)
DEAD = Service(channels_dead=True)
ON_TRIAL = Service(on_trial=True)

RETRY, AT_ONCE, NEXT = Verdict.RETRY, Verdict.RETRY_AT_ONCE, Verdict.NEXT_CHANNEL
GIVE_UP, HALT, HOLD = Verdict.GIVE_UP, Verdict.HALT, Verdict.HOLD


def first(times: int, *, ever: int | None = None) -> History:
    """So many failed calls on the first of three channels, and so many in all."""
    return History(times, times if ever is None else ever, channels=3, channels_left=2)


def last(times: int, *, ever: int | None = None) -> History:
    """The same on the last of three channels: the others have refused the post."""
    return History(times, times if ever is None else ever, channels=3, channels_left=0)


def only(times: int, *, ever: int | None = None) -> History:
    """The same where the run has one channel."""
    return History(times, times if ever is None else ever, channels=1, channels_left=0)


CASES: dict[str, tuple[TagtrailError, History, Service, Verdict]] = {
    # On one channel.
    "apify says 503 for the first time": (FAULT, first(1), FINE, RETRY),
    "apify says 503 for the third time": (FAULT, first(3), FINE, RETRY),
    "apify says 503 for the fourth time": (FAULT, first(4), FINE, NEXT),
    "the last channel says 503 for the fourth time": (FAULT, last(4), FINE, GIVE_UP),
    "the only channel says 503 for the fourth time": (FAULT, only(4), FINE, GIVE_UP),
    "a probe says 503: it does not count": (FAULT, first(0), FINE, RETRY),
    "busy for the fifth time": (BUSY, first(5), FINE, RETRY),
    "busy for the sixth time": (BUSY, first(6), FINE, NEXT),
    "network abnormal for the third time": (ABNORMAL, first(3), FINE, RETRY),
    "network abnormal for the fourth time": (ABNORMAL, first(4), FINE, NEXT),
    "not sent for the fourth time": (NOT_SENT, first(4), FINE, RETRY),
    "not sent for the fifth time": (NOT_SENT, first(5), FINE, NEXT),
    "too many requests for the ninth time: the limiter waits": (TOO_MANY, first(9), FINE, AT_ONCE),
    "too many requests for the tenth time": (TOO_MANY, first(10), FINE, NEXT),
    "HTTP 403 without a code, once": (FORBIDDEN, first(1), FINE, RETRY),
    "HTTP 403 without a code, twice": (FORBIDDEN, first(2), FINE, NEXT),
    "HTTP 403 without a code, twice on the last channel": (FORBIDDEN, last(2), FINE, GIVE_UP),
    "permission denied by its code": (DENIED, first(1), FINE, NEXT),
    "not found": (NotFound("x"), first(1), FINE, NEXT),
    "not found on the last channel": (NotFound("x"), last(1), FINE, GIVE_UP),
    "bad parameters": (BadParameters("x"), first(1), FINE, NEXT),
    "a repeated operation": (Duplicate("x"), first(1), FINE, NEXT),
    "refused for a reason that nobody knows": (Refused("x"), first(1), FINE, NEXT),
    # Over all channels and runs.
    "the second answer lost": (LOST, first(2), FINE, RETRY),
    "the third answer lost: each may have been billed": (LOST, first(3), FINE, GIVE_UP),
    "the third one, the others in another run": (LOST, first(1, ever=3), FINE, GIVE_UP),
    "the second unreadable answer": (UNREADABLE, first(2), FINE, RETRY),
    "the third unreadable answer": (UNREADABLE, first(3), FINE, GIVE_UP),
    "503 for the eleventh time in all": (FAULT, first(1, ever=11), FINE, RETRY),
    "503 for the twelfth time in all": (FAULT, first(1, ever=12), FINE, GIVE_UP),
    "503 on the only channel, for the fourth time in all": (FAULT, only(1, ever=4), FINE, GIVE_UP),
    "busy for the 18th time in all": (BUSY, first(1, ever=18), FINE, GIVE_UP),
    "not sent, whenever: it says nothing of the post": (NOT_SENT, first(1, ever=99), FINE, RETRY),
    # Where the service does not answer.
    "no channel answers any more": (FAULT, first(1), SILENT, HOLD),
    "no channel answers, and this was its fourth call": (FAULT, last(4), SILENT, HOLD),
    "no channel answers, and this was its last call": (FAULT, first(1, ever=12), SILENT, GIVE_UP),
    "a wall of 403": (FORBIDDEN, last(2), SILENT, HOLD),
    "only dead channels are left to it": (FAULT, last(1), DEAD, HOLD),
    "only dead channels are left, and its third answer is lost": (LOST, last(1, ever=3), DEAD, GIVE_UP),
    # Where the service refused the account lately, and one call is to show whether it still does.
    "on trial, 503": (FAULT, first(1), ON_TRIAL, HALT),
    "on trial, no answer": (LOST, first(3), ON_TRIAL, HALT),
    "on trial, HTTP 403 without a code": (FORBIDDEN, first(1), ON_TRIAL, HALT),
    "on trial, a post that is not found": (NotFound("x"), first(1), ON_TRIAL, NEXT),
    "on trial, too many requests": (TOO_MANY, first(1), ON_TRIAL, AT_ONCE),
    # What halts at once.
    "no credits": (NoCredits("x"), first(1), FINE, HALT),
    "a bad key": (BadKey("x"), first(1), FINE, HALT),
    "a disabled account": (AccountDisabled("x"), first(1), FINE, HALT),
    "a cap is reached": (SpendCapReached("run", 1, 1, 1), first(0), FINE, HALT),
}


@pytest.mark.parametrize("case", CASES)
def test_verdict(case: str) -> None:
    error, history, service, expected = CASES[case]
    assert verdict(error, history, service) is expected


# Class: how many calls on one channel, whom it blames, whether the call is surely not billed.
LIMITS: dict[str, tuple[int, str, bool]] = {
    "BadParameters": (1, "post", True),
    "BadKey": (1, "post", True),
    "NoCredits": (1, "post", True),
    "AccountDisabled": (1, "post", True),
    "PermissionDenied": (2, "everybody", True),  # By the status alone.
    "Duplicate": (1, "post", True),
    "NotFound": (1, "post", True),
    "Refused": (1, "post", True),
    "TooManyRequests": (10, "post", True),
    "Busy": (6, "channel", True),
    "Transient": (4, "channel", True),
    "NotSent": (5, "channel", True),
    "ServerFault": (4, "channel", False),
    "NoAnswer": (3, "channel", False),
    "Unreadable": (3, "channel", False),
}


def classes_of(base: type[Any]) -> set[type[Any]]:
    return {base}.union(*(classes_of(each) for each in base.__subclasses__()))


def test_the_table_names_every_error_of_the_api() -> None:
    assert set(LIMITS) == {each.__name__ for each in classes_of(MemoriesError)} - {"MemoriesError"}


@pytest.mark.parametrize("name", LIMITS)
def test_each_class_has_its_limit(name: str) -> None:
    error: MemoriesError = getattr(errors, name)("words")
    limit = retry_limit(error)
    assert (limit.calls, limit.blames, is_unbilled(error)) == LIMITS[name]


def test_lost_and_unreadable_answers_are_counted_together() -> None:
    assert kind_of(LOST) == kind_of(UNREADABLE)
    assert kind_of(BUSY) != kind_of(ABNORMAL)


def test_what_counts_on_the_channel_and_in_later_runs() -> None:
    post = PostTask(parse_post_url("https://www.instagram.com/p/DNb_x1/"), None)
    for error in (FAULT, LOST, UNREADABLE, NOT_SENT, NotFound("x")):
        post.count_failure(error, probe=False)
    post.count_failure(FAULT, probe=True)
    assert post.failures == {"ServerFault": 1, "lost": 2, "NotSent": 1, "NotFound": 1}
    assert post.failures_ever == {"ServerFault": 2, "lost": 2}
    assert post.history_of(FAULT, "apify", CHANNELS) == History(1, 2, channels=3, channels_left=2)


def test_waits_double_up_to_32_times_the_first() -> None:
    waits = retry_delays_seconds(0.5)
    assert waits == [0.5, 1, 2, 4, 8, 16]
    assert set(retry_delays_seconds(0)) == {0}


def test_a_task_is_retried_often_enough_for_every_limit_on_every_channel() -> None:
    # The worst post fails in all ways in turn, so that each kind but one stops short of its last call. Too many
    # requests are waited for inside the task; all others end the try.
    kinds = {kind_of(kind("x")): each for kind, each in RETRY_LIMITS.items() if kind is not TooManyRequests}
    tries = sum(each.calls - 1 for each in kinds.values()) + 1
    assert tries * len(CHANNELS) <= MAX_RETRIES
