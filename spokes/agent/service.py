"""The loop of a spoke: take what the mailbox brings, verify it, journal it, acknowledge it, hand it on.

    command -> journal (fsync) -> executor, done to the broker -> ack to the hub, unless log or result come first
    cancel  -> journal -> executor
    welcome -> the session is open; anything else -> a signed reject if it was authentic, else quarantine

A command that was seen before is answered from the journal and never runs again.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from spokes.agent.errors import JournalFailed, SpokeError
from spokes.agent.executor import JobExecutor
from spokes.agent.journal import Arrival, Entry, Journal, State, Verdict
from spokes.agent.kept_commands import KeptCommands
from spokes.agent.key_rotation import KeyRotation
from spokes.agent.kind import Deeds
from spokes.agent.mailbox import Mailbox
from spokes.agent.presence import Presence
from spokes.agent.quarantine import Quarantine
from spokes.agent.results import plain_result
from spokes.agent.stopping import Stopping
from spokes.agent.trust_keeper import TrustKeeper
from spokes.agent.uplink import Uplink
from spokes.agent.witness import Witness
from spokes.agent.workers import Workers
from wire import canonical, schema
from wire.connection import Delivery
from wire.crash import crash_point
from wire.envelope import MessageType, peek
from wire.errors import Code, Refused, WireError
from wire.messages import Ack, AckState, Cancel, Command, EndState, Op, PackageRole, Reject
from wire.session import Received

logger = logging.getLogger(__name__)

_BATCH = 64
_TAKE_WAIT_S = 0.5
_DETAIL_MAX = 300
_DEEDS_AT_ONCE = 16
# What says that the sender was not who signs for the hub: answered with silence.
_NOT_FOR_US = frozenset({Code.ENV_AUD, Code.ENV_ISS})


# The hub has lost count of us, seals to a key of ours that is gone, or its clock was set: a welcome brings the time.
_ASK_ANEW = frozenset({Code.ENV_SEQ, Code.ENV_SEAL, Code.ENV_FUTURE, Code.ENV_EXPIRED})


@dataclass(frozen=True, slots=True)
class Post:
    """What a service keeps beside mailbox and executor.

    `deeds` are commands of this kind of spoke that need no run; they take no job's place.
    """

    uplink: Uplink
    journal: Journal
    presence: Presence
    trust: TrustKeeper
    quarantine: Quarantine
    commands: KeptCommands
    ops: frozenset[Op]
    rotation: KeyRotation
    witness: Witness
    each_second: Callable[[], None]
    deeds: Deeds = field(default_factory=dict)


class SpokeService:
    """Runs in the thread that calls `run`; `stop` may come from any other, or from a signal."""

    def __init__(self, mailbox: Mailbox, executor: JobExecutor, post: Post) -> None:
        self._mailbox = mailbox
        self._executor = executor
        self._post = post
        self._uplink = post.uplink
        self._deeds = Workers(_DEEDS_AT_ONCE, "deed")
        self._doing: set[str] = set()
        self._stopping = Stopping()
        self._resumed = False

    def run(self) -> None:
        """Serve until stopped; runs that are under way outlive this."""
        self._executor.begin(self._uplink, reported=lambda cid: logger.info("job reported", extra={"job": cid}))
        self._post.presence.start()
        looked_at = 0.0
        while not self._stopping.is_set():
            deliveries = self._mailbox.take(_BATCH, self._uplink.acks.due_in_s(_TAKE_WAIT_S))
            if deliveries:
                self._take_safely(deliveries)
            self._acknowledge_due()
            if time.monotonic() - looked_at >= 1.0:
                looked_at = time.monotonic()
                self._write_what_waits()
                self._post.each_second()
        self._acknowledge_due(all_of_them=True)
        self._post.presence.stop()
        self._executor.stop()

    def stop(self) -> None:
        self._stopping.set()

    def _write_what_waits(self) -> None:
        try:
            self._post.journal.write_what_waits()
        except JournalFailed as error:
            logger.warning("journal not written", extra={"why": str(error)})

    def _take_safely(self, deliveries: Sequence[Delivery]) -> None:
        try:
            self._take(deliveries)
        except Exception:
            logger.exception("deliveries not taken; they come again")
            self._mailbox.give_back(deliveries)
            self._stopping.wait(1.0)

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        """Commands that came together are journaled in one commit; only then does the broker forget them."""
        try:
            commands: list[tuple[Received, bytes]] = []
            for delivery in deliveries:
                self._sort(delivery, commands)
            self._accept(commands)
        except JournalFailed as error:
            logger.error("journal not written, so nothing is acknowledged", extra={"why": str(error)})  # noqa: TRY400  The sentence says all.
            self._mailbox.give_back(deliveries)
            self._stopping.wait(1.0)
            return
        self._mailbox.done(deliveries)
        crash_point("spoke.taken")

    def _sort(self, delivery: Delivery, commands: list[tuple[Received, bytes]]) -> None:
        frame = delivery.body
        try:
            if delivery.suspicious:
                raise Refused(Code.ENV_HEADER, "the message carries headers that go round permissions")
            if peek(frame)[0] is MessageType.WELCOME:
                self._welcome(frame)
                return
            received = self._uplink.receive(frame)
            if isinstance(received.body, Cancel):
                # In order: a command that came before its cancel is journaled before it.
                self._accept(commands)
                self._cancel(received, received.body)
            else:
                commands.append((self._allowed(received), frame))
        except Refused as refusal:
            self._refuse(frame, refusal)
        except JournalFailed:
            raise
        except Exception as error:
            logger.exception("message not understood")
            self._post.quarantine.keep(frame, "FAULT", type(error).__name__)

    def _welcome(self, frame: bytes) -> None:
        try:
            welcome = self._uplink.welcome(frame)
        except Refused as refusal:
            if refusal.code is not Code.ENV_SESSION:
                raise
            # A hub that was away answers every hello that waited for it; only the newest one counts.
            logger.info("late welcome dropped", extra={"why": refusal.detail})
            if self._uplink.is_doubled():
                logger.error("SESSION_CONFLICT: another copy of this spoke says hello; the hub is told")  # noqa: TRY400  The sentence says all.
                self._reject(refusal.mid, refusal.code, "it answers a hello that is not ours")
            return
        self._post.presence.welcomed(welcome)
        self._post.rotation.welcomed()
        self._post.trust.remember_box(bytes.fromhex(welcome.box))
        self._post.witness.shown(welcome.checkpoint, self._uplink.hub_id, self._uplink.trust)
        logger.info("welcomed", extra={"session": self._uplink.nonce, "trust": welcome.trust_version})
        if self._uplink.clock_skew:
            logger.warning("CLOCK_SKEW", extra={"seconds": self._uplink.clock_skew_s})
        if self._uplink.trust_behind:
            self._post.trust.catch_up_soon(self._uplink)
        if not self._resumed:
            self._resumed = True
            self._resume()

    def _allowed(self, received: Received) -> Received:
        """What this kind of spoke takes at all, and what the owner of the machine allows."""
        command = received.body
        assert isinstance(command, Command)
        if command.op not in self._post.ops:
            raise _named(Refused(Code.ENV_OP, f"this kind of spoke does not do {command.op}", field="op"), received)
        if command.run_as:
            refusal = Refused(Code.ENV_POLICY, "jobs here run as the spoke's own user only", field="run_as")
            raise _named(refusal, received)
        runners = sum(ref.role is PackageRole.RUNNER for ref in command.packages)
        if runners != (command.op is Op.RUN_JOB):
            raise _named(Refused(Code.ENV_OP, f"{command.op} with {runners} runners", field="packages"), received)
        return received

    def _accept(self, commands: list[tuple[Received, bytes]]) -> None:
        """Journal, then hand on and owe an acknowledgement; empties the list."""
        if not commands:
            return
        taken, commands[:] = list(commands), []
        now = self._uplink.now()
        crash_point("spoke.received")
        answers = self._post.journal.accept(list(self._arrivals(taken, now)))
        crash_point("spoke.accepted")
        for (received, _), (verdict, entry) in zip(taken, answers, strict=True):
            if verdict is Verdict.NEW:
                self._uplink.acks.owe(entry.cid, re=received.header.mid, rh=received.frame_sha256)
                self._carry_out(entry, received.body)
            elif verdict is Verdict.KNOWN:
                self._answer(received, entry)
            else:
                logger.error("ENV_REPLAY: another job under a known id", extra={"job": entry.cid})
                self._reject(received.header.mid, Code.ENV_REPLAY, "another job is known under this id")

    def _arrivals(self, taken: list[tuple[Received, bytes]], now: int) -> Iterator[Arrival]:
        at_once = 0
        for received, frame in taken:
            arrival = _arrival(received, frame, now)
            assert isinstance(received.body, Command)
            if self._executor.starts_at_once(received.body, at_once):
                at_once += 1
                arrival = replace(arrival, starts_at_once=True)
            yield arrival

    def _carry_out(self, entry: Entry, command: Any) -> None:
        assert isinstance(command, Command)
        if command.op is Op.RUN_JOB:
            self._executor.submit(entry, command)
        elif command.op is Op.UPDATE_TRUST:
            # Whoever withholds the documents must not hold up the work.
            threading.Thread(target=self._update_trust, args=(entry,), name="trust", daemon=True).start()
        elif command.op is Op.ROTATE_KEYS:
            self._rotate(entry)
        elif command.op in self._post.deeds:
            if entry.cid not in self._doing:
                self._doing.add(entry.cid)
                self._deeds.submit(lambda: self._do(entry, command))
        else:
            self._finish(entry, EndState.SUCCEEDED)

    def _do(self, entry: Entry, command: Command) -> None:
        try:
            result = self._post.deeds[command.op](command)
        except (SpokeError, Refused) as error:
            result = plain_result(EndState.FAILED, str(error))
        except Exception:
            logger.exception("command could not be carried out", extra={"job": entry.cid, "op": command.op})
            result = plain_result(EndState.FAILED, "the spoke failed; its log says why")
        self._executor.finish_at_once(entry, replace(result, ended_at=self._uplink.now() * 1000))
        self._doing.discard(entry.cid)

    def _rotate(self, entry: Entry) -> None:
        try:
            self._post.rotation.begin()
        except (OSError, SpokeError) as error:
            self._finish(entry, EndState.FAILED, f"new keys could not be stored: {error}")
        else:
            self._finish(entry, EndState.SUCCEEDED, "new keys are announced")

    def _update_trust(self, entry: Entry) -> None:
        failure = self._post.trust.catch_up(self._uplink)
        self._finish(entry, EndState.FAILED if failure else EndState.SUCCEEDED, failure)
        # The hub may have lost the session in which it asked: what it needs of us comes with a hello.
        self._post.presence.ask_anew()

    def _finish(self, entry: Entry, state: EndState, message: str = "") -> None:
        self._executor.finish_at_once(entry, plain_result(state, message, at_ms=self._uplink.now() * 1000))

    def _answer(self, received: Received, entry: Entry) -> None:
        self._say_known(entry, mid=received.header.mid, frame_sha256=received.frame_sha256)
        if entry.state is State.CANCELLED:
            self._executor.cancel(entry, "cancelled before it came")
        elif entry.state is State.ACCEPTED and entry.cid not in self._executor.active:
            # Journaled once and not handed on, for something broke in between; only one start is possible.
            self._carry_out(entry, received.body)
        elif entry.state in {State.STARTING, State.RUNNING}:
            self._executor.take_up(entry)
        else:
            self._executor.answer(entry)

    def _cancel(self, received: Received, cancel: Cancel) -> None:
        entry = self._post.journal.cancel(_cancel_arrival(received, self._uplink.now()))
        crash_point("spoke.cancel-noted")
        logger.info("cancel accepted", extra={"job": cancel.cid, "state": entry.state})
        self._executor.cancel(entry, cancel.reason)

    def _resume(self) -> None:
        """What was accepted and not started before a restart is started once, or has expired."""
        for entry in reversed(self._post.journal.unreported()):
            if entry.state is not State.ACCEPTED:
                continue
            try:
                command = self._post.commands.waiting(entry.cid)
                if command is not None:
                    self._carry_out(entry, command)
            except Refused as refusal:
                logger.warning(
                    "an accepted job cannot be opened any more", extra={"job": entry.cid, "why": str(refusal)}
                )
                self._finish(entry, EndState.REFUSED, str(refusal))

    def _say_known(self, entry: Entry, *, mid: str, frame_sha256: str) -> None:
        if self._uplink.live:
            state = AckState.RUNNING if self._executor.runs(entry) else AckState.KNOWN
            self._say(Ack(state, ""), cid=entry.cid, re=mid, rh=frame_sha256)

    def _acknowledge_due(self, *, all_of_them: bool = False) -> None:
        for owed in self._uplink.acks.due(all_of_them=all_of_them):
            crash_point("spoke.acknowledging")
            self._say(Ack(AckState.ACCEPTED, ""), cid=owed.cid, re=owed.re, rh=owed.rh)

    def _refuse(self, frame: bytes, refusal: Refused) -> None:
        """The unauthentic gets silence; who has a right to an answer gets a signed one."""
        self._post.quarantine.refused(frame, refusal)
        if not refusal.mid or refusal.code in _NOT_FOR_US:
            return
        entry = self._post.journal.entry(refusal.cid) if refusal.cid else None
        if entry is not None and peek(frame)[0] is MessageType.COMMAND:
            # The hub takes a refusal of every frame as a sign that the job never began.
            self._say_known(entry, mid=refusal.mid, frame_sha256=hashlib.sha256(frame).hexdigest())
            self._executor.answer(entry)
        else:
            self._reject(refusal.mid, refusal.code, refusal.detail)
        if refusal.code in _ASK_ANEW:
            self._post.presence.ask_anew()
        if refusal.code is Code.TRUST_EXPIRED:
            self._post.trust.catch_up_soon(self._uplink)

    def _reject(self, mid: str, code: Code, detail: str) -> None:
        if self._uplink.live:
            self._say(Reject(mid, str(code), detail[:_DETAIL_MAX]))

    def _say(self, body: Ack | Reject, *, cid: str = "", re: str = "", rh: str = "") -> None:
        """What is not heard is asked for again, so nobody waits for a confirm here and nothing stops for a failure."""
        try:
            self._uplink.send(body, cid=cid, re=re, rh=rh)
        except WireError as error:
            logger.warning("answer not sent", extra={"why": str(error)})


def _named(refusal: Refused, received: Received) -> Refused:
    refusal.mid, refusal.cid = received.header.mid, received.header.cid
    return refusal


def _arrival(received: Received, frame: bytes, now: int) -> Arrival:
    command = received.body
    assert isinstance(command, Command)
    runner = next((ref.sha256 for ref in command.packages if ref.role is PackageRole.RUNNER), "")
    row = _row(received, str(command.op), _job_sha256(command), now)
    return replace(row, runner=runner, capability=command.capability, frame=frame)


def _cancel_arrival(received: Received, now: int) -> Arrival:
    return _row(received, "cancel", "", now)


def _row(received: Received, op: str, job_sha256: str, now: int) -> Arrival:
    header = received.header
    return Arrival(
        cid=header.cid,
        mid=header.mid,
        ses=header.ses,
        seq=header.seq,
        op=op,
        job_sha256=job_sha256,
        frame_sha256=received.frame_sha256,
        exp=header.exp,
        runner="",
        capability="",
        frame=b"",
        at=now,
    )


def _job_sha256(command: Command) -> str:
    """What makes it the same job when it is issued again: all but what a new issue may renew, and secret values."""
    content: canonical.JsonObject = {
        "op": str(command.op),
        "job": command.job,
        "packages": [[str(ref.role), ref.manifest_id, ref.sha256] for ref in command.packages],
        "secret_names": [str(name) for name in sorted(command.secrets)],
        "limits": schema.write(command.limits),
        "run_as": command.run_as,
        "not_before": command.not_before,
    }
    return hashlib.sha256(canonical.encode(content)).hexdigest()
