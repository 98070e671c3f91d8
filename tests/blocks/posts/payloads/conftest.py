"""Invented payloads in every shape, read from `payloads/`; their posts, people and addresses do not exist."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from blocks.posts.identity import parse_post_url
from blocks.posts.payloads.mapping import map_post
from blocks.posts.record import PostRecord, PostRef

PAYLOADS = Path(__file__).parent / "invented"

URLS = {
    "video": "https://www.instagram.com/p/DQk1lnGlaz3/",
    "carousel": "https://www.instagram.com/p/DQcarous3l_/",
    "image": "https://www.instagram.com/p/DQ1mageOnly/",
    "tiktok_item": "https://www.tiktok.com/player/v1/7560000000000000123",
    "tiktok_slideshow": "https://www.tiktok.com/player/v1/7560000000000000456",
    "youtube": "https://youtu.be/k1lnV1deo_0",
    "x": "https://x.com/i/status/1989000000000000001",
}


def _load(name: str) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_bytes())


def _asked(name: str) -> PostRef:
    return parse_post_url(next(url for start, url in URLS.items() if name.startswith(start)))


@pytest.fixture(scope="session")
def load() -> Callable[[str], Any]:
    """load(name): the payload, a new copy each time."""
    return _load


@pytest.fixture(scope="session")
def asked() -> Callable[[str], PostRef]:
    """asked(name): the post that the payload is about."""
    return _asked


@pytest.fixture(scope="session")
def mapped() -> Callable[[str], PostRecord]:
    """mapped(name): the payload's record."""
    return lambda name: map_post(_load(name), _asked(name))


@pytest.fixture(scope="session")
def media(load: Callable[[str], Any]) -> Callable[..., Any]:
    """media(**changes): the GraphQL video's node with keys changed; `...` takes a key away."""

    def changed(name: str, **changes: Any) -> Any:
        node = _load(name)["data"]["xdt_shortcode_media"]
        for key, value in changes.items():
            if value is ...:
                node.pop(key, None)
            else:
                node[key] = value
        return node

    return partial(changed, "video_graphql")
