"""Enrolment, the engine's side: opens the frames that the gateway could not, and lets in who brings a good token.

Whatever is wrong, the outsider sees one neutral refusal; the reason stands in the audit log alone.
"""

import fnmatch
import hashlib
import hmac
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from peewee import fn

from hub.acting import Itself
from hub.errors import HubError
from hub.events.record import SYSTEM, record
from hub.infrastructure import targets
from hub.infrastructure.display_names import fault_of, shown
from hub.infrastructure.join_codes import KINDS_OF_ROLE
from hub.infrastructure.listening import let_in, place_of
from hub.infrastructure.spokes import thumbprint_of, trust
from hub.states import Approval, EnrolmentState, InboxKind, InboxState, SpokeKind, SpokeState
from hub.storage.database import connection, database_is_away, is_postgres, write_tx
from hub.storage.models import Enrolment, Environment, GatewayInbox, JoinToken, Spoke, TrustFrame
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from wire.errors import Code, Refused
from wire.exchange import Received, open_enrol
from wire.keys import BoxKey
from wire.messages import Enrol

logger = logging.getLogger(__name__)

_BATCH = 50
_REFUSED_KEPT_MS = 24 * 3600 * 1000
_FORGET_EVERY_MS = 3600 * 1000
_NOBODY = hashlib.sha256(b"nobody has this secret").hexdigest()


@dataclass(frozen=True, slots=True)
class EnrolmentParts:
    """What enrolment needs of the engine. `allow_inner`: listening spokes may be on the hub's own machine."""

    vault: Vault
    seals: RowSeals
    boxes: Callable[[], Sequence[BoxKey]]
    hub_id: str
    clock_ms: Callable[[], int]
    allow_inner: bool = False


class Enrolments:
    """Empties the gateway's inbox of `enrol` frames; one thread calls `sweep`."""

    def __init__(self, parts: EnrolmentParts) -> None:
        self._parts = parts
        self._forgot_at_ms = 0

    def sweep(self) -> int:
        """Take what has come in; how many frames that were."""
        with connection():
            query = (
                GatewayInbox.select()
                .where(GatewayInbox.kind == InboxKind.ENROL, GatewayInbox.state == InboxState.NEW)
                .order_by(GatewayInbox.received_at)
                .limit(_BATCH)
            )
            rows = list(query)
            for row in rows:
                self._take(row)
            if not rows and self._parts.clock_ms() - self._forgot_at_ms > _FORGET_EVERY_MS:
                self._forgot_at_ms = self._parts.clock_ms()
                self.forget_refused()
            return len(rows)

    def forget_refused(self) -> int:
        """Drop refusals that nobody will ask about again."""
        before = self._parts.clock_ms() - _REFUSED_KEPT_MS
        with connection(), write_tx():
            old = Enrolment.delete().where(Enrolment.state == EnrolmentState.REFUSED, Enrolment.created_at < before)
            return int(old.execute())

    def _take(self, row: GatewayInbox) -> None:
        """One frame, one transaction; a refusal is recorded in one of its own, for it undoes whatever was begun."""
        try:
            with write_tx():
                if _claimed(row):
                    self._enrol(row)
                    row.delete_instance()
        except Refused as refusal:
            self._refuse(row, refusal.code, refusal.detail)
        except HubError as error:
            self._refuse(row, Code.JOIN_SCOPE, error.detail)
        except Exception as error:
            if database_is_away(error):
                raise
            # One frame must not hold up those behind it, whatever is in it.
            logger.exception("enrolment failed", extra={"frame": row.sha256})
            self._refuse(row, Code.JOIN_BAD, "it could not be processed; see the engine's log")

    def _enrol(self, row: GatewayInbox) -> None:
        known: Enrolment | None = Enrolment.get_or_none(Enrolment.id == row.sha256)
        if known is not None:
            _answer_again(known)
            return
        received = open_enrol(row.body, self._parts.boxes(), self._parts.hub_id)
        assert isinstance(received.body, Enrol)
        now_ms = self._parts.clock_ms()
        if not TrustFrame.select().where(TrustFrame.sha256 == received.header.trust).exists():
            raise Refused(Code.JOIN_BAD, "it was made with a trust document that is not ours")
        if received.body.is_introduced:
            spoke = let_in(received, self._parts.vault, self._parts.seals, now_ms)
            Enrolment.create(id=row.sha256, spoke=spoke.id, state=EnrolmentState.WAITING, created_at=now_ms)
            return
        token = self._token(received.body, now_ms)
        spoke = self._spoke(received, token)
        self._use(token, spoke, now_ms)
        self._parts.seals.seal(spoke)
        spoke.save(force_insert=True)
        Enrolment.create(id=row.sha256, spoke=spoke.id, state=EnrolmentState.WAITING, created_at=now_ms)
        detail = {
            "name": spoke.name,
            "kind": str(spoke.kind),
            "thumbprint": thumbprint_of(spoke),
            "approve": token.approve,
        }
        record("spoke.enrol", f"spoke:{spoke.id}", actor=f"join-code:{token.id}", detail=detail)
        if token.approve == Approval.AUTO:
            trust(Itself(now_ms, self._parts.vault, self._parts.seals, token.created_by), spoke)
            record("spoke.approve", f"spoke:{spoke.id}", actor=f"join-code:{token.id}", detail={"approve": "auto"})
        logger.info("spoke enrolled", extra={"spoke": spoke.id, "approve": str(token.approve)})

    def _token(self, body: Enrol, now_ms: int) -> JoinToken:
        """The token that the body proves to know; the same work is done whether there is one or not."""
        token: JoinToken | None = JoinToken.get_or_none(JoinToken.id == body.token_id)
        given = hashlib.sha256(bytes.fromhex(body.token_secret)).hexdigest()
        stored = token.secret_sha256 if token is not None else _NOBODY
        matches = hmac.compare_digest(given.encode("ascii"), stored.encode("ascii"))
        if token is None or not matches or not self._parts.seals.holds(token):
            raise Refused(Code.JOIN_BAD, f"token {body.token_id}")
        if token.used_at is not None:
            raise Refused(Code.JOIN_USED, f"token {token.id}")
        if token.revoked_at is not None or token.expires_at <= now_ms:
            raise Refused(Code.JOIN_EXPIRED, f"token {token.id}")
        return token

    def _spoke(self, received: Received, token: JoinToken) -> Spoke:
        body = received.body
        assert isinstance(body, Enrol)
        name = body.requested_name
        kind = _kind_of(body, token)
        if fault_of(name) is not None or not _matches(name, token.name_pattern):
            raise Refused(Code.JOIN_SCOPE, f"token {token.id}: the name is not one that it allows")
        if token.approve == Approval.AUTO and kind in targets.OWN_TARGET and not targets.is_name_free(name):
            raise Refused(Code.JOIN_SCOPE, f"token {token.id}: another spoke serves a target of that name")
        wants = {
            "roles": targets.checked_roles(_within(token.roles, body.roles, token)),
            "environments": _within(token.environments, _ids_of(body.environments, token), token),
        }
        signer = received.signer
        if Spoke.select().where(Spoke.sign_kid == signer.kid.hex()).exists():
            raise Refused(Code.JOIN_USED, "its key belongs to a spoke already: a new enrolment makes new keys")
        return Spoke(
            name=name,
            kind=kind,
            state=SpokeState.PENDING,
            sign_pk=signer.pk.hex(),
            sign_kid=signer.kid.hex(),
            box_pk=body.box_pk,
            **place_of(body, allow_inner=self._parts.allow_inner),
            wants=wants,
            platform={part: shown(text) for part, text in asdict(body.platform).items()},
            enrol_sha256=received.frame_sha256,
            join_token=token.id,
            created_at=self._parts.clock_ms(),
        )

    def _use(self, token: JoinToken, spoke: Spoke, now_ms: int) -> None:
        """The one moment of use: of any number of frames with this token, in any number of engines, one gets here."""
        won = (
            JoinToken.update(used_at=now_ms, used_by=spoke.id)
            .where(
                JoinToken.id == token.id,
                JoinToken.used_at.is_null(),
                JoinToken.revoked_at.is_null(),
                JoinToken.expires_at > now_ms,
            )
            .execute()
        )
        if won != 1:
            raise Refused(Code.JOIN_USED, f"token {token.id}")
        token.used_at, token.used_by = now_ms, spoke.id
        self._parts.seals.seal_end(token)
        token.save()

    def _refuse(self, row: GatewayInbox, code: Code, detail: str) -> None:
        logger.info("enrolment refused", extra={"frame": row.sha256, "code": str(code)})
        with write_tx():
            if not _claimed(row):
                return
            known = Enrolment.get_or_none(Enrolment.id == row.sha256)
            if known is None:
                now_ms = self._parts.clock_ms()
                Enrolment.create(id=row.sha256, state=EnrolmentState.REFUSED, created_at=now_ms)
                words = {"code": str(code), "detail": shown(detail), "source": shown(row.source)}
                record("spoke.enrol", f"enrolment:{row.sha256}", actor=SYSTEM, outcome="refused", detail=words)
            row.delete_instance()


def _claimed(row: GatewayInbox) -> bool:
    """Whether the row is there still, and ours until the end of the transaction: other engines sweep too."""
    query = GatewayInbox.select(GatewayInbox.id).where(GatewayInbox.id == row.id)
    if is_postgres():
        query = query.for_update("FOR UPDATE SKIP LOCKED")  # type: ignore[arg-type]  # peewee takes the clause as well
    return query.first() is not None


def _kind_of(body: Enrol, token: JoinToken) -> SpokeKind:
    kind = SpokeKind(body.kind)
    if kind not in KINDS_OF_ROLE[token.role]:
        raise Refused(Code.JOIN_SCOPE, f"token {token.id} is for a {token.role}, not for a spoke of kind {kind}")
    return kind


def _answer_again(known: Enrolment) -> None:
    """The same frame again has its answer; one that came by a relay and was lost on the way is sent once more."""
    if known.state == EnrolmentState.ANSWERED:
        introduced = Spoke.select().where(
            Spoke.id == known.spoke, Spoke.kind == SpokeKind.LISTENING, Spoke.join_token.is_null()
        )
        if introduced.exists():
            Enrolment.update(state=EnrolmentState.WAITING).where(Enrolment.id == known.id).execute()


def _matches(name: str, pattern: str) -> bool:
    return not pattern or fnmatch.fnmatchcase(name.lower(), pattern.lower())


def _within(allowed: Sequence[str], wanted: Sequence[str], token: JoinToken) -> list[str]:
    """What it asks for, if the token allows it; where it asks for nothing, what the token names."""
    if not wanted:
        return list(allowed)
    if allowed and not set(wanted) <= set(allowed):
        raise Refused(Code.JOIN_SCOPE, f"token {token.id}: it does not allow these roles or environments")
    return list(dict.fromkeys(wanted))


def _ids_of(environments: Sequence[str], token: JoinToken) -> list[str]:
    found = []
    for wanted in environments:
        same = (Environment.id == wanted) | (fn.LOWER(Environment.name) == wanted.lower())
        row = Environment.get_or_none(same)
        if row is None:
            raise Refused(Code.JOIN_SCOPE, f"token {token.id}: there is no environment of that name")
        found.append(row.id)
    return found
