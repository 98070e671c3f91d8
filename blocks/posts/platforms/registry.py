"""The platforms that Tagtrail knows. A new one is a file beside this one, and a name in the last line here."""

from __future__ import annotations

from typing import Final

from blocks.posts.payloads.shape import Shape
from blocks.posts.platforms.instagram import INSTAGRAM
from blocks.posts.platforms.spec import PlatformSpec
from blocks.posts.platforms.tiktok import TIKTOK
from blocks.posts.platforms.x import X
from blocks.posts.platforms.youtube import YOUTUBE

PLATFORMS: Final[dict[str, PlatformSpec]] = {}
"""By name."""

_OF_HOST: Final[dict[str, PlatformSpec]] = {}
_OF_ANY_HOST: Final[dict[str, PlatformSpec]] = {}


def register(spec: PlatformSpec) -> None:
    """Make a platform known to everything.

    Raises:
        ValueError: its name or a host is another one's already, or a shape is of another platform.
    """
    hosts = (*spec.hosts, *spec.other_hosts, *spec.leading_hosts)
    taken = [name for name in (spec.name, *hosts) if name in PLATFORMS or name in _OF_ANY_HOST]
    if taken:
        raise ValueError(f"{spec.name}: another platform has {', '.join(taken)}")
    if strange := [shape.name for shape in spec.shapes if shape.platform != spec.name]:
        raise ValueError(f"{spec.name}: of another platform are {', '.join(strange)}")
    PLATFORMS[spec.name] = spec
    _OF_HOST.update(dict.fromkeys(spec.hosts, spec))
    _OF_ANY_HOST.update(dict.fromkeys(hosts, spec))


def at_host(host: str) -> PlatformSpec | None:
    """The platform that people look at there."""
    return _OF_HOST.get(host)


def behind_host(host: str) -> PlatformSpec | None:
    """The platform whose posts are shown there, or to which it leads: its own hosts and all others."""
    return _OF_ANY_HOST.get(host)


def labels(join: str = "or") -> str:
    """`Instagram, TikTok, YouTube or X`."""
    *some, last = (spec.label for spec in PLATFORMS.values())
    return f"{', '.join(some)} {join} {last}"


def all_shapes() -> tuple[Shape, ...]:
    """The forms of payload of all platforms."""
    return tuple(shape for spec in PLATFORMS.values() for shape in spec.shapes)


for _spec in (INSTAGRAM, TIKTOK, YOUTUBE, X):
    register(_spec)
