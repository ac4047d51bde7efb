"""What travels, as far as promises go: no keys, no bytes; a frame is named by its number."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Command:
    """`kind` is command, cancel or order; `seq` its number in the session; times by the hub's clock.

    `about`: which records of which job an order asks for.
    """

    frame: int
    kind: str
    cid: str
    nonce: int
    seq: int
    issued_ms: int
    expires_ms: int
    epoch: int
    about: tuple[str, tuple[tuple[int, int], ...]] | None = None


@dataclass(frozen=True, slots=True)
class Welcome:
    nonce: int
    hub_ms: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Call:
    """A hub that knows nothing of this session asks its spoke to say hello anew."""

    nonce: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Hello:
    """`reports`: jobs that have not ended there, and whether they run."""

    spoke: str
    nonce: int
    reports: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Beat:
    spoke: str
    nonce: int
    counter: int


@dataclass(frozen=True, slots=True)
class Ack:
    spoke: str
    cid: str
    frame: int
    running: bool


@dataclass(frozen=True, slots=True)
class Result:
    spoke: str
    cid: str
    frame: int
    state: str
    exit_code: int | None
    records: int
    began: bool


@dataclass(frozen=True, slots=True)
class Reject:
    """Of a command of which its spoke has no row; `nonce`: the session for which the frame was made, if it is over."""

    spoke: str
    frame: int
    code: str
    nonce: int


@dataclass(frozen=True, slots=True)
class Log:
    """`records` have numbers and chain values, as those of a spool. `again`: somebody asked for them."""

    spoke: str
    cid: str
    first: int
    previous: str
    records: tuple[Any, ...]
    again: bool = False
