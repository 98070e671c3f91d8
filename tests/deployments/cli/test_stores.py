"""A database that cannot be reached, or only be read, is told in one sentence, or read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.memories.errors import StoreError, UsageError
from blocks.settings import get_settings
from deployments.cli import stores
from deployments.doctor.service import database_checks


@pytest.mark.parametrize("command", [("status",), ("top",), ("export", "posts"), ("refresh", "--dry-run")])
def test_a_home_that_is_a_file_is_no_home(
    command: tuple[str, ...], tagtrail: Callable[..., Any], clean_environment: Path
) -> None:
    clean_environment.touch()
    called = tagtrail(*command)
    assert called.status == 2
    assert f"tagtrail: {clean_environment} is no folder, where tagtrail.db would be; name a folder" in called.err
    assert "There is no database yet" not in called.err


def denied(*_: object, **__: object) -> Any:
    raise PermissionError(13, "Permission denied")


def test_a_home_that_may_not_be_read_is_one_sentence(clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clean_environment / "tagtrail.db"
    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(UsageError, match=r"tagtrail\.db cannot be reached \(Permission denied\); name a folder"):
        stores.is_there(path)


def test_doctor_tells_a_home_that_is_a_file(clean_environment: Path) -> None:
    clean_environment.touch()
    (check,), store = database_checks(get_settings().database_url)
    assert store is None
    assert check.verdict == "failed"
    assert "is no folder" in check.said


@pytest.mark.parametrize("command", [("status",), ("top",), ("export", "posts")])
def test_a_database_that_may_only_be_read_is_read(
    command: tuple[str, ...], tagtrail: Callable[..., Any], filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = tagtrail(*command)
    opened = os.open

    def open_(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        return (
            denied() if str(path).endswith("tagtrail.db") and flags & os.O_RDWR else opened(path, flags, *rest, **more)
        )

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    called = tagtrail(*command)
    assert (called.status, called.out) == (0, writes.out)
    with pytest.raises(StoreError, match=r"tagtrail\.db cannot be written; check its permissions"):
        stores.check(get_settings())
