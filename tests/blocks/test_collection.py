"""How Prefect finds the blocks: by entry point and by module, and at no cost to those who do not need it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.metadata import entry_points
from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect.cli.block import register

import blocks
from blocks import collection
from blocks.database.credentials import TagtrailDatabase
from blocks.memories.credentials import MemoriesCredentials

BOTH = [MemoriesCredentials, TagtrailDatabase]


def found_in(module: Any) -> list[Any]:
    """The blocks of a module as Prefect's own command finds them."""
    return [member for _, member in inspect.getmembers(module) if Block.is_block_class(member)]


def test_both_blocks_are_found_in_the_room_and_in_the_collection() -> None:
    assert found_in(blocks) == BOTH
    assert found_in(collection) == BOTH
    assert blocks.MemoriesCredentials is MemoriesCredentials
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = blocks.Nothing


def test_the_entry_point_is_the_collection() -> None:
    (entry,) = [entry for entry in entry_points(group="prefect.collections") if entry.name == "tagtrail"]
    assert entry.load() is collection


async def test_register_by_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`prefect block register -m blocks`, but for the server's part."""
    registered = []

    async def record(cls: type[Block], client: object = None) -> None:
        registered.append(cls)

    monkeypatch.setattr(Block, "register_type_and_schema", classmethod(record))
    await register(module_name="blocks")
    assert registered == BOTH
    assert "registered 2 blocks" in capsys.readouterr().out


@pytest.mark.integration
def test_nobody_pays_for_prefect_or_the_database_without_need() -> None:
    code = """
import sys
import blocks, blocks.settings, blocks.errors, blocks.memories.responses, blocks.memories.client
assert "prefect" not in sys.modules, "prefect"
for heavy in ("blocks.memories.client", "blocks.memories.responses"):
    del sys.modules[heavy]
import blocks.collection
heavy = {"sqlmodel", "alembic", "blocks.memories.client", "blocks.database.engine"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stderr
