"""Declaring a topology on a channel, without waiting between the parts."""

from pika.channel import Channel

from wire.topology import Topology


def declare(channel: Channel, topology: Topology) -> None:
    """Queue up all of it; pika sends each when the one before was answered. A conflict closes the channel (406)."""
    for exchange in topology.exchanges:
        channel.exchange_declare(exchange.name, exchange.kind, durable=True, callback=_answered)
    for queue in topology.queues:
        channel.queue_declare(queue.name, durable=True, arguments=queue.arguments, callback=_answered)
    for binding in topology.bindings:
        channel.queue_bind(binding.queue, binding.exchange, binding.key, callback=_answered)


def _answered(_frame: object) -> None:
    """Without a callback pika would not ask for an answer, and an error would come at some later call."""
