"""The only place where the hub's parts are built: the engine, what the portal is made of, and the gateway.

Each function takes the settings and the key of its class of process, and opens nothing that the class may not open.
"""

import gc
import logging
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TypeVar

from flask import Flask

from config.settings import HubSettings
from hub.access import rate_limits, sessions
from hub.access.passwords import Passwords
from hub.acting import Itself
from hub.api.log_poller import LogPoller
from hub.api.parts import ApiLimits, ApiParts
from hub.api.rate_limit import RateLimit
from hub.broker import endpoint
from hub.broker.accounts import BrokerAccounts, BrokerAccountsParts
from hub.broker.credentials import hub_password, portal_password
from hub.broker.forgotten import is_broker_stale, note_emptied
from hub.certificates import GatewayTls
from hub.errors import NotFound
from hub.events.checkpoint import checkpoint_if_due, newest_checkpoint
from hub.gateway.app import create_gateway
from hub.gateway.install import install_command, wheel_on_offer
from hub.gateway.parts import GatewayParts
from hub.infrastructure.artifact_intake import ArtifactIntake, IntakeParts
from hub.infrastructure.box_certificate import renew_if_due
from hub.infrastructure.enrolment import EnrolmentParts, Enrolments
from hub.infrastructure.fleet import Carriers, Fleet, FleetParts
from hub.infrastructure.house_spokes import HouseParts, HouseSpokes, house_homes, stands_here
from hub.infrastructure.machine_policies import ensure_default
from hub.infrastructure.rollout import Rollout, RolloutParts, Whereabouts
from hub.infrastructure.spoke_keys import SpokeDirectory
from hub.infrastructure.spokes import broker_password, tenant_of
from hub.integration.rooms import IntegrationParts, integration_loops
from hub.operations.answering import Answering, AnsweringParts
from hub.operations.asking import Asking
from hub.operations.context import Joining
from hub.operations.hub_address import HubAddress
from hub.orchestrator import retention
from hub.orchestrator.admitting import QueueLimits
from hub.orchestrator.catching_up import CatchingUp, CatchingUpParts
from hub.orchestrator.engine import Engine
from hub.orchestrator.leases import CHORES
from hub.orchestrator.parts import EngineLimits, EngineParts, Loop, TrustState
from hub.orchestrator.planner import PlanLimits
from hub.orchestrator.recent import Recent
from hub.orchestrator.retention import Kept
from hub.orchestrator.routine_checks import CheckParts, RoutineChecks
from hub.packages import garbage
from hub.packages.chunk_store import ChunkStore
from hub.packages.ingest import Ingestion
from hub.packages.runner_package import publish_runner
from hub.packages.step_kinds import StepKinds
from hub.states import SpokeState
from hub.storage.database import connection, write_tx
from hub.storage.files import FileStore
from hub.storage.hub_keys import box_document, box_keys, signing_key
from hub.storage.hub_trust import EPOCH_WAITS, hub_epoch, installation, joining_root, load_seals, trust_chain
from hub.storage.models import Introduction, Spoke, now_ms
from hub.storage.opening import open_vault
from hub.storage.seals import RowSeals
from hub.storage.self_test import prove_sealing
from hub.storage.vault import Kek, Vault
from hub.trust.command_keys import former_command
from hub.trust.upkeep import Upkeep, UpkeepParts
from runner.build import build
from wire.amqp import AmqpConnection
from wire.connection import Outgoing
from wire.keys import SigningKey
from wire.roles import Role
from wire.topology import COMMANDS, Tenant, hub_topology, listening_tenant

logger = logging.getLogger(__name__)

Found = TypeVar("Found")

# People wait for the first; but what each look costs is what a hub costs that does nothing.
_SWEEP_S = 0.5
_SLOW_SWEEP_S = 5.0
_HEALTH_SWEEP_S = 1.0
_HOUR_S = 3600.0
_SWITCH_S = 0.0005
_DELIVER_S = 10.0
# An engine that is stopped, or cut off, holds what the broker gave it until the broker misses two of these.
_HEARTBEAT_S = 10


# The engine


@dataclass(frozen=True, slots=True)
class RunningEngine:
    """The engine and the connection it stands on."""

    engine: Engine
    connection: AmqpConnection

    def start(self) -> None:
        # What has been imported stays: the collector need not look through it again and again.
        gc.freeze()
        gc.set_threshold(20_000)
        # Its threads give way with each statement and signature; the way back should not take Python's usual 5 ms.
        sys.setswitchinterval(_SWITCH_S)
        self.engine.start()

    def stop(self) -> None:
        self.engine.stop()
        self.connection.close()


def engine(settings: HubSettings, kek: Kek, *, house: bool = False) -> RunningEngine:
    """The engine, ready to start; its runner is published. The caller has migrated the database and holds its lock.

    `house`: the spokes beside the hub are started from the same home, and join with codes that the engine leaves.
    """
    vault = open_vault(settings, kek)
    # A layer that is silently off would store secrets in the clear: proved before anything is stored.
    prove_sealing(vault)
    with connection():
        seals = load_seals(vault)
        hub_id = installation().hub_id
    store = chunk_store(settings)
    publish_newest_runner(vault, seals, store)
    with connection():
        tls = endpoint.tls_context(settings, trust_chain())
    broker = AmqpConnection(
        endpoint.hub_url(settings, vault), name="engine", tls=tls, heartbeat_s=_HEARTBEAT_S, declare=hub_topology()
    )
    accounts = BrokerAccounts(_account_parts(settings, vault, broker))
    built = _EngineRooms(settings, vault, seals, hub_id, store, broker, accounts)
    return RunningEngine(built.engine(house=house), broker)


def publish_newest_runner(vault: Vault, seals: RowSeals, store: ChunkStore) -> None:
    """Build the runner of this installation and store it, unless these very bytes are stored already.

    Where the release key was taken offline, whoever holds it publishes; the runner that is there goes on being used.
    """
    with tempfile.TemporaryDirectory(prefix="manyarm-runner-") as folder:
        runner = build(Path(folder) / "runner.zip")
        try:
            with connection():
                release_key = signing_key(vault, Role.HUB_RELEASE)
        except NotFound as error:
            logger.warning("runner is not published", extra={"reason": error.detail, "sha256": runner.sha256})
            return
        with connection():
            restored_ms = installation().restored_at or 0
        context = Itself(now_ms(), vault, seals)
        row = publish_runner(context, Ingestion(store, vault), runner, release_key, restored_ms=restored_ms)
    logger.info("runner is published", extra={"version": row.version, "sha256": row.sha256, "bytes": row.size})


def _account_parts(settings: HubSettings, vault: Vault, broker: AmqpConnection) -> BrokerAccountsParts:
    def tenants() -> list[tuple[Tenant, str]]:
        with connection():
            rows = Spoke.select().where(Spoke.state == SpokeState.TRUSTED, Spoke.at_broker)
            expected = [(listening_tenant(row.id, row.fleet), "") for row in Introduction.select()]
            return [*((tenant_of(row), broker_password(vault, row)) for row in rows), *expected]

    def tenant(spoke_id: str) -> Tenant:
        with connection():
            return tenant_of(Spoke.get_by_id(spoke_id))

    return BrokerAccountsParts(
        admin=endpoint.administrator(settings, vault),
        hub_password="" if endpoint.endpoint(settings).user else hub_password(vault),
        portal_password=portal_password(vault),
        tenants=tenants,
        tenant=tenant,
        state=lambda: broker.state,
        is_stale=is_broker_stale,
        emptied=note_emptied,
    )


class _EngineRooms:
    """Builds the engine's rooms around one vault, one connection and one set of seals."""

    def __init__(
        self,
        settings: HubSettings,
        vault: Vault,
        seals: RowSeals,
        hub_id: str,
        store: ChunkStore,
        broker: AmqpConnection,
        accounts: BrokerAccounts,
    ) -> None:
        self._settings = settings
        self._vault = vault
        self._seals = seals
        self._hub_id = hub_id
        self._store = store
        self._broker = broker
        self._accounts = accounts
        self._loops: list[Loop] = []

    def engine(self, *, house: bool) -> Engine:
        limits = self._settings.limits
        made = Engine(
            EngineParts(
                vault=self._vault,
                seals=self._seals,
                connection=self._broker,
                keys=SpokeDirectory(self._seals),
                boxes=lambda: _connected(lambda: box_keys(self._vault)),
                command_key=self._command_key,
                trust=lambda: _connected(self._trust),
                carriers=Carriers(self._seals),
                declare_mailbox=self._accounts.declare_mailbox,
                broker_trouble=lambda: endpoint.trouble(self._broker.state),
                limits=EngineLimits(
                    heartbeat_s=limits.heartbeat_s,
                    missed_beats=limits.missed_beats,
                    republish_s=limits.republish_s,
                    command_ttl_s=limits.command_ttl_s,
                    batch=limits.inbox_batch,
                    quarantine=limits.quarantine_rows,
                ),
                plan_limits=PlanLimits(
                    wall_s=limits.job_wall_s,
                    pickup_s=limits.pick_up_s,
                    grace_s=limits.job_grace_s,
                    deadline_s=limits.task_deadline_s,
                    out_bytes=limits.job_out_bytes,
                    disk_bytes=limits.job_disk_bytes,
                ),
                queue_limits=QueueLimits(
                    tasks_at_once=limits.tasks_at_once,
                    project_tasks_at_once=limits.project_tasks_at_once,
                    patience_s=limits.queue_patience_s,
                    wait_s=limits.queue_wait_s,
                ),
                loops=self._loops,
            )
        )
        checks, alone = self._checks(made), partial(made.leases.alone, CHORES)
        answering = self._answering(made)
        self._loops += [
            Loop("broker", self._accounts.run),
            Loop("intents", answering.run),
            *integration_loops(self._integrations(made, answering)),
            _sweeping("enrolments", _SWEEP_S, self._enrolments().sweep),
            _sweeping("artifacts", _SWEEP_S, alone(self._intake().sweep)),
            _sweeping("rollout", _SWEEP_S, alone(self._rollout(made).sweep)),
            _sweeping("fleet", _SWEEP_S, alone(self._fleet().sweep)),
            _sweeping("health", _HEALTH_SWEEP_S, alone(checks.sweep)),
            _sweeping("catching up", _HEALTH_SWEEP_S, alone(self._catching_up(made).sweep)),
            _sweeping("past checks", _HOUR_S / 60, alone(checks.tidy)),
            *([_sweeping("house spokes", _SLOW_SWEEP_S, self._house_spokes().sweep)] if house else []),
            _sweeping("seals", _SLOW_SWEEP_S, self._refresh_seals),
            _sweeping("keys", _SLOW_SWEEP_S, alone(self._upkeep().sweep)),
            _sweeping("checkpoints", _SLOW_SWEEP_S, alone(self._checkpoint)),
            _sweeping("housekeeping", _HOUR_S, alone(self._housekeeping)),
            _sweeping("old tasks", _HOUR_S, alone(self._take_back)),
        ]
        return made

    def _checks(self, made: Engine) -> RoutineChecks:
        with write_tx():
            ensure_default(Itself(now_ms(), self._vault, self._seals))
        step_kinds = StepKinds(self._store, self._vault)
        return RoutineChecks(CheckParts(self._vault, self._seals, made.orchestrator, step_kinds, now_ms))

    def _catching_up(self, made: Engine) -> CatchingUp:
        return CatchingUp(CatchingUpParts(self._vault, self._seals, made.orchestrator))

    def _answering(self, made: Engine) -> Answering:
        return Answering(
            AnsweringParts(
                connection=self._broker,
                hub_id=lambda: self._hub_id,
                keys=Recent(lambda: _connected(lambda: trust_chain().directory())),
                boxes=Recent(lambda: _connected(lambda: box_keys(self._vault))),
                vault=self._vault,
                seals=self._seals,
                orchestrator=made.orchestrator,
                step_kinds=StepKinds(self._store, self._vault),
                joining=lambda: _connected(self._joining),
                wake=made.wake,
                allow_inner_targets=self._settings.allow_inner_targets,
                keep_ms=self._settings.limits.answer_keep_s * 1000,
            )
        )

    def _integrations(self, made: Engine, answering: Answering) -> IntegrationParts:
        trust = Recent(lambda: _connected(self._trust))
        with connection():
            tls = endpoint.tls_context(self._settings, trust_chain())
        return IntegrationParts(
            settings=self._settings,
            vault=self._vault,
            seals=self._seals,
            hub_id=self._hub_id,
            epoch=lambda: trust().epoch,
            context=answering.context,
            wake=made.wake,
            leases=made.leases,
            tls=tls,
        )

    def _enrolments(self) -> Enrolments:
        inner = self._settings.allow_inner_targets
        parts = EnrolmentParts(
            self._vault, self._seals, lambda: box_keys(self._vault), self._hub_id, now_ms, allow_inner=inner
        )
        return Enrolments(parts)

    def _files(self) -> FileStore:
        return FileStore(self._vault, self._settings.home / "artifacts")

    def _intake(self) -> ArtifactIntake:
        incoming = self._settings.home / "incoming"
        return ArtifactIntake(IntakeParts(self._files(), incoming, lambda: box_keys(self._vault), now_ms))

    def _house_spokes(self) -> HouseSpokes:
        return HouseSpokes(
            HouseParts(
                homes=house_homes(self._settings, self._hub_id),
                itself=lambda name: Itself(now_ms(), self._vault, self._seals, name),
                root_thumbprint=joining_root,
                gateway=self._settings.gateway_here,
            )
        )

    def _rollout(self, made: Engine) -> Rollout:
        return Rollout(
            RolloutParts(
                vault=self._vault,
                seals=self._seals,
                accounts=self._accounts,
                command_key=self._command_key,
                where=lambda: _connected(self._where),
                beside=self._beside,
                fail_jobs=made.spoke_revoked,
                welcome=made.spoke_trusted,
                deliver=self._deliver,
                clock_ms=now_ms,
            )
        )

    def _deliver(self, spoke_id: str, frame: bytes) -> None:
        self._broker.publish(Outgoing(COMMANDS, spoke_id, frame)).result(_DELIVER_S)

    def _fleet(self) -> Fleet:
        gateway = self._settings.gateway_public
        return Fleet(FleetParts(self._seals, self._command_key, self._hub_id, gateway, now_ms))

    def _command_key(self) -> SigningKey:
        return _connected(lambda: signing_key(self._vault, Role.HUB_COMMAND))

    def _trust(self) -> TrustState:
        chain, installed = trust_chain(), installation()
        key = signing_key(self._vault, Role.HUB_COMMAND)
        return TrustState(
            self._hub_id,
            hub_epoch(),
            chain.version,
            newest_checkpoint(),
            box_document().hex(),
            key=key,
            former=former_command(self._vault, chain, key.kid, now_ms() // 1000),
            floor=chain.revoked_since(),
            restored_ms=installed.restored_at or 0,
            waits=EPOCH_WAITS if chain.document.epoch < installed.epoch else "",
        )

    def _joining(self) -> Joining:
        return Joining(joining_root(), self._settings.gateway_public, self._install_line)

    def _install_line(self) -> str:
        wheel = wheel_on_offer(wheels(self._settings))
        return install_command(self._settings.gateway_public, wheel) if wheel is not None else ""

    def _where(self) -> Whereabouts:
        chain = trust_chain()
        return Whereabouts(
            hub_id=self._hub_id,
            epoch=chain.document.epoch,
            trust_version=chain.version,
            broker_url=endpoint.public_url(self._settings),
            broker_spki=endpoint.pin(self._settings, chain),
            gateway=self._settings.gateway_public,
        )

    def _upkeep(self) -> Upkeep:
        def recertify() -> bool:
            return renew_if_due(self._seals, self._command_key(), self._hub_id, now_ms() // 1000)

        return Upkeep(UpkeepParts(lambda: Itself(now_ms(), self._vault, self._seals), recertify))

    def _refresh_seals(self) -> None:
        """Which keys may have sealed a row: another process may have rotated them."""
        with connection():
            self._seals.refresh()

    def _beside(self, spoke: Spoke) -> Whereabouts | None:
        if not stands_here(spoke, house_homes(self._settings, self._hub_id)):
            return None
        here = self._settings.gateway_here
        return replace(_connected(self._where), broker_url=endpoint.near_url(self._settings), gateway=here)

    def _checkpoint(self) -> None:
        with connection():
            signer = signing_key(self._vault, Role.HUB_AUDIT)
            checkpoint_if_due(self._hub_id, hub_epoch(), signer, now_ms())

    def _housekeeping(self) -> None:
        with write_tx():
            rate_limits.remove_forgotten(now_ms())
            sessions.remove_ended(now_ms())
        garbage.collect(self._store, now_ms())
        self._enrolments().forget_refused()

    def _take_back(self) -> None:
        limits = self._settings.limits
        retention.sweep(self._files(), Kept(limits.log_keep_s * 1000, limits.history_keep_s * 1000), now_ms())


def _connected(read: Callable[[], Found]) -> Found:
    with connection():
        return read()


def _sweeping(name: str, pause_s: float, sweep: Callable[[], object]) -> Loop:
    """A loop that looks again and again; whatever fails is said by the engine, and it is tried again."""

    def run(stop: Event) -> None:
        # One connection for the life of the loop: a new one for each look costs more than the look.
        with connection():
            while not stop.is_set():
                sweep()
                stop.wait(pause_s)

    return Loop(name, run)


# What the portal is made of


def api_parts(settings: HubSettings, kek: Kek) -> ApiParts:
    """Everything that pages and API need; nothing in it opens a stored secret or signs a command."""
    vault = open_vault(settings, kek)
    with connection():
        seals = load_seals(vault)
        tls = endpoint.tls_context(settings, trust_chain())
    broker = AmqpConnection(endpoint.portal_url(settings, vault), name="portal", tls=tls, publish_timeout_s=5.0)
    store = chunk_store(settings)
    limits = settings.limits
    return ApiParts(
        asking=Asking(
            connection=broker,
            signer=Recent(lambda: _connected(lambda: signing_key(vault, Role.HUB_PORTAL))),
            hub=HubAddress(),
            vault=vault,
        ),
        vault=vault,
        seals=seals,
        chunks=store,
        ingestion=Ingestion(store, vault, upload_bytes=limits.upload_bytes),
        artifacts=FileStore(vault, settings.home / "artifacts"),
        passwords=Passwords(at_once=limits.hashes_at_once),
        poller=LogPoller(vault, streams=limits.streams),
        step_kinds=StepKinds(store, vault),
        broker_connected=lambda: broker.state == "connected",
        broker_url=endpoint.public_url(settings),
        rate_limit=RateLimit(per_second=limits.api_rate_per_minute / 60),
        limits=ApiLimits(
            json_bytes=limits.body_bytes,
            upload_bytes=limits.upload_bytes,
            answer_wait_s=float(limits.answer_wait_s),
            stream_s=float(limits.stream_s),
        ),
    )


# The gateway


def gateway_app(settings: HubSettings, kek: Kek) -> Flask:
    """The door for spokes: ciphertext and signed documents."""
    vault = open_vault(settings, kek)
    return create_gateway(
        GatewayParts(
            store=chunk_store(settings),
            capability_key=vault.capability_key(),
            artifacts=settings.home / "incoming",
            wheels=wheels(settings),
            clock_ms=now_ms,
        )
    )


def gateway_tls(settings: HubSettings, kek: Kek) -> GatewayTls:
    """TLS 1.3 with the key whose pin stands in the trust document."""
    return GatewayTls(lambda: open_vault(settings, kek))


def chunk_store(settings: HubSettings) -> ChunkStore:
    return ChunkStore(settings.home / "chunks")


def wheels(settings: HubSettings) -> Path:
    """The folder with the wheel that targets install."""
    return settings.home / "wheels"
