"""The spokes that stand beside this hub and join by themselves: who they are, and the join codes left for them.

    no trusted spoke  >  a code in <home>/spokes/<kind>/join, renewed before it ends  >  the spoke takes it and enrols
    a trusted spoke   >  the code is removed
    a trusted spoke whose home was emptied while nothing ran  >  it is revoked, and a code for its successor is left

One that a person has revoked gets no new code as long as its home is there. Each is known by the machine and home that
its code was made for, so of several nodes each tends its own.
"""

import hashlib
import logging
import os
import platform
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.settings import HubSettings
from hub.acting import Acting
from hub.events.record import SYSTEM, record
from hub.infrastructure import join_codes, spokes
from hub.states import Approval, SpokeKind, SpokeState
from hub.storage.database import write_tx
from hub.storage.models import JoinToken, Spoke

logger = logging.getLogger(__name__)

NAMES = {SpokeKind.RELAY: "hub-relay", SpokeKind.SSH: "hub-ssh", SpokeKind.LOCAL: "hub"}
_TTL_S = 30 * 60
_RENEW_BEFORE_MS = 60_000


@dataclass(frozen=True, slots=True)
class HouseHome:
    """Where one of them lives, and where its join code is left."""

    kind: SpokeKind
    root: Path
    join_file: Path

    @property
    def is_empty(self) -> bool:
        """Neither enrolled nor about to be. A home that we may not look into counts as inhabited."""
        return not any(_may_be_there(self.root / "identity" / name) for name in ("spoke.json", "pending.json"))


@dataclass(frozen=True, slots=True)
class HouseParts:
    """What is needed of the engine.

    Attributes:
        homes: One for each kind that this hub keeps.
        itself: The engine as the one who acts, now.
        root_thumbprint: Of this hub.
        gateway: As it is reached from this machine.
    """

    homes: Sequence[HouseHome]
    itself: Callable[[str], Acting]
    root_thumbprint: Callable[[], bytes]
    gateway: str


class HouseSpokes:
    """One thread calls `sweep`."""

    def __init__(self, parts: HouseParts) -> None:
        self._parts = parts
        self._is_first = True

    def sweep(self) -> None:
        """See that each of them is trusted, or can join."""
        for home in self._parts.homes:
            try:
                self._tend(home)
            except OSError as error:
                # Whatever lies about in one of them, the others are tended.
                logger.warning("house spoke not tended", extra={"kind": str(home.kind), "why": str(error)})
        self._is_first = False

    def _tend(self, home: HouseHome) -> None:
        tokens = list(_tokens(home))
        spoke = _spoke_of(tokens)
        # Before its first word a spoke that is there has its home; later, an empty one is somebody's work in progress.
        if spoke is not None and not (self._is_first and home.is_empty):
            # One that a person has revoked stays revoked.
            home.join_file.unlink(missing_ok=True)
            return
        if spoke is not None and spoke.state == SpokeState.TRUSTED:
            self._revoke(spoke, home)
        context = self._parts.itself(_maker(home))
        if not home.join_file.exists() or not any(_is_good(token, context.now_ms) for token in tokens):
            self._leave_code(home)

    def _revoke(self, spoke: Spoke, home: HouseHome) -> None:
        reason = f"its home {home.root} was emptied"
        with write_tx():
            _, also = spokes.revoke_spoke(self._parts.itself(_maker(home)), spoke.id, reason)
            detail = {"name": spoke.name, "reason": reason, **({"also": also} if also else {})}
            record("spoke.revoke", f"spoke:{spoke.id}", actor=SYSTEM, detail=detail)
        logger.warning("house spoke lost its home and is revoked", extra={"spoke": spoke.id, "home": str(home.root)})

    def _leave_code(self, home: HouseHome) -> None:
        request = join_codes.JoinCodeRequest(
            role=str(home.kind), name_pattern=NAMES[home.kind], approve=Approval.AUTO, ttl_s=_TTL_S
        )
        with write_tx():
            for old in _tokens(home):
                if old.used_at is None:
                    old.delete_instance()
            created = join_codes.create_join_code(
                self._parts.itself(_maker(home)),
                request,
                root_thumbprint=self._parts.root_thumbprint(),
                address=self._parts.gateway,
            )
            detail = {"role": str(home.kind), "approve": str(Approval.AUTO), "name_pattern": NAMES[home.kind]}
            record("join-code.create", f"join-code:{created.row.id}", actor=SYSTEM, detail=detail)
        _write(home.join_file, created.code.reveal())
        logger.info("join code is left for a house spoke", extra={"kind": str(home.kind), "file": str(home.join_file)})


def house_homes(settings: HubSettings, hub_id: str) -> list[HouseHome]:
    """Where the house spokes of these settings live.

    Started by root, the local spoke becomes a user of its own, who may not enter the hub's home: it lives outside.
    """
    found = []
    for name in settings.house_spokes:
        kind, root = SpokeKind(name), settings.home / "spokes" / name
        outside = kind is SpokeKind.LOCAL and os.geteuid() == 0
        found.append(HouseHome(kind, settings.local_home_for(hub_id) if outside else root, root / "join"))
    return found


def stands_here(spoke: Spoke, homes: Sequence[HouseHome]) -> bool:
    """Whether this spoke joined with a code that was left in one of these homes."""
    token: JoinToken | None = JoinToken.get_or_none(JoinToken.id == spoke.join_token)
    return token is not None and token.created_by in {_maker(home) for home in homes}


def house_spoke(home: HouseHome) -> Spoke | None:
    """The spoke that joined with a code of this home last."""
    return _spoke_of(list(_tokens(home)))


def _maker(home: HouseHome) -> str:
    """Who made the code, as its row has it: this machine and this home, in 32 characters."""
    return hashlib.sha256(f"house\0{platform.node()}\0{home.join_file}".encode()).hexdigest()[:32]


def _tokens(home: HouseHome) -> Iterator[JoinToken]:
    made_here = JoinToken.select().where(JoinToken.created_by == _maker(home), JoinToken.role == str(home.kind))
    yield from made_here.order_by(JoinToken.created_at.desc())


def _spoke_of(tokens: Sequence[JoinToken]) -> Spoke | None:
    mine = Spoke.select().where(Spoke.join_token.in_([token.id for token in tokens]))
    return max(mine, key=lambda row: (row.state != SpokeState.REVOKED, row.created_at), default=None)


def _is_good(token: JoinToken, now_ms: int) -> bool:
    return token.used_at is None and token.revoked_at is None and token.expires_at - _RENEW_BEFORE_MS > now_ms


def _may_be_there(file: Path) -> bool:
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        return True
    return True


def _write(file: Path, text: str) -> None:
    """Whole or not at all, for nobody else's eyes."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as out:
        out.write(text + "\n")
    new.replace(file)
