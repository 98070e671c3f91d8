"""Failures: what was given up and why, open until a later success closes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, get_args

from sqlalchemy import Connection, bindparam, select, update

from blocks.database.store.statements import insert_into, one_of, sanitise, sanitise_text, table_of, write_rows
from blocks.database.tables import Failure
from blocks.errors import MemoriesError, TagtrailError
from blocks.posts.identity import item_key
from blocks.posts.record import Channel, PostRef

Stage = Literal["submit", "poll", "identify", "metadata", "parse", "store"]
ALL_STAGES: tuple[Stage, ...] = get_args(Stage)
# A post's metadata passed all of these once it is stored.
POST_STAGES: tuple[Stage, ...] = ("metadata", "parse", "store")

_failures = table_of(Failure)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """One thing that was given up; `item_key` is `platform:post_id`, or `IMPORT_ID/ITEM_KEY` where no post is known.

    `attempts` counts all calls made for it, `code` is the API's code as text, `message` one sentence.
    """

    item_key: str
    stage: Stage
    error_class: str
    message: str
    attempts: int
    code: str | None = None
    ref: PostRef | None = None
    url: str | None = None
    channel: Channel | None = None
    raw_sha256: str | None = None
    import_id: str | None = None
    run_id: str | None = None

    @classmethod
    def post(
        cls,
        ref: PostRef,
        stage: Stage,
        error: TagtrailError,
        *,
        attempts: int,
        channel: Channel | None = None,
        raw_sha256: str | None = None,
        run_id: str | None = None,
    ) -> GivenUp:
        """A post that was given up for `error`."""
        return cls(
            item_key=item_key(ref),
            stage=stage,
            error_class=error.error_class,
            message=str(error),
            attempts=attempts,
            code=error.code if isinstance(error, MemoriesError) else None,
            ref=ref,
            url=ref.url,
            channel=channel,
            raw_sha256=raw_sha256,
            run_id=run_id,
        )


def give_up(conn: Connection, failures: Sequence[GivenUp], now: datetime) -> None:
    """Write a failure row for each; an open one of the same item and stage is brought up to date instead.

    `first_at` stays, the rest is the latest failure's, so that giving up twice changes no count.
    """
    rows = [
        {
            "item_key": failure.item_key,
            "platform": failure.ref.platform if failure.ref else None,
            "post_id": failure.ref.post_id if failure.ref else None,
            "url": sanitise(failure.url),
            "stage": failure.stage,
            "error_class": failure.error_class,
            "code": sanitise(failure.code),
            "message": sanitise_text(failure.message),
            "attempts": failure.attempts,
            "channel": failure.channel,
            "raw_sha256": failure.raw_sha256,
            "import_id": failure.import_id,
            "run_id": failure.run_id,
            "first_at": now,
            "last_at": now,
        }
        for failure in sorted(failures, key=lambda failure: (failure.item_key, failure.stage))
    ]
    write_rows(conn, _UPSERT, rows)


def _upsert_open() -> Any:
    statement = insert_into(_failures)
    kept = {"failure_id", "item_key", "stage", "first_at", "resolved_at"}
    return statement.on_conflict_do_update(
        index_elements=["item_key", "stage"],
        index_where=_failures.c.resolved_at.is_(None),
        set_={column.name: statement.excluded[column.name] for column in _failures.c if column.name not in kept},
    )


_UPSERT = _upsert_open()


def resolve(conn: Connection, item_keys: Iterable[str], now: datetime, *, stages: Sequence[Stage] | None = None) -> int:
    """Close the open failures of items, at some stages or at all; how many there were."""
    at_stages = ALL_STAGES if stages is None else tuple(stages)
    rows = [{"of_item": key, "at": now} for key in sorted(set(item_keys))]
    return conn.execute(_close(at_stages), rows).rowcount if rows else 0


@lru_cache(maxsize=8)
def _close(stages: tuple[Stage, ...]) -> Any:
    of_item = (_failures.c.item_key == bindparam("of_item"), one_of(_failures.c.stage, stages))
    return update(_failures).where(*of_item, _failures.c.resolved_at.is_(None)).values(resolved_at=bindparam("at"))


def find(
    conn: Connection,
    *,
    error_class: str | None = None,
    platform: str | None = None,
    stages: Sequence[Stage] | None = None,
    older_than: datetime | None = None,
    run_id: str | None = None,
    limit: int | None = None,
) -> list[Failure]:
    """Open failures, oldest first; `older_than` compares with the last attempt's time, `run_id` is that attempt's."""
    query = select(_failures).where(_failures.c.resolved_at.is_(None))
    if run_id is not None:
        query = query.where(_failures.c.run_id == run_id)
    if error_class is not None:
        query = query.where(_failures.c.error_class == error_class)
    if platform is not None:
        query = query.where(_failures.c.platform == platform)
    if stages is not None:
        query = query.where(_failures.c.stage.in_(stages))
    if older_than is not None:
        query = query.where(_failures.c.last_at < older_than)
    query = query.order_by(_failures.c.first_at, _failures.c.failure_id).limit(limit)
    return [Failure(**row._mapping) for row in conn.execute(query)]


def of_import(conn: Connection, import_id: str) -> list[Failure]:
    """All failures of an import's listed items that name no post, open or closed."""
    query = select(_failures).where(_failures.c.import_id == import_id, _failures.c.stage == "identify")
    return [Failure(**row._mapping) for row in conn.execute(query.order_by(_failures.c.item_key))]
