"""From a row of the outbox to the frame of this moment: outputs put in, secrets opened, sealed to the spoke's box.

What a command says comes from the plan, which is sealed for the engine alone; the outbox row only says which one.
Secrets are opened here and live as long as the frame is made.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hub.orchestrator.drawn import Drawn
from hub.orchestrator.log_fetch import Asked
from hub.orchestrator.parts import EngineParts, FormerCommand, TrustState
from hub.orchestrator.plan import ENDPOINT_SECRETS, DeploymentPlan, PlannedJob, PlannedStep, told_names
from hub.orchestrator.secret_values import Secrets, Unsendable
from hub.orchestrator.task_store import Kept, TaskStore
from hub.packages import references
from hub.states import SpokeState
from hub.storage.models import Job, OutputVariable, Spoke
from hub.storage.prepared import PreparedRows, holes
from wire.canonical import JsonObject
from wire.envelope import MessageType
from wire.exchange import Sealed, seal_to_spoke
from wire.keys import BoxPublicKey, SigningKey, hex_bytes
from wire.messages import Body, Cancel, Command, Limits, Op, Welcome

_SPOKES_KEPT = 4096
_WELCOME_TTL_S = 60
_NO_WORK = Limits(cpu_s=60, wall_s=60, out_bytes=1, disk_bytes=1)

_TRUSTED = PreparedRows(
    Spoke,
    lambda count: Spoke.select().where(Spoke.id.in_(holes("ids", count)), Spoke.state == SpokeState.TRUSTED),
    "ids",
)


@dataclass(frozen=True, slots=True)
class Session:
    """A spoke's session, as far as sealing needs it; the last two are what its hello brought, for the welcome alone."""

    spoke: str
    nonce: str
    hub_nonce: str = ""
    box_pk: str = ""
    trust_version: int | None = None


@dataclass(frozen=True, slots=True)
class _Self:
    """Who we are while a batch is made."""

    trust: TrustState
    signer: SigningKey
    reply_to: str


class Sealer:
    """Makes frames; one for the publishing thread."""

    def __init__(self, parts: EngineParts, store: TaskStore) -> None:
        self._parts = parts
        self._store = store
        self._secrets = Secrets(parts.vault, parts.seals)
        self._checked: Kept[str, tuple[str, BoxPublicKey]] = Kept(_SPOKES_KEPT)
        self._boxes: dict[str, BoxPublicKey] = {}
        self._versions: dict[str, int] = {}
        self._self: _Self | None = None
        self._random = Drawn()

    def begin(self, spokes: Iterable[str]) -> None:
        """Look up, at once, our keys of this moment and to whom the next frames go: trusted spokes whose rows hold."""
        parts = self._parts
        trust = parts.trust()
        self._self = _Self(trust, trust.key or parts.command_key(), parts.boxes()[0].public.kid.hex())
        rows = _TRUSTED.all(ids=set(spokes))
        self._versions = {row.id: row.trust_version for row in rows}
        boxes = {row.id: self._checked_box(row) for row in rows}
        self._boxes = {spoke: box for spoke, box in boxes.items() if box is not None}

    def command(self, task: str, cid: str, session: Session, seq: int, expires_ms: int) -> Sealed:
        """The command of one attempt.

        Raises:
            Unsendable: a secret was deleted or altered, or the spoke is not trusted.
        """
        plan, planned = self._planned(task, cid, session)
        now_ms = self._parts.clock_ms()
        ttl_s = max(1, min(self._parts.limits.command_ttl_s, (expires_ms - now_ms) // 1000))
        body = self._body(plan, planned, cid, now_ms // 1000)
        return self._seal(MessageType.COMMAND, body, session, seq, cid, ttl_s)

    def _planned(self, task: str, cid: str, session: Session) -> tuple[DeploymentPlan, PlannedJob]:
        plan = self._store.plan(task)
        if plan is None or cid not in plan.attempts:
            raise Unsendable("its plan does not know the job")
        planned, _ = plan.attempts[cid]
        if planned.target.spoke != session.spoke:
            raise Unsendable("the outbox names another spoke than the plan")
        return plan, planned

    def cancel(self, cid: str, reason: str, session: Session, seq: int) -> Sealed:
        ttl_s = self._parts.limits.command_ttl_s
        return self._seal(MessageType.CANCEL, Cancel(cid, reason[:2000]), session, seq, cid, ttl_s)

    def order(self, cid: str, what: str, session: Session, seq: int) -> Sealed:
        """What the spoke itself is asked for, with no task behind it: the op, and behind it what it is about.

        Raises:
            Unsendable: It is about a job that nobody can reach any more.
        """
        name, _, about = what.partition("\n")
        op = Op(name)
        job, secrets = self._log_asked_for(Asked.of(about), session) if op is Op.SEND_LOG else ({}, {})
        body = Command(
            op=op,
            cid=cid,
            job=job,
            packages=(),
            secrets=secrets,
            reply_to=self._ourselves().reply_to,
            limits=_NO_WORK,
            run_as="",
            not_before=0,
            capability="",
        )
        return self._seal(MessageType.COMMAND, body, session, seq, cid, self._parts.limits.command_ttl_s)

    def _log_asked_for(self, asked: Asked, session: Session) -> tuple[JsonObject, dict[str, str]]:
        """Which records of which job, and how to get to the machine where they lie."""
        _, planned = self._planned(str(Job.select(Job.task).where(Job.id == asked.cid).scalar()), asked.cid, session)
        job: JsonObject = {"cid": asked.cid, "spans": [[*span] for span in asked.spans]}
        if not planned.target.endpoint:
            return job, {}
        refs = {name: ref for name, ref in planned.secrets.items() if name.startswith(ENDPOINT_SECRETS)}
        target: JsonObject = {"id": planned.target.id, "name": planned.target.name}
        return job | {"target": target, "endpoint": planned.target.endpoint}, self._secrets.values(refs)

    def welcome(self, session: Session) -> Sealed:
        trust = self._ourselves().trust
        former = self._former_for(session)
        body = Welcome(
            nonce=session.nonce,
            hub_nonce=session.hub_nonce,
            hub_time=self._parts.clock_ms() // 1000,
            trust_version=trust.version,
            epoch=trust.epoch,
            checkpoint=trust.checkpoint,
            heartbeat_s=self._parts.limits.heartbeat_s,
            box=former.box if former is not None else trust.box,
        )
        return self._seal(MessageType.WELCOME, body, session, 0, "", _WELCOME_TTL_S)

    def _seal(self, kind: MessageType, body: Body, session: Session, seq: int, cid: str, ttl_s: int) -> Sealed:
        ours = self._ourselves()
        former = self._former_for(session)
        return seal_to_spoke(
            kind,
            body,
            signer=former.key if former is not None else ours.signer,
            spoke_box=self._box_of(session),
            hub_id=ours.trust.hub_id,
            spoke_id=session.spoke,
            ses=session.nonce,
            seq=seq,
            epoch=ours.trust.epoch,
            now_s=self._parts.clock_ms() // 1000,
            ttl_s=ttl_s,
            cid=cid,
            random=self._random,
        )

    def _former_for(self, session: Session) -> FormerCommand | None:
        """The former command key, for a spoke that does not know the present one yet."""
        former = self._ourselves().trust.former
        if former is None:
            return None
        known = session.trust_version if session.trust_version is not None else self._versions.get(session.spoke, 0)
        return former if known < former.until else None

    def _body(self, plan: DeploymentPlan, planned: PlannedJob, cid: str, now_s: int) -> Command:
        step = plan.step_of(planned)
        secrets = self._secrets.values(plan.secrets_of(planned))
        job = plan.job_json(cid)
        if step.index > 0:
            literals, secret_outputs = self._outputs(plan.task, step, planned)
            secrets |= secret_outputs
            job |= {"literals": dict(literals), "secret_names": [*told_names(secrets)]}
        packages = plan.packages_of(step)
        return Command(
            op=Op(step.op),
            cid=cid,
            job=job,
            packages=packages,
            secrets=secrets,
            reply_to=self._ourselves().reply_to,
            limits=step.limits,
            run_as=step.run_as,
            not_before=0,
            capability=self._capability(cid, planned, step, [ref.manifest_id for ref in packages], now_s),
        )

    def _capability(
        self, cid: str, planned: PlannedJob, step: PlannedStep, manifests: Sequence[str], now_s: int
    ) -> str:
        if not manifests:
            return ""
        run_s = step.prepare_s + step.limits.wall_s + step.grace_s
        expires_s = now_s + self._parts.limits.command_ttl_s + run_s
        return references.capability_for(self._parts.vault, planned.target.spoke, manifests, expires_s, job=cid)

    def _outputs(self, task: str, step: PlannedStep, planned: PlannedJob) -> tuple[dict[str, str], dict[str, str]]:
        """Outputs of earlier steps, by full name: values as they came, and secret ones opened.

        The target's own come first, so that they are kept where all of them would be too much.
        """
        rows = OutputVariable.select().where(OutputVariable.task == task).order_by(OutputVariable.step)
        mine = planned.target.name
        ordered = sorted((row for row in rows if row.step != step.name), key=lambda row: row.target != mine)
        literals: dict[str, str] = {}
        secrets: dict[str, str] = {}
        room = self._parts.limits.outputs_bytes
        for row in ordered:
            value = self._secrets.output(row)
            room -= 2 * len(value) + 200
            if room < 0:
                break
            into = secrets if row.secret else literals
            into[f"Manyarm.Step[{row.step}].Output[{row.target}].{row.name}"] = value
            short = f"Manyarm.Step[{row.step}].Output.{row.name}"
            if short not in literals and short not in secrets:
                into[short] = value
        return literals, secrets

    def _box_of(self, session: Session) -> BoxPublicKey:
        box = self._boxes.get(session.spoke)
        if box is None:
            raise Unsendable("its spoke is not trusted")
        return BoxPublicKey.of(hex_bytes(session.box_pk, 32)) if session.box_pk else box

    def _ourselves(self) -> _Self:
        assert self._self is not None, "begin() comes first"
        return self._self

    def _checked_box(self, row: Spoke) -> BoxPublicKey | None:
        mark = f"{row.seal} {row.box_pk}"
        kept = self._checked.get(row.id)
        if kept is not None and kept[0] == mark:
            return kept[1]
        if not self._parts.seals.holds(row):
            return None
        box = BoxPublicKey.of(hex_bytes(row.box_pk, 32))
        self._checked.put(row.id, (mark, box))
        return box
