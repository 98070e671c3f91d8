"""Whose history a key goes on with."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from blocks.database.engine import Store
from blocks.database.store import accounts, runs
from blocks.errors import UsageError
from blocks.memories.requests import account_name

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def took_part(store: Store, account: str) -> None:
    with store.begin() as conn:
        runs.start_run(conn, run_id=f"of {account}", flow="track-hashtags", account=account, now=NOW)


def test_only_a_refused_key_of_the_same_credentials_is_followed(store: Store) -> None:
    took_part(store, "first")
    with store.begin() as conn:
        assert accounts.account_of(conn, "second", "default") == "second", "nobody was refused"
        accounts.key_was_refused(conn, "first", "default")
        assert accounts.account_of(conn, "second", "studio") == "second", "other credentials"
        assert accounts.look_up_account(conn, "second", "default") == "first"
        assert accounts.account_of(conn, "second", "default") == "first"
        assert accounts.account_of(conn, "second", "default") == "first", "from now on"
        assert accounts.account_of(conn, "third", "default") == "third", "one successor, not all who come"
        assert accounts.account_of(conn, "first", "default") == "first"


def test_a_key_with_a_history_keeps_it(store: Store) -> None:
    took_part(store, "first")
    took_part(store, "second")
    with store.begin() as conn:
        accounts.key_was_refused(conn, "first", "default")
        assert accounts.account_of(conn, "second", "default") == "second"


def test_a_key_that_was_refused_once_and_taken_again_has_no_successor(store: Store) -> None:
    with store.begin() as conn:
        accounts.key_was_refused(conn, "first", "default")
        accounts.key_was_taken(conn, "default")
        assert accounts.account_of(conn, "second", "default") == "second"


def test_the_third_key_follows_the_second_to_the_first_account(store: Store) -> None:
    with store.begin() as conn:
        accounts.key_was_refused(conn, "first", "default")
        second = accounts.account_of(conn, "second", "default")
        accounts.key_was_refused(conn, second, "default")
        assert accounts.account_of(conn, "third", "default") == "first"


def test_a_name_comes_before_the_key() -> None:
    assert account_name("sk-invented", " the-agency ") == "the-agency"
    assert len(account_name("sk-invented")) == 16
    assert account_name("sk-invented") != account_name("sk-invented-too")
    for wrong in ("two words", "x" * 33, "ä"):
        with pytest.raises(UsageError, match="TAGTRAIL_ACCOUNT"):
            account_name("sk-invented", wrong)
