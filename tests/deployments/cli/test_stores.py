"""A database that cannot be reached, or only be read, is told in one sentence, or read."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.errors import StoreError, UsageError
from blocks.settings import get_settings
from deployments.cli import stores
from deployments.doctor.service import database_checks
from tests.read_only import readable_alone


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


@pytest.mark.integration
@pytest.mark.parametrize("command", [("status",), ("top",), ("export", "posts")])
def test_a_database_that_may_only_be_read_is_read(
    command: tuple[str, ...], tagtrail: Callable[..., Any], filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = tagtrail(*command)
    filled.close()
    with tempfile.TemporaryDirectory() as folder:
        # pytest's own folders are not for everybody to enter.
        home = Path(folder) / "home"
        shutil.copytree(get_settings().home, home)
        Path(folder).chmod(0o755)
        monkeypatch.setenv("TAGTRAIL_HOME", str(home))
        monkeypatch.setenv("HOME", folder)
        monkeypatch.chdir(folder)
        tagtrail(*command)
        with readable_alone(home):
            called = tagtrail(*command)
            with pytest.raises(StoreError, match="cannot be written: it is read-only"):
                stores.check(get_settings())
    assert (called.status, called.out) == (0, writes.out)


@pytest.mark.parametrize("command", [("export", "posts", "--output", "p.csv"), ("report", "--output", "p.csv")])
@pytest.mark.usefixtures("filled")
def test_an_export_from_a_home_that_can_only_be_read(
    command: tuple[str, ...], tagtrail: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("blocks.exported_files.note_export", read_only)
    called = tagtrail(*command)
    assert called.status == 0
    assert "cannot be written (Read-only file system), so that `tagtrail purge` will not name this file" in called.err
    assert Path("p.csv").exists()
