"""Another master key in the place of the one that there is, while the hub works: every data key is wrapped anew.

    KEY-FILE.next is written  >  all wraps and both checks change in one transaction  >  KEY-FILE.next becomes KEY-FILE

Killed before the commit, the old key is the one that fits and the file beside it is worth nothing; killed after it, the
new one fits, and the next start puts it in its place. Nothing that was sealed changes.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hub.errors import Conflict, Invalid, MasterKeyError, Unavailable
from hub.storage.database import flush_wal, write_tx
from hub.storage.models import DataKey, Installation
from hub.storage.models.table import database_proxy
from hub.storage.vault import Kek, ProcessClass
from hub.storage.vault_master import MasterKey, PassphraseCost, first_source, key_path
from wire.crash import crash_point

logger = logging.getLogger(__name__)

NEXT = ".next"
_TRIES, _PAUSE_S = 300, 0.1


@dataclass(frozen=True, slots=True)
class HalfWay:
    """A rotation that was killed. `counts`: the data needs the new key already."""

    path: Path
    counts: bool


def rotate_master(
    source: str, home: Path, old: MasterKey, noted: Callable[[MasterKey], None], cost: PassphraseCost | None = None
) -> MasterKey:
    """Make a new master key and wrap every data key with it.

    Args:
        source: Of the settings; its first one must be a file or a passphrase.
        home: Of the hub.
        old: The key that fits.
        noted: Called inside the transaction, to say who did it.
        cost: Of a guess at the passphrase.

    Raises:
        Invalid: the key lies where we cannot write.
        Conflict: another key was put in its place meanwhile.
    """
    path = _written_by_us(source, home)
    upcoming = path.with_name(path.name + NEXT)
    # What an earlier rotation left that did not count; one that did was put in its place when `old` was read.
    upcoming.unlink(missing_ok=True)
    new, _ = MasterKey.create(_beside(source, upcoming), home, cost)
    crash_point("master.written")
    with write_tx():
        _wrap_anew(old, new)
        noted(new)
        crash_point("master.wrapped")
    crash_point("master.counts")
    _into_the_file()
    _put_in_place(upcoming, path)
    crash_point("master.placed")
    return new


def is_half_way(source: str, home: Path) -> bool:
    """Whether a rotation was killed: then the SQLite file alone may say what was, and its WAL what is."""
    path = key_path(source, home)
    return path is not None and path.with_name(path.name + NEXT).exists()


def half_way(source: str, home: Path, check: str) -> HalfWay | None:
    """What a killed rotation has left beside the key; `check` is of the key that the data needs."""
    try:
        path = _written_by_us(source, home)
    except Invalid:
        return None
    upcoming = path.with_name(path.name + NEXT)
    if not upcoming.exists():
        return None
    try:
        return HalfWay(upcoming, MasterKey.read(_beside(source, upcoming), home).check == check)
    except MasterKeyError:
        return HalfWay(upcoming, counts=False)


def next_key(found: HalfWay, source: str, home: Path) -> MasterKey:
    """The key that lies beside."""
    return MasterKey.read(_beside(source, found.path), home)


def finish(found: HalfWay, source: str, home: Path) -> MasterKey:
    """Put the new key in its place, which a killed rotation did not come to."""
    path, master = _written_by_us(source, home), next_key(found, source, home)
    _put_in_place(found.path, path)
    logger.warning("master key: a rotation that was interrupted is finished", extra={"key": master.id})
    return master


def _into_the_file() -> None:
    """Whoever asks which key the data needs reads the SQLite file alone; readers may be in the way for a moment."""
    for _ in range(_TRIES):
        if flush_wal(database_proxy.obj):
            return
        time.sleep(_PAUSE_S)
    raise Unavailable(
        "the new master key counts, and others kept the database busy: the next start of the hub puts it in its place"
    )


def _wrap_anew(old: MasterKey, new: MasterKey) -> None:
    keks = {cls: (Kek.derive(old.key, cls), Kek.derive(new.key, cls)) for cls in ProcessClass}
    for row in DataKey.select():
        if row.mk_check != old.check:
            raise Conflict("another master key was put in its place meanwhile; nothing was changed")
        before, after = keks[ProcessClass(row.cls)]
        key = before.unwrap(row.dek_id, row.purpose, row.wrapped)
        wrapped = after.wrap(row.dek_id, row.purpose, key)
        DataKey.update(wrapped=wrapped, mk_check=new.check).where(DataKey.id == row.id).execute()
    Installation.update(mk_check=new.check).execute()


def _written_by_us(source: str, home: Path) -> Path:
    path = key_path(source, home)
    if path is None:
        kind = first_source(source).partition(":")[0]
        raise Invalid(
            f"the master key comes from {kind}, where we cannot put another one: move it into a file first "
            "(write its recovery string there, mode 0600, and set MANYARM_MASTER_KEY=file:PATH)",
            field="master_key",
        )
    return path


def _beside(source: str, path: Path) -> str:
    return f"{first_source(source).partition(':')[0]}:{path}"


def _put_in_place(upcoming: Path, path: Path) -> None:
    upcoming.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
