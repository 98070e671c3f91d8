"""The envelope in all its variants, and the items of an import in theirs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import (
    AccountDisabled,
    BadKey,
    BadParameters,
    Busy,
    Duplicate,
    MemoriesError,
    NoCredits,
    NotFound,
    PermissionDenied,
    Refused,
    ServerFault,
    TooManyRequests,
    Transient,
    Unreadable,
)
from blocks.memories import responses
from tests.cases import each_case

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def opened(envelope: Any, http_status: int = 200, retry_after: str | None = None) -> Any:
    body = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    return responses.open_envelope(
        body, http_status=http_status, endpoint="/scraper_tag", retry_after=retry_after, now=lambda: NOON
    )


def refused(envelope: Any, http_status: int = 200, retry_after: str | None = None) -> MemoriesError:
    with pytest.raises(MemoriesError) as caught:
        opened(envelope, http_status, retry_after)
    assert caught.value.endpoint == "/scraper_tag"
    assert caught.value.http_status == http_status
    return caught.value


@each_case(
    "envelope",
    [
        {"code": "0000", "msg": "success", "data": {"a": 0}, "success": True, "failed": False},
        {"success": True, "failed": False, "data": {"a": 0}, "code": "0000"},
        {"code": "0000", "data": {"a": 0}},
        {"code": "0", "data": {"a": 0}, "failed": None},
        {"code": 0, "data": {"a": 0}, "failed": False},
        {"code": "200", "data": {"a": 0}},
        {"code": 200, "msg": "success", "data": {"a": 0}},
        {"success": True, "data": {"a": 0}},
        {"code": None, "success": True, "data": {"a": 0}},
        {"code": "", "success": True, "failed": False, "data": {"a": 0}},
        {"code": " ", "success": "true", "data": {"a": 0}},
        {"failed": False, "data": {"a": 0}},
        {"code": None, "success": None, "failed": "false", "data": {"a": 0}},
        {"code": "000", "success": True, "data": {"a": 0}},
        {"code": "00000", "success": True, "failed": False, "data": {"a": 0}},
        b'\xef\xbb\xbf{"code": "0000", "data": {"a": 0}}',
    ],
)
@each_case("http_status", [200, 201])
def test_success_in_every_form(envelope: Any, http_status: int) -> None:
    assert opened(envelope, http_status) == {"a": 0}


@each_case("http_status", [200, 400, 429, 500])
def test_the_envelope_is_judged_before_the_status(http_status: int) -> None:
    assert opened({"code": "0000", "data": [1]}, http_status) == [1]
    assert type(refused({"code": "0402", "msg": "Insufficient credits"}, http_status)) is NoCredits


@each_case("data", [None, 0, "", [], {}, False])
def test_falsy_data_survives(data: Any) -> None:
    got = opened({"code": "0000", "data": data, "success": True, "failed": False})
    assert got == data
    assert type(got) is type(data)


def test_success_without_data_is_none() -> None:
    assert opened({"code": "0000"}) is None


@pytest.mark.integration
@pytest.mark.parametrize(
    ("code", "msg", "expected"),
    [
        ("0001", "Parameter is invalid", BadParameters),
        ("0001", "", BadParameters),
        ("0001", None, BadParameters),
        (1, "Parameter is invalid", BadParameters),
        ("0001", "network abnormal", Transient),
        ("0001", "Network abnormal, please try again later", Transient),
        ("0001", "No static resource api.", NotFound),
        ("0001", "video not found", NotFound),
        ("0003", "Missing parameter", BadParameters),
        (400, "Invalid request parameters", BadParameters),
        (400, "Asset not found", NotFound),
        ("0401", "Unauthorized", BadKey),
        (401, "Unauthorized", BadKey),
        ("0402", "Insufficient credits", NoCredits),
        (402, "Payment required", NoCredits),
        ("402", "Payment required", NoCredits),
        ("0403", "Developer account disabled", AccountDisabled),
        (403, "Forbidden", AccountDisabled),
        (404, "Not Found", NotFound),
        (405, "Method not allowed", BadParameters),
        (415, "Unsupported media type", BadParameters),
        ("0409", "Service is busy, try later", Busy),
        (409, "Service is busy", Busy),
        ("0409", "Repeated operation", Duplicate),
        ("0409", "busy day: your task was accepted", Duplicate),
        ("0409", "accepted; the service may be busy, try later", Duplicate),
        (409, "Duplicate", Duplicate),
        ("0429", "Request has exceeded the limit.", TooManyRequests),
        (429, "Rate limit exceeded", TooManyRequests),
        (500, "Internal Server Error", ServerFault),
        ("0503", "down", ServerFault),
        ("9009", "permission denied", PermissionDenied),
        (9009, "permission denied", PermissionDenied),
        ("16", "stream capacity", Refused),
        (-1, "error", Refused),
        ("E77", "what", Refused),
        ("0000", "said no all the same", Transient),
    ],
)
@pytest.mark.parametrize("flags", [{}, {"success": False, "failed": True}, {"success": False, "failed": "true"}])
def test_codes(code: str | int, msg: str | None, expected: type[MemoriesError], flags: dict[str, Any]) -> None:
    if code == "0000" and not flags:
        flags = {"failed": True}
    error = refused({"code": code, "msg": msg, "data": None} | flags)
    assert type(error) is expected
    assert error.code == str(code)
    assert error.message == (msg or "")


@each_case("code", ["0000", "0", 0, "200", 200])
@each_case("success", [False, "false"])
@each_case(
    ("msg", "expected"),
    [
        ("", Transient),
        ("something went wrong", Transient),
        ("network abnormal", Transient),
        ("please try again later", Transient),
        ("Service is busy, try later", Busy),
        ("Request has exceeded the limit.", TooManyRequests),
        ("Rate limit exceeded", TooManyRequests),
        ("Insufficient credits", NoCredits),
        ("Unauthorized", BadKey),
        ("video not found", NotFound),
        ("No videos found", NotFound),
        ("Invalid request parameters", BadParameters),
    ],
)
def test_no_success_and_no_data_is_a_refusal_whatever_the_code(
    code: str | int, success: Any, msg: str, expected: type[MemoriesError]
) -> None:
    error = refused({"code": code, "msg": msg, "success": success, "data": None})
    assert type(error) is expected
    assert type(refused({"code": code, "msg": msg, "success": success})) is expected
    assert type(refused({"code": code, "msg": msg, "success": success, "data": None}, 503)) is ServerFault


@each_case("data", [0, "", [], {}, False, {"a": 0}])
def test_data_that_came_is_taken_though_success_is_false(data: Any) -> None:
    assert opened({"code": "0000", "success": False, "data": data}) == data


def test_a_failure_without_a_code() -> None:
    assert type(refused({"success": False, "msg": "network abnormal"})) is Transient
    assert type(refused({"failed": True, "success": True, "msg": "no"})) is BadParameters


def test_an_unknown_code_leaves_the_judgement_to_the_status() -> None:
    assert type(refused({"code": "E77", "msg": "what"}, 503)) is ServerFault
    assert type(refused({"code": "0001", "msg": "bad"}, 503)) is BadParameters


def test_only_a_business_code_says_that_the_account_is_disabled() -> None:
    assert type(refused({"code": "0403", "msg": "disabled"}, 200)) is AccountDisabled
    assert type(refused({"code": 403, "msg": "disabled"}, 403)) is AccountDisabled
    assert type(refused({"code": "E77", "msg": "blocked"}, 403)) is PermissionDenied
    assert type(refused({"status": 403, "error": "Forbidden"}, 403)) is PermissionDenied
    assert type(refused({"status": 403, "error": "Forbidden"}, 200)) is PermissionDenied


SPRING = {"timestamp": "2026-11-22T11:00:00Z", "path": "/x", "requestId": "ab-1"}


@each_case(
    ("body", "status", "expected"),
    [
        (SPRING | {"status": 404, "error": "Not Found"}, 404, NotFound),
        (SPRING | {"status": 503, "error": "Service Unavailable"}, 503, ServerFault),
        (SPRING | {"status": 503, "error": "Service Unavailable"}, 200, ServerFault),
        (b"<html>bad gateway</html>", 502, ServerFault),
        (b"", 500, ServerFault),
        (b"", 401, BadKey),
        (b"Unauthorized", 401, BadKey),
        (b"", 402, NoCredits),
        (b"<html>", 403, PermissionDenied),
        (b"gone", 404, NotFound),
        (b"slow down", 429, TooManyRequests),
        (b"", 408, ServerFault),
        (b"teapot", 418, Refused),
        ([1, 2], 500, ServerFault),
    ],
)
def test_answers_without_an_envelope_are_judged_by_their_status(
    body: Any, status: int, expected: type[MemoriesError]
) -> None:
    error = refused(body, status)
    assert type(error) is expected
    assert error.code is None
    assert "<html>" not in str(error)


@each_case(
    "body",
    [
        b"",
        b"  \n",
        b"<html>welcome</html>",
        b'{"code":"0000","data":{"x":',
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b"{}",
        b'"0000"',
        b'{"data":{"a":1}}',
        b'{"code":true,"data":1}',
        b'{"code":false,"data":1}',
        b'{"code":[0],"success":true,"data":1}',
        b'{"code":0.5,"data":1}',
        b'{"a":NaN,"code":"0000"}',
        b"[" * 100_000,
        b'{"\\ud83d":' + b"[" * 100_000,
    ],
)
def test_what_nobody_can_read_keeps_its_body(body: bytes) -> None:
    error = refused(body)
    assert isinstance(error, Unreadable)
    assert error.body == body


@each_case("status", [301, 302, 307, 308])
def test_a_redirect_is_no_answer_whatever_it_holds(status: int) -> None:
    assert isinstance(refused({"code": "0000", "data": {"taskId": "x"}}, status), Unreadable)


def test_half_a_surrogate_pair_costs_one_letter_and_not_the_payload() -> None:
    body = (
        rb'{"code":"0000","data":{"cut":"a \ud83d","whole":"\ud83d\ude00","count":9007199254740993,"plain":"\\ud83d"}}'
    )
    assert opened(body) == {"cut": "a ?", "whole": "😀", "count": 9007199254740993, "plain": "\\ud83d"}


@each_case(
    ("value", "seconds"),
    [
        ("12, 900", 900),
        ("900,0.5", 900),
        ("12, soon", None),
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Wed, 99 Foo 2026", None),
        ("0", None),
        ("0.0", None),
        ("-0", None),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("-5", None),
        ("300", 300.0),
        ("900", 900.0),
        ("864000", 864_000.0),
        ("9" * 400, responses.MAX_RETRY_AFTER_SECONDS),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 12:00:30 -0000", 30.0),
        ("Sun, 22 Nov 2026 13:00:30 +0100", 30.0),
        ("Sun, 22 Nov 2026 11:59:00 GMT", None),
        ("Sun, 22 Nov 2026 12:00:00 GMT", None),
        ("Sun, 22 Nov 2026 14:00:00 GMT", 7200.0),
        ("Sun, 22 Nov 2099 12:00:00 GMT", responses.MAX_RETRY_AFTER_SECONDS),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert responses.retry_after_seconds(value, NOON) == seconds


def test_every_refusal_carries_the_wait_that_it_asked_for() -> None:
    assert refused({"code": "0429", "msg": "slow"}, 200, "12").retry_after_seconds == 12
    assert refused({"code": 429, "msg": "slow"}, 429, "Sun, 22 Nov 2026 12:00:09 GMT").retry_after_seconds == 9
    assert refused(b"<html>", 503, "3").retry_after_seconds == 3
    assert refused({"code": "0429", "msg": "slow"}).retry_after_seconds is None


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["0000", "0001", "success"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ENVELOPE = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("code", "msg", "message", "error", "status", "data", "success", "failed"), JSON)
)


@given(
    st.one_of(JSON, ENVELOPE).map(lambda value: json.dumps(value).encode("utf-8", "replace")) | st.binary(),
    st.integers(200, 599),
    st.none() | st.text(max_size=40),
)
def test_no_body_makes_anything_but_data_or_our_own_errors(body: bytes, status: int, retry_after: str | None) -> None:
    try:
        responses.open_envelope(body, http_status=status, endpoint="/x", retry_after=retry_after)
    except MemoriesError as error:
        refusal = error
    else:
        return
    wait = refusal.retry_after_seconds
    assert wait is None or 0 < wait <= responses.MAX_RETRY_AFTER_SECONDS
    assert str(refusal).isprintable()


@given(JSON)
def test_data_comes_out_as_it_went_in(data: Any) -> None:
    body = json.dumps({"code": "0000", "data": data})
    try:
        expected = responses.load_json(json.dumps(data).encode())
    except ValueError:  # NaN and lone surrogates as they are: JSON knows neither.
        return
    assert opened(body.encode()) == expected
