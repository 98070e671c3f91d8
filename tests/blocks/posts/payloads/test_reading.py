"""The readers of single values: what they take, and that nothing makes them raise."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from blocks.posts.payloads import reading
from blocks.posts.payloads.reading import MISSING, dig, first, storable
from tests.cases import each_case

NOON = datetime(2025, 11, 1, 12, 26, 40, tzinfo=UTC)


@each_case(
    ("value", "told"),
    [
        (1762000000, NOON),
        ("1762000000", NOON),
        (1762000000.0, NOON),
        (1762000000000, NOON),
        ("2025-11-01T12:26:40.000Z", NOON),
        ("2025-11-01T13:26:40+01:00", NOON),
        ("2025-11-01 12:26:40", NOON),
        ("2025-11-01", datetime(2025, 11, 1, tzinfo=UTC)),
        ("Sat Nov 01 12:26:40 +0000 2025", NOON),
        ("Sat Nix 01 12:26:40 +0000 2025", None),
        ("Sat Nov 31 12:26:40 +0000 2025", None),
        ("20250701", datetime(2025, 7, 1, tzinfo=UTC)),
        (" 20251101122640 ", NOON),
        ("20251101T122640Z", NOON),
        ("20251301", None),
        ("20250230", None),
        ("2025", None),
        ("202507", None),
        (20250701, None),
        (1072915200, datetime(2004, 1, 1, tzinfo=UTC)),
        (1072915199, None),
        ("1970-01-01T00:00:00Z", None),
        ("2003-12-31", None),
        ("Wed Dec 31 23:59:59 +0000 2003", None),
        (0, None),
        (-5, None),
        (True, None),
        (10**30, None),
        (10**18, None),
        ("yesterday", None),
        ("9999-12-31T23:59:59-12:00", None),
        ([], None),
    ],
)
def test_moment(value: Any, told: datetime | None) -> None:
    assert reading.moment(value) == told


@each_case(
    ("value", "told"),
    [
        (41.125, 41.125),
        (0, 0.0),
        ("36", 36.0),
        ("3.5", 3.5),
        ("3:17", 197.0),
        ("00:03:17", 197.0),
        ("PT1H2M3S", 3723.0),
        ("PT", None),
        ("", None),
        (-1, None),
        (True, None),
        (float("nan"), None),
        ("1e5", None),
        (10**400, None),
    ],
)
def test_seconds(value: Any, told: float | None) -> None:
    assert reading.seconds(value) == told


def test_paths() -> None:
    node = {"a": [{"b": None}, {"b": 0}], "0": "key"}
    assert dig(node, "a.1.b") == 0
    assert dig(node, "a.0.b") is None
    assert dig(node, "a.2.b") is MISSING
    assert dig(node, "a.b") is MISSING
    assert dig(node, "") is node
    assert dig(node, "0") is MISSING
    assert first(node, ("x", "a.0.b", "a.1.b"), reading.count) == 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
READERS = (
    *(reading.text, reading.name, reading.ident, reading.flag, reading.whole, reading.count, reading.pixels),
    *(reading.seconds, reading.milliseconds, reading.moment, reading.stamp, reading.plain),
)


@given(json_values)
def test_no_value_makes_a_reader_raise(value: Any) -> None:
    for read in READERS:
        told = read(value)
        if isinstance(told, str):
            assert "\x00" not in told
            assert told.encode()
        if isinstance(told, int):
            assert abs(told) < 2**64
    assert reading.texts({"a": value}, "a", ("b", ""), reading.text) is None or isinstance(value, list)


@given(st.text(st.characters(exclude_categories=())))
def test_storable_text_is_storable_and_stays(text: str) -> None:
    clean = storable(text)
    assert "\x00" not in clean
    assert clean.encode("utf-8").decode("utf-8") == clean == storable(clean)
    if "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert clean == text
