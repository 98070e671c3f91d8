"""Accounts: which one a key belongs to, whether the service refuses it, and what was found of its API's contract.

A new key of a known account goes on with the imports, limits and caps of the key that was refused before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection, exists, func, select

from blocks.database.store import meta
from blocks.database.store.statements import table_of
from blocks.database.tables import Import, ImportItem, Meta, Run, Spend

_runs = table_of(Run)
_imports = table_of(Import)
_meta = table_of(Meta)
_items = table_of(ImportItem)
_spend = table_of(Spend)


SERVICE = "service"
"""Under this name a run's parameters hold the hosts that it asked, such as `127.0.0.1:8787`."""


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


TRY_AGAIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the service said, when, and when a sweep tried last (None: none did since)."""

    why: str
    at: datetime
    tried_at: datetime | None


def note_refusal(conn: Connection, account: str, *, why: str, now: datetime, by_sweep: bool) -> None:
    """The service refused a call just now, of a sweep or of a run that a person or a schedule started."""
    before = _read_refusal(conn, account)
    tried_at = now if by_sweep else None if before is None else before.tried_at
    meta.remember(conn, _refusal_key(account), _as_json(Refusal(why, now, tried_at)))


def forget_refusal(conn: Connection, account: str) -> None:
    """The service serves the account."""
    meta.forget(conn, _refusal_key(account))


def may_try_again(conn: Connection, account: str, now: datetime) -> tuple[Refusal | None, bool]:
    """The refusal that stands, and whether a sweep may make one call: then it counts as made from now on."""
    refusal = _read_refusal(conn, account)
    if refusal is None:
        return None, True
    if refusal.tried_at is not None and now < refusal.tried_at + TRY_AGAIN:
        return refusal, False
    meta.remember(conn, _refusal_key(account), _as_json(replace(refusal, tried_at=now)))
    return refusal, True


def _read_refusal(conn: Connection, account: str) -> Refusal | None:
    query = select(_meta.c.value).where(_meta.c.key == _refusal_key(account)).with_for_update()
    value = conn.execute(query).scalar()
    if value is None:
        return None
    facts = orjson.loads(value)
    at, tried_at = (None if facts[name] is None else datetime.fromisoformat(facts[name]) for name in ("at", "tried_at"))
    assert at is not None
    return Refusal(facts["why"], at, tried_at)


def _refusal_key(account: str) -> str:
    return f"service refused {account}"


def findings(conn: Connection, account: str) -> dict[str, dict[str, Any]]:
    """What was found on an account: point → {verdict, said, at}; verdicts are `confirmed` and `contradicted`."""
    kept = meta.known(conn, _findings_key(account))
    found: dict[str, dict[str, Any]] = orjson.loads(kept) if kept else {}
    return found


def keep_findings(conn: Connection, account: str, found: Mapping[str, tuple[str, str]], now: datetime) -> None:
    """Keep (verdict, words) by point; what is unknown this time leaves an earlier finding as it is."""
    kept = findings(conn, account)
    at = as_text(now)
    for point, (verdict, said) in found.items():
        if verdict != "unknown":
            kept[point] = {"verdict": verdict, "said": said, "at": at}
    meta.remember(conn, _findings_key(account), _as_json(kept))


def _as_json(facts: Any) -> str:
    return orjson.dumps(facts).decode()


def as_text(moment: datetime) -> str:
    """A time in UTC as it stands in a finding; these compare as texts."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def hashtag_platforms(conn: Connection, account: str) -> dict[str, int]:
    """How many posts of each platform the account's hashtag imports ever listed."""
    query = (
        select(_items.c.platform, func.count().label("posts"))
        .join(_imports, _imports.c.import_id == _items.c.import_id)
        .where(_imports.c.account == account, _imports.c.kind == "hashtag", _items.c.platform.is_not(None))
        .group_by(_items.c.platform)
    )
    return {row.platform: row.posts for row in conn.execute(query)}


def _findings_key(account: str) -> str:
    return f"contract/{account}"


def services(conn: Connection) -> set[str]:
    """The hosts that runs asked which spent, or reserved, something; runs of older versions did not note them."""
    hosts = _runs.c.parameters[SERVICE].as_string()
    bought = exists().where(_spend.c.run_id == _runs.c.run_id)
    return {str(found) for found in conn.execute(select(hosts).where(hosts.is_not(None), bought).distinct()).scalars()}


def accounts_without_service(conn: Connection) -> set[str]:
    """The names of accounts of runs that did not note which hosts they asked."""
    unknown = _runs.c.parameters[SERVICE].as_string().is_(None)
    query = select(_runs.c.account).where(_runs.c.account.is_not(None), unknown).distinct()
    return {str(name) for name in conn.execute(query).scalars()}
