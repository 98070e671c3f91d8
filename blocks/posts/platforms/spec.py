"""What Tagtrail has to know of a platform: one `PlatformSpec` says all of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from blocks.posts.payloads.shape import Shape
from blocks.posts.record import Channel, PostRef
from blocks.posts.urls import Address

TagRule = Literal["apart", "glued", "twitter"]
"""Where a hashtag may begin: apart from the word before it, glued to one too, or as twitter-text says."""
MentionRule = Literal["ascii", "any script", "twitter"]
"""What a user name behind `@` is made of: ASCII with inner dots, letters of any script, or as twitter-text says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdForm:
    """What the ids of a platform's posts look like.

    `whole` has the id as its first group; `alone` matches an id that cannot be anything else, with the id as its first
    group; `in_words` finds such ids in a sentence.
    """

    whole: re.Pattern[str]
    alone: re.Pattern[str]
    in_words: re.Pattern[str]
    is_number: bool = True

    def read(self, written: str) -> str | None:
        """The id in the form in which rows have it; None for what can be none."""
        found = self.whole.match(written)
        return found[1] if found else None


NUMBERS: Final = IdForm(
    whole=re.compile(r"([0-9]{1,20})\Z"),
    alone=re.compile(r"([0-9]{15,20})(?:_[0-9]*)?\Z"),
    in_words=re.compile(r"(?<![0-9A-Za-z])[0-9]{15,20}(?![0-9A-Za-z])"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlatformSpec:
    """One platform. What has a default need be given only where the platform differs from most."""

    name: str
    """As rows, settings and commands have it: lower case."""
    label: str
    """As people write it."""

    # Addresses.
    hosts: tuple[str, ...]
    """Where people look at it."""
    other_hosts: tuple[str, ...] = ()
    """Old hosts, those of apps, embeds and exports, and sites that show its posts under its own paths."""
    leading_hosts: tuple[str, ...] = ()
    """Hosts whose pages only lead somewhere: they count where they lead back to the platform."""
    leading_pages: frozenset[str] = frozenset()
    """How the paths begin under which it asks for a login or a consent, or leads somewhere else."""
    read_address: Callable[[Address], PostRef | None]
    """The post that an address names by its path or query; raises NotAPostUrl for what could name one and does not."""
    example: str
    """A post's address, for messages."""
    post_url: Callable[[str, str | None], str]
    """A post's address by its id and shortcode alone: it names no person."""
    named_url: Callable[[Address, PostRef], str] = field(default=lambda _address, ref: ref.url)
    """The canonical address of a post, with what the address as given says of its author."""
    private_url: Callable[[Address], str | None] = field(default=lambda _address: None)
    """The address by which alone a private account's post opens, where the address as given is one."""
    handle_url: str | None = None
    """How a post's address begins where it names the author: `https://…/@{handle}/`."""
    read_profile: Callable[[list[str]], tuple[str, str] | None] = field(default=lambda _parts: None)
    """Handle and canonical address of the profile that a path names."""
    profile_example: str | None = None
    """A profile's address, for messages; None where the API imports no creators."""
    profile_address: str | None = None
    """An expression for what stands before a user name in an address; None: one of the hosts, `/` and maybe `@`."""
    may_be_profile: Callable[[str], bool] = field(default=lambda _name: True)
    """Whether what stands there can be a user name: `x.com/home` is none."""

    # What the API does with it.
    metadata_path: str
    imports_urls: bool = True
    is_found_by_hashtag: bool = False
    """Whether hashtag imports find posts of it; the hosted API documents TikTok only so far."""
    calls_per_hour: Mapping[Channel, float] = field(default_factory=dict)
    """Limits of its metadata alone, per account, below those of the channel."""
    urls_to_try: Callable[[PostRef, str, str | None], list[str]] = field(default=lambda ref, *_: [ref.url])
    """The URLs by which metadata can be asked for, the one to try first in front: from the post, its plain URL as
    given, and its private one."""
    form_of: Callable[[str], str] = field(default=lambda _url: "other")
    """Which of its forms of URLs this is."""

    # Payloads.
    shapes: tuple[Shape, ...] = field(repr=False)
    """The forms of its payloads; the one with most marks wins, at a tie the first."""
    documented: Mapping[Channel, str] = field(default_factory=dict)
    """Channel → the name of the shape that some source names."""
    ids: IdForm = NUMBERS
    id_of_code: Callable[[str], str] | None = None
    """The id that a post's code stands for (ValueError: it is none), where posts have a code beside their id: the code
    decides whose a payload is, for an id of another space of numbers may stand beside it."""
    favourites: Literal["likes", "saves"] | None = None
    """What it calls favourites."""
    engagement: tuple[str, ...] = ("likes", "comments")
    """The parts of engagement that it has at all; the others are not waited for."""
    as_stored: Callable[[PostRef, str | None], PostRef] = field(default=lambda ref, _author: ref)
    """The post with the URL and the shortcode that its row gets, once its author's user name may be known."""

    # Captions.
    tags: TagRule = "apart"
    mentions: MentionRule = "ascii"

    @property
    def profile_pattern(self) -> str:
        """An expression for what stands before a user name in the address of a profile or of a post."""
        return self.profile_address or rf"(?:{'|'.join(re.escape(host) for host in self.hosts)})/@?"
