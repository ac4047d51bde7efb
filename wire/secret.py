"""A text that never prints itself: repr, str, format, join and JSON all show `***`."""

import hmac
from typing import NoReturn, Self

HIDDEN = "***"


class Secret(str):
    """Holds a secret; `.reveal()` is the one way out, and easy to search for.

    It is a `str` of the value `***`, so whatever prints, logs, joins or serialises it shows that.
    """

    __slots__ = ("_value",)
    _value: str

    def __new__(cls, value: str) -> Self:
        made = super().__new__(cls, HIDDEN)
        made._value = value
        return made

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return False
        return hmac.compare_digest(self._bytes(), other._bytes())

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialised; reveal it where it is used")

    def _bytes(self) -> bytes:
        return self._value.encode("utf-8", "surrogatepass")
