"""What is known of the open points of the API's contract: findings of `doctor --live`, kept for reports."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Connection, func, select

from blocks.database.store.statements import insert_into, table_of
from blocks.database.tables import Import, ImportItem, Meta

_imports, _items, _meta = table_of(Import), table_of(ImportItem), table_of(Meta)


def findings(conn: Connection, account: str) -> dict[str, dict[str, Any]]:
    """What was found on an account: point → {verdict, said, at}; verdicts are `confirmed` and `contradicted`."""
    kept = conn.execute(select(_meta.c.value).where(_meta.c.key == _key(account))).scalar()
    found: dict[str, dict[str, Any]] = orjson.loads(kept) if kept else {}
    return found


def keep_findings(conn: Connection, account: str, found: Mapping[str, tuple[str, str]], now: datetime) -> None:
    """Keep (verdict, words) by point; what is unknown this time leaves an earlier finding as it is."""
    kept = findings(conn, account)
    at = written(now)
    for point, (verdict, said) in found.items():
        if verdict != "unknown":
            kept[point] = {"verdict": verdict, "said": said, "at": at}
    value = orjson.dumps(kept).decode()
    row = insert_into(conn.dialect.name, _meta).values(key=_key(account), value=value)
    conn.execute(row.on_conflict_do_update(index_elements=["key"], set_={"value": value}))


def written(moment: datetime) -> str:
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


def _key(account: str) -> str:
    return f"contract/{account}"
