"""One thing that Tagtrail needs on a Prefect server: `setup` makes it so, `doctor` says how it stands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

Did = Literal["made", "updated", "kept", "missing"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """What the set-up does about one thing; `note` is what there is to say of it, never a secret."""

    kind: str
    name: str
    did: Did
    note: str = ""
    stands: T | None = field(default=None, repr=False)
    """The thing as the server has it; None where it is missing."""
    differences: tuple[str, ...] = ()
    """What of it stands otherwise than Tagtrail would make it, for people."""
    set_by_user: tuple[str, ...] = ()
    """What of it the user changed, which stays so."""
    change: Callable[[], Awaitable[object]] | None = field(default=None, repr=False)

    async def apply(self) -> None:
        """Make it, or bring it up to date, where there is something to do."""
        if self.change is not None:
            await self.change()

    @property
    def sentence(self) -> str:
        """What was done, as one line."""
        words = {"made": "made", "updated": "brought up to date", "kept": "stood already", "missing": "NOT made"}
        return f"{self.kind} {self.name}: {words[self.did]}{f'; {self.note}' if self.note else ''}"

    @property
    def document(self) -> dict[str, Any]:
        """What was done, as `setup --json` writes it."""
        return {"kind": self.kind, "name": self.name, "did": self.did, "note": self.note}
