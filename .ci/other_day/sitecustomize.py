"""Read by each Python at its start where this folder is on PYTHONPATH: `time.sleep` bears libfaketime 0.9.

With the monotonic clock left alone it makes every sleep of Python 3.11 and later fail (wolfcw/libfaketime 426).
"""

import select
import time


def sleep(seconds: float) -> None:
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


time.sleep = sleep
