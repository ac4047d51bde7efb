"""What a relay and a listening spoke say to each other about the envelopes that they hand over. PURE.

On the mail path a binary message is one envelope, never anything else; each side counts those that it sends on a
connection, from 1. A text message is one of the words below. They move envelopes and decide nothing.

    mail    spoke: greeting     relay: envelope 1, 2, …    spoke: taken [1, 2]     (after its journal)
                                spoke: envelope 1, 2, …    relay: taken [1], returned 2 "queue full"  (of the broker)
                                spoke: wants-bulk          relay dials once more, for bulk
    bulk    spoke: ask, pieces (binary), end               relay: answer, pieces, end        and again
    trust   spoke: greeting that wants trust               relay: newer trust documents (binary), end

The trust path alone is open to one who shows no certificate: what is said there is signed and no secret, and a spoke
whose only relay was replaced would never learn of the next one otherwise.
"""

import struct
from dataclasses import dataclass
from typing import Annotated, Any

from wire import canonical, schema
from wire.errors import Code, Refused, excerpt
from wire.schema import Count, IdOrEmpty, Many, Text, Whole
from wire.topology import EventKind

MAIL_PATH, BULK_PATH, TRUST_PATH = "/mail", "/bulk", "/trust"
WORD_MAX = 8 * 1024
# A number of messages that no connection lives to see.
_Number = Annotated[int, Whole(1, 2**53 - 1)]
TAKEN_MAX = 256
_TYPE_AT = struct.Struct(">4sH")
_MAGIC = b"MAE1"
# By the type number in an envelope's first bytes: all that a relay reads of one.
_UPWARD = {
    16: EventKind.HELLO,
    17: EventKind.ACK,
    18: EventKind.RESULT,
    19: EventKind.LOG,
    20: EventKind.BEAT,
    21: EventKind.REJECT,
    22: EventKind.ROTATE,
    32: EventKind.ENROL,
}


@dataclass(frozen=True, slots=True)
class Greeting:
    """The spoke's first word; `spoke` is "" before it is enrolled, `trust` the version that it holds, 0 for none."""

    spoke: IdOrEmpty
    wants: Annotated[str, Text(8, "mail|trust")]
    trust: Count


@dataclass(frozen=True, slots=True)
class Taken:
    """These envelopes are safe: in the spoke's journal, or with the broker."""

    numbers: Annotated[tuple[_Number, ...], Many(TAKEN_MAX)]


@dataclass(frozen=True, slots=True)
class Returned:
    """One that is not, and why."""

    number: _Number
    why: Annotated[str, Text(300)]


@dataclass(frozen=True, slots=True)
class WantsBulk:
    """Please dial once more, for bulk."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for the gateway; with a body, pieces and an end follow."""

    method: Annotated[str, Text(8, "GET|POST|PUT")]
    path: Annotated[str, Text(200)]
    capability: Annotated[str, Text(6000, "[A-Za-z0-9_.=-]*")]
    has_body: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The gateway's status; pieces and an end follow."""

    status: Annotated[int, Whole(100, 599)]


@dataclass(frozen=True, slots=True)
class End:
    """Of the pieces; `size` is the sum of their bytes, so that what breaks off is not taken for whole."""

    size: Count


@dataclass(frozen=True, slots=True)
class Broken:
    """There is no more of it, and why."""

    why: Annotated[str, Text(300)]


Word = Greeting | Taken | Returned | WantsBulk | Ask | Answer | End | Broken
_WORDS: dict[str, Any] = {
    "greeting": Greeting,
    "taken": Taken,
    "returned": Returned,
    "wants-bulk": WantsBulk,
    "ask": Ask,
    "answer": Answer,
    "end": End,
    "broken": Broken,
}
_NAMES = {cls: name for name, cls in _WORDS.items()}


def write(word: Word) -> str:
    return canonical.encode({_NAMES[type(word)]: schema.write_object(word)}).decode("ascii")


def read(text: str) -> Word:
    """The word of a text message.

    Raises:
        Refused: ENV_TOOBIG, ENV_SCHEMA, ENV_DUPKEY, ENV_FLOAT.
    """
    if len(text) > WORD_MAX:
        raise Refused(Code.ENV_TOOBIG, f"a word of {len(text)} characters")
    value = canonical.decode(text.encode("utf-8", "surrogatepass"))
    if not isinstance(value, dict) or len(value) != 1:
        raise Refused(Code.ENV_SCHEMA, "expected an object with one name")
    ((name, content),) = value.items()
    cls = _WORDS.get(name)
    if cls is None:
        raise Refused(Code.ENV_SCHEMA, f"no word {excerpt(name)}")
    word: Word = schema.read(cls, content)
    return word


def taken(numbers: list[int]) -> list[Taken]:
    """As many words as these numbers need."""
    return [Taken(tuple(numbers[at : at + TAKEN_MAX])) for at in range(0, len(numbers), TAKEN_MAX)]


def upward_kind(frame: bytes) -> EventKind:
    """Under which key an envelope from a spoke travels on; Refused(ENV_TYPE) for what no spoke sends.

    Nothing is verified: the hub does that, and the kind only chooses its queue.
    """
    if len(frame) < _TYPE_AT.size:
        raise Refused(Code.ENV_SHORT, f"a message of {len(frame)} bytes")
    magic, number = _TYPE_AT.unpack_from(frame)
    kind = _UPWARD.get(number)
    if magic != _MAGIC or kind is None:
        raise Refused(Code.ENV_TYPE, f"begins with {excerpt(frame[:8])}, no envelope that a spoke sends")
    return kind
