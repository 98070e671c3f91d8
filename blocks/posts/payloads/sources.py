"""Where each column comes from: the paths of the payload tables, by shape, for data dictionaries."""

from __future__ import annotations

from typing import Final

from blocks.posts.payloads import comments
from blocks.posts.payloads.shape import Shape
from blocks.posts.platforms.registry import all_shapes

_PARSED: Final = {"hashtags": "parsed from the caption", "mentions": "parsed from the caption"}
_CREATORS: Final = {"verified": "author_verified", "followers": "author_followers"}


def post_sources(column: str) -> dict[str, list[str]]:
    """Shape → paths at which a column of a post (or of its snapshots) is looked for, the first that holds it wins.

    Where none of them holds it, those of the platform's other shapes are looked up. Empty for a column that is in no
    payload.
    """
    if column in _PARSED:
        parsed = _PARSED[column]
        return {
            shape.name: [*_paths(shape, column), *(f"{parsed} ({path})" for path in _caption(shape))]
            for shape in all_shapes()
        }
    found = {shape.name: _paths(shape, column) for shape in all_shapes()}
    return {name: paths for name, paths in found.items() if paths}


def creator_sources(column: str) -> dict[str, list[str]]:
    """Shape → paths at which a column of a creator is looked for."""
    return post_sources(_CREATORS.get(column, column))


def comment_sources(column: str) -> dict[str, list[str]]:
    """Paths at which a column of a comment is looked for in its node, whatever the shape."""
    paths = comments.PATHS.get(column)
    return {} if paths is None else {f"a comment under {', '.join(comments.CONTAINERS)}": list(paths)}


def _paths(shape: Shape, column: str) -> list[str]:
    if column == "caption":
        return _caption(shape)
    if column == "media_type":
        return _each_once([case.path for case in shape.media if case.path])
    if column == "likes_hidden":
        return [*shape.hidden.get("likes", ()), *(f"{path} < 0" for path in shape.columns.get("likes", ()))]
    if column == "extra":
        return _each_once(
            [
                *(path for paths in (*shape.extra.values(), *shape.extra_times.values()) for path in paths),
                *(path for table in shape.extra_lists.values() for path in table.lists),
                *shape.children,
            ]
        )
    paths = list(shape.columns.get(column, ()))
    if column in shape.lists:
        table = shape.lists[column]
        paths += [f"{of}[].{item}" if item else f"{of}[]" for of in table.lists for item in table.items]
    paths += [case.path for case in shape.flags.get(column, ()) if case.path]
    return _each_once(paths)


def _caption(shape: Shape) -> list[str]:
    return [path for paths in shape.caption for path in paths]


def _each_once(paths: list[str]) -> list[str]:
    return list(dict.fromkeys(paths))
