"""Column types and short forms that all tables share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, DateTime, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC on every engine; SQLite forgets time zones, so they are put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone was about to be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def text_column(**more: Any) -> Any:
    return Field(sa_column=Column(Text, **more))


def time_column(**more: Any) -> Any:
    return Field(default=None, sa_column=Column(UtcDateTime, **more))


def count_column() -> Any:
    return Field(default=None, sa_column=Column(BigInteger))


def json_column(**more: Any) -> Any:
    return Field(default=None, sa_column=Column(JSON(none_as_null=True), **more))
