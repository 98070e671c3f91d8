"""Processes of our own end at once: what they hold is not looked through at their end."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

IN_A_CYCLE = """
import gc
from flows.steps.run.garbage import fewer_collections, quick_to_load_and_to_end

class Told:
    def __del__(self):
        print("collected")

gc.disable()
{first}
told = Told()
told.itself = told
"""


@pytest.mark.parametrize(
    ("first", "said"),
    [("", "collected\n"), ("quick_to_load_and_to_end()", ""), ("with fewer_collections(): pass", "")],
)
def test_the_end_of_a_process_collects_nothing(first: str, said: str) -> None:
    ended = subprocess.run([sys.executable, "-c", IN_A_CYCLE.format(first=first)], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == (said, "")
