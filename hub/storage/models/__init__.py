"""The catalogue of tables, parents before children."""

from hub.storage.models.access import ApiKey, Grant, RateBucket, Session, SetupCode, TotpSecret, User
from hub.storage.models.asking import IntentRow
from hub.storage.models.events import ChainHead, Checkpoint, Event
from hub.storage.models.fleet import FleetFrame, Introduction, RelayHint
from hub.storage.models.gateway import GatewayInbox
from hub.storage.models.health import MachinePolicy, MissedDeployment, TargetCare
from hub.storage.models.infrastructure import (
    Account,
    Enrolment,
    Environment,
    JoinToken,
    Spoke,
    SpokeSession,
    Target,
    TargetEnvironment,
)
from hub.storage.models.integration import (
    Consumer,
    EventCursor,
    EventSource,
    IntegrationCommand,
    IntegrationEvent,
)
from hub.storage.models.keyring import DataKey, HubKey, Installation, TrustFrame
from hub.storage.models.logs import LogBlock
from hub.storage.models.nodes import Lease, Node
from hub.storage.models.packages import Chunk, Pack, Package, PackageChunk, PackageVersion, StoredManifest
from hub.storage.models.projects import Lifecycle, Project, ProjectVariableSet, Release, Variable, VariableSet
from hub.storage.models.queue import QueueLine, QueuePause
from hub.storage.models.table import Table, database_proxy, new_row_id, now_ms
from hub.storage.models.trust import FormerKey, SpokeConflict, TrustRequest
from hub.storage.models.work import (
    Artifact,
    Deployment,
    IssuedFrame,
    Job,
    LogFetch,
    Outbox,
    OutputVariable,
    Plan,
    Progress,
    Quarantine,
    Task,
    Timer,
)

ALL_TABLES: tuple[type[Table], ...] = (
    Installation, DataKey, HubKey, TrustFrame, TrustRequest, FormerKey, SpokeConflict,
    Environment, JoinToken, Spoke, SpokeSession, Account, Target, TargetEnvironment, Enrolment, GatewayInbox,
    Introduction, FleetFrame, RelayHint,
    MachinePolicy, TargetCare,
    Lifecycle, Project, VariableSet, ProjectVariableSet, Variable, Release,
    User, Session, ApiKey, Grant, SetupCode, RateBucket, TotpSecret,
    Package, PackageVersion, Pack, Chunk, PackageChunk, StoredManifest,
    Task, Deployment, Plan, Progress, Job, LogFetch, OutputVariable, Outbox, IssuedFrame, Timer, Artifact, Quarantine,
    QueuePause, QueueLine,
    MissedDeployment, LogBlock, Event, ChainHead, Checkpoint, IntentRow,
    EventSource, IntegrationEvent, EventCursor, Consumer, IntegrationCommand,
    Node, Lease,
)  # fmt: skip

__all__ = [
    "ALL_TABLES", "Account", "ApiKey", "Artifact", "ChainHead", "Checkpoint", "Chunk", "Consumer", "DataKey",
    "Deployment", "Enrolment", "Environment", "Event", "EventCursor", "EventSource", "FleetFrame", "FormerKey",
    "GatewayInbox", "Grant", "HubKey", "Installation", "IntegrationCommand", "IntegrationEvent", "IntentRow",
    "Introduction", "IssuedFrame", "Job", "JoinToken", "Lease", "Lifecycle", "LogBlock", "LogFetch", "MachinePolicy",
    "MissedDeployment", "Node", "Outbox", "OutputVariable", "Pack", "Package", "PackageChunk", "PackageVersion", "Plan",
    "Progress", "Project", "ProjectVariableSet", "Quarantine", "QueueLine", "QueuePause", "RateBucket", "RelayHint",
    "Release", "Session", "SetupCode", "Spoke", "SpokeConflict", "SpokeSession", "StoredManifest", "Table", "Target",
    "TargetCare", "TargetEnvironment", "Task", "Timer", "TotpSecret", "TrustFrame", "TrustRequest", "User", "Variable",
    "VariableSet", "database_proxy", "new_row_id", "now_ms",
]  # fmt: skip
