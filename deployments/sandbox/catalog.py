"""Posts: all that the sandbox can show, and what a platform counts of each at a moment."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from deployments.sandbox.addresses import ALPHABET, Address, code_of_number
from deployments.sandbox.clock import VirtualClock
from deployments.sandbox.people import SeededRandom, handle_from, seed_of

# Posts appear and grow in steps of so many seconds of the calendar, so that two looks in one run agree.
STEP_SECONDS = 3600.0


def step_of(calendar: VirtualClock) -> float:
    """The calendar's time at the last step."""
    return math.floor(calendar.now() / STEP_SECONDS) * STEP_SECONDS


@dataclass(frozen=True, slots=True)
class Post:
    """One invented post.

    `number` counts the posts of its hashtag (0 the newest when the server started, -1 the first one after);
    `born` is its time in the calendar's seconds since the start; `variant` chooses its kind of media and its quirks.
    """

    platform: str
    post_id: str
    code: str | None
    handle: str
    tag: str | None
    number: int
    variant: int
    born: float
    seed: int

    @property
    def key(self) -> str:
        return f"{self.platform}:{self.post_id}"

    @property
    def random(self) -> SeededRandom:
        return SeededRandom(self.seed)


def _identity(platform: str, seed: int) -> tuple[str, str | None]:
    """An id (and short code) of the platform's own form and length."""
    if platform == "instagram":
        number = 3_000_000_000_000_000_000 + seed % 700_000_000_000_000_000
        return str(number), code_of_number(number)
    if platform == "tiktok":
        return str(7_100_000_000_000_000_000 + seed % 450_000_000_000_000_000), None
    if platform == "x":
        return str(1_800_000_000_000_000_000 + seed % 190_000_000_000_000_000), None
    return "".join(ALPHABET[(seed >> (place * 5)) % 64] for place in range(11)), None


class Catalog:
    """All posts that the sandbox can show; it remembers whose hashtag found a post."""

    def __init__(self, calendar: VirtualClock) -> None:
        self._calendar = calendar
        self._known: dict[str, Post] = {}

    def newest(
        self,
        platforms: Sequence[str],
        count: int,
        *,
        tag: str | None = None,
        creator: str | None = None,
        limit: int | None = None,
        shared_every: int = 0,
    ) -> list[Post]:
        """The `count` newest posts of a hashtag (or a creator's handle) at this moment, newest first.

        Posts lie on the `platforms` in turn. `limit` bounds how many there were at the start; each
        `shared_every`-th post (0: none) is one that other hashtags have too.
        """
        source = f"#{tag}" if creator is None else f"@{creator}"
        found: list[Post] = []
        for number, born in self._births(source):
            if len(found) == count or (limit is not None and number >= limit):
                break
            platform = platforms[number % len(platforms)]
            shared = shared_every and number % shared_every == shared_every - 1
            seed = seed_of(f"shared/{platform}/{number}" if shared else f"{source.casefold()}/{platform}/{number}")
            post_id, code = _identity(platform, seed)
            known = self._known.get(f"{platform}:{post_id}")
            if known is None:
                random = SeededRandom(seed)
                handle = handle_from(random, 1) if creator is None else creator
                variant = number // len(platforms)
                known = Post(platform, post_id, code, handle, tag, number, variant, born, seed)
                self._known[known.key] = known
            found.append(known)
        return found

    def _births(self, source: str) -> Iterator[tuple[int, float]]:
        """Numbers and times of birth of the posts of `source`, newest first, without end."""
        random = SeededRandom(seed_of(f"births/{source.casefold()}"))
        spacing = 1200.0 + 4200.0 * random.unit(0)
        now = step_of(self._calendar)
        number = -math.ceil(now / spacing) - 1
        while True:
            # Each post has its own stretch of time and lies somewhere in it, so the order is always the same.
            born = -(number + random.unit(abs(number) * 2 + (number < 0) + 1)) * spacing
            if number >= 0:
                born = min(born, -60.0)
            if born <= now:
                yield number, born
            number += 1

    def at(self, address: Address) -> Post:
        """The post that `address` names: a known one, or one made up from its id."""
        known = self._known.get(address.key)
        if known is not None:
            # A post that is private has a longer code beside its number's own.
            return known if address.code in (None, known.code) else replace(known, code=address.code)
        seed = seed_of(f"url/{address.key}")
        random = SeededRandom(seed)
        code = address.code
        handle = address.handle if address.handle is not None else handle_from(random, 1)
        number = seed % 1_000_000
        post = Post(
            address.platform, address.post_id, code, str(handle), None, number, number,
            -float(random.between(2, 3600, 40 * 86400)), seed,
        )  # fmt: skip
        self._known[post.key] = post
        return post


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a platform counts of a post at one moment."""

    plays: int
    views: int
    likes: int
    comments: int
    shares: int
    saves: int
    posted_at: int


def numbers_of(post: Post, calendar: VirtualClock) -> Numbers:
    """The post's counts now; they never shrink, grow fast at first and slower after.

    Half of the posts grow for ever; the others have had their day after a day or a week, and then stand still.
    """
    random = post.random
    age = max(60.0, step_of(calendar) - post.born)
    pace = 43_200.0 + 400_000.0 * random.unit(3)
    if random.unit(10) < 0.5:
        grown = -math.expm1(-age / (pace / 5))
    else:
        grown = 0.85 * -math.expm1(-age / pace) + 0.15 * -math.expm1(-age / (pace * 40))
    final = 10 ** (3.0 + 3.6 * random.unit(4))
    plays = int(final * grown)
    likes = int(plays * (0.01 + 0.11 * random.unit(5)))
    return Numbers(
        plays=plays,
        views=int(plays * (0.02 + 0.6 * random.unit(6))),
        likes=likes,
        comments=int(likes * 0.04 * random.unit(7)),
        shares=int(likes * 0.15 * random.unit(8)),
        saves=int(likes * 0.2 * random.unit(9)),
        posted_at=calendar.seen_at(post.born),
    )
