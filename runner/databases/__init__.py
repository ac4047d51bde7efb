"""The catalogue of database engines for migrations: a file each, which offers SESSION."""

from __future__ import annotations

from runner.catalogue import entry
from runner.database import Database, Session, Tools


def open_session(engine: str, database: Database, tools: Tools) -> Session:
    """A session with a database; raises StepFailed where there is none to be had."""
    session: Session = entry("databases", engine, "database engine").SESSION(database, tools)
    return session
