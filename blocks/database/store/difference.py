"""What a re-parse changes, as counts by table and column, with a few posts as examples; never a text of anybody's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Row

Key = tuple[str, str]

EXAMPLES = 3
"""So many examples are kept of each column."""


@dataclass(slots=True)
class ColumnChanges:
    """How often a column got a value that was null, lost its value, or has another; examples are `platform:id`."""

    gained: int = 0
    lost: int = 0
    changed: int = 0
    examples: list[str] = field(default_factory=list)

    def note(self, key: Key, old: Any, new: Any) -> None:
        """Count one row's change."""
        if old is None:
            self.gained += 1
        elif new is None:
            self.lost += 1
        else:
            self.changed += 1
        example = ":".join(key)
        if len(self.examples) < EXAMPLES and example not in self.examples:
            self.examples.append(example)


@dataclass(slots=True)
class Difference:
    """The difference between the rows as they are and as the mappers would make them now.

    `answers` were parsed; `missing` have no body or no post. `restamped` posts differ in nothing but the mapper's
    version. `no_longer_understood` posts have an answer that was understood once; their rows stay as they are.
    `taken_back` answers turned out to be about another post than the one whose rows they filled.
    """

    answers: int = 0
    missing: int = 0
    touched: Counter[str] = field(default_factory=Counter)
    """Rows that differ in any column, by table."""
    columns: dict[str, dict[str, ColumnChanges]] = field(default_factory=dict)
    added: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    recovered_posts: int = 0
    recovered_snapshots: int = 0
    resolved_failures: int = 0
    gone: int = 0
    not_understood: int = 0
    no_longer_understood: int = 0
    taken_back: int = 0
    restamped: int = 0

    def compare(self, table: str, key: Key, old: Row[Any], new: Mapping[str, Any], columns: Sequence[str]) -> bool:
        """Count the columns in which a row differs; whether there are any."""
        was = old._mapping
        others = [name for name in columns if _plain(was[name]) != _plain(new[name])]
        for name in others:
            self.columns.setdefault(table, {}).setdefault(name, ColumnChanges()).note(
                key, _plain(was[name]), _plain(new[name])
            )
        if others:
            self.touched[table] += 1
        return bool(others)

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs but, at most, the mapper's version."""
        return not (
            self.columns or +self.added or +self.removed or self.recovered_posts or self.recovered_snapshots
        ) and not (self.resolved_failures or self.gone or self.taken_back)

    def as_dict(self) -> dict[str, Any]:
        """All counts as plain values."""
        columns = {
            table: {name: asdict(changes) for name, changes in sorted(changes.items())}
            for table, changes in sorted(self.columns.items())
        }
        sums = {name: getattr(self, name) for name in _SUMS}
        plain = {name: dict(value) if isinstance(value, Counter) else value for name, value in sums.items()}
        return {**plain, "columns": columns}

    def add(self, other: Difference) -> None:
        """Take in the difference of further posts."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for table, columns in other.columns.items():
            for name, more in columns.items():
                mine = self.columns.setdefault(table, {}).setdefault(name, ColumnChanges())
                mine.gained += more.gained
                mine.lost += more.lost
                mine.changed += more.changed
                mine.examples = (mine.examples + more.examples)[:EXAMPLES]


_SUMS = (
    "answers", "missing", "touched", "added", "removed", "recovered_posts", "recovered_snapshots",
    "resolved_failures", "gone", "not_understood", "no_longer_understood", "taken_back", "restamped",
)  # fmt: skip


def _plain(value: Any) -> Any:
    """Empty mappings are as good as none: a row that was never measured has neither reasons nor extras."""
    return None if value == {} else value
