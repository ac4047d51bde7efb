"""A hub's engine with its real rows, a broker in memory, and spokes that are simulated behind the real wire."""

import hashlib
import json
import time
from base64 import b64encode
from dataclasses import dataclass, field, replace
from struct import pack
from threading import Event, Lock, Thread
from types import SimpleNamespace

from hub.acting import Itself
from hub.infrastructure import accounts
from hub.infrastructure.accounts import AccountRequest
from hub.infrastructure.endpoint_body import EndpointBody
from hub.infrastructure.fleet import Carriers
from hub.infrastructure.reached_targets import NewTarget, create_reached
from hub.infrastructure.spoke_keys import SpokeDirectory
from hub.infrastructure.spokes import tenant_of
from hub.orchestrator.admitting import QueueLimits
from hub.orchestrator.engine import Engine, EngineLimits, EngineParts, TrustState
from hub.orchestrator.planner import PlanLimits
from hub.packages.sealed_keys import seal_manifest_key
from hub.states import AccountKind, PackageKind, SpokeKind, SpokeState, TargetKind, TaskState
from hub.storage.database import connection, write_tx
from hub.storage.hub_keys import box_document, box_keys, signing_key
from hub.storage.hub_trust import trust_chain
from hub.storage.models import (
    Account,
    Environment,
    Lifecycle,
    Package,
    PackageVersion,
    Project,
    Release,
    Spoke,
    Target,
    TargetEnvironment,
    Task,
    Variable,
    new_row_id,
    now_ms,
)
from runner.contract.spool import CHAIN_START, Kind, Stream, encode_record
from runner.contract.step_kind import Property, StepKind
from tests.fakes.memory import MemoryBroker, MemoryConnection
from wire.connection import Outgoing
from wire.documents import BoxDocument
from wire.envelope import MessageType, frame_sha256
from wire.errors import Refused
from wire.keys import BoxKey, SigningKey
from wire.log_body import pack_records
from wire.messages import (
    Ack,
    AckState,
    Cancel,
    Command,
    EndState,
    Heartbeat,
    JobReport,
    JobState,
    Load,
    Log,
    Op,
    Output,
    Platform,
    Reject,
    Result,
)
from wire.roles import Role
from wire.session import SpokeFacts, SpokeIdentity, SpokeSession
from wire.topology import (
    DEFAULT_FLEET,
    EVENTS,
    EventKind,
    event_key,
    fleet_queue,
    relay_key,
    relay_tenant,
    relay_user,
    spoke_queue,
    spoke_user,
)

RUN_SCRIPT = StepKind(
    "run-script",
    "Run a script",
    "",
    (Property("script", "script", "", required=True), Property("shell", "text", "", default="bash")),
    needs_package=False,
)
HOST_KEY = f"ssh-ed25519 {b64encode(pack('>I', 11) + b'ssh-ed25519' + pack('>I', 32) + b'c' * 32).decode()}"
LIMITS = EngineLimits(
    heartbeat_s=1, missed_beats=2, republish_s=2, held_s=2.0, early_s=0.2, log_gap_s=0.2, log_late_s=0.5, deaf_grace_s=0
)


def until(condition, wait_s=20.0):
    """Wait for something that threads bring about."""
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError("it did not come about")


class Rig:
    """Everything of one hub."""

    def __init__(self, hub, *, limits=LIMITS, plan_limits=None, queue_limits=None):
        self.hub = hub
        self.broker = MemoryBroker()
        self.connection = MemoryConnection(self.broker, "hub")
        self.chain = trust_chain()
        self.hub_id = self.chain.document.hub
        boxes, key = box_keys(hub.vault), signing_key(hub.vault, Role.HUB_COMMAND)
        self.trust = TrustState(self.hub_id, self.chain.document.epoch, self.chain.version, "", box_document().hex())
        self.shift_ms = 0
        self.broker_trouble = ""
        self.parts = EngineParts(
            vault=hub.vault,
            seals=hub.seals,
            connection=self.connection,
            keys=SpokeDirectory(hub.seals),
            boxes=lambda: boxes,
            command_key=lambda: key,
            trust=lambda: self.trust,
            carriers=Carriers(hub.seals),
            broker_trouble=lambda: self.broker_trouble,
            declare_mailbox=lambda spoke: self.broker.declare(tenant_of(Spoke.get_by_id(spoke)).topology),
            clock_ms=lambda: now_ms() + self.shift_ms,
            limits=limits,
            plan_limits=plan_limits or PlanLimits(),
            queue_limits=queue_limits or QueueLimits(),
        )
        self.engine = Engine(self.parts)
        self.spokes = {}
        self.context = SimpleNamespace(
            actor="ada",
            caller=SimpleNamespace(user_id="ada"),
            vault=hub.vault,
            seals=hub.seals,
            step_kinds={"run-script": RUN_SCRIPT},
        )
        with write_tx():
            self.environment = Environment.create(name="Production")
            _runner(hub.vault)

    def relay(self, name="relay-01"):
        """A trusted relay of the default fleet: its id."""
        row = self._row(name, SigningKey.generate(), BoxKey.generate(), kind=SpokeKind.RELAY, fleet=DEFAULT_FLEET)
        self.broker.add_tenant(relay_tenant(row.id, DEFAULT_FLEET))
        return row.id

    def spoke(self, name, work=None, *, roles=(), beats=True, relay=""):
        """A trusted spoke with a target of its name, in Production, running and live; one that listens has a relay."""
        sign, box = SigningKey.generate(), BoxKey.generate()
        place = {"kind": SpokeKind.LISTENING, "fleet": DEFAULT_FLEET, "address": f"{name}:10933"} if relay else {}
        row = self._row(name, sign, box, **place)
        target = Target(name=name, spoke=row.id, roles=list(roles), kind=str(row.kind))
        with write_tx():
            self.hub.seals.seal(target)
            target.save(force_insert=True)
            TargetEnvironment.create(target=target.id, environment=self.environment.id)
        self.broker.add_tenant(tenant_of(row))
        spoke = SimSpoke(self, row.id, target, sign, box, work or succeed, beats=beats, relay=relay)
        self.spokes[name] = spoke
        return spoke

    def ssh_spoke(self, work=None):
        """The spoke beside the hub that reaches SSH targets, running and live; it has no target of its own."""
        sign, box = SigningKey.generate(), BoxKey.generate()
        row = self._row("hub-ssh", sign, box, kind=SpokeKind.SSH, approved_at=1)
        self.broker.add_tenant(tenant_of(row))
        self.spokes[row.name] = SimSpoke(self, row.id, None, sign, box, work or succeed, beats=True)
        return self.spokes[row.name]

    def ssh_target(self, name, roles=()):
        """An SSH target in Production whose host key is confirmed."""
        acting = Itself(now_ms(), self.hub.vault, self.hub.seals)
        with write_tx():
            if Account.get_or_none(Account.name == "keys") is None:
                wanted = AccountRequest("keys", AccountKind.PASSWORD, {"user": "deploy"}, {"password": "open sesame"})
                accounts.create_account(acting, wanted)
            endpoint = EndpointBody(host=f"{name}.example.com", account="keys", host_key=HOST_KEY)
            return create_reached(acting, NewTarget(TargetKind.SSH, name, list(roles), [self.environment.id], endpoint))

    def _row(self, name, sign, box, **place):
        row = Spoke(
            name=name,
            state=SpokeState.TRUSTED,
            sign_pk=sign.verify_key.pk.hex(),
            sign_kid=sign.kid.hex(),
            box_pk=box.public.pk.hex(),
            **place,
        )
        with write_tx():
            self.hub.seals.seal(row)
            row.save(force_insert=True)
        return row

    def run(self, script, *spokes, timeout_s=None):
        """Submit a script run; answers the task."""
        with write_tx():
            return self.engine.orchestrator.submit_run(
                self.context, script=script, shell="bash", targets=[s.target for s in spokes], timeout_s=timeout_s
            )

    def release(self, steps, variables=(), version="1.0.0"):
        """A sealed release of the project Storefront with these steps."""
        with write_tx():
            project = Project.get_or_none(Project.name == "Storefront")
            if project is None:
                lifecycle = Lifecycle(name="Default", phases=[])
                self.hub.seals.seal(lifecycle)
                lifecycle.save(force_insert=True)
                project = Project(name="Storefront", slug="storefront", lifecycle=lifecycle.id, process=[])
                self.hub.seals.seal(project)
                project.save(force_insert=True)
            snapshot = json.dumps(
                {
                    "format": 1,
                    "project": {"id": project.id, "name": project.name, "slug": project.slug},
                    "version": version,
                    "process": [_step(step) for step in steps],
                    "variables": list(variables),
                    "packages": {},
                }
            ).encode()
            row = Release(
                project=project.id,
                version=version,
                snapshot=snapshot,
                snapshot_sha256=hashlib.sha256(snapshot).hexdigest(),
            )
            self.hub.seals.seal(row)
            row.save(force_insert=True)
        return row

    def secret(self, name, value):
        """A secret variable's row, and how a snapshot names it."""
        project = Project.get(Project.name == "Storefront")
        row = Variable(owner_kind="project", owner=project.id, name=name, secret=True, scope={})
        row.value_sealed = self.hub.vault.seal_field("variable", "value_sealed", row.id, row.value_version, value)
        with write_tx():
            self.hub.seals.seal(row)
            row.save(force_insert=True)
        return variable(name, None, id=row.id, secret=True)

    def deploy(self, release, **more):
        with write_tx():
            return self.engine.orchestrator.submit_deployment(
                self.context, release=release, environment=self.environment, **more
            )

    def state(self, task):
        return Task.get_by_id(task.id).state

    def ended(self, task, state=TaskState.SUCCEEDED, wait_s=20.0):
        """Wait for its end, which must be this one."""
        found = until(lambda: (row := Task.get_by_id(task.id)).ended_at and row, wait_s)
        assert found.state is state, f"{found.state}: {found.failure}"
        return found

    def close(self):
        for spoke in self.spokes.values():
            spoke.stop()
        self.engine.stop()


@dataclass
class Run:
    """What a simulated supervisor does: lines to print, outputs, how it ends; `gate` holds it before its end.

    `begun`: False where nothing was ever started. `ended`, `survivors`: when it is stopped.
    """

    lines: tuple = ()
    outputs: tuple = ()
    state: str = "succeeded"
    exit_code: int = 0
    gate: Event | None = None
    message: str = ""
    known: str = ""
    begun: bool = True
    ended: int = 0
    survivors: tuple = ()


def succeed(command):
    return Run()


@dataclass
class Kept:
    """A spoke's journal of one job."""

    mid: str
    rh: str
    command: Command | Cancel
    spool: list = field(default_factory=list)
    result: Result | None = None
    cancelled: Event = field(default_factory=Event)


class SimSpoke:
    """A spoke behind the real wire: session, journal, spool; its supervisor is a function."""

    def __init__(self, rig, spoke_id, target, sign, box, work, *, beats, relay=""):
        self.rig, self.id, self.target, self.work = rig, spoke_id, target, work
        self.sign, self.box = sign, box
        self.relay = relay
        self.connection = MemoryConnection(rig.broker, relay_user(relay) if relay else spoke_user(spoke_id))
        self.journal, self.commands, self.rejects = {}, [], []
        self.sent, self.reports = [], []
        self.mute_logs = False
        self.resends = []
        self.on_send_log = self.send_log
        self._lock = Lock()
        self._counter = 0
        self._beating = beats
        self._stop = Event()
        self.live = Event()
        self.session = self._session()
        self._threads = []

    def _session(self):
        keys = self.rig.chain.directory()
        document = BoxDocument.open(bytes.fromhex(self.rig.trust.box), keys, int(time.time()), self.rig.hub_id)
        identity = SpokeIdentity(self.id, self.rig.hub_id, self.sign, (self.box,))
        return SpokeSession(identity, self.rig.chain, self.rig.trust.epoch, document.box)

    def _mono_s(self):
        """Time passes for spokes too when it does for the hub."""
        return time.monotonic() + self.rig.shift_ms / 1000

    def start(self):
        self._stop.clear()
        self._threads = [Thread(target=self._serve, daemon=True)]
        if self._beating:
            self._threads.append(Thread(target=self._beat_on, daemon=True))
        self.hello()
        for thread in self._threads:
            thread.start()
        return self

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(5)

    def restart(self):
        """Another process of the same spoke: a new session; the journal is still there."""
        self.stop()
        self.live.clear()
        self.session = self._session()
        self._counter = 0
        return self.start()

    def hello(self):
        platform = Platform("Linux", "x86_64", "6.1", "3.11", "host")
        with self._lock:
            reports = tuple(JobReport(cid, JobState(state)) for cid, state in self.reports)
            frame = self.session.hello(SpokeFacts(1, "sim", platform, reports), time.time(), self._mono_s())
        self.publish(EventKind.HELLO, frame)

    def beat(self):
        self._counter += 1
        body = Heartbeat(self.session.hub_nonce, self._counter, self.session.last_seq, Load(1, 100, 10_000, 0), ())
        self.publish(EventKind.BEAT, self.seal(MessageType.HEARTBEAT, body).frame)

    def seal(self, kind, body, **header):
        with self._lock:
            return self.session.seal(kind, body, self._mono_s(), **header)

    def publish(self, kind, frame):
        self.sent.append((kind, frame))
        self.connection.publish(Outgoing(EVENTS, self.key(kind), frame)).result()

    def key(self, kind):
        return relay_key(self.relay, kind, self.id) if self.relay else event_key(self.id, kind)

    def reply(self, kept, kind, body):
        event = {MessageType.ACK: EventKind.ACK, MessageType.RESULT: EventKind.RESULT}[kind]
        sealed = self.seal(kind, body, cid=kept.command.cid, re=kept.mid, rh=kept.rh)
        self.publish(event, sealed.frame)
        return sealed.frame

    def report(self, kept, run):
        """Log, then result."""
        self.log(kept, run.lines)
        chain = kept.spool[-1][1] if kept.spool else CHAIN_START
        outputs = tuple(Output(*output) for output in run.outputs)
        at = int(time.time() * 1000)
        began = at if run.begun else 0
        kept.result = Result(
            EndState(run.state),
            run.exit_code,
            run.message,
            outputs,
            (),
            run.survivors,
            run.ended,
            not run.survivors if run.state == "cancelled" else None,
            began,
            at,
            len(kept.spool),
            chain.hex(),
            run.known,
        )
        self.reply(kept, MessageType.RESULT, kept.result)

    def log(self, kept, lines):
        for text in lines:
            number = len(kept.spool)
            before = kept.spool[-1][1] if kept.spool else CHAIN_START
            content = text if isinstance(text, bytes) else text.encode()
            record, after = encode_record(
                number, Kind.TEXT, int(time.time() * 1000), Stream.STDOUT, content, chain=before
            )
            kept.spool.append((record, after))
            if not self.mute_logs:
                self.send_records(kept, number, 1)

    def send_records(self, kept, first, count):
        before = kept.spool[first - 1][1] if first else CHAIN_START
        body = Log(pack_records(b"".join(record for record, _ in kept.spool[first : first + count])))
        cid = kept.command.cid
        sealed = self.seal(MessageType.LOG, body, cid=cid, idx=first, cnt=count, prev=before.hex())
        self.publish(EventKind.LOG, sealed.frame)

    def send_log(self, kept):
        """Its spool is still there."""
        asked = kept.command.job
        for first, last in asked["spans"]:
            self.send_records(self.journal[asked["cid"]], first, last + 1 - first)
        self.answer_order(kept, EndState.SUCCEEDED, "sent")

    def answer_order(self, kept, state, message):
        kept.result = Result(state, None, message, (), (), (), 0, None, 0, 0, 0, CHAIN_START.hex(), "")
        self.reply(kept, MessageType.RESULT, kept.result)

    def _beat_on(self):
        while not self._stop.wait(0.2):
            if self.session.live:
                self.beat()

    def _serve(self):
        queue = fleet_queue(DEFAULT_FLEET, self.id) if self.relay else spoke_queue(self.id)
        subscription = self.connection.consume(queue, prefetch=50)
        while not self._stop.is_set():
            for delivery in subscription.take(50, 0.05):
                self.commands.append(delivery.body)
                self.receive(delivery.body)
                subscription.ack([delivery])
        subscription.close()

    def receive(self, frame):
        try:
            with self._lock:
                if frame[4:6] == MessageType.WELCOME.to_bytes(2, "big"):
                    self.session.welcome(frame, self._mono_s())
                    received = None
                else:
                    received = self.session.receive(frame, self._mono_s())
        except Refused as refusal:
            self.rejects.append(refusal.code)
            kept = self.journal.get(refusal.cid)
            if kept is not None and self.session.live:
                kept.mid, kept.rh = refusal.mid, frame_sha256(frame)
                self.reply(kept, MessageType.ACK, Ack(AckState.KNOWN, ""))
            elif refusal.mid and self.session.live:
                body = Reject(refusal.mid, str(refusal.code), "")
                self.publish(EventKind.REJECT, self.seal(MessageType.REJECT, body).frame)
            return
        if received is None:
            self.beat()
            self.live.set()
        elif isinstance(received.body, Cancel):
            self._cancel(received, frame)
        else:
            self._command(received, frame)

    def _command(self, received, frame):
        command = received.body
        kept = self.journal.get(command.cid)
        if kept is not None:
            kept.mid, kept.rh = received.header.mid, frame_sha256(frame)
            self.reply(kept, MessageType.ACK, Ack(AckState.KNOWN, ""))
            if kept.result is not None:
                self.reply(kept, MessageType.RESULT, kept.result)
            return
        kept = self.journal[command.cid] = Kept(received.header.mid, frame_sha256(frame), command)
        self.reply(kept, MessageType.ACK, Ack(AckState.ACCEPTED, ""))
        if command.op is Op.SEND_LOG:
            self.resends.append(command)
            self.on_send_log(kept)
            return
        run = self.work(command)
        if run is None:
            return
        if run.gate is not None:
            Thread(target=self._held_run, args=(kept, run), daemon=True).start()
            return
        self.reply(kept, MessageType.ACK, Ack(AckState.RUNNING, ""))
        self.report(kept, run)

    def _held_run(self, kept, run):
        self.reply(kept, MessageType.ACK, Ack(AckState.RUNNING, ""))
        while not run.gate.wait(0.01):
            if kept.cancelled.is_set():
                run = replace(
                    run, outputs=(), state="cancelled", exit_code=None, message="cancelled: ada asked to cancel"
                )
                break
        self.report(kept, run)

    def _cancel(self, received, frame):
        kept = self.journal.get(received.body.cid)
        if kept is None:
            kept = Kept(received.header.mid, frame_sha256(frame), received.body)
            self.journal[received.body.cid] = kept
            self.report(kept, Run(state="cancelled", exit_code=None, begun=False))
        elif kept.result is not None:
            self.reply(kept, MessageType.RESULT, kept.result)
        kept.cancelled.set()


def variable(name, value, **more):
    scope = {"environments": [], "targets": [], "roles": [], "steps": []}
    return {
        "id": new_row_id(), "name": name, "value": value, "secret": False, "version": 1, "expose_env": False,
        "scope": scope, "source": "project", "nearness": 0, **more,
    }  # fmt: skip


def _step(step):
    return {
        "kind": "run-script", "on": "targets", "roles": [], "environments": [], "rolling": None, "package": None,
        "properties": {"script": "true", "shell": "bash"}, "retries": 0, "timeout_s": None, "when": "success",
        "on_unknown": "fail", "isolation": "", **step,
    }  # fmt: skip


def _runner(vault):
    package = Package.create(name="manyarm-runner")
    manifest = new_row_id()
    PackageVersion.create(
        package=package.id,
        kind=PackageKind.RUNNER,
        version="1.0.0",
        extension="pyz",
        size=1,
        sha256="0" * 64,
        manifest_id=manifest,
        manifest_sha256="1" * 64,
        manifest_key_sealed=seal_manifest_key(vault, manifest, b"k" * 32),
        release_document=b"doc",
    )


__all__ = ["Rig", "Run", "SimSpoke", "connection", "until", "variable"]
