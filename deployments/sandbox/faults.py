"""Faults: what each kind makes of an answer, and which calls it is injected into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from deployments.sandbox import instagram, tiktok
from deployments.sandbox.addresses import Address, code_of_number
from deployments.sandbox.answers import HTML, Answer, Writer, html_fault, on_wire, spring_fault
from deployments.sandbox.catalog import Post
from deployments.sandbox.payloads import data_of
from deployments.sandbox.scenarios import Call
from deployments.sandbox.state import State


@dataclass(frozen=True, slots=True)
class ServedCall:
    """A call into which a fault may be injected; `serve` does what was asked for and gives the orderly answer."""

    state: State
    version: int
    path: str
    serve: Callable[[], Answer]
    post: Post | None = None
    channel: str = ""

    @property
    def writer(self) -> Writer:
        return self.state.writer


def _refusal(name: str, form: str | None = None, message: str | None = None) -> Callable[[ServedCall], Answer]:
    return lambda call: call.writer.refusal(name, call.version, form=form, message=message)


def _html(status: int) -> Callable[[ServedCall], Answer]:
    return lambda call: html_fault(status)


def _spring(status: int) -> Callable[[ServedCall], Answer]:
    return lambda call: spring_fault(status, call.path)


def _truncated(call: ServedCall) -> Answer:
    whole = call.serve()
    return replace(whole, body=whole.body[: len(whole.body) * 2 // 3], code="truncated")


def _served_then_reset(call: ServedCall) -> Answer:
    return replace(on_wire(call.serve(), "reset"), code="served_then_reset")


def _served_unclear(call: ServedCall) -> Answer:
    call.serve()
    body = b'{"code":"0000","msg":"success","data":null,"success":false,"failed":false}'
    return Answer(200, body, "served_unclear")


def _null_media(call: ServedCall) -> Answer:
    platform = call.post.platform if call.post else ""
    data: Any = instagram.gone_payload() if platform == "instagram" else []
    if platform == "tiktok":
        data = tiktok.gone_payload(call.channel)
    return replace(call.writer.success(data), code="null_media")


def _unknown_shape(call: ServedCall) -> Answer:
    post = call.post
    number = post.post_id if post else "0"
    if post is not None and post.platform == "instagram":
        shape: Any = {"items": [{"pk": number, "code": post.code, "media_type": 2}], "num_results": 1, "status": "ok"}
        if post.variant % 2:
            shape = {"xig_polaris_media": {"pk": number, "if_not_gated_logged_out": {"code": post.code}}}
    else:
        shape = {"leaf_of_next_year": {"leaf_no": number, "tallies": {"nods": 7}}, "status_code": 0}
    return replace(call.writer.success(shape), code="unknown_shape")


def _wrong_post(call: ServedCall) -> Answer:
    if call.post is None:
        return call.serve()
    platform, own_id = call.post.platform, call.post.post_id
    other_id = str(int(own_id) + 1) if own_id.isdigit() else "invented-27"
    code = code_of_number(int(other_id)) if platform == "instagram" else None
    other = call.state.catalog.at(Address(platform, other_id, code=code))
    data = data_of(call.state.scenario, call.state.calendar, other, call.channel)
    return replace(call.writer.success(data), code="wrong_post")


KINDS: dict[str, Callable[[ServedCall], Answer]] = {
    "limit_text": _refusal("limit", "text"),
    "limit_http": _refusal("limit", "http"),
    "html_500": _html(500),
    "html_502": _html(502),
    "html_503": _html(503),
    "spring_404": _spring(404),
    "spring_503": _spring(503),
    "truncated": _truncated,
    "cut": lambda call: on_wire(call.serve(), "cut"),
    "drip": lambda call: on_wire(call.serve(), "drip"),
    "reset": lambda call: Answer(0, b"", "reset", wire="reset"),
    "close": lambda call: Answer(0, b"", "close", wire="close"),
    "served_then_reset": _served_then_reset,
    "served_unclear": _served_unclear,
    "not_json": lambda call: replace(html_fault(502), status=200, code="not_json", kind=HTML),
    "no_envelope": lambda call: Answer(200, b'["teapot",7,null]', "no_envelope"),
    "empty_body": lambda call: Answer(200, b"", "empty_body"),
    "network": _refusal("network", "text"),
    "busy_text": _refusal("busy", "text"),
    "busy_http": _refusal("busy", "http"),
    "duplicate": _refusal("duplicate"),
    "credits": _refusal("credits"),
    "key": _refusal("key"),
    "account": _refusal("account"),
    "permission": _refusal("permission"),
    "not_found": _refusal("not_found", "text"),
    "bad": _refusal("bad"),
    "null_media": _null_media,
    "null_data": lambda call: replace(call.writer.success(None), code="null_data"),
    "unknown_shape": _unknown_shape,
    "wrong_post": _wrong_post,
}


def inject(on: Call, key: str, number: int, call: ServedCall) -> Answer:
    """The answer to a call: the orderly one, or what the first fault that is due makes of it.

    `key` names the post, import or target, `number` its place among the calls (see `Fault`).
    """
    state = call.state
    if state.answer_by is not None:
        return state.answer_by(on, key, number, call)
    for place, fault in enumerate(state.scenario.faults):
        if (
            fault.on != on
            or not fault.is_due(number)
            or state.accounting.readable - state.readable_before < fault.after
        ):
            continue
        if fault.channels and call.channel not in fault.channels:
            continue
        if fault.times is not None and state.hits[place, key] >= fault.times:
            continue
        state.hits[place, key] += 1
        state.accounting.faults[fault.kind] += 1
        state.accounting.faulted[fault.kind].append(key)
        return KINDS[fault.kind](call)
    return call.serve()
