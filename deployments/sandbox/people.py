"""Invented people and words, drawn from seeded random numbers: nobody here exists, and no text was ever posted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")
_MASK = (1 << 64) - 1


def seed_of(text: str) -> int:
    """A 64-bit number that stands for `text`."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


class SeededRandom:
    """Draws from a seed; each draw names a slot, so that one more draw never changes the others."""

    __slots__ = ("_seed",)

    def __init__(self, seed: int) -> None:
        self._seed = seed & _MASK

    def bits(self, slot: int) -> int:
        """64 bits (the mixing step of splitmix64)."""
        mixed = (self._seed + (slot + 1) * 0x9E3779B97F4A7C15) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def unit(self, slot: int) -> float:
        """A fraction from 0 up to, not including, 1."""
        return (self.bits(slot) >> 11) / (1 << 53)

    def between(self, slot: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + self.bits(slot) % (high - low + 1)

    def pick(self, slot: int, choices: Sequence[T]) -> T:
        return choices[self.bits(slot) % len(choices)]


_FIRST = (
    "wobbelina", "oddo", "tamsin", "quibble", "zorba", "nimbus", "pippa", "gloop", "marzipan", "fennel",
    "brumbo", "lulabelle", "snorri", "yuzu", "kumoko", "pancho", "twill", "opaline", "rhubarb", "dingo",
)  # fmt: skip
_LAST = (
    "quarzfink", "teakettle", "mossbottom", "papierdrache", "umbrellini", "pickletree", "snowglobe", "vantablack",
    "lampshade", "marmalov", "kitehammer", "buttonwood", "fogbrook", "zipperman", "cloudpocket", "noodleberg",
)  # fmt: skip
_TALL = (
    "雲野ユズ子", "Нюша Выдумкина", "فلانة الخيالي", "Élodie Nuagé-Fictif", "허구름", "कल्पना बादलवाला",
    "Ñoña Cuentista", "Ødd Påfunn", "Zażółć Gęślowska", "Φανταστική Ομίχλη",
)  # fmt: skip
_SIGNS = ("🫖", "🪁", "🌂", "🧦", "🪄", "🦆", "☁️", "🥨")

_TEXTS = (
    "Look what fell out of the paper sky today",
    "Three umbrellas, one teakettle, zero plans ☕️",
    "POV: your socks have opinions 🧦🧦",
    "Hier wohnt der Wind zur Miete",
    "Un sac plein de nuages, s'il vous plaît",
    "今日は雲を買いました",
    "Сегодня шляпа выбрала меня",
    "غيمة صغيرة في حقيبتي",
    "구름 한 조각 주세요",
    "बादल का टुकड़ा, जेब में",
    "Day 14 of knitting a lighthouse",
    "Nobody told the lampshade it was fashion week 💡✨",
    "Made of 100 % invented cashmere (price: 3 buttons)",
    'Two lines\nand a second one, with a ‘quote’ and a "quote"',
    "=SUM(of all teapots) is 7",
)
_TAGS = (
    "paperkites", "OOTDimagined", "teapotcore", "été2026", "雲コーデ", "Выдумка", "موضة_خيالية", "구름패션", "बादल",
    "sock_opinions", "NuagesDeParis", "lampshadechic", "straßenstil", "2026", "x☁️y", "buttonwood_27",
)  # fmt: skip
_REMARKS = (
    "I can smell the marzipan from here!!",
    "where is the teapot from? 🫖",
    "雲ください ☁️",
    "first 🥇",
    "Das ist doch erfunden, oder?",
    "@oddo.teakettle.7 look!",
)
_PLACES = ("Nebelheim Pier", "Plaza del Botón", "Teapot Alley 9", "雲坂駅", "Isle of Socks", "Café Inventé")
_SONGS = ("Waltz of the Lampshades", "Umbrella (never recorded)", "雲のうた", "Nine Buttons", "Teakettle Blues")
_BANDS = ("The Imaginary Kites", "Fogbrook & Sons", "DJ Marzipan", "Ансамбль Выдумка")


@dataclass(frozen=True, slots=True)
class Person:
    """An invented creator; `handle` is made of ASCII letters, digits and dots."""

    person_id: str
    handle: str
    name: str
    followers: int
    verified: bool


@lru_cache(maxsize=8192)
def person(handle: str) -> Person:
    """The creator of that handle: always the same one."""
    random = SeededRandom(seed_of(f"person/{handle.casefold()}"))
    if random.unit(0) < 0.4:
        name = random.pick(1, _TALL)
    else:
        name = " ".join(part.capitalize() for part in handle.replace("_", ".").split(".") if not part.isdigit())
    if random.unit(2) < 0.3:
        name = f"{name} {random.pick(3, _SIGNS)}"
    followers = int(10 ** (2.0 + 5.5 * random.unit(4)))
    return Person(str(random.between(5, 10**8, 10**10)), handle, name, followers, random.unit(6) < 0.15)


def handle_from(random: SeededRandom, slot: int) -> str:
    """An invented handle."""
    bits = random.bits(slot)
    return f"{_FIRST[bits % len(_FIRST)]}.{_LAST[(bits >> 16) % len(_LAST)]}.{(bits >> 32) % 90 + 1}"


def words(random: SeededRandom, tag: str | None) -> tuple[str, list[str], list[str]]:
    """A caption, with the hashtags and the mentions in it; `tag` is among the hashtags where it is given."""
    tags = [] if tag is None else [tag]
    for slot in range(40, 40 + random.between(30, 0, 4)):
        extra = random.pick(slot, _TAGS)
        if extra not in tags:
            tags.append(extra)
    mentions = [handle_from(random, slot) for slot in range(50, 50 + max(0, random.between(31, -3, 2)))]
    text = random.pick(32, _TEXTS)
    if mentions:
        text += " with " + " and ".join(f"@{handle}" for handle in mentions)
    if tags:
        # Posts set their hashtags on a line of their own, behind the text, or with no space between them.
        joint = "" if random.unit(33) < 0.15 else " "
        text += random.pick(34, (" ", "\n\n", " … ")) + joint.join(f"#{name}" for name in tags)
    return text, tags, mentions


def remark(random: SeededRandom, slot: int) -> str:
    """What an invented commenter says."""
    return random.pick(slot, _REMARKS)


def place(random: SeededRandom, slot: int) -> str:
    """An invented place."""
    return random.pick(slot, _PLACES)


def song(random: SeededRandom, slot: int) -> tuple[str, str]:
    """Title and artist of an invented song."""
    return random.pick(slot, _SONGS), random.pick(slot + 1, _BANDS)
