"""Tries at the broker what should be refused, one at a time, and says what the broker answered.

For the start-up probe and for tests: honest traffic goes through AmqpConnection.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPConnectionError, AMQPError, ChannelClosedByBroker, UnroutableError

from wire.amqp.link import Address, parameters
from wire.errors import ConnectionLost
from wire.tls import TlsContext


@dataclass(frozen=True, slots=True)
class Answer:
    """`code` is AMQP's (403, 405, 406, …), 0 where the broker did what was asked."""

    code: int
    said: str

    @property
    def allowed(self) -> bool:
        return self.code == 0


class Attempts:
    """One login; each attempt has a channel of its own, for a refusal closes it.

    Raises:
        ConnectionLost: from the constructor, when the broker is away or refuses the login.
    """

    def __init__(self, url: str, *, tls: TlsContext | None = None) -> None:
        try:
            self._connection = pika.BlockingConnection(parameters(Address.parse(url), "attempts", tls, 30))
        except AMQPConnectionError as error:
            raise ConnectionLost(f"no login: {error!r}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._connection.is_open:
            self._connection.close()

    def publish(
        self,
        exchange: str,
        key: str,
        body: bytes = b"",
        *,
        user_id: str | None = None,
        headers: Mapping[str, object] | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
    ) -> Answer:
        """Confirmed, so that the broker's refusal is waited for."""
        properties = pika.BasicProperties(
            user_id=user_id,
            headers=dict(headers) if headers else None,
            content_type=content_type,
            content_encoding=content_encoding,
        )

        def act(channel: BlockingChannel) -> None:
            channel.confirm_delivery()
            channel.basic_publish(exchange, key, body, properties, mandatory=True)

        return self._answer(act)

    def consume(self, queue: str) -> Answer:
        return self._answer(lambda channel: channel.basic_consume(queue, lambda *_: None))

    def get(self, queue: str) -> Answer:
        return self._answer(lambda channel: channel.basic_get(queue))

    def purge(self, queue: str) -> Answer:
        return self._answer(lambda channel: channel.queue_purge(queue))

    def delete_queue(self, queue: str) -> Answer:
        return self._answer(lambda channel: channel.queue_delete(queue))

    def delete_exchange(self, exchange: str) -> Answer:
        return self._answer(lambda channel: channel.exchange_delete(exchange))

    def declare_queue(self, queue: str) -> Answer:
        """The empty name asks the broker for one."""
        return self._answer(lambda channel: channel.queue_declare(queue))

    def declare_exchange(self, exchange: str) -> Answer:
        return self._answer(lambda channel: channel.exchange_declare(exchange))

    def bind(self, queue: str, exchange: str, key: str) -> Answer:
        return self._answer(lambda channel: channel.queue_bind(queue, exchange, key))

    def unbind(self, queue: str, exchange: str, key: str) -> Answer:
        return self._answer(lambda channel: channel.queue_unbind(queue, exchange, key))

    def look(self, queue: str) -> Answer:
        """A passive declare: whether the queue is there, and how long."""
        return self._answer(lambda channel: channel.queue_declare(queue, passive=True))

    def _answer(self, act: Callable[[BlockingChannel], object]) -> Answer:
        channel = self._connection.channel()
        try:
            act(channel)
        except ChannelClosedByBroker as refusal:
            return Answer(refusal.reply_code, refusal.reply_text)
        except UnroutableError:
            # It was let in; that no queue is bound is luck.
            return Answer(0, "taken, no queue")
        except AMQPError as error:
            raise ConnectionLost(f"the attempt ended the connection: {error!r}") from error
        if channel.is_open:
            channel.close()
        return Answer(0, "done")
