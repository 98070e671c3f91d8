"""Counts, while rows go by, how many values of each column are filled, and for which reasons the others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

UNSTATED: Final = "unstated"
"""The reason of an empty value where the row has no list of reasons, or none for it: see the column's meaning."""

_BY_STATUS: Final = {"pending": "not_measured_yet", "failed": "fetch_failed", "gone": "post_gone"}


@dataclass(frozen=True, slots=True)
class ColumnCoverage:
    """How far one column is filled; `share` is None where there are no rows."""

    name: str
    filled: int
    rows: int
    reasons: dict[str, int]

    @property
    def share(self) -> float | None:
        return self.filled / self.rows if self.rows else None


class Coverage:
    """The filled values and the reasons of the others, column by column, of all rows that went through `of`."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self.rows = 0
        self._empty: dict[str, Counter[str]] = {name: Counter() for name in columns}

    def of(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The same rows, counted as they go by; memory does not grow with them."""
        for row in rows:
            self.count(row)
            yield row

    def count(self, row: Mapping[str, Any]) -> None:
        """Count one row, which has these columns and no other."""
        self.rows += 1
        empty = [name for name, value in row.items() if value is None]
        if empty:
            reasons = row.get("null_reasons") or {}
            otherwise = _BY_STATUS.get(str(row.get("status")), UNSTATED)
            for name in empty:
                self._empty[name][str(reasons.get(name, otherwise))] += 1

    def by_column(self) -> list[ColumnCoverage]:
        """What was counted so far, in the order of the columns; reasons with the most frequent first."""
        found = []
        for name, reasons in self._empty.items():
            ordered = dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
            found.append(ColumnCoverage(name, self.rows - sum(reasons.values()), self.rows, ordered))
        return found
