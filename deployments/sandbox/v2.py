"""The v2 half of the API: metadata of one post, by its URL, through a channel."""

from __future__ import annotations

import orjson

from deployments.sandbox.addresses import Address, platform_of, read_address
from deployments.sandbox.answers import Answer
from deployments.sandbox.clock import metadata_limit
from deployments.sandbox.faults import ServedCall, inject
from deployments.sandbox.payloads import data_of
from deployments.sandbox.state import Request, State

CHANNELS = ("apify", "rapid", "memories.ai")
# The API's name of each platform's path; "twitter" is X.
PATHS = {"instagram": "instagram", "tiktok": "tiktok", "youtube": "youtube", "twitter": "x"}


def metadata(state: State, request: Request, platform: str) -> Answer:
    """`POST /{platform}/video/metadata` with `video_url` and `channel`."""
    try:
        asked = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return state.writer.refusal("bad", 2)
    if not isinstance(asked, dict):
        return state.writer.refusal("bad", 2)
    url, channel = asked.get("video_url"), asked.get("channel")
    if not isinstance(url, str) or not url.strip() or channel not in CHANNELS:
        return state.writer.refusal("missing" if not url or channel in (None, "") else "bad", 2)
    name, count, seconds = metadata_limit(platform, channel, state.scenario.metadata_per_second)
    over = state.limited(request, name, count, seconds, 2)
    address = read_address(url)
    if over is not None:
        _enter(state, address, channel, over)
        return over
    if address is None or address.platform != platform or platform_of(url) != platform:
        return state.writer.refusal("bad", 2)
    forms = {"tiktok": state.scenario.tiktok_forms, "instagram": state.scenario.instagram_forms}.get(platform)
    if forms is not None and address.form not in forms:
        answer = state.writer.refusal("bad", 2)
    else:
        answer = _answer(state, request, address, channel)
    _enter(state, address, channel, answer)
    return answer


def _answer(state: State, request: Request, address: Address, channel: str) -> Answer:
    post = state.catalog.at(address)

    def serve() -> Answer:
        own = state.payloads.get(address.key)
        if own is not None:
            return Answer(200, own, "0000", served=True)
        return state.writer.success(data_of(state.scenario, state.calendar, post, channel))

    call = ServedCall(state, 2, request.path, serve, post, channel)
    return inject("metadata", post.key, post.number, call)


def _enter(state: State, address: Address | None, channel: str, answer: Answer) -> None:
    accounting = state.accounting
    key = address.key if address is not None else "none"
    accounting.metadata[key][channel][answer.code] += 1
    if answer.served:
        accounting.metadata_served[key] += 1
        accounting.readable += answer.wire == "whole"
