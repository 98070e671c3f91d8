"""Folders as somebody sees them who may read them and nothing more, also where the tests run as root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65_534


@contextmanager
def readable_alone(folder: Path) -> Iterator[None]:
    """The folder and its files as somebody sees them who may read them and nothing more."""
    names = [folder, *folder.iterdir()]
    before = {path: path.stat().st_mode for path in names}
    user = os.getresuid()
    for path in names:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if user[1] == 0:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(*user)
        for path, mode in before.items():
            path.chmod(mode)
