"""Secrets cut out of whatever the service says, before anybody reads, shows or stores it."""

from __future__ import annotations

import re

SECRET_LENGTH = 16
"""A callback's secret of fewer characters may be a word of a payload: it is cut out only with the whole URL."""

# h11 quotes the bytes that it could not read: somebody's words, or the request's own headers.
_QUOTED = re.compile(r"\s*:?\s*\b(?:bytearray\()?b(?:'.*|\".*)", re.DOTALL)

_WITH_DIGITS = (b"\\u00", b"\\x", b"%")
"""How escapes by two hexadecimal digits begin: in JSON, in Python and in URLs."""


class Scrubber:
    """Cuts the key, and the secret with which a callback's URL ends, out of answers and texts that repeat them.

    Also where characters of them are escaped. No dump of it shows either. An empty key is none.
    """

    __slots__ = ("_cut",)

    def __init__(self, key: str, callback_url: str | None = None) -> None:
        secrets = [(key, "[key]")] if key else []
        if callback_url:
            secret = callback_url.rpartition("/")[2]
            secrets.append((secret if len(secret) >= SECRET_LENGTH else callback_url, "[callback]"))
        plain = [(secret.encode(), shown.encode()) for secret, shown in secrets]
        escaped = [(re.compile("".join(map(_forms, secret)).encode()), shown.encode()) for secret, shown in secrets]
        letters = {letter for secret, _ in secrets for letter in secret}
        # "%25" is an escaped "%": an escape of an escape.
        digits = {b"25", *(f"{ord(letter):{shape}}".encode() for letter in letters for shape in ("02x", "02X"))}
        others = [b"&#", *(b"\\" + letter.encode() for letter in sorted(letters) if not letter.isalnum())]

        def may_be_escaped(said: bytes) -> bool:
            # The search for all forms costs as much as ten parsings: it is made only where it may find something.
            for begin in _WITH_DIGITS:
                if begin in said and not digits.isdisjoint([part[:2] for part in said.split(begin)[1:]]):
                    return True
            return any(other in said for other in others)

        def cut(said: bytes) -> bytes:
            for secret, shown in plain:
                if secret in said:
                    said = said.replace(secret, shown)
            if may_be_escaped(said):
                for pattern, shown in escaped:
                    said = pattern.sub(shown, said)
            return said

        self._cut = cut

    def __call__(self, body: bytes) -> bytes:
        """An answer without the secrets."""
        return self._cut(body)

    def told(self, error: Exception) -> str:
        """What a library says of a fault, without the secrets and without the bytes of an answer that it quotes."""
        said = _QUOTED.sub("", str(error)) or type(error).__name__
        return self._cut(said.encode("utf-8", "replace")).decode("utf-8", "replace")


def _forms(letter: str) -> str:
    """One character, plain or escaped: for JSON (also a text within a text), Python, a URL, or HTML."""
    digits = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{ord(letter):02x}")
    # A backslash before a letter may be an escape of its own (`\n`), which ends before the secret.
    plain = re.escape(letter) if letter.isalnum() else rf"\\*{re.escape(letter)}"
    return rf"(?:{plain}|\\+u00{digits}|\\+x{digits}|%(?:25)*{digits}|&#(?:[xX]0*{digits}|0*{ord(letter)});)"
