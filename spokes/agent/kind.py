"""What a kind of spoke is: its name, and which commands it takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from config.settings import SpokeSettings
from wire.messages import Command, Op, Result

Deeds = Mapping[Op, Callable[[Command], Result]]


@dataclass(frozen=True, slots=True)
class SpokeKind:
    """One file of `spokes/` offers one: which connection brings its mail, which machine it acts on."""

    name: str
    title: str
    ops: frozenset[Op]
    serve: Callable[[SpokeSettings], int]
