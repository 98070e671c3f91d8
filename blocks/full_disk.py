"""A disk without room, told apart from all else that keeps a file from being written: it is nobody's wrong usage."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from blocks.errors import TagtrailError, UsageError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

NO_ROOM: Final = "no space is left on its disk; free some and run the same command again"


def is_full(error: BaseException) -> bool:
    """Whether a disk (or a quota on it) is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def unwritable(path: Path, error: OSError) -> TagtrailError:
    """What to raise for a file that cannot be written: UsageError, for its path is wrong, unless the disk is full."""
    if is_full(error):
        return TagtrailError(f"{path} cannot be written: {NO_ROOM}")
    return UsageError(f"{path} cannot be written: {error.strerror or error}")
