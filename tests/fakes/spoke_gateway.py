"""A real, small TLS server that answers spokes as the gateway does, and as a bad one would: set its attributes and look.

with FakeGateway(hub) as gateway: gateway.add_package(content, "web", "1.0.0", "tar") -> PackageRef
"""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, Self

from tests.fakes.parties import DAY, FakeHub
from wire.chunks import split
from wire.chunks_sealed import (
    Capability,
    ChunkKeys,
    Manifest,
    ManifestChunk,
    check_capability,
    make_capability,
    seal_chunk,
    seal_manifest,
    write_chunk_stream,
)
from wire.documents import RunnerDocument
from wire.errors import Refused
from wire.keys import new_id
from wire.messages import PackageRef, PackageRole
from wire.tls import make_certificate, server_context, spki_sha256
from wire.trust import TlsPin

BASE = "/gateway/v1"


class FakeGateway:
    """`log` has a line for each request, `asked` the chunk ids of each, `sent_bytes` all that went out.

    `answer_enrolment(frame)` gives the enrolled frame or None; `stream(chunks)` the bytes of a chunk stream.
    """

    def __init__(self, hub: FakeHub) -> None:
        self.hub = hub
        self.keys = ChunkKeys(os.urandom(32), os.urandom(32))
        self.mac_key = os.urandom(32)
        self.stored: dict[bytes, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.enrolments: dict[str, bytes] = {}
        self.artifacts: dict[str, bytes] = {}
        self.log: list[str] = []
        self.asked: list[list[bytes]] = []
        self.sent_bytes = 0
        self.trust_frames: Callable[[int], list[bytes]] = self._trust_frames
        self.fleet_frame: Callable[[], bytes | None] = lambda: None
        self.box_frame: Callable[[], bytes] = hub.box_frame
        self.refuse_enrolments = False
        self.answer_enrolment: Callable[[bytes], bytes | None] = lambda _: None
        self.stream: Callable[[list[tuple[bytes, bytes]]], Iterator[bytes]] = write_chunk_stream
        certificate, key = make_certificate(os.urandom(32), "gateway")
        self.pin = spki_sha256(certificate)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.socket = server_context(certificate, key).wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def pinned(self) -> "FakeGateway":
        """The hub's next trust document names this gateway's key."""
        self.hub.publish(tls_pins=(TlsPin("gateway", self.pin),))
        return self

    def add_package(
        self, content: bytes, package: str, version: str, extension: str, *, role: str = "package", release: str = ""
    ) -> PackageRef:
        return self.add_manifest(self.manifest_of(content, package, version, extension), role=role, release=release)

    def manifest_of(self, content: bytes, package: str, version: str, extension: str) -> Manifest:
        """Its chunks are in the store."""
        chunks = []
        for piece in split(BytesIO(content)):
            digest = hashlib.sha256(piece).digest()
            chunk_id = self.keys.chunk_id(digest)
            key = self.keys.chunk_key(chunk_id)
            self.stored.setdefault(chunk_id, seal_chunk(key, chunk_id, piece))
            chunks.append(ManifestChunk(chunk_id, key, digest, len(piece)))
        return Manifest(package, version, extension, len(content), hashlib.sha256(content).digest(), tuple(chunks))

    def add_manifest(
        self, manifest: Manifest, *, role: str = "package", release: str = "", **changes: Any
    ) -> PackageRef:
        key, manifest_id = os.urandom(32), new_id()
        sealed = seal_manifest(key, manifest_id, manifest)
        self.manifests[manifest_id] = sealed
        ref: dict[str, Any] = {
            "role": PackageRole(role),
            "manifest_id": manifest_id,
            "manifest_key": key.hex(),
            "manifest_sha256": hashlib.sha256(sealed).hexdigest(),
            "package": manifest.package,
            "version": manifest.version,
            "extension": manifest.extension,
            "size": manifest.size,
            "sha256": manifest.sha256.hex(),
            "release": release,
        }
        return PackageRef(**(ref | changes))

    def add_runner(self, archive: Path, release: int = 1, **changes: Any) -> PackageRef:
        """A runner release; `signer` and the fields of its document may be others."""
        content = archive.read_bytes()
        signer = changes.pop("signer", self.hub.release)
        document: dict[str, Any] = {
            "name": "manyarm-runner",
            "release": release,
            "semver": f"0.1.{release}",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "min_python": "3.9",
            "platforms": ("any",),
            "created": self.hub.now,
            "expires": self.hub.now + 180 * DAY,
            "prev_release_sha256": "",
        }
        frame = RunnerDocument(**(document | changes)).sign(signer)
        return self.add_package(content, "manyarm-runner", f"0.1.{release}", "pyz", role="runner", release=frame.hex())

    def capability(self, spoke_id: str, *refs: PackageRef) -> str:
        manifests = tuple(ref.manifest_id for ref in refs)
        return make_capability(self.mac_key, Capability(spoke_id, manifests, self.hub.now + DAY))

    def get(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.removeprefix(BASE)
        self.log.append(f"GET {path}")
        if path.startswith("/trust?from="):
            frames = self.trust_frames(int(path.rpartition("=")[2]))
            self._answer(request, 200, b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames))
        elif path == "/fleet":
            self._fleet(request)
        elif path == "/box":
            self._answer(request, 200, self.box_frame())
        elif path.startswith("/enrol/"):
            self._enrolled(request, path.removeprefix("/enrol/"))
        elif path.startswith("/manifests/"):
            self._guarded(request, request.headers.get("Manyarm-Capability", ""), self._manifest, path)
        else:
            self._answer(request, 404, b"{}")

    def post(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        path = request.path.removeprefix(BASE)
        self.log.append(f"POST {path}")
        if path == "/enrol" and self.refuse_enrolments:
            self._answer(request, 400, b'{"code":"JOIN_BAD","message":"refused"}')
        elif path == "/enrol":
            digest = hashlib.sha256(body).hexdigest()
            self.enrolments[digest] = body
            self._answer(request, 202, json.dumps({"id": digest}).encode())
        elif path == "/chunks":
            asked = json.loads(body)
            self._guarded(request, asked["capability"], self._chunks, asked["ids"])
        else:
            self._answer(request, 404, b"{}")

    def put(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        self.log.append(f"PUT {request.path.removeprefix(BASE)}")
        self._guarded(request, request.headers.get("Manyarm-Capability", ""), self._artifact, (request.path, body))

    def _trust_frames(self, since: int) -> list[bytes]:
        return [frame for number, frame in enumerate(self.hub.chain.frames, start=1) if number >= since]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                return

            def do_GET(self) -> None:
                gateway.get(self)

            def do_POST(self) -> None:
                gateway.post(self, self._body())

            def do_PUT(self) -> None:
                gateway.put(self, self._body())

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = []
                while size := int(self.rfile.readline().strip(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

        return Handler

    def _fleet(self, request: BaseHTTPRequestHandler) -> None:
        frame = self.fleet_frame()
        if frame is None:
            self._answer(request, 403, b"{}")
            return
        tag = f'"{hashlib.sha256(frame).hexdigest()}"'
        known = request.headers.get("If-None-Match") == tag
        request.send_response(304 if known else 200)
        request.send_header("ETag", tag)
        request.send_header("Content-Length", str(0 if known else len(frame)))
        request.end_headers()
        request.wfile.write(b"" if known else frame)

    def _guarded(self, request: BaseHTTPRequestHandler, capability: str, then: Callable[..., None], what: Any) -> None:
        try:
            check_capability(self.mac_key, capability, self.hub.now)
        except Refused as refusal:
            self._answer(request, 403, json.dumps({"code": str(refusal.code), "message": "refused"}).encode())
            return
        then(request, what)

    def _enrolled(self, request: BaseHTTPRequestHandler, digest: str) -> None:
        frame = self.enrolments.get(digest)
        if frame is None:
            self._answer(request, 400, b'{"code":"JOIN_BAD","message":"refused"}')
            return
        answer = self.answer_enrolment(frame)
        if answer is None:
            self._answer(request, 202, b'{"code":"JOIN_PENDING"}')
        else:
            self._answer(request, 200, answer)

    def _manifest(self, request: BaseHTTPRequestHandler, path: str) -> None:
        sealed = self.manifests.get(path.rpartition("/")[2])
        self._answer(request, 200 if sealed else 404, sealed or b"{}")

    def _chunks(self, request: BaseHTTPRequestHandler, ids: list[str]) -> None:
        asked = [bytes.fromhex(one) for one in ids]
        self.asked.append(asked)
        if any(one not in self.stored for one in asked):
            self._answer(request, 404, b"{}")
            return
        request.send_response(200)
        request.send_header("Connection", "close")
        request.end_headers()
        request.close_connection = True
        try:
            for piece in self.stream([(one, self.stored[one]) for one in asked]):
                request.wfile.write(piece)
                self.sent_bytes += len(piece)
        except (OSError, ValueError):
            return

    def _artifact(self, request: BaseHTTPRequestHandler, what: tuple[str, bytes]) -> None:
        path, body = what
        self.artifacts[path.rpartition("/")[2]] = body
        self._answer(request, 201, b"{}")

    def _answer(self, request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
        self.sent_bytes += len(body)
