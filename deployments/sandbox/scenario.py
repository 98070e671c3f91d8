"""What a scenario is: switches over the sandbox's behaviour, and faults that befall a fixed share of the calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

Call = Literal["submit", "status", "metadata"]
CodeForm = Literal["documented", "text", "http"]
RetryAfter = Literal["", "seconds", "date", "absurd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong with some calls, always with the same ones.

    `kind` names an entry of `weather.KINDS`. A call is struck if its number leaves `residue` when divided by `every`
    (the last of each group by default). The number is, for metadata, the post's place in its hashtag, newest
    first from 0 (for a post known by its URL alone, one drawn from its id); for status the poll of that import
    from 0; for a submission the attempt at that same wish from 0. `times` bounds how often one post, import or
    wish is struck (None: always); `after` is how many metadata calls must have been answered well, since the
    scenario began, before anything happens; `channels` narrows metadata faults.
    """

    on: Call
    kind: str
    every: int = 5
    residue: int = -1
    times: int | None = 1
    after: int = 0
    channels: tuple[str, ...] = ()

    def strikes(self, number: int) -> bool:
        return number % self.every == self.residue % self.every


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One way in which the sandbox behaves; `about` says it in one line.

    Seconds are virtual, except those of `latency_ms`. `*_every` counts items of an import from its first
    (5: each fifth; 0: none).
    """

    about: str
    faults: tuple[Fault, ...] = ()
    # What a hashtag has.
    platforms: tuple[str, ...] = ("tiktok", "instagram")
    stock: int | None = None
    shared_every: int = 0
    surplus_posts: int = 0
    # How answers are written.
    code_form: CodeForm = "documented"
    success_code: str | int = "0000"
    flags: bool = True
    retry_after: RetryAfter = ""
    spring_404: bool = False
    # How an import is named, and how its items are written.
    task_key: Literal["taskId", "task_id"] = "taskId"
    tiktok_listed_as: Literal["player", "handle"] = "player"
    url_when_ready: bool = False
    id_list: Literal["videos", "video_ids", "videoIds", "strings"] = "videos"
    id_key: Literal["video_no", "videoNo", "video_id", "videoId"] = "video_no"
    item_numbers: bool = False
    url_missing_every: int = 0
    statuses: tuple[str | None, ...] = ()
    status_every: int = 5
    duplicate_items: bool = False
    shuffle_items: bool = False
    renumber: bool = False
    # When they appear.
    first_item_seconds: float = 5.0
    parse_seconds: float = 6.0
    pause_after: int = 0
    pause_seconds: float = 0.0
    stays_empty: bool = False
    creators_stay_empty: bool = False
    empty_is_refused: bool = False
    namespace_lost: bool = False
    # Metadata.
    counts_as_text: bool = False
    extremes: bool = False
    tiktok_forms: tuple[str, ...] = ("player", "handle", "placeholder")
    instagram_forms: tuple[str, ...] = ("p", "reel", "reels", "tv")
    metadata_per_second: float = 10.0
    latency_ms: float = 0.0
    # Callbacks.
    callbacks: Literal["new", "old", "both"] = "new"
    callbacks_messy: bool = False
    callbacks_refused: bool = False
    callback_status: Literal["SUCCEEDED", "FAILED"] = "SUCCEEDED"

    def changed(self, changes: Mapping[str, Any]) -> Scenario:
        """This scenario with some switches changed; `every`, `times` and `after` change every fault.

        Raises:
            ValueError: a name that is no switch.
        """
        known = {field.name for field in fields(Scenario)} - {"faults"}
        own: dict[str, Any] = {}
        faults: dict[str, Any] = {}
        for name, value in changes.items():
            if name in ("every", "times", "after"):
                faults[name] = value
            elif name in known:
                own[name] = tuple(value) if isinstance(value, list) else value
            else:
                raise ValueError(f"a scenario has no switch {name!r}; it has {', '.join(sorted(known))}")
        struck = tuple(replace(fault, **faults) for fault in self.faults) if faults else self.faults
        return replace(self, faults=struck, **own)
