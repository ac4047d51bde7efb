"""What a kind of spoke is: its name, and which commands it takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from config.settings import SpokeSettings
from spokes.agent.home import SpokeHome
from wire.messages import Command, Op, Result

Deeds = Mapping[Op, Callable[[Command], Result]]


@dataclass(frozen=True, slots=True)
class SpokeKind:
    """One file of `spokes/` offers one: which connection brings its mail, which machine it acts on.

    `tls_pin` is what this home's TLS key is known by, "" for a kind that has none.
    `replaces_signing`: whether its signing key can be rotated: one that peers pin in a certificate cannot.
    """

    name: str
    title: str
    ops: frozenset[Op]
    serve: Callable[[SpokeSettings], int]
    tls_pin: Callable[[SpokeHome], str] = lambda _home: ""
    replaces_signing: bool = True
