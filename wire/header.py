"""The part of a frame that carriers may read: ids, numbers and times, no names. PURE."""

import re
from dataclasses import dataclass, field, fields

from wire import canonical
from wire.canonical import INTEGER_MAX, JsonObject, JsonValue
from wire.errors import Code, Refused, field_name

HEADER_MAX = 4096

_ID = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Header:
    """Who, to whom, in answer to what, when.

    Ids are 32 lowercase hex characters or empty where the type has none; `rh`, `prev`, `sign_pk` and `trust` are 64.
    Fields with a default are written only for the types that ask for them.
    """

    aud: str
    """Recipient: spoke id or hub id."""
    iss: str
    """Sender; decided by the key that verified, this must agree with it."""
    mid: str
    """This transmission, random."""
    cid: str
    """The job (idempotency key); survives a re-issue."""
    ses: str
    """The spoke's session nonce."""
    seq: int
    """Counter inside the session, from 1; 0 for types outside of it."""
    epo: int
    """Epoch of the hub."""
    iat: int
    exp: int
    re: str = ""
    """mid of the command that this answers."""
    rh: str = ""
    """SHA-256 of the command frame that this answers."""
    prev: str = ""
    """Chain value of the spool before the first record carried."""
    idx: int = -1
    """Number of the first spool record carried."""
    cnt: int = -1
    """How many spool records are carried."""
    sign_pk: str = ""
    """The key being enrolled."""
    trust: str = ""
    """SHA-256 of the trust document on which the enrolment relies."""


_EXTRAS = frozenset({"re", "rh", "prev", "idx", "cnt", "sign_pk", "trust"})
_ALWAYS = frozenset(part.name for part in fields(Header)) - _EXTRAS
_NUMBERS = frozenset({"seq", "epo", "iat", "exp", "idx", "cnt"})
_DIGESTS = frozenset({"rh", "prev", "sign_pk", "trust"})
_POSITIVE = frozenset({"iat", "exp", "cnt"})


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """What one message type has in its header."""

    needs_cid: bool = False
    has_session: bool = True
    has_sequence: bool = True
    has_issuer: bool = True
    extras: frozenset[str] = frozenset()
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", _ALWAYS | self.extras)


def write_header(header: Header, rule: HeaderRule) -> bytes:
    """Canonical bytes; Refused(ENV_SCHEMA) if the header is not one of its type."""
    written: JsonObject = {name: getattr(header, name) for name in rule.names}
    for name in _EXTRAS - rule.extras:
        if getattr(header, name) not in ("", -1):
            raise Refused(Code.ENV_SCHEMA, "the type has no such field", field=name)
    _check(written, rule)
    return canonical.encode(written)


def read_header(data: bytes, rule: HeaderRule) -> Header:
    """The header of these very bytes; Refused with ENV_HEADER, ENV_DUPKEY, ENV_FLOAT or ENV_SCHEMA and the field."""
    value = canonical.decode(data, malformed=Code.ENV_HEADER)
    if not isinstance(value, dict):
        raise Refused(Code.ENV_HEADER, "the header is not an object")
    _check(value, rule)
    return Header(**value)  # type: ignore[arg-type]  # _check settled names and types


def _check(value: JsonObject, rule: HeaderRule) -> None:
    for name in sorted(value.keys() ^ rule.names):
        what = "missing field" if name in rule.names else "unknown field"
        raise Refused(Code.ENV_SCHEMA, what, field=field_name(name))
    for name, found in value.items():
        _check_form(name, found)
    _check_presence(value, rule)


def _check_form(name: str, found: JsonValue) -> None:
    if name in _NUMBERS:
        # type() and not isinstance(): True is an int to Python, not to us.
        if type(found) is not int or not (1 if name in _POSITIVE else 0) <= found <= INTEGER_MAX:
            raise Refused(Code.ENV_SCHEMA, "expected an integer in its range", field=name)
        return
    pattern = _DIGEST if name in _DIGESTS else _ID
    may_be_empty = name in _ALWAYS
    if type(found) is not str or not (pattern.fullmatch(found) or (may_be_empty and not found)):
        raise Refused(Code.ENV_SCHEMA, "expected lowercase hex", field=name)


def _check_presence(value: JsonObject, rule: HeaderRule) -> None:
    wanted = {
        "aud": True,
        "mid": True,
        "iss": rule.has_issuer,
        "ses": rule.has_session,
        "seq": rule.has_sequence,
    }
    for name, must in wanted.items():
        if bool(value[name]) != must:
            raise Refused(Code.ENV_SCHEMA, "must be there" if must else "has no place here", field=name)
    if rule.needs_cid and not value["cid"]:
        raise Refused(Code.ENV_SCHEMA, "must be there", field="cid")
