"""One broker connection that comes back for ever, and the I/O thread that owns it.

A broken connection is discarded with its loop and never mended. All callbacks run on the I/O thread and only enqueue,
so heartbeats never starve. The user of a link says what happens when a connection is up and when it is gone.
"""

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol
from urllib.parse import unquote, urlsplit

import pika
from pika.exceptions import (
    ConnectionClosedByBroker,
    ConnectionWrongStateError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from wire.amqp.gathering import GatheringConnection
from wire.amqp.lending import LendingLoop
from wire.errors import BrokerRefused, ConnectionLost, WireError
from wire.tls import TlsContext, public_client_context

logger = logging.getLogger(__name__)
# It logs stack traces for ordinary disconnects; what matters of them is logged here.
logging.getLogger("pika").setLevel(logging.CRITICAL)

CONNECTING = "connecting"
CONNECTED = "connected"
BLOCKED = "blocked"
REFUSED = "refused"

_BACKOFF_FIRST_S = 0.5
_BACKOFF_MOST_S = 30.0
# A connection that lived this long was a good one: the next attempt follows soon.
_STEADY_S = 5.0
_TICK_S = 1.0
_SOCKET_TIMEOUT_S = 10
_BLOCKED_TIMEOUT_S = 30
_CLOSE_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker is and who we are there."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    vhost: str
    encrypted: bool

    @classmethod
    def parse(cls, url: str) -> "Address":
        """From `amqp://user:password@host:port/vhost`, or amqps.

        Raises:
            ValueError: not such a URL; the message never holds the password.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"amqp", "amqps"} or not parts.hostname or not parts.username:
            raise ValueError("a broker URL reads amqp://user:password@host:port/vhost, or amqps://…")
        encrypted = parts.scheme == "amqps"
        return cls(
            host=parts.hostname,
            port=parts.port or (5671 if encrypted else 5672),
            user=unquote(parts.username),
            password=unquote(parts.password or ""),
            vhost=unquote(parts.path[1:]) or "/",
            encrypted=encrypted,
        )


class LinkUser(Protocol):
    """Who lives on a link; each method runs on its I/O thread."""

    def up(self, connection: GatheringConnection) -> None: ...

    def down(self, reason: WireError) -> None: ...

    def tick(self) -> None:
        """Once a second, connected or not."""
        ...


class Link:
    """Owns the thread, the present loop and the present connection."""

    def __init__(
        self, address: Address, user: LinkUser, *, name: str, tls: TlsContext | None, heartbeat_s: int
    ) -> None:
        self.address = address
        self._user = user
        self._parameters = parameters(address, name, tls, heartbeat_s)
        self._lock = threading.Lock()
        self._loop: LendingLoop | None = None
        self._connection: GatheringConnection | None = None
        self._state = CONNECTING
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"amqp {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def state(self) -> str:
        return self._state

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs on the I/O thread, which must never wait for itself."""
        return threading.current_thread() is self._thread

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    def set_state(self, state: str) -> None:
        """What the link's user has found out: that its channel is ready, or why it is not."""
        with self._changed:
            if state != self._state:
                self._state = state
                self._changed.notify_all()

    def wait_state(self, states: Collection[str], timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._state in states, max(timeout_s, 0))

    def call(self, callback: Callable[[], None]) -> bool:
        """Run it soon on the I/O thread; False between two connections, when there is nothing to call on."""
        with self._lock:
            if self._loop is None:
                return False
            self._loop.add_callback_threadsafe(callback)
            return True

    def at_once(self, callback: Callable[[], None]) -> bool:
        """Run it here, as if this were the I/O thread, if that one waits for the socket; else as `call`."""
        loop = self._loop
        try:
            if loop is not None and not self.is_own_thread and loop.lend(callback):
                return True
        except Exception as error:  # noqa: BLE001  It ends the connection as it would have there.
            return self.call(partial(_fail, error))
        return self.call(callback)

    def later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Only from the I/O thread; forgotten when this connection ends."""
        if self._loop is not None:
            self._loop.call_later(delay_s, callback)

    def close(self) -> None:
        """End the connection and the thread; from any thread but the link's own."""
        self._closing.set()
        self.call(self._hang_up)
        if self._thread.is_alive() and not self.is_own_thread:
            self._thread.join(_CLOSE_WAIT_S + _SOCKET_TIMEOUT_S)

    # The I/O thread

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            started = time.monotonic()
            reason = self._live_once()
            failures = 0 if time.monotonic() - started > _STEADY_S else failures + 1
            if not self._closing.is_set():
                self._user.down(reason)
                self._rest(backoff_s(failures), reason)
        self._user.down(ConnectionLost("the connection is closed"))
        self.set_state("closed")

    def _live_once(self) -> WireError:
        """One connection from its first packet to its end; answers why it ended."""
        loop = LendingLoop()
        ended: list[BaseException] = []

        def on_end(_connection: object, reason: BaseException) -> None:
            ended.append(reason)
            loop.stop()

        with self._lock:
            self._loop = loop
        try:
            self._connection = GatheringConnection(
                self._parameters,
                on_open_callback=self._opened,
                on_open_error_callback=on_end,
                on_close_callback=on_end,
                custom_ioloop=loop,
            )
            self._tick()
            if self._closing.is_set():
                self._hang_up()
            loop.start()
        except Exception as error:
            # pika trips over an attempt that is given up, after its socket was closed.
            if not self._closing.is_set():
                logger.warning("broker connection broke", exc_info=error)
            ended.append(error)
        finally:
            with self._lock:
                self._loop = None
            self._connection = None
            with contextlib.suppress(Exception):
                loop.close()
        return self._translated(ended[0] if ended else ConnectionError("it was given up"))

    def _opened(self, connection: GatheringConnection) -> None:
        logger.debug("broker connection opened", extra={"host": self.address.host, "port": self.address.port})
        self._user.up(connection)

    def _tick(self) -> None:
        self._user.tick()
        self.later(_TICK_S, self._tick)

    def _hang_up(self) -> None:
        connection, loop = self._connection, self._loop
        if connection is None or loop is None:
            return
        try:
            # Amid an attempt too: whoever only stopped the loop would leave its socket to the garbage collector.
            connection.close()
        except ConnectionWrongStateError:
            loop.stop()
            return
        loop.call_later(_CLOSE_WAIT_S, loop.stop)

    def _rest(self, delay_s: float, reason: WireError) -> None:
        logger.info("broker connection lost", extra={"reason": str(reason), "next_attempt_s": round(delay_s, 1)})
        until = time.monotonic() + delay_s
        while (left_s := until - time.monotonic()) > 0:
            if self._closing.wait(min(_TICK_S, left_s)):
                return
            self._user.tick()

    def _translated(self, reason: BaseException) -> WireError:
        """Into the tree of wire/errors.py, and into the state that people see."""
        why = _root(reason)
        if _is_refusal(why):
            self.set_state(f"{REFUSED}: {why}")
            return BrokerRefused(self.address.user, self.address.vhost, str(why))
        if isinstance(why, WireError):
            self.set_state(f"{REFUSED}: {why}")
            return why
        self.set_state(CONNECTING)
        return ConnectionLost(f"{self.address.host}:{self.address.port}: {why}")


def backoff_s(failures: int) -> float:
    """Full jitter: a thousand spokes that lost one broker come back spread over the whole span."""
    return random.uniform(0, min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2 ** min(failures, 10)))  # noqa: S311  no secret


def parameters(address: Address, name: str, tls: TlsContext | None, heartbeat_s: int) -> pika.ConnectionParameters:
    context = tls or (public_client_context() if address.encrypted else None)
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.vhost,
        credentials=pika.PlainCredentials(address.user, address.password),
        heartbeat=heartbeat_s,
        blocked_connection_timeout=_BLOCKED_TIMEOUT_S,
        socket_timeout=_SOCKET_TIMEOUT_S,
        stack_timeout=_SOCKET_TIMEOUT_S + 5,
        connection_attempts=1,
        ssl_options=pika.SSLOptions(context, address.host) if context is not None else None,
        client_properties={"connection_name": name},
    )


def _fail(error: Exception) -> None:
    raise error


def _root(reason: BaseException) -> BaseException:
    """The innermost cause: pika wraps what happened in what it was doing."""
    # Deeper than pika nests; a bound, for a cycle among exceptions must not hold the thread.
    for _ in range(10):
        inner = getattr(reason, "exception", None) or getattr(reason, "exceptions", None)
        if isinstance(inner, list | tuple):
            inner = inner[-1] if inner else None
        if not isinstance(inner, BaseException):
            break
        reason = inner
    return reason


def _is_refusal(why: BaseException) -> bool:
    if isinstance(why, ProbableAuthenticationError | ProbableAccessDeniedError):
        return True
    # 403 access refused, 530 not allowed (limits, unknown vhost); 320 is an operator's or a stopping broker's close.
    return isinstance(why, ConnectionClosedByBroker) and why.reply_code in {403, 530}
