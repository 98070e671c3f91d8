"""Secrets cut out of whatever the service says, before anybody reads, shows or stores it."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Callable

SECRET_LENGTH = 16
"""A callback's secret of fewer characters may be a word of a payload: it is cut out only with the whole URL."""

FORMS_LENGTH = 8
"""Of fewer letters a secret is cut out as it is alone: in another case or encoded it may be anybody's word."""

HEX_SEPARATORS = ("", " ", ":", "-")

# h11 quotes the bytes that it could not read: somebody's words, or the request's own headers.
_QUOTED = re.compile(r"\b(?:bytearray\()?b['\"]")

_WITH_DIGITS = (b"\\u00", b"\\x", b"%")
"""How escapes by two hexadecimal digits begin: in JSON, in Python and in URLs."""


class Scrubber:
    """Cuts the key, and the secret with which a callback's URL ends, out of answers and texts that repeat them.

    Also where characters of them are escaped, in another case, in base64 (alone or in a text such as `user:key`) and in
    hexadecimal. No dump of it shows either. An empty key is none.
    """

    __slots__ = ("_cut",)

    def __init__(self, key: str, callback_url: str | None = None) -> None:
        secrets = [(key, "[key]")] if key else []
        if callback_url:
            secret = callback_url.rpartition("/")[2]
            secrets.append((secret if len(secret) >= SECRET_LENGTH else callback_url, "[callback]"))
        cuts = [_cutting(secret, shown) for secret, shown in secrets]

        def cut(said: bytes) -> bytes:
            for one in cuts:
                said = one(said)
            return said

        self._cut = cut

    def __call__(self, body: bytes) -> bytes:
        """An answer without the secrets."""
        return self._cut(body)

    def words_of(self, error: Exception) -> str:
        """What a library says of a fault, without the secrets and without the bytes of an answer that it quotes."""
        said = str(error)
        if quoted := _QUOTED.search(said):
            said = said[: quoted.start()].rstrip().removesuffix(":").rstrip()
        said = said or type(error).__name__
        return self._cut(said.encode("utf-8", "replace")).decode("utf-8", "replace")


def _cutting(secret: str, shown: str) -> Callable[[bytes], bytes]:
    """Cuts one secret in all its forms: as it is, in another case, in base64 and in hexadecimal, escaped or not."""
    instead = shown.encode()
    any_case = len(secret) >= FORMS_LENGTH
    encoded = _encoded(secret.encode()) if any_case else []
    plain = [_Form(secret, any_case=any_case), *encoded]
    hexadecimal = [sep.join(f"{byte:02x}" for byte in secret.encode()) for sep in HEX_SEPARATORS] if any_case else []
    plain += [_Form(one, any_case=True) for one in hexadecimal]
    forms = [secret, *(one.form for one in encoded)]
    letters = {letter for one in forms for letter in (one.lower() + one.upper() if any_case else one)}
    # "%25" is an escaped "%": an escape of an escape.
    digits = {b"25", *(f"{ord(letter):{shape}}".encode() for letter in letters for shape in ("02x", "02X"))}
    others = [b"&#", *(b"\\" + letter.encode() for letter in sorted(set(secret)) if not letter.isalnum())]

    def may_be_escaped(said: bytes) -> bool:
        # The search for all forms costs as much as ten parsings: it is made only where it may find something.
        for begin in _WITH_DIGITS:
            if begin in said and not digits.isdisjoint([part[:2] for part in said.split(begin)[1:]]):
                return True
        return any(other in said for other in others)

    def cut(said: bytes) -> bytes:
        small = said.lower() if any_case else said
        for form in plain:
            if form.wanted in (small if form.any_case else said):
                said = form.plain.sub(instead, said)
                small = said.lower() if any_case else said
        if may_be_escaped(said):
            for form in plain:
                said = form.escaped.sub(instead, said)
        return said

    return cut


def _encoded(secret: bytes) -> list[_Form]:
    """Base64 (also of the kind for URLs) of a secret, wherever in a text it stands (`user:key`)."""
    forms = []
    for before in range(3):
        whole = base64.b64encode(bytes(before) + secret).decode()
        begin, end = -(-8 * before // 6), 8 * (before + len(secret)) // 6
        # The letters at both ends hold bits of what stands before and behind.
        left = "(?:(?<!\\\\)[A-Za-z0-9+/_-])?" if before else ""
        right = "[A-Za-z0-9+/_-]?={0,2}" if (before + len(secret)) % 3 else ""
        core = whole[begin:end]
        for form in dict.fromkeys((core, core.replace("+", "-").replace("/", "_"), core.replace("/", r"\/"))):
            forms.append(_Form(form, any_case=False, left=left, right=right))
    return forms


class _Form:
    """One form of a secret, and the expressions that find it; they are made when they are needed first."""

    def __init__(self, form: str, *, any_case: bool, left: str = "", right: str = "") -> None:
        self.form, self.any_case = form, any_case
        self._left, self._right = left, right
        self.wanted = (form.lower() if any_case else form).encode()

    def __repr__(self) -> str:
        return "_Form()"

    @functools.cached_property
    def plain(self) -> re.Pattern[bytes]:
        return self._compiled(re.escape(self.form))

    @functools.cached_property
    def escaped(self) -> re.Pattern[bytes]:
        form = self.form.replace(r"\/", "/")
        # A row of backslashes is entered at its beginning only.
        return self._compiled(
            _forms(form[0], r"(?<!\\)", self.any_case) + "".join(_forms(one, "", self.any_case) for one in form[1:])
        )

    def _compiled(self, expression: str) -> re.Pattern[bytes]:
        whole = f"{self._left}{expression}{self._right}".encode()
        return re.compile(whole, re.IGNORECASE if self.any_case else 0)


def _forms(letter: str, begins: str, any_case: bool) -> str:
    """One character, plain or escaped: for JSON (also a text within a text), Python, a URL, or HTML."""
    codes = {ord(letter), ord(letter.lower()), ord(letter.upper())} if any_case else {ord(letter)}
    digits = "|".join(
        "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{code:02x}")
        for code in sorted(codes)
    )
    decimal = "|".join(str(code) for code in sorted(codes))
    # A backslash before a letter may be an escape of its own (`\n`), which ends before the secret.
    plain = re.escape(letter)
    if letter == "%":
        plain = "%(?:25)*"
    elif not letter.isalnum():
        plain = rf"{begins}\\++" if letter == "\\" else rf"{begins}\\*+{plain}"
    return (
        rf"(?:{plain}|{begins}\\++(?:u00|x)(?:{digits})|%(?:25)*(?:{digits})"
        rf"|&#(?:[xX]0*(?:{digits})|0*(?:{decimal}));)"
    )
