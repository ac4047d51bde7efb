"""What an operation has at hand while it runs in the engine: who asks, when, the vault, the seals, the pen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hub.access.caller import Caller
from hub.events.record import record
from hub.orchestrator.submitting import Orchestrator
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from runner.contract.step_kind import StepKind


@dataclass(frozen=True, slots=True)
class Joining:
    """What a join code carries besides its token: whom a new spoke is to trust, and where it finds the hub.

    `install`: the line that installs manyarm-spoke on a machine; empty where the hub offers no wheel.
    """

    root_thumbprint: bytes
    address: str
    install: Callable[[], str] = lambda: ""


@dataclass(frozen=True, slots=True)
class Context:
    """`step_kinds`: as the runner that new plans name announces them.

    `allow_inner_targets`: whether targets may have addresses of the hub's own machine.
    """

    caller: Caller
    now_ms: int
    vault: Vault
    seals: RowSeals
    orchestrator: Orchestrator
    step_kinds: Mapping[str, StepKind]
    joining_now: Callable[[], Joining]
    allow_inner_targets: bool = False

    @property
    def joining(self) -> Joining:
        """Looked up for the few who need it."""
        return self.joining_now()

    @property
    def actor(self) -> str:
        return self.caller.user_id

    def record(
        self,
        action: str,
        object: str,  # noqa: A002  the event row's own word
        *,
        outcome: str = "ok",
        project: str | None = None,
        environment: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """One event row in the present transaction, in the caller's name."""
        record(
            action,
            object,
            actor=f"user:{self.actor}",
            outcome=outcome,
            project=project,
            environment=environment,
            detail=dict(detail or {}),
        )
