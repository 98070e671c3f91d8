"""The open points of the API's contract, as a table: what was assumed, what a live look brought, and what that says.

Each point is what the vendor's documents say or leave open. Tagtrail works either way; reports may call a point
confirmed only once `doctor --live` has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from blocks.memories.requests import STATUS_PATH, url_form
from blocks.memories.responses import load_json
from blocks.posts.identity import platform_of
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import CHANNELS, Channel

SUBMIT_PATHS = ("/scraper_tag", "/scraper_tag_public")

Verdict = Literal["confirmed", "contradicted", "unknown"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: `document` is its JSON object, None where it is none."""

    endpoint: str
    http_status: int
    document: dict[str, Any] | None

    @property
    def code(self) -> Any:
        return None if self.document is None else self.document.get("code")

    @property
    def is_success(self) -> bool:
        """By the code alone, as the contract lists them."""
        document = self.document or {}
        return str(document.get("code")) in ("0000", "0", "200") and document.get("failed") is not True

    @property
    def version(self) -> int:
        return 2 if self.endpoint in {spec.metadata_path for spec in PLATFORMS.values()} else 1


@dataclass(frozen=True, slots=True)
class Metered:
    """What came of one metadata call: the shape that was read, or the class of the error and its words."""

    shape: str | None = None
    error: str | None = None
    said: str = ""
    forms: Mapping[str, bool] = field(default_factory=dict)
    """The forms of the post's URL that were answered (see `requests.url_form`), and whether each was served."""


@dataclass(slots=True)
class Evidence:
    """All that was seen. `hashtag_platforms`: posts that hashtag imports of this account ever listed, by platform."""

    answers: list[Answer] = field(default_factory=list)
    unknown_task: Answer | None = None
    callback_sent: bool = False
    namespace: str = "default"
    requested: int = 1
    metadata: dict[tuple[str, str], Metered] = field(default_factory=dict)
    hashtag_platforms: Mapping[str, int] = field(default_factory=dict)

    def witness(self, endpoint: str, http_status: int, body: bytes) -> None:
        """Take an answer in (see `MemoriesClient`)."""
        try:
            document = load_json(body)
        except ValueError:
            document = None
        self.answers.append(Answer(endpoint, http_status, document if isinstance(document, dict) else None))

    @property
    def submission(self) -> Answer | None:
        """The answer to the import's submission."""
        return next((one for one in reversed(self.answers) if one.endpoint in SUBMIT_PATHS), None)

    def lists(self) -> Iterator[dict[str, Any]]:
        """The `data` of each poll of the import that listed something."""
        for one in self.answers:
            if one.endpoint == STATUS_PATH and one is not self.unknown_task and one.is_success:
                data = (one.document or {}).get("data")
                if isinstance(data, dict) and any(isinstance(value, list) and value for value in data.values()):
                    yield data

    def items(self) -> list[dict[str, Any]]:
        """The listed items that are objects, of all polls."""
        return [
            item
            for data in self.lists()
            for listed in data.values()
            if isinstance(listed, list)
            for item in listed
            if isinstance(item, dict)
        ]


Judged = tuple[Verdict, str]

MANY_POSTS: Final = 20
"""So many posts of one platform alone make it likely that a hashtag import finds no other."""


@dataclass(frozen=True, slots=True)
class Point:
    """One open point: a name for machines, what was assumed, and who judges it."""

    name: str
    assumed: str
    judge: Callable[[Evidence], Judged]


@dataclass(frozen=True, slots=True)
class Finding:
    """What the evidence says of a point."""

    name: str
    assumed: str
    verdict: Verdict
    said: str

    @property
    def line(self) -> str:
        """The finding as one line."""
        said = f" ({self.said})" if self.said else ""
        return f"{self.verdict:<13}{self.assumed}{said}"


def judge(evidence: Evidence) -> list[Finding]:
    """Every point, in the table's order."""
    return [Finding(point.name, point.assumed, *point.judge(evidence)) for point in POINTS]


def _all(found: Sequence[Any], wanted: Callable[[Any], bool], nothing: str, differs: Callable[[Any], str]) -> Judged:
    """Confirmed where all are as wanted, contradicted by the first that is not, unknown where there is none."""
    if not found:
        return "unknown", nothing
    wrong = [one for one in found if not wanted(one)]
    return ("contradicted", differs(wrong[0])) if wrong else ("confirmed", "")


def _successes(version: int) -> Callable[[Evidence], Judged]:
    def look(evidence: Evidence) -> Judged:
        found = [one for one in evidence.answers if one.version == version and one.is_success]
        return _all(found, lambda one: one.code == "0000", "no success was seen", lambda one: f"code {one.code!r}")

    return look


def _flags(evidence: Evidence) -> Judged:
    found = [one for one in evidence.answers if one.document is not None and one.code is not None]
    return _all(
        found,
        lambda one: {"success", "failed"} <= one.document.keys(),
        "no envelope was seen",
        lambda one: f"they are missing at {one.endpoint}",
    )


def _refusals(version: int, wanted: Callable[[Answer], bool]) -> Callable[[Evidence], Judged]:
    def look(evidence: Evidence) -> Judged:
        refused = [one for one in evidence.answers if one.version == version and not one.is_success and one.code]
        return _all(
            refused, wanted, "no refusal was seen", lambda one: f"HTTP {one.http_status} with code {one.code!r}"
        )

    return look


def _task_id(evidence: Evidence) -> Judged:
    submitted = evidence.submission
    if submitted is None or not submitted.is_success:
        return "unknown", "no import was accepted in this look"
    data = (submitted.document or {}).get("data")
    keys = sorted(data) if isinstance(data, dict) else []
    return ("confirmed", "") if "taskId" in keys else ("contradicted", f"its keys are {', '.join(keys) or 'none'}")


def _list(evidence: Evidence) -> Judged:
    def items_are_objects(data: dict[str, Any]) -> bool:
        videos = data.get("videos")
        return isinstance(videos, list) and bool(videos) and all(isinstance(item, dict) for item in videos)

    return _all(
        list(evidence.lists()),
        items_are_objects,
        "nothing was listed",
        lambda data: "bare ids" if data.get("videos") else f"the list is called {_list_name(data)}",
    )


def _list_name(data: dict[str, Any]) -> str:
    return next((name for name, value in data.items() if isinstance(value, list) and value), "otherwise")


def _items(wanted: Callable[[dict[str, Any]], bool], differs: Callable[[dict[str, Any]], str]) -> Any:
    return lambda evidence: _all(evidence.items(), wanted, "no item was listed", differs)


def _url_of(item: dict[str, Any]) -> str:
    url = item.get("video_url")
    return url if isinstance(url, str) else ""


def _player(evidence: Evidence) -> Judged:
    urls = [url for item in evidence.items() if platform_of(url := _url_of(item)) == "tiktok"]
    return _all(urls, lambda url: url_form(url) == "player", "no TikTok URL was listed", lambda url: "another form")


def _before_ready(evidence: Evidence) -> Judged:
    waiting = [item for item in evidence.items() if item.get("status") not in ("PARSE", None)]
    return _all(
        waiting,
        lambda item: bool(_url_of(item)),
        "the item was ready at the first look",
        lambda item: f"no URL while its status was {item.get('status')}",
    )


def _count(evidence: Evidence) -> Judged:
    most = max((len(data.get("videos") or ()) for data in evidence.lists()), default=0)
    if most > evidence.requested:
        return "contradicted", f"{most} were listed where {evidence.requested} was asked for"
    return ("confirmed", "") if most == evidence.requested else ("unknown", "nothing was listed")


def _namespace(evidence: Evidence) -> Judged:
    if any(evidence.lists()):
        return "confirmed", f"as {evidence.namespace!r}"
    return "unknown", "nothing was listed: also what a wrong name looks like"


def _no_such_task(evidence: Evidence) -> Judged:
    one = evidence.unknown_task
    if one is None or (not one.is_success and one.code is None):
        return "unknown", "it was not answered"
    if one.is_success:
        return "confirmed", ""
    return "contradicted", f"code {one.code!r}"


def _platforms(evidence: Evidence) -> Judged:
    found = {name: count for name, count in evidence.hashtag_platforms.items() if count}
    if set(found) - {"tiktok"}:
        return "contradicted", ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
    tiktok = found.get("tiktok", 0)
    if tiktok >= MANY_POSTS:
        return "confirmed", f"so far: {tiktok} posts, all of TikTok"
    return "unknown", f"{tiktok} of TikTok so far, which says too little" if tiktok else "no post was listed yet"


def _form_served(platform: str, form: str) -> Callable[[Evidence], Judged]:
    def look(evidence: Evidence) -> Judged:
        asked = [
            (channel, one.forms[form])
            for (of, channel), one in evidence.metadata.items()
            if of == platform and form in one.forms
        ]
        return _all(asked, lambda pair: pair[1], "none was asked for", lambda pair: f"refused by {pair[0]}")

    return look


def _one_key(evidence: Evidence) -> Judged:
    served = {one.version for one in evidence.answers if one.is_success}
    refused = {one.version for one in evidence.answers if str(one.code) in ("0401", "401")}
    if refused and served:
        return "contradicted", f"version {min(refused)} refuses it"
    return ("confirmed", "") if served == {1, 2} else ("unknown", "not both of them answered")


def _callback(evidence: Evidence) -> Judged:
    if not evidence.callback_sent:
        return "unknown", "no callback is set up, or no import was sent in this look"
    submitted = evidence.submission
    if submitted is None or (not submitted.is_success and submitted.code is None):
        return "unknown", "the submission was not answered"
    return ("confirmed", "") if submitted.is_success else ("contradicted", f"refused with code {submitted.code!r}")


def _gone(evidence: Evidence) -> Judged:
    errors = [one.error for one in evidence.metadata.values() if one.error in ("PostGone", "NotFound")]
    return _all(errors, lambda one: one == "PostGone", "no such post was met", lambda one: "it is refused as not found")


NO_SHAPE: Final = ("UnknownShape", "WrongPost", "BadParameters", "Unreadable", "PermissionDenied")
"""Errors that say that a channel does not give what was assumed; all others say nothing about shapes."""


def shape_point(platform: str, channel: str) -> str:
    """The name of the point about one platform and channel."""
    return f"metadata_{platform}_{channel}"


def _shape(platform: str, channel: Channel) -> Point:
    # Where no source names a shape, any that is read will do.
    wanted = PLATFORMS[platform].documented.get(channel)

    def look(evidence: Evidence) -> Judged:
        one = evidence.metadata.get((platform, channel))
        if one is None:
            return "unknown", "not asked: no post of it is known, or the money did not reach"
        if one.shape is None:
            return ("contradicted" if one.error in NO_SHAPE else "unknown"), f"{one.error}: {one.said}"
        if wanted == one.shape:
            return "confirmed", ""
        return ("contradicted" if wanted else "confirmed"), f"shape {one.shape}"

    description = f"has the shape {wanted}" if wanted else "has a shape that Tagtrail reads"
    return Point(shape_point(platform, channel), f"metadata of {platform} through {channel} {description}", look)


POINTS: Final[tuple[Point, ...]] = (
    Point("v1_success_code", 'v1 says success with the text code "0000"', _successes(1)),
    Point("v2_success_code", 'v2 says success with the text code "0000"', _successes(2)),
    Point("flags", "the flags success and failed stand in every envelope", _flags),
    Point(
        "v1_refusals",
        "v1 refuses with HTTP 200 and a text code",
        _refusals(1, lambda one: one.http_status == 200 and isinstance(one.code, str)),
    ),
    Point(
        "v2_refusals",
        "v2 refuses with a whole number that equals the HTTP status",
        _refusals(2, lambda one: one.code == one.http_status and isinstance(one.code, int)),
    ),
    Point("one_key", "one key serves imports (v1) and metadata (v2)", _one_key),
    Point("no_such_task", "a task that does not exist is an empty list, not an error", _no_such_task),
    Point("task_id", "an accepted import is named taskId", _task_id),
    Point("list_of_objects", "an import lists objects under data.videos", _list),
    Point(
        "item_url",
        "every listed item carries the post's URL as video_url",
        _items(lambda item: platform_of(_url_of(item)) is not None, lambda item: "one has none, or a file's"),
    ),
    Point(
        "item_casing",
        "items are numbered video_no, not videoNo",
        _items(lambda item: "video_no" in item, lambda item: f"its keys: {', '.join(sorted(item))}"[:120]),
    ),
    Point(
        "item_texts",
        "duration and create_time of items are texts",
        _items(
            lambda item: all(isinstance(item.get(key), str | None) for key in ("duration", "create_time")),
            lambda item: "they are numbers",
        ),
    ),
    Point("tiktok_player", "TikTok posts are listed by the player's URL, without the author", _player),
    Point("url_before_ready", "the URL is there before the video is indexed", _before_ready),
    Point("count_per_hashtag", "scraper_cnt is the number of posts per hashtag", _count),
    Point("namespace", "unique_id names the namespace, in submission and polls", _namespace),
    Point("callback", "a submission may name a callback", _callback),
    Point("hashtag_tiktok_only", "a hashtag import finds TikTok posts only", _platforms),
    Point("player_metadata", "metadata can be asked for by TikTok's player URL", _form_served("tiktok", "player")),
    Point(
        "placeholder_metadata",
        "metadata can be asked for by TikTok's URL with @_ for the handle, where the player's is refused",
        _form_served("tiktok", "placeholder"),
    ),
    Point(
        "instagram_p_metadata", "metadata can be asked for by Instagram's /p/ URL", _form_served("instagram", "post")
    ),
    Point("gone", "a post that is private or removed is null in a success, not an error", _gone),
    *(_shape(platform, channel) for channel in CHANNELS for platform in PLATFORMS),
)
