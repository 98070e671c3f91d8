"""US dollars in words."""

from __future__ import annotations


def dollars(amount: float) -> str:
    """Cents, or where they do not tell it exactly, hundredths of cents: `1,234.50`, `0.0125`."""
    return f"{amount:,.4f}".removesuffix("00")
