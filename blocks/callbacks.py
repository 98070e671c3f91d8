"""What a callback says of an import task, whatever form it came in; a hint, never the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["succeeded", "failed", "indexed", "other"]


@dataclass(frozen=True, slots=True)
class Callback:
    """One piece of news about a task: `status` in capitals, a code as SUCCEEDED or FAILED; `event_id` tells the same
    news again, whichever generation of callbacks it comes in."""

    event_id: str
    task_id: str
    status: str
    video_no: str | None = None
    message: str | None = None

    @property
    def kind(self) -> Kind:
        """What it says; `other` where nobody knows such a status, or a single video is concerned otherwise."""
        return kind_of(self.status, self.video_no)


def kind_of(status: str, video_no: str | None) -> Kind:
    """What a status says: of the import, or of one video of it."""
    if video_no is not None:
        return "indexed" if status in ("INDEXING_SUCCEEDED", "SUCCEEDED", "PARSE") else "other"
    if status == "SUCCEEDED":
        return "succeeded"
    return "failed" if status == "FAILED" else "other"
