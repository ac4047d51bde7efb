"""The gateway as a relay sees it: the list of its spokes with its certificate, and what it fetches for others without.

What is fetched for a spoke never carries the relay's authority: the spoke shows its own capability or gets nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from spokes.agent.errors import GatewayUnreachable
from wire.documents import FLEET_MAX
from wire.errors import Code, Refused
from wire.frame_list import split_frames
from wire.tls import client_context, unverified_client_context

# The pin is compared inside the handshake; urllib3 knows of authorities only and would warn at each request.
urllib3.disable_warnings(InsecureRequestWarning)

_BASE = "/gateway/v1"
_TRUST_MAX = 16 * 1024 * 1024
_CONNECTIONS = 16


class HubDoor:
    """Asked by any thread.

    Args:
        address: host:port of the gateway.
        certificate: PEM, as `key`; ours, which the hub has pinned.
        proxy: http://host:port, or "".
    """

    def __init__(self, address: str, certificate: bytes, key: bytes, *, timeout_s: float, proxy: str = "") -> None:
        self._url = f"https://{address}{_BASE}"
        self._certificate = certificate
        self._key = key
        self._proxy = proxy
        self._timeout = urllib3.Timeout(connect=min(timeout_s, 10), read=timeout_s)
        self._public = self._pool(unverified_client_context())
        self._ours: urllib3.PoolManager | None = None
        self._theirs: urllib3.PoolManager | None = None

    def pin(self, pins: Sequence[str]) -> None:
        """From now on the gateway is one of these keys (SPKI digests)."""
        if pins:
            self._ours = self._pool(client_context(pins, certificate=self._certificate, key=self._key))
            self._theirs = self._pool(client_context(pins))

    def trust(self, since: int) -> list[bytes]:
        """The trust documents from that version on: public, and verified by whoever asks."""
        with self._request(self._public, "GET", f"/trust?from={since}") as answer:
            return list(split_frames(_whole(answer, _TRUST_MAX)))

    def fleet(self, known: str) -> tuple[bytes, str] | None:
        """The signed list of spokes and its tag; None while it is the one of the tag `known`."""
        headers = {"If-None-Match": known} if known else {}
        with self._request(self._ours, "GET", "/fleet", headers=headers) as answer:
            if answer.status == HTTPStatus.NOT_MODIFIED:
                # So that the connection is used again: this is asked every two seconds.
                answer.drain_conn()
                return None
            return _whole(answer, FLEET_MAX * 2), answer.headers.get("ETag", "")

    @contextmanager
    def passed_on(
        self, method: str, path: str, *, capability: str, body: Iterable[bytes] | None
    ) -> "Iterator[urllib3.BaseHTTPResponse]":
        """A spoke's own request, whatever it is answered."""
        headers = {"Manyarm-Capability": capability} if capability else {}
        with self._request(self._theirs, method, path, headers=headers, body=body) as answer:
            yield answer

    def _pool(self, context: object) -> urllib3.PoolManager:
        options: dict[str, Any] = {
            "ssl_context": context,
            "timeout": self._timeout,
            "retries": False,
            "maxsize": _CONNECTIONS,
        }
        return urllib3.ProxyManager(self._proxy, **options) if self._proxy else urllib3.PoolManager(**options)

    @contextmanager
    def _request(
        self,
        pool: urllib3.PoolManager | None,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: Iterable[bytes] | None = None,
    ) -> "Iterator[urllib3.BaseHTTPResponse]":
        if pool is None:
            raise Refused(Code.TLS_PIN, "the trust document names no key of the gateway")
        try:
            answer = pool.request(
                method, self._url + path, body=body, headers=headers or {}, preload_content=False, redirect=False
            )
            try:
                yield answer
            finally:
                answer.close()
        except (HTTPError, OSError) as error:
            raise GatewayUnreachable(f"no answer from the gateway {self._url}: {error}") from error


def _whole(answer: urllib3.BaseHTTPResponse, most: int) -> bytes:
    if answer.status != HTTPStatus.OK:
        raise GatewayUnreachable(f"the gateway answered with status {answer.status}; look into its log")
    content = answer.read(most + 1)
    if len(content) > most:
        raise Refused(Code.BLOB_SIZE, f"an answer of more than {most} bytes")
    return content
