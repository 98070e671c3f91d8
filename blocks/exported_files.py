"""Which files were exported, so that a purge can name those that may hold what was erased."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

FILE = "exports.jsonl"
"""In the home: one JSON object a line."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written: what it holds (`posts`, `comments` …), when it was written, and how many rows."""

    path: Path
    what: str
    rows: int | None
    at: str

    @property
    def is_there(self) -> bool:
        return self.path.exists()


def note_export(home: Path, path: Path, what: str, rows: int | None, at: datetime) -> None:
    """Write down that a file was exported; `rows` None where nobody counted.

    Raises:
        OSError: the home cannot be written.
    """
    from blocks.database.store.export import iso

    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = json.dumps({"path": str(path.absolute()), "what": what, "rows": rows, "at": iso(at)})
    # One write of one line: commands that export at the same moment do not mix theirs.
    file = os.open(home / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def exported(home: Path) -> list[Exported]:
    """The exported files that are still there, each once (its last export), oldest first."""
    last: dict[Path, Exported] = {}
    for one in _lines(home / FILE):
        last.pop(one.path, None)
        last[one.path] = one
    return [one for one in last.values() if one.is_there]


def _lines(path: Path) -> Iterator[Exported]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            yield Exported(Path(entry["path"]), str(entry["what"]), entry["rows"], str(entry["at"]))
        except (ValueError, KeyError, TypeError):
            # A line that a full disk cut off says nothing.
            continue
