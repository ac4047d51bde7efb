"""What a changing service needs of whoever calls it: who acts, when, and what seals rows and fields."""

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
