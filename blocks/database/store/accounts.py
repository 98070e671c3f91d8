"""A new key of a known account: it goes on with the imports, limits and caps of the key that was refused before it."""

from __future__ import annotations

from sqlalchemy import Connection, exists, select

from blocks.database.store import meta
from blocks.database.store.statements import table_of
from blocks.database.tables import Import, Run

_runs, _imports = table_of(Run), table_of(Import)


def account_of(conn: Connection, name: str, credentials: str) -> str:
    """The account that a key belongs to; `name` is made of the key, `credentials` says where the key was found.

    A key without any history takes the account of the last key of those credentials if that one was refused, and
    keeps it from then on. Any other is an account of its own, for nothing tells whose it is.
    """
    account, is_new = _account_of(conn, name, credentials)
    if is_new:
        meta.remember(conn, _of_key(name), account)
        meta.forget(conn, _refused(credentials))
    return account


def look_up_account(conn: Connection, name: str, credentials: str) -> str:
    """As `account_of`, and nothing is written."""
    return _account_of(conn, name, credentials)[0]


def _account_of(conn: Connection, name: str, credentials: str) -> tuple[str, bool]:
    """The account, and whether it is the key's from now on only."""
    if (decided := meta.known(conn, _of_key(name))) is not None:
        return decided, False
    refused = meta.known(conn, _refused(credentials))
    history = exists().where(_runs.c.account == name), exists().where(_imports.c.account == name)
    if refused in (None, name) or any(conn.execute(select(one)).scalar_one() for one in history):
        return name, False
    return refused, True


def key_was_refused(conn: Connection, account: str, credentials: str) -> None:
    """Note that the service refused the key of these credentials, whose runs are this account's."""
    meta.remember(conn, _refused(credentials), account)


def key_was_taken(conn: Connection, credentials: str) -> None:
    """Note that the service takes the key of these credentials."""
    meta.forget(conn, _refused(credentials))


def _of_key(name: str) -> str:
    return f"account of key {name}"


def _refused(credentials: str) -> str:
    return f"key refused {credentials[:50]}"
