"""`tagtrail db`: the database's schema."""

from __future__ import annotations

from blocks.database import engine
from blocks.settings import get_settings
from deployments.cli import stores
from deployments.cli.options import Loud
from deployments.cli.terminal import tell


def upgrade(*, loud: Loud = Loud()) -> int:
    """Bring the database's schema to this version; a database without tables gets them.

    A SQLite file is copied first; one line says where.
    """
    settings = get_settings()
    if not settings.tagtrail_database_url:
        stores.make_home(settings.home)
    before = engine.upgrade(settings.database_url)
    where = stores.shown(settings)
    words = {"head": "was up to date", "missing": "has its tables now", "behind": "is up to date now"}
    tell(f"The database {where} {words[before]}.")
    return 0
