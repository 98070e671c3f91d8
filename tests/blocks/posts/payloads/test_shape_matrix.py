"""The matrix shape × field of the invented payloads: filled, null by nature, null by absence; kept in shape_matrix.md.

`python tests/blocks/posts/payloads/test_shape_matrix.py` writes the file anew after a change of the mappers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import UnknownShape, WrongPost
from blocks.posts.payloads.locate import locate
from blocks.posts.payloads.mapping import NULLABLE, map_post
from blocks.posts.platforms.registry import all_shapes
from blocks.posts.record import PostRecord, PostRef
from tests.cases import each_case

FILE = Path(__file__).with_name("shape_matrix.md")
NAMES = sorted(path.stem for path in (Path(__file__).parent / "invented").glob("*.json"))

# Columns that are worked out from others: the caption's, and those that have a table of their own.
DERIVED = {"caption", "hashtags", "mentions", "media_type", "likes"}

OTHERS = {
    "instagram": PostRef("instagram", "3000000000000000001", "https://www.instagram.com/p/other/", "other"),
    "tiktok": PostRef("tiktok", "7111111111111111111", "https://www.tiktok.com/player/v1/7111111111111111111"),
    "youtube": PostRef("youtube", "otherVideo0", "https://www.youtube.com/watch?v=otherVideo0"),
    "x": PostRef("x", "1900000000000000009", "https://x.com/i/status/1900000000000000009"),
}


def tells(platform: str, column: str) -> bool:
    """Whether any shape of the platform has a place for the column."""
    of_platform = [shape for shape in all_shapes() if shape.platform == platform]
    named = (column in {**shape.columns, **shape.flags, **shape.lists} for shape in of_platform)
    return column in DERIVED or (platform == "instagram" and column == "shortcode") or any(named)


def cell(record: PostRecord, column: str) -> str:
    """How one column came out: filled, or null and why."""
    if getattr(record, column) is not None:
        return "filled"
    reason = record.null_reasons[column]
    if reason in ("hidden_by_owner", "unknown_shape"):
        return "hidden" if reason == "hidden_by_owner" else "unread"
    if column == "caption" and record.hashtags is not None:
        return "nature"  # The payload tells that there is none.
    return "nature" if reason == "not_a_video" or not tells(record.platform, column) else "absent"


def matrix(mapped: Callable[[str], PostRecord]) -> str:
    """The whole table, as Markdown."""
    records = {name: mapped(name) for name in NAMES}
    lines = [
        "# Shape × field",
        "",
        "What the mappers make of the invented payloads. `filled` · `nature`: null, because the platform or this kind",
        "of post has no such thing · `absent`: null, because this form of payload (or this payload) does not tell it ·",
        "`hidden`: null, because the owner hides it · `unread`: null, because what stands there (a rounded number)",
        "cannot be read. Every null stands in `null_reasons` too.",
        "",
        f"| field | {' | '.join(NAMES)} |",
        f"|---|{'---|' * len(NAMES)}",
        f"| *shape* | {' | '.join(record.shape for record in records.values())} |",
    ]
    for column in NULLABLE:
        lines.append(f"| {column} | {' | '.join(cell(record, column) for record in records.values())} |")
    for what, count in (
        ("*comments kept*", lambda record: len(record.comment_rows)),
        ("*children*", lambda record: len(record.extra.get("children", ()))),
        ("*extra*", lambda record: len(record.extra)),
    ):
        lines.append(f"| {what} | {' | '.join(str(count(record)) for record in records.values())} |")
    return "\n".join(lines) + "\n"


def test_the_stored_matrix_is_what_the_mappers_do(mapped: Callable[[str], PostRecord]) -> None:
    assert FILE.read_text(encoding="utf-8") == matrix(mapped)


@each_case("name", NAMES)
def test_the_payload_of_another_post_is_refused_in_every_shape(
    load: Callable[[str], Any], asked: Callable[[str], PostRef], name: str
) -> None:
    with pytest.raises(WrongPost):
        map_post(load(name), OTHERS[asked(name).platform])


@each_case("name", NAMES)
def test_an_address_of_its_own_is_identity_in_every_shape_and_an_echo_is_none(
    load: Callable[[str], Any], asked: Callable[[str], PostRef], mapped: Callable[[str], PostRecord], name: str
) -> None:
    def without_identity(**more: Any) -> Any:
        data = load(name)
        found = locate(data, asked(name))
        for path in (*found.shape.ids, *found.shape.codes, *found.shape.addresses, *found.shape.echoes):
            _remove(found.node, path.split("."))
        return {**found.node, **more}

    url = asked(name).url
    before, bare = mapped(name), map_post(without_identity(url=url), asked(name))
    assert (bare.post_id, bare.shortcode, bare.likes, bare.plays) == (
        before.post_id, before.shortcode, before.likes, before.plays,
    )  # fmt: skip
    other = OTHERS[asked(name).platform].url
    for refused in ({"url": other}, {"inputUrl": other}, {"url": url, "inputUrl": other}, {"id": -1, "url": url}):
        with pytest.raises(WrongPost):
            map_post(without_identity(**refused), asked(name))
    if not locate(load(name), asked(name)).shape.may_lack_identity:
        with pytest.raises(UnknownShape):
            map_post(without_identity(inputUrl=url), asked(name))


def _remove(node: Any, path: list[str]) -> None:
    for part in path[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node.pop(path[-1], None)


@each_case("name", NAMES)
def test_a_real_zero_stays_zero_and_a_negative_number_is_none_in_every_shape(
    load: Callable[[str], Any], asked: Callable[[str], PostRef], name: str
) -> None:
    def changed(value: int) -> PostRecord:
        data = load(name)
        found = locate(data, asked(name))
        for column in ("likes", "comments", "plays", "views", "shares", "saves"):
            for path in found.shape.columns.get(column, ()):
                _replace(found.node, path.split("."), value)
        for paths in found.shape.hidden.values():
            for path in paths:
                found.node.pop(path, None)
        return map_post(copy.deepcopy(found.node), asked(name))

    zero, negative = changed(0), changed(-1)
    for column in ("likes", "comments", "plays", "views", "shares", "saves"):
        assert getattr(zero, column) in (0, None), column
        assert getattr(negative, column) is None, column
    assert (zero.likes, zero.likes_hidden) == (0, False)
    assert (negative.likes_hidden, negative.null_reasons["likes"]) == (True, "hidden_by_owner")


def _replace(node: Any, path: list[str], value: int) -> None:
    """Put a number where one stands at a path."""
    for part in path[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, dict) and path[-1] in node:
        node[path[-1]] = value


if __name__ == "__main__":
    import conftest

    FILE.write_text(matrix(lambda name: map_post(conftest._load(name), conftest._asked(name))), encoding="utf-8")
