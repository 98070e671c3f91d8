"""Prefect's command line as `python -m prefect` runs it, for a server on SQLite that does not come to a standstill."""

from __future__ import annotations

import runpy

from blocks.database import failed_cursors

if __name__ == "__main__":
    failed_cursors.close_them()
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)
