"""Answers as the contract writes them: both envelopes, refusals in every form, bodies of the gateway and of Spring."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Literal

import orjson

from deployments.sandbox.scenarios import Scenario

JSON = b"application/json"
HTML = b"text/html;charset=utf-8"

# What happens on the wire: "whole" is an orderly answer; "cut" ends before its stated length; "drip" sends a byte
# at a time; "close" hangs up without an answer; "reset" does so with a TCP reset.
Wire = Literal["whole", "cut", "drip", "close", "reset"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `code` is its name in the accounting, `served` whether it was worked out, and so billed."""

    status: int
    body: bytes
    code: str
    served: bool = False
    kind: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    wire: Wire = "whole"


# What v1 and v2 say to one refusal: (v1 code, HTTP-like code, v1 message, v2 message).
REFUSALS: dict[str, tuple[str, int, str, str]] = {
    "missing": ("0003", 400, "Required parameter is missing or empty.", "Invalid request parameters"),
    "bad": ("0001", 400, "Parameter error.", "Invalid request parameters"),
    "key": ("0401", 401, "Unauthorized", "Unauthorized"),
    "credits": ("0402", 402, "Insufficient credits.", "Insufficient credits"),
    "account": ("0403", 403, "The developer account is disabled.", "Account disabled"),
    "permission": ("9009", 403, "permission denied", "permission denied"),
    "method": ("0001", 405, "Request method is not supported.", "Method not supported"),
    "duplicate": ("0409", 409, "Repeated operation.", "Repeated operation"),
    "busy": ("0409", 409, "Service is busy, try later", "Service is busy, try later"),
    "limit": ("0429", 429, "Request has exceeded the limit.", "Rate limit exceeded"),
    "network": ("0001", 500, "network abnormal", "Network abnormal"),
    "not_found": ("0001", 400, "video not found", "Asset not found"),
    "no_videos": ("0001", 400, "no videos found", "no videos found"),
    "no_route": ("0001", 404, "No static resource api.", "No static resource api."),
}


class Writer:
    """Writes answers in the forms of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        code, flags = scenario.success_code, scenario.flags
        self._head = b'{"code":' + orjson.dumps(code) + b',"msg":"success","data":'
        self._tail = b',"success":true,"failed":false}' if flags else b"}"

    def success(self, data: Any) -> Answer:
        """`data` in an envelope of success."""
        return self.success_bytes(orjson.dumps(data))

    def success_bytes(self, data: bytes) -> Answer:
        """The same for data that is JSON already."""
        return Answer(200, self._head + data + self._tail, "0000", served=True)

    def refusal(self, name: str, version: int, *, message: str | None = None, form: str | None = None) -> Answer:
        """A refusal by its name in `REFUSALS`, in the form of API version 1 or 2.

        Form "documented" is text codes under HTTP 200 for v1, and whole numbers that equal the status for v2.
        """
        text_code, number, v1_words, v2_words = REFUSALS[name]
        form = self._scenario.code_form if form is None else form
        by_status = form == "http" or (form == "documented" and version == 2)
        said = message if message is not None else v2_words if version == 2 else v1_words
        headers = self._retry_after() if name == "limit" else ()
        if by_status:
            body = orjson.dumps({"code": number, "msg": said, "data": None})
            return Answer(number, body, str(number), headers=headers)
        envelope: dict[str, Any] = {"code": text_code, "msg": said, "data": None}
        if self._scenario.flags:
            envelope |= {"success": False, "failed": True}
        return Answer(200, orjson.dumps(envelope), text_code, headers=headers)

    def _retry_after(self) -> tuple[tuple[bytes, bytes], ...]:
        kind = self._scenario.retry_after
        if not kind:
            return ()
        if kind == "seconds":
            value = "1"
        elif kind == "date":
            value = formatdate(datetime.now(UTC).timestamp() + 2, usegmt=True)
        else:
            value = "864000"
        return ((b"retry-after", value.encode()),)


_REASONS = {
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


def html_fault(status: int) -> Answer:
    """A fault as the gateway before the API words it."""
    reason = f"{status} {_REASONS[status]}"
    page = f"<html>\r\n<head><title>{reason}</title></head>\r\n<body>\r\n<center><h1>{reason}</h1></center>\r\n</body>"
    return Answer(status, f"{page}\r\n</html>\r\n".encode(), f"html-{status}", kind=HTML)


def spring_fault(status: int, path: str) -> Answer:
    """A fault as the framework behind the API words it."""
    body = orjson.dumps(
        {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "path": path,
            "status": status,
            "error": _REASONS[status],
            "requestId": "5a17d0c0-1",
        }
    )
    return Answer(status, body, f"spring-{status}")


def on_wire(answer: Answer, wire: Wire) -> Answer:
    """The answer, with something happening to it on its way."""
    return replace(answer, wire=wire, code=wire)


def plain(data: Any, status: int = 200) -> Answer:
    """JSON of the sandbox's own pages, in no envelope."""
    return Answer(status, orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS), str(status))
