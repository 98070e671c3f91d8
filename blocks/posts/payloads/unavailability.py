"""Marks by which a platform says that a post is gone, apart from a service's own troubles."""

from __future__ import annotations

import re
from typing import Any, Literal

from blocks.posts.payloads.reading import dig, whole

MEDIA_KEYS = ("xdt_shortcode_media", "shortcode_media", "itemStruct")
"""What stands here is the post; null here is how the platform says that there is none (or none to be seen)."""
_ITEMS_KEY = "xdt_api__v1__media__shortcode__web_info"

Mark = Literal["gone", "trouble"]

_POST = r"\b(?:post|video|media|tweet|reel|photo|page|item)\b"
_GONE = re.compile(
    # "Post not found", "the media that you asked for was removed": the post, a few words, and what became of it.
    rf"{_POST}(?:\s+[^\s.;:!?]+){{0,6}}?\s+(?:not\s?found|does\s?n[o'’]t\s+exist|does\s+not\s+exist|no\s+longer\s+exists?"
    r"|no\s+longer\s+available|is\s?n[o'’]t\s+available(?:\s+any\s?more)?|not\s+available|unavailable|removed|deleted"
    r"|private|terminated)\b"
    rf"|\b(?:private|removed|deleted|unavailable|no\s+such)\s+(?:(?:this|the)\s+)?{_POST}"
    r"|\bcould\s+not\s+find\s+(?:a\s+|the\s+)?(?:post|tweet|video|media)\b|\bno\s+status\s+found\s+with\s+that\s+id\b",
    re.I,
)
_GONE_WITH_ITS_AUTHOR = re.compile(
    # "This Post is from an account that no longer exists", "the YouTube account of this video has been terminated".
    rf"{_POST}[^.;!?]{{0,80}}?\b(?:account|user|channel)\b[^.;!?]{{0,80}}?\b"
    r"(?:no\s+longer\s+exists?|suspended|terminated|deleted|closed|private)\b"
    rf"|{_POST}[^.;!?]{{0,80}}?\b(?:suspended|terminated|deleted|protected|private)\s+(?:account|user|channel)\b"
    rf"|{_POST}[^.;!?]{{0,80}}?\b(?:closed|deleted)\s+(?:their|its|his|her)\s+(?:[a-z]+\s+){{0,2}}(?:account|channel)\b"
    rf"|\b(?:account|channel)\b[^.;!?]{{0,40}}?{_POST}[^.;!?]{{0,40}}?\b(?:suspended|terminated|deleted|closed)\b",
    re.I,
)
_PRIVATE = re.compile(r"\bprivate\s+(?:video|post|tweet|reel)\b", re.I)
_NOT_THE_POST = re.compile(
    r"\b(?:tokens?|actors?|prox(?:y|ies)|sessions?|data(?:\s?sets?)?|accounts?|credentials?|runs?|log\s?ins?|cookies?"
    r"|keys?|api|versions?|tasks?|jobs?|queues?|servers?|hosts?|https?|endpoints?|routes?|methods?|requests?|quota"
    r"|services?|details?|info|information|meta\s?data|stats|statistics|credits?|connect\w*|elements?|selectors?|files?|fields?|parameters?|inputs?|transcripts?|subtitles?|captions?"
    r"|comments?|thumbnails?|downloads?|formats?|streams?|block(?:ed)?|limit(?:ed|s)?|retry|again|later"
    r"|time[sd]?\s?out|temporar\w*)\b",
    re.I,
)
"""Words of errors in which the service, not the post, is what is missing: they leave the post open."""
_NOT_FOR_EVERYBODY = re.compile(
    r"\b(?:countr(?:y|ies)|regions?|locations?|geo\w*|territor\w*|age|adult|mature|sensitive|nsfw\w*|sign\s?in|sign\s+up"
    r"|log\s?in|logged|bot|robot|confirm|members?|premium|premieres?|live|withheld|captcha|subscri\w*)\b",
    re.I,
)
"""Words of a post that is there, only not for whoever asked."""
_GONE_CODES = frozenset({"POST_NOT_FOUND_OR_PRIVATE"})
_NOT_SAID = frozenset({"no_items"})
"""An error of scraping services ("empty or private data") that does not say which of the two."""
_TIKTOK_GONE = frozenset({10204, 10216, 10222})
"""TikTok's own status codes: no such post, private post, private account."""
_X_GONE = ("TweetUnavailable", "TweetTombstone")
_ERRORS = ("errorCode", "error", "errorDescription", "error_code", "error_description", "errorMessage", "error_message")
"""Keys that only an error has: what does not say that the post is gone is trouble."""
_REMARKS = ("message", "msg", "detail", "exc_type", "reason", "statusMsg", "status_msg", "notice")
"""Keys that stand in other objects too: only near the answer's top, and only where it says that the post is gone."""

_NO_WORDS = re.compile(r"https?://\S+|\bterms\s+of\s+(?:service|use)\b", re.I)
_SEAMS = re.compile(r"(?<=[a-z])(?=[A-Z])|[_-]+")
_LONGEST_WORDS = 500
"""Marks are short; what is longer is cut before it is read."""


def mark_of(node: dict[str, Any], *, near_the_top: bool, an_error: bool = False) -> Mark | None:
    """What an object that is no post says of the asked one: that it is gone, that something went wrong, or nothing.

    `an_error`: it stands in a list of errors, so that whatever it says is one. An empty list says nothing: services
    give it for a blocked look-up as well.
    """
    errors = _words(node, _ERRORS)
    remarks = _words(node, _REMARKS) if near_the_top or an_error else []
    mark = _platform_mark(node)
    if mark is not None:
        return mark
    if _NOT_SAID.isdisjoint(errors) and _name_a_gone_post([*errors, *remarks], errors):
        return "gone"
    failed = node.get("status") == "fail" or (an_error and bool(remarks))
    if errors or failed:
        return "trouble"
    return "gone" if any(key in node and node[key] is None for key in (*MEDIA_KEYS, _ITEMS_KEY)) else None


def words_of(node: dict[str, Any]) -> list[str]:
    """All that an object says in errors and remarks."""
    return _words(node, (*_ERRORS, *_REMARKS))


def _platform_mark(node: dict[str, Any]) -> Mark | None:
    """What the platforms themselves say, each in its own way."""
    if whole(node.get("statusCode")) in _TIKTOK_GONE:
        return "gone"
    if node.get("__typename") in _X_GONE:
        tombstone = dig(node, "tombstone.text.text")
        said = " ".join([*_words(node, ("reason",)), tombstone if isinstance(tombstone, str) else ""])
        return "trouble" if _NOT_FOR_EVERYBODY.search(_SEAMS.sub(" ", said[:_LONGEST_WORDS])) else "gone"
    status = dig(node, "playabilityStatus.status")
    if isinstance(status, str) and status != "OK":
        screen = "playabilityStatus.errorScreen.playerErrorMessageRenderer.subreason.simpleText"
        words = [value for path in ("playabilityStatus.reason", screen) if isinstance(value := dig(node, path), str)]
        return "gone" if _name_a_gone_post(words, []) else "trouble"
    return None


def _words(node: dict[str, Any], keys: tuple[str, ...]) -> list[str]:
    return [value[:_LONGEST_WORDS] for key in keys if isinstance(value := node.get(key), str) and value]


def _name_a_gone_post(words: list[str], codes: list[str]) -> bool:
    """Whether codes and words say that the post is gone, and not that anything of the service's is."""
    if not _GONE_CODES.isdisjoint(codes):
        return True
    # Addresses and a platform's terms are no words, and codes are written PostNotFound or POST_NOT_FOUND.
    plain = [_SEAMS.sub(" ", _NO_WORDS.sub("it", word)) for word in words]
    if any(_PRIVATE.search(word) for word in plain):
        return True
    if any(_NOT_FOR_EVERYBODY.search(word) for word in plain):
        return False
    if any(_GONE_WITH_ITS_AUTHOR.search(word) for word in plain):
        return True
    return any(_GONE.search(word) for word in plain) and not any(_NOT_THE_POST.search(word) for word in plain)
