"""What can go wrong with the broker node and its administration.

BrokerError
    NotInstalled     no rabbitmq-server on this machine
    PortTaken        another program listens where the node should
    NodeFailed       it died, or was not ready in time; the message ends with what it said last
    AdminUnreachable the HTTP API does not answer
    AdminRefused     it answered no
"""


class BrokerError(Exception):
    """The message names the object, what was expected and what was found."""


class NotInstalled(BrokerError):
    """There is no rabbitmq-server on this machine."""


class PortTaken(BrokerError):
    """Another program listens where the node should."""


class NodeFailed(BrokerError):
    """The node died or was not ready in time."""


class AdminUnreachable(BrokerError):
    """The HTTP API did not answer."""


class AdminRefused(BrokerError):
    """The HTTP API answered no; `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
