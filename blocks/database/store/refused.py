"""When the service refused an account's calls: until it serves again sweeps try with one call, at most once an hour."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from blocks.database.store import meta
from blocks.database.store.statements import table_of
from blocks.database.tables import Meta

TRY_AGAIN = timedelta(hours=1)

_meta = table_of(Meta)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the service said, when, and when a sweep tried last (None: none did since)."""

    why: str
    at: datetime
    tried_at: datetime | None


def note(conn: Connection, account: str, *, why: str, now: datetime, by_sweep: bool) -> None:
    """The service refused a call just now, of a sweep or of a run that a person or a schedule started."""
    before = _read(conn, account)
    tried_at = now if by_sweep else None if before is None else before.tried_at
    meta.remember(conn, _key(account), _written(Refusal(why, now, tried_at)))


def forget(conn: Connection, account: str) -> None:
    """The service serves the account."""
    meta.forget(conn, _key(account))


def try_again(conn: Connection, account: str, now: datetime) -> tuple[Refusal | None, bool]:
    """The refusal that stands, and whether a sweep may make one call: then it counts as made from now on."""
    refusal = _read(conn, account)
    if refusal is None:
        return None, True
    if refusal.tried_at is not None and now < refusal.tried_at + TRY_AGAIN:
        return refusal, False
    meta.remember(conn, _key(account), _written(replace(refusal, tried_at=now)))
    return refusal, True


def _read(conn: Connection, account: str) -> Refusal | None:
    query = select(_meta.c.value).where(_meta.c.key == _key(account)).with_for_update()
    value = conn.execute(query).scalar()
    if value is None:
        return None
    facts = json.loads(value)
    at, tried_at = (None if facts[name] is None else datetime.fromisoformat(facts[name]) for name in ("at", "tried_at"))
    assert at is not None
    return Refusal(facts["why"], at, tried_at)


def _written(refusal: Refusal) -> str:
    times = {"at": refusal.at, "tried_at": refusal.tried_at}
    return json.dumps({"why": refusal.why} | {name: at and at.isoformat() for name, at in times.items()})


def _key(account: str) -> str:
    return f"service refused {account}"
