"""The engine: the parts of the orchestrator put together, and their threads.

    results  logs  beats        what spokes say        (inbox)
    outbox                      what goes to them      (outbox)
    clock                       what time brings       (timers)
    …                           loops of other rooms: intents, the gateway's inbox, roll-outs

Every loop catches what it did not foresee, says so, and goes on. Waiting is done on rows: a thread may end at any line.

Several engines work on one PostgreSQL. Each answers intents, seals and publishes what any of them has decided, and
fires timers: it claims rows. One at a time hears spokes: the broker gives each of their queues to one consumer, so
that what a spoke says is taken in its order. What else one alone should do is leased (leases.py, nodes.py).
"""

import logging
from dataclasses import replace
from threading import Event, Thread
from typing import Any

from peewee import PeeweeException

from hub.orchestrator.carried import Carried
from hub.orchestrator.events import Event as TaskEvent
from hub.orchestrator.events import SpokeRevoked
from hub.orchestrator.held import HeldResults
from hub.orchestrator.inbox import Inbox
from hub.orchestrator.log_fetch import LogFetches
from hub.orchestrator.log_inbox import LogInbox
from hub.orchestrator.nodes import Presence
from hub.orchestrator.opening import Door
from hub.orchestrator.outbox import Publisher
from hub.orchestrator.parts import EngineLimits, EngineParts, Loop, TrustState
from hub.orchestrator.quarantine import QuarantineRing
from hub.orchestrator.recent import Recent
from hub.orchestrator.replies import Replies
from hub.orchestrator.sealing import Sealer
from hub.orchestrator.secret_values import Masks, Secrets
from hub.orchestrator.sessions import Sessions
from hub.orchestrator.steering import Steering
from hub.orchestrator.submitting import Orchestrator
from hub.orchestrator.task_store import TaskStore
from hub.orchestrator.timers import Clockwork
from hub.states import TASK_ENDED
from hub.storage.database import connection, write_tx
from hub.storage.models import Job, Task

__all__ = ["Engine", "EngineLimits", "EngineParts", "Loop", "TrustState"]

logger = logging.getLogger(__name__)

_RESTART_S = 1.0
_STOP_S = 10.0


class Engine:
    """One for a process.

    Attributes:
        orchestrator: What operations use to begin and cancel tasks.
        publisher: The outbox; woken by itself after each commit.
        clockwork: The timers, for whoever drives them by hand.
        quarantine: What was refused.
        leases: Of this node: what one node alone does.
        presence: Of this node among the others.
    """

    def __init__(self, parts: EngineParts) -> None:
        # Asked for with every batch; the composition reads rows and verifies chains to answer.
        parts = replace(
            parts, trust=Recent(parts.trust), boxes=Recent(parts.boxes), command_key=Recent(parts.command_key)
        )
        self._parts = parts
        self.leases = parts.leases
        store = TaskStore(parts.vault)
        self.quarantine = QuarantineRing(parts.clock_ms, parts.limits.quarantine)
        self.steering = Steering(parts.vault, store, parts.clock_ms, self.wake, parts.queue_limits)
        self.orchestrator = Orchestrator(store, self.steering, limits=parts.plan_limits)
        self.sessions = Sessions(parts, self.wake)
        self.publisher = Publisher(parts, Sealer(parts, store), self.steering, self.stopped)
        fetches = LogFetches(parts, self.wake)
        self.clockwork = Clockwork(parts, self.steering, self.sessions, fetches, self._nothing_goes_out)
        secrets, held = Secrets(parts.vault, parts.seals), HeldResults()
        door = self._door = Door(parts, self.quarantine, self.sessions.ahead.hears)
        self.sessions.forget_keys = door.forget_keys
        self.sessions.ahead.feed = self.steering.feed
        masks = Masks(secrets, store)
        replies = Replies(parts, self.steering, door, held, secrets, masks, fetches)
        replies.on_conflict = self.sessions.conflict
        replies.is_forgotten = self.sessions.ahead.is_forgotten
        logs = LogInbox(parts, door, replies, held, masks, fetches, cap_bytes=parts.plan_limits.out_bytes)
        carried = Carried(parts, self.quarantine, self.sessions)
        self.inbox = Inbox(parts, door, self.quarantine, self.sessions, replies, logs, held, carried)
        self.presence = Presence(parts.leases, self.publisher.take_over, parts.node)
        self._stop = Event()
        self._threads: list[Thread] = []

    def start(self) -> None:
        """Start every loop; returns at once."""
        self._stop.clear()
        self.presence.arrive()
        loops = (*self._loops(), *self._parts.loops)
        self._threads = [Thread(target=self._serve, args=(loop,), name=loop.name, daemon=True) for loop in loops]
        for thread in self._threads:
            thread.start()
        logger.info("engine started", extra={"loops": len(loops)})

    def stop(self) -> None:
        """End every loop; what was not acknowledged is delivered again to whoever starts next."""
        self._stop.set()
        self.publisher.stop()
        for thread in self._threads:
            thread.join(_STOP_S)
        left = [thread.name for thread in self._threads if thread.is_alive()]
        if left:
            logger.warning("loops did not end in time", extra={"loops": ", ".join(left)})
        self._threads = []
        try:
            self.presence.leave()
        except PeeweeException as error:
            # Our leases run out by themselves.
            logger.warning("left without a word", extra={"reason": str(error)})

    def wake(self) -> None:
        """There may be something to send."""
        self.publisher.wake()

    def stopped(self) -> str:
        """Why no command may be issued; "" where they may."""
        return self.sessions.ahead.stopped()

    def _nothing_goes_out(self) -> str:
        """Why; "" where it does."""
        return self.stopped() or self._parts.broker_trouble()

    def feed(self, task: str, *events: TaskEvent) -> None:
        """Tell a task what happened, in a transaction of its own."""
        with write_tx():
            self.steering.feed({task: events})

    def spoke_trusted(self, spoke: str) -> None:
        """A spoke was approved: its mailbox must be there before anything is sent."""
        self._parts.declare_mailbox(spoke)
        self.wake()

    def spoke_revoked(self, spoke: str) -> None:
        """Its sessions end and its jobs fail; what it says later is refused by its key."""
        self._door.forget_keys()
        with write_tx():
            self.sessions.forget(spoke)
            unfinished: Any = (
                Task.select(Task.id)
                .join(Job, on=(Job.task == Task.id))
                .where(Job.spoke == spoke, Task.state.not_in(list(TASK_ENDED)))
                .distinct()
                .tuples()
            )
            self.steering.feed({task: [SpokeRevoked(spoke)] for (task,) in list(unfinished)})

    def _loops(self) -> tuple[Loop, ...]:
        return (
            Loop("results", self.inbox.run_results),
            Loop("logs", self.inbox.run_logs),
            Loop("beats", self.inbox.run_beats),
            Loop("outbox", self.publisher.run),
            Loop("clock", self.clockwork.run),
            Loop("presence", self.presence.run),
        )

    def _serve(self, loop: Loop) -> None:
        while not self._stop.is_set():
            try:
                # One for the life of the loop: to open and close one for each batch costs more than most batches.
                with connection():
                    loop.run(self._stop)
            except Exception:
                logger.exception("loop failed", extra={"loop": loop.name})
            self._stop.wait(_RESTART_S)
