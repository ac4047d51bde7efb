"""Joins a hub: find it by the join code's thumbprint, verify it, only then show it the token, wait for approval.

    1  trust documents from the gateway, verified from the root thumbprint in the code     <- an impostor fails here
    2  the hub's box key, certified by its command key
    3  own keys; the enrolment, signed by the new key and sealed to the hub's box
    4  a person compares the thumbprint printed here with the one that the portal shows
    5  the answer: signed by the hub, sealed to us, naming this very enrolment

Nothing is written before step 2 has passed; from step 3 on a second call goes on where the first one stopped.
"""

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from spokes.agent.errors import AlreadyEnrolled, GatewayUnreachable, JoinRefused, NotApproved, NotEnrolled, RootDiffers
from spokes.agent.home import SpokeHome
from spokes.agent.identity import Enrolment, IdentityStore, Keys
from spokes.agent.platform_facts import this_platform
from spokes.agent.trust_keeper import caught_up
from spokes.agent.trust_store import TrustStore, open_box
from wire.crash import crash_point
from wire.envelope import Header, frame_sha256
from wire.errors import Code, Refused
from wire.join_code import JoinCode
from wire.keys import thumbprint_of_digest
from wire.messages import Enrol, Enrolled
from wire.session import open_enrolled, seal_enrol
from wire.trust import TrustChain

logger = logging.getLogger(__name__)

_PENDING = "pending"
_ASK_EVERY_S = (0.2, 5.0)


class EnrolmentDoor(Protocol):
    """What a gateway offers to a stranger."""

    def trust(self, since: int) -> list[bytes]: ...

    def box(self) -> bytes: ...

    def enrol(self, frame: bytes) -> str: ...

    def enrolled(self, enrolment: str) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What the spoke asks to be: display text until an administrator agrees.

    `address` is where relays dial a listening spoke and `listen` where it listens, kept here; `tls_spki` the pin of its
    TLS key, or of a relay's; `runner_python` the version of what runs jobs there.
    """

    name: str
    roles: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    kind: str = "polling"
    address: str = ""
    tls_spki: str = ""
    listen: str = ""
    runner_python: str = ""


class Enroller:
    """One enrolment of one home.

    Args:
        say: Tells the person at the terminal.
        sleep: Waits between two questions.
    """

    def __init__(
        self,
        home: SpokeHome,
        door: EnrolmentDoor,
        *,
        say: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = IdentityStore(home)
        self._trust = TrustStore(home)
        self._door = door
        self._say = say
        self._sleep = sleep
        self._clock = clock

    def enrol(self, code: JoinCode, wish: Wish, *, gateway: str, wait_s: float | None) -> Enrolment:
        """Join the hub of this code.

        Args:
            gateway: host:port asked, remembered for later.
            wait_s: For approval; None waits until it comes.

        Raises:
            AlreadyEnrolled, RootDiffers, JoinRefused, NotApproved, GatewayUnreachable.
            Refused: For what does not verify.
        """
        self._must_be_new()
        self._must_be_allowed(code)
        chain = self._verified_chain(code)
        keys, enrolment = self._hand_in(code, wish, chain)
        self._say(f"This spoke's thumbprint is {keys.thumbprint}")
        self._say("Compare it with the one that the portal shows, then approve the spoke there.")
        answer = self._await_answer(enrolment, wait_s)
        header, enrolled = self._opened(answer, chain, keys, enrolment)
        made = Enrolment.of(enrolled, name=wish.name, root=code.root_thumbprint, kind=wish.kind, listen=wish.listen)
        crash_point("enrol.answered")
        self._store.save_enrolment(made)
        self._store.forget(_PENDING)
        logger.info("enrolled", extra={"spoke": header.aud, "hub": header.iss, "gateway": gateway})
        return made

    def _opened(self, answer: bytes, chain: TrustChain, keys: Keys, enrolment: str) -> tuple[Header, Enrolled]:
        """The hub's answer; while we waited for it the hub may have changed the key that signs it."""
        try:
            return open_enrolled(answer, chain, (keys.box,), enrol_sha256=enrolment)
        except Refused as refusal:
            if refusal.code is not Code.ENV_KEY:
                raise
            newer = caught_up(chain, self._door)
            found = open_enrolled(answer, newer, (keys.box,), enrol_sha256=enrolment)
            self._trust.save(newer)
            return found

    def _must_be_new(self) -> None:
        try:
            known = self._store.enrolment()
        except NotEnrolled:
            return
        raise AlreadyEnrolled(f"this home is spoke {known.name!r} ({known.spoke_id}); choose another one with --home")

    def _must_be_allowed(self, code: JoinCode) -> None:
        required = self._store.required_root()
        if required is not None and not hmac.compare_digest(required, code.root_thumbprint):
            raise RootDiffers(
                f"this machine trusts the hub with root {thumbprint_of_digest(required)}, the join code is of "
                f"{thumbprint_of_digest(code.root_thumbprint)}: ask for a code of the right hub"
            )

    def _verified_chain(self, code: JoinCode) -> TrustChain:
        try:
            return caught_up(TrustChain.from_root(code.root_thumbprint, self._door.trust(1)), self._door)
        except Refused as refusal:
            if refusal.code is Code.TRUST_SIG:
                raise RootDiffers(
                    f"whoever answers there is not the hub of this join code: {refusal.detail}. "
                    "Nothing was sent; compare the address and the thumbprint with the administrator"
                ) from refusal
            raise

    def _hand_in(self, code: JoinCode, wish: Wish, chain: TrustChain) -> tuple[Keys, str]:
        """The keys and the SHA-256 of the enrolment frame; a second call with the same code sends nothing."""
        token = hashlib.sha256(code.token_id + code.token_secret).hexdigest()
        pending = self._store.recall(_PENDING)
        if pending is not None and pending.get("token") == token:
            # Handing in the very same frame once more is harmless: the hub knows it by its digest.
            return self._store.keys(), self._send(bytes.fromhex(str(pending["frame"])))
        box_frame = self._door.box()
        box = open_box(box_frame, chain, chain.document.hub)
        keys = Keys.generate()
        sealed = seal_enrol(
            Enrol(
                token_id=code.token_id.hex(),
                token_secret=code.token_secret.hex(),
                box_pk=keys.box.public.pk.hex(),
                tls_spki=wish.tls_spki,
                nonce=secrets.token_hex(16),
                platform=this_platform(wish.runner_python),
                requested_name=wish.name,
                kind=wish.kind,
                address=wish.address,
                roles=wish.roles,
                environments=wish.environments,
            ),
            signer=keys.signing,
            hub_box=box.box,
            hub_id=chain.document.hub,
            trust_sha256=chain.sha256,
            epoch=chain.document.epoch,
            now_s=int(time.time()),
        )
        # The token is spent with the next line, so what it buys must be on disk before.
        self._trust.clear()
        self._trust.save(chain)
        self._trust.save_box(box_frame)
        self._store.save_keys(keys)
        self._store.remember(_PENDING, {"token": token, "frame": sealed.frame.hex()})
        crash_point("enrol.keys-kept")
        return keys, self._send(sealed.frame)

    def _send(self, frame: bytes) -> str:
        try:
            answered = self._door.enrol(frame)
        except JoinRefused:
            self._withdraw()
            raise
        crash_point("enrol.handed-in")
        if answered != frame_sha256(frame):
            raise GatewayUnreachable("the gateway answers for another enrolment than ours")
        return answered

    def _withdraw(self) -> None:
        self._store.forget(_PENDING)
        self._store.forget_keys()
        self._trust.clear()

    def _await_answer(self, enrolment: str, wait_s: float | None) -> bytes:
        pause_s, longest_s = _ASK_EVERY_S
        ends = None if wait_s is None else self._clock() + wait_s
        while True:
            try:
                answer = self._door.enrolled(enrolment)
            except GatewayUnreachable as error:
                logger.warning("the hub does not answer for the moment", extra={"why": str(error)})
                answer = None
            except JoinRefused:
                self._withdraw()
                raise
            if answer is not None:
                return answer
            if ends is not None and self._clock() >= ends:
                raise NotApproved("nobody has approved this spoke yet; run the same command again to go on waiting")
            self._sleep(pause_s if ends is None else max(0.01, min(pause_s, ends - self._clock())))
            pause_s = min(longest_s, pause_s * 1.5)


def join_names(names: Sequence[str]) -> tuple[str, ...]:
    """Roles or environments from the command line, each once, in order."""
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
