"""What travels, as far as promises go: no keys, no bytes; a frame is named by its number."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Command:
    """`kind` is command or cancel; `seq` its number in the session."""

    frame: int
    kind: str
    cid: str
    nonce: int
    seq: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Welcome:
    nonce: int


@dataclass(frozen=True, slots=True)
class Hello:
    spoke: str
    nonce: int


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
    """`records` have numbers and chain values, as those of a spool."""

    spoke: str
    cid: str
    first: int
    previous: str
    records: tuple[Any, ...]
