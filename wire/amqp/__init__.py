"""RabbitMQ by pika, which no other folder imports.

link        one connection and the thread that owns it: connects for ever, notices every end
publisher   confirms in a window of a thousand, futures, bounded memory
consumer    deliveries pulled by the caller, acknowledgements by generation
connection  AmqpConnection: a publisher and a consumer on links apart, so that a blocked publisher stops no consumer
"""

from wire.amqp.connection import AmqpConnection

__all__ = ["AmqpConnection"]
