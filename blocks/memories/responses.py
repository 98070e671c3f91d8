"""What comes back from the API: the envelope judged, and the items of an import read whatever their variant."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

import orjson
from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, model_validator

from blocks.errors import (
    AccountDisabled,
    BadParameters,
    MemoriesError,
    NotFound,
    Refused,
    Transient,
    Unreadable,
)
from blocks.memories.error_codes import refusal_class
from blocks.posts.record import Channel

MAX_RETRY_AFTER_SECONDS = 31 * 86_400.0
"""A `Retry-After` of more than a month is taken for a month."""

_SUCCESS = ("0000", "0", "200")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""No number, URL or word of the API's holds any of these: they would steer a terminal, or end a text."""

_NO_VIDEOS = re.compile(r"no videos? found", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ImportItemSeen:
    """One item of an import as a poll shows it; `""` and `"null"` have become None.

    `video_no` is the API's number (it can change between polls), `video_url` the platform's URL,
    `status` whatever word the API uses (`PARSE` is ready), `name` mostly the caption. `odd` is the JSON of an item
    that has neither number nor URL, or is no item at all; then the rest is None.
    """

    video_no: str | None
    video_url: str | None
    status: str | None
    name: str | None
    odd: bytes | None = None


@dataclass(frozen=True, slots=True)
class MetadataAnswer:
    """A metadata call that succeeded: `body` is the whole answer, `data` the envelope's data, whatever its shape.

    `url_asked` is the form of the URL that worked, `calls` how many calls were made for it (1 or 2).
    """

    body: bytes
    data: Any
    url_asked: str
    channel: Channel
    calls: int


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """The wait that a `Retry-After` header asks for, more than 0 and at most `MAX_RETRY_AFTER_SECONDS`.

    Seconds or an HTTP date (RFC 9110, 10.2.3). None where the header is absent, says nothing that can be read, or
    names no wait: 0, less, or a date in the past. What it came with holds all the same, so that callers back off.
    """
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch(r"[+-]?\d+(\.\d*)?(\s*,\s*\d+(\.\d*)?)*", value, re.ASCII):
        # Several headers, a gateway's and the service's, come as one.
        seconds = max(float(number) for number in value.split(","))
    else:
        try:
            then = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = ((then if then.tzinfo else then.replace(tzinfo=UTC)) - now).total_seconds()
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds > 0 else None


def load_json(body: bytes) -> Any:
    """The JSON of `body`; a ValueError where it is none.

    A caption cut through an emoji holds half a surrogate pair, which orjson refuses and no database stores:
    such halves become `?`, and the rest of the payload survives. A byte order mark before it says nothing.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if b"\\ud" not in body and b"\\uD" not in body:
            raise
    try:
        loaded = json.loads(body.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return orjson.loads(json.dumps(loaded, ensure_ascii=False).encode("utf-8", "replace"))


def _utc_now() -> datetime:
    return datetime.now(UTC)


def open_envelope(
    body: bytes,
    *,
    http_status: int,
    endpoint: str,
    retry_after: str | None = None,
    now: Callable[[], datetime] = _utc_now,
) -> Any:
    """The `data` of a success envelope, judged before the status code.

    Success is a code among "0000", "0", 0, "200", 200 while `failed` is not true (contract, fact 7) and `success` is
    not false beside data that is null; the two flags say what an absent code, or one of another number
    of zeros, means.

    Raises:
        MemoriesError: the class that code, message and status stand for; Unreadable where there is no envelope.
    """
    if 300 <= http_status < 400:  # A redirect would carry the key, and a submission, to somewhere else.
        raise Unreadable("a redirect, which is not followed", endpoint=endpoint, http_status=http_status, body=body)
    try:
        envelope = load_json(body)
    except ValueError:
        envelope = None
    if type(envelope) is dict:
        code, data = envelope.get("code"), envelope.get("data")
        failed = envelope.get("failed") in (True, "true")
        if not failed and not (data is None and envelope.get("success") in (False, "false")):
            if code == "0000" or _code_text(code) in _SUCCESS:
                return data
            if http_status < 300 and _says_success(_code_text(code) if isinstance(code, str) else code, envelope):
                return data
    else:
        envelope = {}
    wait_seconds = retry_after_seconds(retry_after, now())
    raise _refusal(envelope, body, http_status=http_status, endpoint=endpoint, wait_seconds=wait_seconds)


def open_stored(body: bytes) -> Any:
    """The `data` of an answer that was stored raw, which came with the status 200.

    Raises:
        MemoriesError: as `open_envelope`.
    """
    return open_envelope(body, http_status=200, endpoint="raw payload")


def _says_success(code: Any, envelope: dict[str, Any]) -> bool:
    """Whether the flags of an envelope that has not failed say so, where its code does not (contract §5.5)."""
    if envelope.get("success") in (True, "true"):
        return code is None or (isinstance(code, str) and not code.strip("0"))
    unsaid = code is None and envelope.get("success") not in (False, "false")
    return unsaid and envelope.get("failed") in (False, "false") and envelope.get("data") is not None


def _code_text(code: Any) -> str | None:
    """A business code as text; None where there is none (a bool is none, though Python counts it as 0 or 1)."""
    if isinstance(code, bool) or not isinstance(code, int | str):
        return None
    return str(code).strip() or None


def _refusal(
    envelope: dict[str, Any], body: bytes, *, http_status: int, endpoint: str, wait_seconds: float | None
) -> MemoriesError:
    """The error that an answer stands for which is no success: by code, else by status, else unreadable."""
    code = _code_text(envelope.get("code"))
    said = next((v for k in ("msg", "message", "error") if isinstance(v := envelope.get(k), str) and v), "")
    gateway_status = envelope.get("status") if "error" in envelope else None
    kind: type[MemoriesError] | None = None
    if code is not None:
        number = int(code) if re.fullmatch(r"-?\d{1,9}", code, re.ASCII) else -1
        kind = AccountDisabled if number == 403 else refusal_class(number, said)
        if http_status >= 400 and (kind is Refused or number in (0, 200)):  # The code says nothing, the status may.
            kind = refusal_class(http_status, said)
    elif http_status >= 400:
        kind = refusal_class(http_status, said)
    elif isinstance(gateway_status, int) and 400 <= gateway_status < 600:
        kind = refusal_class(gateway_status, said)  # The gateway's own body, passed on under a 200.
    elif envelope.get("failed") in (True, "true") or envelope.get("success") is False:
        kind = refusal_class(1, said)
    if kind is None:
        said = "no envelope" if envelope else ("no JSON object" if body.strip() else "an empty answer")
        return Unreadable(said, endpoint=endpoint, code=code, http_status=http_status, body=body)
    return kind(said, endpoint=endpoint, code=code, http_status=http_status, retry_after_seconds=wait_seconds)


def task_id_of(data: Any, *, endpoint: str, body: bytes) -> str:
    """The id of the import that a submission started; opaque text.

    Raises:
        Unreadable: the API accepted and named no import; it may run all the same.
    """
    for key in ("taskId", "task_id") if isinstance(data, dict) else ():
        value = data.get(key)
        if isinstance(value, float):  # More than 64 bits: every digit counts.
            value = _exact(body, key)
        if found := _loose_text(value):
            return found
    raise Unreadable("accepted without a task id", endpoint=endpoint, code="0000", http_status=200, body=body)


def _exact(body: bytes, key: str) -> Any:
    """What stands under `key` in an envelope's data, with whole numbers as text."""
    try:
        data = json.loads(body, parse_int=str)["data"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return data.get(key) if isinstance(data, dict) else None


def _text(value: Any) -> Any:
    """Text without control characters, a whole number as text, None for what says nothing; the rest passes through."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        value = _CONTROL.sub("", value).strip()
        return None if value in ("", "null", "None") else value
    return value


def _loose_text(value: Any) -> str | None:
    value = _text(value)
    return value if isinstance(value, str) else None


class WireItem(BaseModel, extra="allow"):
    """An item of an import, in any casing that was seen."""

    video_no: Annotated[str | None, BeforeValidator(_loose_text)] = Field(
        default=None, validation_alias=AliasChoices("video_no", "videoNo", "video_id", "videoId")
    )
    video_url: Annotated[str | None, BeforeValidator(_loose_text)] = Field(
        default=None, validation_alias=AliasChoices("video_url", "videoUrl")
    )
    status: Annotated[str | None, BeforeValidator(_loose_text)] = None
    name: Annotated[str | None, BeforeValidator(_loose_text)] = Field(
        default=None, validation_alias=AliasChoices("video_name", "videoName", "name")
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_what_says_nothing(cls, value: Any) -> Any:
        # So that an empty `video_no` does not hide a filled `videoNo`.
        return {k: v for k, v in value.items() if _text(v) is not None} if isinstance(value, dict) else value

    def seen(self) -> ImportItemSeen:
        return ImportItemSeen(self.video_no, self.video_url, self.status, self.name)


_LISTS = ("videos", "video_ids", "videoIds")
_STATUS_KEYS = frozenset((*_LISTS, "taskId", "task_id"))


def import_items(data: Any, *, endpoint: str, body: bytes) -> list[ImportItemSeen]:
    """The items found so far, in the API's order, exact duplicates merged (contract §3.1, all variants).

    An empty list means "nothing yet". Items that are listed as objects and again as bare ids count once. What cannot
    be read as an item is listed as `odd`: it hides none of the others.

    Raises:
        Unreadable: data of a shape that is none of the known ones, so that it is not taken for "nothing".
    """
    listed: list[Any] = []
    if isinstance(data, list):
        listed = data
    elif isinstance(data, dict) and (not data or not _STATUS_KEYS.isdisjoint(data)):
        parts = [part for key in _LISTS if (part := data.get(key)) is not None]
        if not all(isinstance(part, list) for part in parts):
            raise _no_items(endpoint, body)
        listed = [item for part in parts for item in part]
    elif data is not None:
        raise _no_items(endpoint, body)

    seen = dict.fromkeys(item for one in listed if (item := _item(one)) is not None)
    numbered = {item.video_no for item in seen if item != ImportItemSeen(item.video_no, None, None, None)}
    return [
        item for item in seen if item.odd or item.video_no not in numbered or item.video_url or item.status or item.name
    ]


def _item(item: Any) -> ImportItemSeen | None:
    """One entry of the list; None where it says nothing."""
    text = _text(item)
    if text is None:
        return None
    if isinstance(text, str):
        is_url = text.startswith(("http://", "https://"))
        return ImportItemSeen(None if is_url else text, text if is_url else None, None, None)
    if isinstance(item, dict):
        read = WireItem.model_validate(item).seen()
        if read.video_no is not None or read.video_url is not None:
            return read
        if item and all(_text(value) is None for value in item.values()):
            return None
    return ImportItemSeen(None, None, None, None, odd=orjson.dumps(item, option=orjson.OPT_SORT_KEYS))


def _no_items(endpoint: str, body: bytes) -> Unreadable:
    return Unreadable("an item list of unknown shape", endpoint=endpoint, code="0000", http_status=200, body=body)


def means_no_videos(error: MemoriesError) -> bool:
    """Whether the status call's refusal only says that nothing was found so far (contract §3.1, variant D)."""
    said = isinstance(error, NotFound | BadParameters | Transient) or type(error) is Refused
    return said and bool(_NO_VIDEOS.search(error.message))
