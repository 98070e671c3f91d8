"""What a check found, and how it is told: one line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check; `advice` says what to do, and nothing of it ever holds a secret."""

    name: str
    verdict: Verdict
    said: str
    advice: str = ""

    @property
    def line(self) -> str:
        """The check as one line."""
        advice = f" → {self.advice}" if self.advice else ""
        return f"{self.verdict:<8}{self.name}: {self.said}{advice}"


def ok(name: str, said: str) -> Check:
    return Check(name, "ok", said)


def warning(name: str, said: str, advice: str = "") -> Check:
    return Check(name, "warning", said, advice)


def failed(name: str, said: str, advice: str = "") -> Check:
    return Check(name, "failed", said, advice)
