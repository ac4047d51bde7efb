"""What a changing service needs of whoever calls it: who acts, when, and what seals rows and fields."""

from dataclasses import dataclass
from typing import Protocol

from hub.storage.seals import RowSeals
from hub.storage.vault import Vault


class Actor(Protocol):
    """In whose name something is done."""

    @property
    def user_id(self) -> str: ...


class Acting(Protocol):
    """Handed to every changing service, inside the transaction that it belongs to."""

    @property
    def caller(self) -> Actor: ...
    @property
    def now_ms(self) -> int: ...
    @property
    def vault(self) -> Vault: ...
    @property
    def seals(self) -> RowSeals: ...


@dataclass(frozen=True, slots=True)
class Itself:
    """The engine as the one who acts: in its own name, or in that of whoever told it to before."""

    now_ms: int
    vault: Vault
    seals: RowSeals
    user_id: str = "system"

    @property
    def caller(self) -> Actor:
        return self
