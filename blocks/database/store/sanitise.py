"""Makes any record storable: what no database can hold is left out, with the reason, instead of failing the batch."""

from __future__ import annotations

import hashlib
import math
from typing import Any

# BIGINT's range; a count beyond it is no count.
_LARGEST = 2**63 - 1
# Keys are indexed, and an index entry of Postgres holds 2,700 bytes.
_LONGEST_KEY = 200


def sanitise_text(value: str) -> str:
    """The text without NUL characters (Postgres) and lone surrogates (both engines), which cannot be stored."""
    if "\x00" in value:
        value = value.replace("\x00", "")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode(errors="replace").decode()
    return value


def sanitise_key(value: str) -> str:
    """An id as a key: as it is, or its hash where it is longer than any real one."""
    value = sanitise_text(value)
    return value if len(value) <= _LONGEST_KEY else "sha256:" + hashlib.sha256(value.encode()).hexdigest()


def sanitise(value: Any) -> Any:
    """A value of a record, or its nearest storable form; None for a number that no column holds."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return sanitise_text(value)
    if isinstance(value, int):
        return value if -_LARGEST <= value <= _LARGEST else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {sanitise_text(str(key)): sanitise(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [sanitise(item) for item in value]
    return value


def sanitise_facts(facts: dict[str, Any], null_reasons: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Facts of a record and their reasons; a value that had to be left out gets the reason `unknown_shape`."""
    fitted = {name: sanitise(value) for name, value in facts.items()}
    lost = [name for name, value in fitted.items() if value is None and facts[name] is not None]
    return fitted, sanitise(null_reasons) | dict.fromkeys(lost, "unknown_shape")
