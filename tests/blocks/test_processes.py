"""Holders' names: recognising a process that died."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from blocks.processes import is_alive, name_holder


def part(name: str, index: int, value: str) -> str:
    parts = name.split("/")
    parts[index] = value
    return "/".join(parts)


def test_every_holder_has_a_name_of_its_own_that_fits() -> None:
    names = {name_holder() for _ in range(100)}
    assert len(names) == 100
    assert all(is_alive(name) for name in names)
    assert max(map(len, names)) <= 120


@pytest.mark.integration
def test_a_process_that_ended_is_dead_and_its_corpse_too() -> None:
    code = "from blocks.processes import name_holder; print(name_holder(), flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    assert is_alive(name) is True
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet taken away
    assert is_alive(name) is False
    child.communicate()
    assert is_alive(name) is False


def test_a_later_process_of_the_same_number_is_another() -> None:
    assert is_alive(part(name_holder(), 3, "1")) is False


def test_other_machines_and_containers_are_not_judged() -> None:
    gone = part(name_holder(), 2, "99999999")
    assert is_alive(gone) is False
    assert is_alive(part(gone, 1, "another-place")) is None
    assert is_alive(part(gone, 1, "")) is None
    assert is_alive("no holder") is None
    assert is_alive(part(gone, 2, "x")) is None
    assert is_alive(part(gone, 2, "9" * 40)) is False


def test_processes_of_other_users_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine may hide all of them but that there is one of that number."""

    def refused(pid: int, signal: int) -> None:
        raise PermissionError

    name = part(name_holder(), 3, "1")
    monkeypatch.setattr(os, "kill", refused)
    assert is_alive(name) is None
