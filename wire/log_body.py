"""How spool records lie in the body of a log message: one format byte, then the records, plain or compressed. PURE.

    00  the records as they stand
    01  zstd of them, its content size announced

The header's idx, cnt and prev say which records they are.
"""

import zstandard

from wire.errors import Code, Refused
from wire.messages import LOG_BODY_MAX

RECORDS_MAX = LOG_BODY_MAX - 1
_PLAIN, _ZSTD = b"\0", b"\1"
_WORTH_IT = 512


def pack_records(records: bytes) -> bytes:
    """The body for these spool bytes (at most RECORDS_MAX)."""
    if not 0 < len(records) <= RECORDS_MAX:
        raise Refused(Code.ENV_SCHEMA, f"{len(records)} bytes of records; at most {RECORDS_MAX}", field="records")
    if len(records) >= _WORTH_IT:
        squeezed = zstandard.ZstdCompressor(level=1).compress(records)
        if len(squeezed) < len(records):
            return _ZSTD + squeezed
    return _PLAIN + records


def unpack_records(body: bytes) -> bytes:
    """The spool bytes of a body; never more than RECORDS_MAX, whatever it announces.

    Raises:
        Refused: ENV_SCHEMA, it is no such body.
    """
    form, content = body[:1], body[1:]
    if form == _PLAIN and 0 < len(content) <= RECORDS_MAX:
        return content
    if form != _ZSTD:
        raise Refused(Code.ENV_SCHEMA, "expected format 0 or 1", field="records")
    try:
        if not 0 < zstandard.frame_content_size(content) <= RECORDS_MAX:
            raise Refused(Code.ENV_SCHEMA, f"more than {RECORDS_MAX} bytes of records", field="records")
        return zstandard.ZstdDecompressor().decompress(content, max_output_size=RECORDS_MAX, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Refused(Code.ENV_SCHEMA, "the records are not what zstd writes", field="records") from error
