"""Parts of statements that both engines need written a little differently, or that several files share.

`sanitise` makes any record storable: what no database can hold is left out, with the reason.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    false,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import SQLModel

T = TypeVar("T")

Key = tuple[str, str]
"""(platform, post_id)"""

# Keys of one statement at most: SQLite takes 32,766 parameters, and plans get no better by more.
CHUNK = 500


def table_of(model: type[SQLModel]) -> Table:
    """The Core table of a SQLModel class."""
    return cast(Table, model.__table__)  # type: ignore[attr-defined]


def insert_into(table: Table) -> postgresql.Insert:
    """An `insert()` that knows ON CONFLICT; both engines spell that alike, and SQLAlchemy writes this one for both."""
    return postgresql.insert(table)


def insert_missing(conn: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows with the same keys; one that is there already stays as it is."""
    write_rows(conn, insert_into(table).on_conflict_do_nothing(), rows)


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """The items in parts of `size`, in order."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def posts_among(platform: Column[Any], post_id: Column[Any], keys: Iterable[tuple[str, str]]) -> ColumnElement[bool]:
    """The condition that a row's (platform, post_id) is among the keys."""
    by_platform: dict[str, list[str]] = {}
    for key in keys:
        by_platform.setdefault(key[0], []).append(key[1])
    return or_(
        false(),
        *(
            and_(platform == name, post_id.in_(bindparam(None, ids, expanding=True)))
            for name, ids in sorted(by_platform.items())
        ),
    )


def one_of(column: Column[Any], values: Iterable[str]) -> ColumnElement[bool]:
    """The condition that a column has one of a few values; unlike `in_`, it can be executed once per row."""
    return or_(false(), *(column == value for value in values))


def same_post(one: Any, other: Any) -> ColumnElement[bool]:
    """The condition that two tables' (or aliases') rows are about one post; both are `.c` collections."""
    return and_(one.platform == other.platform, one.post_id == other.post_id)


def found_one_by_one(query: Select[Any]) -> ColumnElement[bool]:
    """The condition that a query which leans on the row in hand finds something, by a look along an index per row.

    OFFSET 0 keeps Postgres from making a join of it, for which it reads a table from end to end to spare some looks.
    """
    return query.offset(0).exists()


def keyed(
    conn: Connection, table: Table, keys: Sequence[tuple[str, str]], purpose: str | None = None
) -> ColumnElement[bool]:
    """The condition that a row is about one of these posts, and of that purpose (if the table has one).

    Postgres gets the whole keys as one table: it looks along the primary key then, whatever it knows of the rows. A
    condition on a purpose or state by itself has it take an index on these, and read all such rows for each post.
    """
    names = ("platform", "post_id") if purpose is None else ("platform", "post_id", "purpose")
    if conn.dialect.name != "postgresql":
        among = posts_among(table.c.platform, table.c.post_id, keys)
        return among if purpose is None else and_(among, table.c.purpose == purpose)
    whole = keys if purpose is None else [(*key, purpose) for key in keys]
    columns = [literal([key[at] for key in whole], ARRAY(Text)) for at in range(len(names))]
    wanted = func.unnest(*columns).table_valued(*names).render_derived()
    return tuple_(*(table.c[name] for name in names)).in_(select(*(wanted.c[name] for name in names)))


def write_rows(conn: Connection, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Execute a statement once per row (executemany); nothing at all for no rows. All rows have the same keys."""
    if rows:
        conn.execute(statement, rows)


# BIGINT's range; a count beyond it is no count.
_LARGEST = 2**63 - 1
# Keys are indexed, and an index entry of Postgres holds 2,700 bytes.
_LONGEST_KEY = 200


def sanitise_text(value: str) -> str:
    """The text without NUL characters (Postgres) and lone surrogates (both engines), which cannot be stored."""
    if "\x00" in value:
        value = value.replace("\x00", "")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode(errors="replace").decode()
    return value


def sanitise_key(value: str) -> str:
    """An id as a key: as it is, or its hash where it is longer than any real one."""
    value = sanitise_text(value)
    return value if len(value) <= _LONGEST_KEY else "sha256:" + hashlib.sha256(value.encode()).hexdigest()


def sanitise(value: Any) -> Any:
    """A value of a record, or its nearest storable form; None for a number that no column holds."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return sanitise_text(value)
    if isinstance(value, int):
        return value if -_LARGEST <= value <= _LARGEST else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {sanitise_text(str(key)): sanitise(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [sanitise(item) for item in value]
    return value


def sanitise_facts(facts: dict[str, Any], null_reasons: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Facts of a record and their reasons; a value that had to be left out gets the reason `unknown_shape`."""
    fitted = {name: sanitise(value) for name, value in facts.items()}
    lost = [name for name, value in fitted.items() if value is None and facts[name] is not None]
    return fitted, sanitise(null_reasons) | dict.fromkeys(lost, "unknown_shape")
