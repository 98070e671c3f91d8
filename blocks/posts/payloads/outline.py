"""The outline of a payload: which keys stand where, without any value, so that two payloads can be compared in form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from blocks.posts.payloads.comments import CONTAINERS, REPLIES
from blocks.posts.payloads.reading import storable

_NOT_LOOKED_INTO = frozenset(CONTAINERS) | frozenset(REPLIES)
"""Comments come and go, and what stands in them says nothing about the post's form."""

_NAME = re.compile(r"[A-Za-z_$@][A-Za-z0-9_$@-]{0,59}\Z")

_MOST_DEEP = 12
_MOST_PATHS = 3000


def outline(data: Any) -> list[str]:
    """Paths of all keys, sorted: `data.xdt_shortcode_media.owner.id`; `[]` stands for all items of a list.

    A key that is no plain name (an id, a text in another script) could be somebody's data: it becomes `*`.
    """
    paths: set[str] = set()
    level: list[tuple[str, Any]] = [("", data)]
    for _ in range(_MOST_DEEP):
        inner: list[tuple[str, Any]] = []
        for path, node in level:
            if isinstance(node, list):
                inner += [(f"{path}[]", item) for item in node if isinstance(item, dict | list)]
            elif isinstance(node, dict):
                for name, value in node.items():
                    plain = storable(str(name))
                    at = f"{path}.{plain if _NAME.match(plain) else '*'}".lstrip(".")
                    if len(paths) < _MOST_PATHS:
                        paths.add(at)
                    if name not in _NOT_LOOKED_INTO:
                        inner.append((at, value))
        level = inner
    return sorted(paths)


def outline_difference(before: Iterable[str], now: Iterable[str]) -> tuple[list[str], list[str]]:
    """Paths that are gone, and paths that are new.

    Told is only what stands directly in something that is there both times: what an emptied list or a null took with
    it is no change of form, and of a renamed object its own key says enough.
    """
    was, found = set(before), set(now)
    parents_before, parents_now = {_parent(path) for path in was}, {_parent(path) for path in found}
    gone = sorted(path for path in was - found if _parent(path) in parents_now)
    new = sorted(path for path in found - was if _parent(path) in parents_before)
    return gone, new


def _parent(path: str) -> str:
    return path.rpartition(".")[0]
