"""What Prefect loads of Tagtrail wherever it starts (`prefect.collections`): the two blocks, nothing heavy."""

from blocks.database.credentials import TagtrailDatabase
from blocks.memories.credentials import MemoriesCredentials

__all__ = ["MemoriesCredentials", "TagtrailDatabase"]
