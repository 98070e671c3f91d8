"""A table of cases in one test: what each case costs pytest is more than what most of them test."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest


def each_case(
    names: str | tuple[str, ...], cases: Iterable[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Like `pytest.mark.parametrize`, in one test: all cases are tried, and each that fails is told with its values.

    For tests whose fixtures one case cannot change for the next.
    """
    one_name = isinstance(names, str) and "," not in names
    fields = tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else names
    rows = [(case,) if one_name else tuple(case) for case in cases]
    assert rows, "no cases, nothing tested"

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def try_all(**fixtures: Any) -> None:
            failed: list[BaseException] = []
            for row in rows:
                case = dict(zip(fields, row, strict=True))
                try:
                    test(**fixtures, **case)
                except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001
                    error.add_note(f"the case: {case!r}")
                    failed.append(error)
            if len(failed) == 1:
                raise failed[0]
            if failed:
                raise BaseExceptionGroup(f"{len(failed)} of {len(rows)} cases", failed)

        signature = inspect.signature(test)
        left = [one for name, one in signature.parameters.items() if name not in fields]
        try_all.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return try_all

    return decorate
