"""Takes a package upload: the bare file, a form with the file, or a listing with chunks; never as a plain file on disk.

The bytes go through the chunk store as they come; then the engine is asked to make a version of them. If it refuses,
what came is forgotten.
"""

from collections.abc import Iterator

from flask import Response, request
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from hub.api import reading
from hub.api.problems import UnsupportedMediaType
from hub.api.route import BASE, Call, answer_of, ask
from hub.errors import HubError, Invalid, TooLarge
from hub.operations.catalogue import CATALOGUE
from hub.packages.names import parse_package_name
from hub.packages.upload import Ingested

CHUNKS_TYPE = "application/vnd.manyarm.chunks"
# [sha256, length] takes some 80 bytes; a package has at most 262,144 chunks or so.
LISTING_BYTES = 24 * 1024 * 1024
_READ_BYTES = 256 * 1024
_FIELD_BYTES = 1024
_PARTS_MAX = 10
_RAW_TYPES = frozenset({"application/octet-stream", "application/zip", "application/gzip", "application/x-tar", ""})


def take(call: Call, name: str) -> Response:
    """Take the upload in and answer with the version that it became.

    Raises:
        UnsupportedMediaType, Invalid, TooLarge; what the engine refuses; and what `Ingestion` raises.
    """
    kind, options = parse_options_header(request.content_type or "")
    ingestion = call.parts.ingestion
    if kind == CHUNKS_TYPE:
        stream, length = reading.body()
        ingested = ingestion.chunked(stream, length=length)
    elif kind == "multipart/form-data":
        part = _FilePart(options.get("boundary", ""), call.parts.limits.upload_bytes)
        ingested = ingestion.whole(parse_package_name(name or part.filename), part)
    elif kind in _RAW_TYPES:
        if not name:
            raise Invalid("expected ?name=ID.VERSION.EXT beside a bare file", field="name")
        ingested = ingestion.whole(parse_package_name(name), request.stream, length=request.content_length)
    else:
        raise UnsupportedMediaType(f"expected application/octet-stream, multipart/form-data or {CHUNKS_TYPE}")
    return _completed(call, ingested)


def _completed(call: Call, ingested: Ingested) -> Response:
    operation = CATALOGUE["package.push-complete"]
    wanted = ingested.completion() | {"chunks_new": ingested.chunks_new, "bytes_new": ingested.bytes_new}
    # Each upload has a manifest of its own; what makes a retry the same request is what was uploaded.
    identity = {"package": ingested.package, "version": ingested.version, "sha256": ingested.sha256}
    try:
        answer = ask(call.parts, operation, wanted, identity=identity)
    except HubError:
        call.parts.ingestion.discard(ingested)
        raise
    if answer.replayed:
        call.parts.ingestion.discard(ingested)
    response = answer_of(answer, "")
    if answer.status != 202:
        response.headers["Location"] = f"{BASE}/packages/{ingested.package}/versions/{ingested.version}"
    return response


class _FilePart:
    """The one file of a multipart body, read as it comes; other parts are small and ignored."""

    def __init__(self, boundary: str, limit: int) -> None:
        if not boundary or len(boundary) > 200 or not boundary.isascii():
            raise Invalid("expected a boundary in Content-Type")
        self._decoder = MultipartDecoder(boundary.encode("ascii"), max_form_memory_size=None, max_parts=_PARTS_MAX)
        self._left = limit
        self._events = self._read_events()
        self._buffer = b""
        self.filename = self._find_file()

    def read(self, size: int = -1, /) -> bytes:
        """As of a file; less than asked only at its end."""
        pieces = [self._buffer]
        have = len(self._buffer)
        while size < 0 or have < size:
            piece = self._next_piece()
            if piece is None:
                break
            pieces.append(piece)
            have += len(piece)
        whole = b"".join(pieces)
        cut = have if size < 0 else min(size, have)
        self._buffer = whole[cut:]
        return whole[:cut]

    def _find_file(self) -> str:
        seen = 0
        for event in self._events:
            if isinstance(event, File):
                return event.filename or ""
            if isinstance(event, Field | Data):
                seen += len(event.data) if isinstance(event, Data) else 0
                if seen > _FIELD_BYTES:
                    raise TooLarge("expected the file first, and no large fields before it")
        raise Invalid("expected a part with a file", field="file")

    def _next_piece(self) -> bytes | None:
        for event in self._events:
            if isinstance(event, Data):
                if event.data or not event.more_data:
                    return event.data or None
            else:
                return None
        return None

    def _read_events(self) -> Iterator[Event]:
        ended = False
        while True:
            try:
                event = self._decoder.next_event()
            except ValueError as error:
                raise Invalid("the form is malformed or cut off") from error
            if isinstance(event, NeedData):
                if ended:
                    raise Invalid("the form is cut off")
                data = request.stream.read(_READ_BYTES)
                self._left -= len(data)
                if self._left < 0:
                    raise TooLarge("the upload is larger than allowed here")
                ended = not data
                self._decoder.receive_data(data or None)
                continue
            yield event
            if isinstance(event, Epilogue):
                return
