"""Asks the hub's HTTPS gateway: trust documents, enrolment, chunks; and brings it artifacts.

Public documents and enrolment do not rely on TLS: what comes back is signed and checked from the root thumbprint, what
goes out is sealed. So a spoke that slept through a change of the gateway's key can still learn of it. Everything that
needs a capability goes to the pinned key alone.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from typing import Any, Protocol

import urllib3
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from spokes.agent.errors import GatewayUnreachable, JoinRefused
from spokes.agent.home import ID, SHA256
from wire.chunks_sealed import read_chunk_stream
from wire.documents import DOCUMENT_MAX
from wire.errors import Code, Refused, excerpt
from wire.frame_list import split_frames
from wire.tls import client_context, unverified_client_context
from wire.trust import TrustDocument

# The pin is compared inside the handshake; urllib3 knows of authorities only and would warn at each request.
urllib3.disable_warnings(InsecureRequestWarning)

_SMALL = 256 * 1024
MANIFEST_MAX = 64 * 1024 * 1024
TRUST_MAX = 16 * 1024 * 1024
_BASE = "/gateway/v1"


class GatewayAnswer(Protocol):
    """What came back: a status, and a body that is read as it comes."""

    @property
    def status(self) -> int: ...

    def read(self, amt: int | None = None) -> bytes: ...


class GatewayDoor(ABC):
    """What a spoke asks of the gateway, whichever way the requests go."""

    def trust(self, since: int) -> list[bytes]:
        """The trust documents from that version on, as they came."""
        return list(split_frames(self._get(f"/trust?from={since}", most=TRUST_MAX)))

    def box(self) -> bytes:
        return self._get("/box", most=DOCUMENT_MAX * 2)

    def enrol(self, frame: bytes) -> str:
        """Hand in an enrolment; returns the id to ask for the answer with.

        Raises:
            JoinRefused: The hub said no, and never says why to a stranger.
        """
        with self._answer("POST", "/enrol", body=frame) as answer:
            if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                raise GatewayUnreachable("the hub takes no more enrolments for the moment; try again in a minute")
            if answer.status == HTTPStatus.BAD_REQUEST:
                raise JoinRefused(
                    "the hub refused this join code; it may be mistyped, used, expired or revoked: ask for a new one"
                )
            found = _json(answer).get("id")
        if not isinstance(found, str) or not SHA256.fullmatch(found):
            raise GatewayUnreachable("the gateway's answer to the enrolment cannot be used")
        return found

    def enrolled(self, enrolment: str) -> bytes | None:
        """The sealed answer to an enrolment; None while nobody has approved it.

        Raises:
            JoinRefused: The hub knows of no such enrolment, or has refused it.
        """
        with self._answer("GET", f"/enrol/{enrolment}") as answer:
            if answer.status == HTTPStatus.ACCEPTED:
                return None
            if answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
                raise JoinRefused("the hub has refused this enrolment; ask an administrator, then enrol anew")
            _must_be_ok(answer)
            return _body(answer, _SMALL)

    def manifest(self, manifest_id: str, capability: str) -> bytes:
        return self._get(f"/manifests/{_id(manifest_id)}", most=MANIFEST_MAX, capability=capability)

    def chunks(self, ids: Sequence[bytes], capability: str) -> Iterator[tuple[bytes, bytes]]:
        """Chunks as stored, in whatever order they come.

        Raises:
            Refused: BLOB_TRUNC or BLOB_SIZE, the stream is not one.
            GatewayUnreachable: It broke off or was never opened.
        """
        asked = json.dumps({"capability": capability, "ids": [one.hex() for one in ids]}).encode()
        with self._answer("POST", "/chunks", body=asked, pinned=True) as answer:
            _must_be_ok(answer)
            yield from read_chunk_stream(_Stream(answer))

    def put_artifact(self, name: str, content: Iterable[bytes], capability: str) -> None:
        """Bring a sealed artifact under our id for it."""
        with self._answer("PUT", f"/artifacts/{_id(name)}", body=content, capability=capability) as answer:
            _must_be_ok(answer)

    def _get(self, path: str, *, most: int, capability: str = "") -> bytes:
        with self._answer("GET", path, capability=capability) as answer:
            _must_be_ok(answer)
            return _body(answer, most)

    @abstractmethod
    def believe(self, document: TrustDocument) -> None:
        """From now on these keys are trusted, and no others."""

    @abstractmethod
    def _answer(
        self,
        method: str,
        path: str,
        *,
        body: bytes | Iterable[bytes] | None = None,
        capability: str = "",
        pinned: bool = False,
    ) -> AbstractContextManager[GatewayAnswer]:
        """One request; GatewayUnreachable where it cannot be made or its answer breaks off."""


class Gateway(GatewayDoor):
    """The gateway itself, over HTTPS; asked by any thread.

    Args:
        address: host:port.
        timeout_s: Silence on a connection.
        proxy: http://host:port, or "".
    """

    def __init__(self, address: str, *, timeout_s: float, proxy: str = "") -> None:
        self._url = f"https://{address}{_BASE}"
        self._timeout = urllib3.Timeout(connect=min(timeout_s, 10), read=timeout_s)
        self._proxy = proxy
        self._public = self._pool(unverified_client_context())
        self._pinned: urllib3.PoolManager | None = None

    def pin(self, pins: Sequence[str]) -> None:
        """From now on capabilities are shown to these keys only (SPKI digests)."""
        self._pinned = self._pool(client_context(pins)) if pins else None

    def believe(self, document: TrustDocument) -> None:
        self.pin(document.pins("gateway"))

    def _pool(self, context: object) -> urllib3.PoolManager:
        options: dict[str, Any] = {
            "ssl_context": context,
            "timeout": self._timeout,
            "retries": False,
            "maxsize": 4,
        }
        return urllib3.ProxyManager(self._proxy, **options) if self._proxy else urllib3.PoolManager(**options)

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        *,
        body: bytes | Iterable[bytes] | None = None,
        capability: str = "",
        pinned: bool = False,
    ) -> Iterator[GatewayAnswer]:
        headers = {"Manyarm-Capability": capability} if capability else {}
        pool = self._pinned if capability or pinned else self._public
        if pool is None:
            raise Refused(Code.TLS_PIN, "the trust document names no key of the gateway")
        try:
            answer = pool.request(
                method, self._url + path, body=body, headers=headers, preload_content=False, redirect=False
            )
            try:
                yield answer
            finally:
                answer.close()
        except (HTTPError, OSError) as error:
            raise GatewayUnreachable(f"no answer from the gateway {self._url}: {error}") from error


class _Stream:
    """An answer's body as a file; a connection that breaks reads as an end, which the stream's own end mark exposes."""

    def __init__(self, answer: GatewayAnswer) -> None:
        self._answer = answer

    def read(self, size: int = -1) -> bytes:
        return self._answer.read(size if size >= 0 else None)


def _must_be_ok(answer: GatewayAnswer) -> None:
    if answer.status in {HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT}:
        return
    try:
        said = _json(answer)
    except GatewayUnreachable:
        said = {}
    code = said.get("code")
    if isinstance(code, str) and code in set(Code):
        raise Refused(Code(code), excerpt(str(said.get("message", ""))))
    if answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        raise Refused(Code.BLOB_TRUNC, "the hub does not have it any more; the job must be made anew")
    raise GatewayUnreachable(f"the gateway answered with status {answer.status}; look into its log")


def _json(answer: GatewayAnswer) -> dict[str, Any]:
    try:
        found = json.loads(_body(answer, _SMALL))
    except (ValueError, RecursionError) as error:
        raise GatewayUnreachable(f"the gateway's answer (status {answer.status}) is not JSON") from error
    return found if isinstance(found, dict) else {}


def _body(answer: GatewayAnswer, most: int) -> bytes:
    content = answer.read(most + 1)
    if len(content) > most:
        raise Refused(Code.BLOB_SIZE, f"an answer of more than {most} bytes")
    return content


def _id(text: str) -> str:
    if not ID.fullmatch(text):
        raise ValueError("an id is 32 lowercase hex characters")
    return text
