"""What the set-up tells about each thing: made now, brought up to date, or there already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Did = Literal["made", "updated", "kept", "missing"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the set-up looked after; `note` is what there is to say of it, never a secret."""

    kind: str
    name: str
    did: Did
    note: str = ""

    @property
    def sentence(self) -> str:
        """The step as one line."""
        words = {"made": "made", "updated": "brought up to date", "kept": "stood already", "missing": "NOT made"}
        return f"{self.kind} {self.name}: {words[self.did]}{f'; {self.note}' if self.note else ''}"
