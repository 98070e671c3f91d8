"""The sandbox's scenarios: switches over its behaviour, and faults that call a fixed share of the calls."""

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

    `kind` names an entry of `faults.KINDS`. A call is faulted if its number leaves `residue` when divided by `every`
    (the last of each group by default). The number is, for metadata, the post's place in its hashtag, newest
    first from 0 (for a post known by its URL alone, one drawn from its id); for status the poll of that import
    from 0; for a submission the attempt at that same target from 0. `times` bounds how often one post, import or
    target is faulted (None: always); `after` is how many metadata calls must have been answered well, since the
    scenario began, before anything happens; `channels` narrows metadata faults.
    """

    on: Call
    kind: str
    every: int = 5
    residue: int = -1
    times: int | None = 1
    after: int = 0
    channels: tuple[str, ...] = ()

    def is_due(self, number: int) -> bool:
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
        faulted = tuple(replace(fault, **faults) for fault in self.faults) if faults else self.faults
        return replace(self, faults=faulted, **own)


def _metadata(about: str, kind: str, *, times: int | None = 1) -> Scenario:
    return Scenario(about=about, faults=(Fault(on="metadata", kind=kind, times=times),))


def _everywhere(about: str, kind: str) -> Scenario:
    """Each first submission of a target, every fourth poll, and the first call of every fifth post."""
    faults = (
        Fault(on="submit", kind=kind, every=1),
        Fault(on="status", kind=kind, every=4, residue=1, times=None),
        Fault(on="metadata", kind=kind),
    )
    return Scenario(about=about, faults=faults)


def _halting(kind: str, about: str, *, after: int, also_status: bool) -> Scenario:
    """From the moment when `after` metadata calls were answered well, everything that costs is refused."""
    calls: tuple[Call, ...] = ("submit", "metadata", "status") if also_status else ("submit", "metadata")
    return Scenario(
        about=about, faults=tuple(Fault(on=call, kind=kind, every=1, times=None, after=after) for call in calls)
    )


# Kinds of fault after which the same call is answered well.
_PASSING = (
    "html_500", "html_502", "spring_503", "truncated", "cut", "not_json", "empty_body", "reset", "close",
    "network", "busy_text", "busy_http", "limit_text", "limit_http",
)  # fmt: skip

_LIMITED = _everywhere("", "limit_http")

SCENARIOS: dict[str, Scenario] = {
    "default": Scenario(about="a hashtag finds TikTok and Instagram posts in turn; all goes well"),
    "today": Scenario(about="as the real service today: a hashtag finds TikTok posts only", platforms=("tiktok",)),
    "three-platforms": Scenario(
        about="a hashtag finds TikTok, Instagram and YouTube posts in turn",
        platforms=("tiktok", "instagram", "youtube"),
    ),
    "few-posts": Scenario(about="a hashtag has seven posts at the start, however many are asked for", stock=7),
    "shared-posts": Scenario(about="every fifth post is found by every hashtag", shared_every=5),
    "extremes": Scenario(about="posts with more plays than 32 bits can count", extremes=True),
    # Too many requests.
    "too-many-text": _everywhere('"0429" in HTTP 200: first submit, some polls, every fifth post once', "limit_text"),
    "too-many-http": _everywhere("the same as HTTP 429 with a whole number as code", "limit_http"),
    "retry-after-seconds": replace(_LIMITED, about="HTTP 429 with Retry-After: 1", retry_after="seconds"),
    "retry-after-date": replace(_LIMITED, about="HTTP 429 with Retry-After as a date 2 s ahead", retry_after="date"),
    "retry-after-absurd": replace(_LIMITED, about="HTTP 429 with Retry-After of ten days", retry_after="absurd"),
    "lower-limit": Scenario(
        about="metadata is limited to 5 a second, half of what is documented", metadata_per_second=5.0
    ),
    # Faults of servers and wires; every fifth post, once, unless the line says otherwise.
    "html-500": _metadata("HTTP 500 with an HTML page for every fifth post, once", "html_500"),
    "html-502": _metadata("HTTP 502 with an HTML page for every fifth post, once", "html_502"),
    "html-503": _metadata("HTTP 503 with an HTML page for every fifth post, once", "html_503"),
    "html-always": _metadata("HTTP 502 with an HTML page for every fifth post, always", "html_502", times=None),
    "html-status": Scenario(
        about="every second poll of an import gets HTTP 502 with an HTML page",
        faults=(Fault(on="status", kind="html_502", every=2, residue=0, times=None),),
    ),
    "submit-html-503": Scenario(
        about="each first submission gets HTTP 503 with HTML; nothing was started",
        faults=(Fault(on="submit", kind="html_503", every=1),),
    ),
    "spring-503": _everywhere(
        "HTTP 503, framework's body: first submit, some polls, every fifth post once", "spring_503"
    ),
    "spring-404": Scenario(
        about="HTTP 404 with the framework's body for unknown paths and for the first two polls of an import",
        spring_404=True,
        faults=(Fault(on="status", kind="spring_404", every=1, times=2),),
    ),
    "truncated-body": _metadata("JSON that stops in the middle, for every fifth post, once", "truncated"),
    "cut-connection": _metadata("the connection ends before the stated length, for every fifth post, once", "cut"),
    "not-json": _metadata("HTTP 200 with a page of HTML for every fifth post, once", "not_json"),
    "json-no-envelope": _metadata("HTTP 200 with a bare JSON list for every fifth post, once", "no_envelope"),
    "empty-body": _metadata("HTTP 200 with no body for every fifth post, once", "empty_body"),
    "unreadable-always": _metadata("HTTP 200 with a page of HTML for every fifth post, always", "not_json", times=None),
    "slow-drip": _metadata("a byte every 0.2 s, without end, for every fifth post, once", "drip"),
    "slow-drip-always": _metadata("a byte every 0.2 s, without end, for every fifth post, always", "drip", times=None),
    "reset": _metadata("the connection is reset before an answer, for every fifth post, once", "reset"),
    "reset-status": Scenario(
        about="every second poll of an import is reset",
        faults=(Fault(on="status", kind="reset", every=2, residue=0, times=None),),
    ),
    "hang-up": _metadata("the connection is closed without an answer, for every fifth post, once", "close"),
    "answer-lost": _metadata(
        "metadata is worked out (and billed), then the connection drops; once", "served_then_reset"
    ),
    "submit-dropped": Scenario(
        about="the first submission of each target is accepted, and the connection drops before the answer",
        faults=(Fault(on="submit", kind="served_then_reset", every=1),),
    ),
    "submit-reset": Scenario(
        about="the first submission of each target is reset before it is accepted; nothing was started",
        faults=(Fault(on="submit", kind="reset", every=1),),
    ),
    "submit-slow": Scenario(
        about="the first submission of each target is accepted, and its answer never ends",
        faults=(Fault(on="submit", kind="drip", every=1),),
    ),
    "submit-unclear": Scenario(
        about="the first submission of each target is accepted; code of success, success false, no data",
        faults=(Fault(on="submit", kind="served_unclear", every=1),),
    ),
    "slow": Scenario(about="every answer takes 400 ms more", latency_ms=400.0),
    # Refusals.
    "network-abnormal": _everywhere('code 0001 "network abnormal" once, then success', "network"),
    "busy": _everywhere('code 0409 "Service is busy" once, then success', "busy_text"),
    "busy-http": _everywhere("HTTP 409 with a whole number once, then success", "busy_http"),
    "submit-duplicate": Scenario(
        about="each first submission is refused as a repeated operation (0409)",
        faults=(Fault(on="submit", kind="duplicate", every=1),),
    ),
    "no-credits": _halting("credits", "no credits from the start (0402)", after=0, also_status=False),
    "credits-gone": _halting("credits", "credits are gone after 10 metadata calls (0402)", after=10, also_status=False),
    "key-revoked": _halting("key", "the key is refused after 10 metadata calls (0401)", after=10, also_status=True),
    "account-disabled": _halting(
        "account", "the account is disabled after 10 metadata calls (0403)", after=10, also_status=True
    ),
    "key-for-imports": Scenario(
        about="the key is good for imports (v1) and refused for metadata (v2)",
        faults=(Fault(on="metadata", kind="key", every=1, times=None),),
    ),
    "permission-denied": Scenario(
        about="submissions are refused with 9009, permission denied",
        faults=(Fault(on="submit", kind="permission", every=1, times=None),),
    ),
    "not-found": _metadata('every fifth post: code 0001 "video not found", on every channel', "not_found", times=None),
    "bad-parameters": _metadata("every fifth post is refused as a bad parameter, on every channel", "bad", times=None),
    "apify-refuses": Scenario(
        about="channel apify refuses every fifth post as a bad parameter; the others serve it",
        faults=(Fault(on="metadata", kind="bad", times=None, channels=("apify",)),),
    ),
    "apify-down": Scenario(
        about="channel apify answers everything with HTTP 503; the others serve",
        faults=(Fault(on="metadata", kind="html_503", every=1, times=None, channels=("apify",)),),
    ),
    "channels-down": Scenario(
        about="every channel answers all metadata calls with HTTP 503",
        faults=(Fault(on="metadata", kind="html_503", every=1, times=None),),
    ),
    "tiktok-handle-only": Scenario(
        about="TikTok's player/v1 URLs are refused; any handle opens a post, as on TikTok's own pages",
        tiktok_forms=("handle", "placeholder"),
    ),
    "tiktok-author-only": Scenario(
        about="TikTok's player/v1 URLs are refused, and so is @_ in place of the handle", tiktok_forms=("handle",)
    ),
    "tiktok-player-only": Scenario(about="TikTok's @handle/video URLs are refused", tiktok_forms=("player",)),
    "instagram-reel-only": Scenario(
        about="Instagram's /p/ URLs are refused, those of /reel/ and /reels/ taken", instagram_forms=("reel", "reels")
    ),
    # Payloads.
    "null-media": _metadata("every fifth post is private or removed: media null, list empty", "null_media", times=None),
    "null-data": _metadata("every fifth post: success with data null", "null_data", times=None),
    "unknown-shape": _metadata(
        "every fifth post has a payload of a shape that nobody knows", "unknown_shape", times=None
    ),
    "wrong-post": _metadata("every fifth post is answered with the payload of another", "wrong_post", times=None),
    "strings": Scenario(about="counts in metadata are texts", counts_as_text=True),
    # Codes.
    "codes-as-text": Scenario(about='refusals are text codes in HTTP 200 on v1 and v2 ("0429")', code_form="text"),
    "codes-as-numbers": Scenario(
        about="success is code 200, refusals are whole numbers that equal the status, on v1 and v2",
        code_form="http",
        success_code=200,
        flags=False,
    ),
    "bare-codes": Scenario(about="success is code 0 without the flags success and failed", success_code=0, flags=False),
    # Imports.
    "ids-only": Scenario(about="polls list video_ids only: no URL at all", id_list="video_ids"),
    "ids-as-strings": Scenario(about="the list videos holds bare ids", id_list="strings"),
    "no-url": Scenario(
        about="every fifth item of an import has its video_url empty, null or missing", url_missing_every=5
    ),
    "camel-case": Scenario(about="items are written videoNo instead of video_no", id_key="videoNo"),
    "numbers": Scenario(about="duration and create_time of items are numbers", item_numbers=True),
    "failed-items": Scenario(
        about="every fifth item of an import fails: FAIL, FAILED, PARSE_ERROR, ERROR in turn",
        statuses=("FAIL", "FAILED", "PARSE_ERROR", "ERROR"),
    ),
    "unknown-status": Scenario(
        about="every fifth item has a status that nobody knows, or none", statuses=("SIMMERING", None, "null", "")
    ),
    "never-fills": Scenario(about="an import stays empty for ever", stays_empty=True),
    "creators-empty": Scenario(about="imports of creators stay empty for ever", creators_stay_empty=True),
    "fills-late": Scenario(
        about="three items come soon, the others 300 s later: after the quiet time", pause_after=3, pause_seconds=300.0
    ),
    "first-late": Scenario(about="the first item comes after 1,200 s: after the deadline", first_item_seconds=1200.0),
    "no-videos-code": Scenario(
        about='an empty import is answered with code 0001 "no videos found"', empty_is_refused=True
    ),
    "namespace-lost": Scenario(about="imports land in another namespace: polls stay empty", namespace_lost=True),
    "duplicate-items": Scenario(
        about="every item is listed twice, in another order at each poll", duplicate_items=True, shuffle_items=True
    ),
    "out-of-order": Scenario(about="items come in another order at each poll", shuffle_items=True),
    "renumbered": Scenario(about="video numbers change between polls", renumber=True),
    "otherwise": Scenario(
        about="all that the contract leaves open comes out the other way: codes, flags, names, forms, counts, shapes",
        code_form="text",
        success_code=200,
        flags=False,
        surplus_posts=2,
        task_key="task_id",
        tiktok_listed_as="handle",
        url_when_ready=True,
        id_key="videoNo",
        item_numbers=True,
        empty_is_refused=True,
        callbacks_refused=True,
        tiktok_forms=("player",),
        instagram_forms=("reel", "reels"),
        faults=(Fault(on="metadata", kind="unknown_shape", every=1, times=None, channels=("apify",)),),
    ),
    # Callbacks.
    "callbacks-old": Scenario(about="callbacks of the old generation only", callbacks="old"),
    "callbacks-messy": Scenario(
        about="callbacks of both generations, twice each and out of order", callbacks="both", callbacks_messy=True
    ),
    "callbacks-failed": Scenario(
        about="imports stay empty and the callback says FAILED",
        stays_empty=True,
        callbacks="both",
        callback_status="FAILED",
    ),
    # All together.
    "storm": Scenario(
        about="many passing faults at once; every post can be had in the end",
        faults=(
            *(Fault(on="metadata", kind=kind, every=24, residue=place) for place, kind in enumerate(_PASSING)),
            Fault(on="status", kind="html_502", every=5, residue=1, times=None),
            Fault(on="status", kind="reset", every=5, residue=3, times=None),
            Fault(on="submit", kind="limit_text", every=1),
        ),
        duplicate_items=True,
        shuffle_items=True,
    ),
}


class UnknownScenario(ValueError):
    """A scenario that does not exist; the message lists those that do."""


def scenario_named(name: str) -> Scenario:
    """The scenario of that name.

    Raises:
        UnknownScenario: there is none; the message lists all names with their meaning.
    """
    if name not in SCENARIOS:
        width = max(map(len, SCENARIOS))
        lines = "\n".join(f"  {known:{width}}  {one.about}" for known, one in SCENARIOS.items())
        raise UnknownScenario(f"there is no scenario {name!r}; there are:\n{lines}")
    return SCENARIOS[name]
