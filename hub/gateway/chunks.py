"""Packages, out: sealed manifests and sealed chunks, as they lie in the store; many chunks in one request."""

import re
from collections.abc import Iterator

from flask import Blueprint, Response, request

from hub.errors import Invalid, NotFound
from hub.gateway.capabilities import allowed_chunks, presented
from hub.gateway.parts import GatewayParts
from hub.storage.database import connection
from hub.storage.models import StoredManifest
from wire.chunks_sealed import write_chunk_stream
from wire.errors import Code, Refused

_CHUNK = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MANIFEST = re.compile(r"[0-9a-f]{32}", re.ASCII)


def routes(parts: GatewayParts) -> Blueprint:
    """Each needs a capability that the engine gave to a trusted spoke."""
    here = Blueprint("chunks", __name__)

    def manifest(manifest_id: str) -> Response:
        capability = presented(parts)
        if not _MANIFEST.fullmatch(manifest_id) or manifest_id not in capability.manifests:
            raise Refused(Code.ENV_POLICY, "the capability does not name this manifest")
        row = StoredManifest.get_or_none(StoredManifest.id == manifest_id)
        if row is None or row.sealed is None:
            raise NotFound("this package version has been deleted")
        return Response(row.sealed, mimetype="application/octet-stream")

    def chunk(chunk_id: str) -> Response:
        capability = presented(parts)
        if not _CHUNK.fullmatch(chunk_id) or not allowed_chunks(capability, [chunk_id]):
            raise NotFound("no such chunk in what the capability names")
        ((_, stored),) = parts.store.read([chunk_id])
        return Response(stored, mimetype="application/octet-stream")

    def chunks() -> Response:
        text, ids = _asked(parts)
        capability = presented(parts, text)
        missing = set(ids) - allowed_chunks(capability, ids)
        if missing:
            raise NotFound(f"{len(missing)} of {len(ids)} chunks are not in what the capability names")
        return Response(_pieces(_stream(parts, ids)), mimetype="application/octet-stream")

    here.get("/gateway/v1/manifests/<manifest_id>")(manifest)
    here.get("/gateway/v1/chunks/<chunk_id>")(chunk)
    here.post("/gateway/v1/chunks")(chunks)
    return here


def _asked(parts: GatewayParts) -> tuple[str, list[str]]:
    """The capability and the chunk ids of a request."""
    body = request.get_json(force=True, silent=True)
    if not isinstance(body, dict) or set(body) != {"capability", "ids"}:
        raise Invalid('expected a JSON object {"capability", "ids"}')
    text, ids = body["capability"], body["ids"]
    if not isinstance(text, str):
        raise Invalid("expected text", field="capability")
    most = parts.limits.chunk_ids
    if not isinstance(ids, list) or len(ids) > most:
        raise Invalid(f"expected a list of at most {most} chunk ids", field="ids")
    if not all(isinstance(chunk_id, str) and _CHUNK.fullmatch(chunk_id) for chunk_id in ids):
        raise Invalid("expected 64 lowercase hexadecimal characters each", field="ids")
    return text, ids


def _stream(parts: GatewayParts, ids: list[str]) -> Iterator[bytes]:
    # The request has ended for Flask, and its connection with it, when the server asks for the first piece.
    with connection():
        yield from write_chunk_stream((bytes.fromhex(chunk_id), stored) for chunk_id, stored in parts.store.read(ids))


def _pieces(stream: Iterator[bytes]) -> Iterator[bytes]:
    """Joined to some hundred kilobytes: a chunk a write would be a TLS record a chunk."""
    held: list[bytes] = []
    size = 0
    for piece in stream:
        held.append(piece)
        size += len(piece)
        if size >= 256 * 1024:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
