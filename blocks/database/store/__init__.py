"""All SQL of Tagtrail, one file a concern: functions of an open connection, so that several share a transaction."""

from sqlalchemy import Connection

__all__ = ["Connection"]
