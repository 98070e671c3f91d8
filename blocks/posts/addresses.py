"""Canonical URLs of posts, and Instagram's arithmetic between shortcodes and numeric ids."""

from __future__ import annotations

import re

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_VALUE = {letter: value for value, letter in enumerate(_ALPHABET)}
_PUBLIC_LENGTH = 11
"""Ids are 64-bit numbers, six bits a letter: a public code has at most eleven letters."""
_PRIVATE_LENGTH = 28
"""A post of a private account has its public code with 28 more letters behind it (39 in all for posts of today)."""

_HANDLE = re.compile(r"[A-Za-z0-9_.]{2,24}\Z")


def shortcode_to_id(shortcode: str) -> str:
    """The numeric id that an Instagram shortcode stands for, as text.

    A shortcode is the id in base 64, most significant letter first. One of a private account's post has a token
    of 28 letters behind it, which stands for nothing (as yt-dlp and gallery-dl read it). Codes of a length between
    the two are nobody's.

    Raises:
        ValueError: the text has a length that no shortcode has, holds something that none holds, or stands for 0.
    """
    public = public_shortcode(shortcode)
    if not 1 <= len(public) <= _PUBLIC_LENGTH:
        raise ValueError("a shortcode has 1 to 11 letters, and with a private post's token 29 to 39")
    if any(letter not in _VALUE for letter in shortcode):
        raise ValueError("a shortcode holds letters, digits, '-' and '_' only")
    number = 0
    for letter in public:
        number = number * 64 + _VALUE[letter]
    if number == 0:
        raise ValueError("a shortcode stands for a number above zero")
    return str(number)


def public_shortcode(shortcode: str) -> str:
    """The code that names the post: without the token of 28 letters where there is one, else as it is."""
    return shortcode[:-_PRIVATE_LENGTH] if len(shortcode) > _PRIVATE_LENGTH else shortcode


def id_to_shortcode(post_id: str | int) -> str:
    """The public Instagram shortcode of a numeric id; what follows a `_` (the owner's id) is left out.

    Raises:
        ValueError: no whole number above zero.
    """
    digits = str(post_id).partition("_")[0]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20 and int(digits) > 0):
        raise ValueError("an Instagram id is a whole number above zero")
    number, letters = int(digits), ""
    while number:
        number, value = divmod(number, 64)
        letters = _ALPHABET[value] + letters
    return letters


def instagram_url(shortcode: str) -> str:
    return f"https://www.instagram.com/p/{shortcode}/"


def tiktok_url(post_id: str, handle: str | None) -> str:
    """With the handle where it is known, else the player's form, which needs none."""
    if handle is None:
        return f"https://www.tiktok.com/player/v1/{post_id}"
    return f"https://www.tiktok.com/@{handle}/video/{post_id}"


def youtube_url(post_id: str) -> str:
    return f"https://www.youtube.com/watch?v={post_id}"


def x_url(post_id: str) -> str:
    return f"https://x.com/i/status/{post_id}"


def is_tiktok_handle(text: str) -> bool:
    """Whether the text can be a TikTok user name (ASCII letters, digits, `_`, `.`; 2 to 24 of them)."""
    return _HANDLE.match(text) is not None
