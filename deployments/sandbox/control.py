"""The sandbox's own pages under `/sandbox/`: books, scenarios, time; nothing of them is part of the API."""

from __future__ import annotations

from typing import Any

import orjson

from deployments.sandbox.addresses import read_address
from deployments.sandbox.answers import Answer, plain
from deployments.sandbox.scenarios import SCENARIOS, scenario_named
from deployments.sandbox.state import State


def answer(state: State, method: str, path: str, query: dict[str, str], body: bytes) -> Answer:
    """One of:

    `GET books` · `GET scenarios` · `GET post?url=` (the post's key and number) · `POST reset` · `POST scenario` with
    `{"name": …, "changes": {…}}` · `POST advance` with `{"seconds": …}` (virtual). No key is asked for.
    """
    page = path.removeprefix("/sandbox/")
    try:
        asked = orjson.loads(body) if body else {}
        if not isinstance(asked, dict):
            raise ValueError("the body is an object")
        found = _page(state, f"{method} {page}", query, asked)
    except (ValueError, TypeError) as error:
        return plain({"error": str(error)}, 400)
    return plain(found) if found is not None else plain({"error": f"there is no {method} {path}"}, 404)


def _page(state: State, page: str, query: dict[str, str], asked: dict[str, Any]) -> dict[str, Any] | None:
    if page == "GET books":
        return {
            "scenario": state.scenario_name,
            "real_seconds": state.clock.real(),
            "virtual_seconds": state.clock.now(),
            "time_scale": state.clock.time_scale,
            **state.books.as_dict(),
        }
    if page == "GET scenarios":
        return {name: scenario.about for name, scenario in SCENARIOS.items()}
    if page == "GET post":
        address = read_address(query.get("url", ""))
        if address is None:
            raise ValueError("url names no post")
        post = state.stock.at(address)
        return {"key": post.key, "number": post.number, "variant": post.variant, "handle": post.handle}
    if page == "POST scenario":
        name = str(asked.get("name", "default"))
        scenario = scenario_named(name).changed(asked.get("changes", {}))
        state.play(scenario)
        state.scenario_name = name
        return {"scenario": name, "about": scenario.about}
    if page == "POST reset":
        state.reset()
        return {"scenario": state.scenario_name}
    if page == "POST advance":
        seconds = float(asked.get("seconds", 0))
        state.clock.advance(seconds)
        state.calendar.advance(seconds)
        return {"virtual_seconds": state.clock.now()}
    return None
