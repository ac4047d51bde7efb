"""What can go wrong with packages, beyond hub.errors.

HubError
├── Invalid
│   ├── UploadTruncated     fewer bytes came than were announced
│   ├── UploadDiffers       the bytes are not those that the listing names
│   └── ArchiveUnfit        the archive breaks a rule; `code` is an ARC_* code
├── TooLarge                (hub.errors) more bytes than one package may have
├── UploadTooSlow           the sender keeps a thread for next to nothing
├── NoSpace                 the disk is full: nothing of the upload is left
├── Conflict                (hub.errors) this version exists with other bytes
└── StoreDamaged            what the index names is not there, or not as it was
    └── ChunkMissing        one chunk
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from hub.errors import HubError, Invalid
from wire.errors import Code

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class UploadTruncated(Invalid):
    code = "UPLOAD_TRUNCATED"


class UploadDiffers(Invalid):
    code = str(Code.BLOB_HASH)


class ArchiveUnfit(Invalid):
    """`code` is the ARC_* code of the rule."""


class UploadTooSlow(HubError):
    code, status = "UPLOAD_TOO_SLOW", 408


class NoSpace(HubError):
    code, status = str(Code.BLOB_SPACE), 507


class StoreDamaged(HubError):
    code = "STORE_DAMAGED"


class ChunkMissing(StoreDamaged):
    """One chunk that should be there."""

    def __init__(self, chunk_id: str) -> None:
        super().__init__(f"chunk {chunk_id[:16]}… is not in the store, or its pack file is shorter than the index says")
        self.chunk_id = chunk_id


@contextmanager
def raising_no_space() -> Iterator[None]:
    """Turns the system's "disk full", "quota" and "file too large" into our own error."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise NoSpace(
            "the hub's disk is full: nothing of this upload was kept; free some space under the folder `chunks` of the"
            " hub's home (or delete packages), then push again"
        ) from error
