"""A spoke as far as promises go: it journals before it acknowledges, starts once, follows, and reports until it is
confirmed. It follows spokes/agent/{service,journal,executor,following,reporter,resending}.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.broker_model import Broker, Message
from tests.simulation.frames import Ack, Beat, Call, Command, Hello, Log, Reject, Result, Welcome
from tests.simulation.machine_model import Machine, Run, chain_before, record
from tests.simulation.world import Actor, World

HELLO_MS, BEAT_MS, WELCOME_WITHIN_MS = 60_000, 10_000, 60_000
ACK_MS = 250
SKEW_MS = 120_000


@dataclass(slots=True)
class Entry:
    """A row of the journal. `about`: the records that an order asks for."""

    cid: str
    frame: int
    expires_ms: int
    state: str
    result: tuple[str, int | None, int] | None = None
    reported: bool = False
    about: tuple[str, tuple[tuple[int, int], ...]] | None = None
    log_open: bool = False


class Spoke(Actor):
    """Durable: journal and machine; `reboot` ends the machine's runs too."""

    def __init__(self, world: World, broker: Broker, machine: Machine) -> None:
        super().__init__(world, machine.name)
        self._broker = broker
        self.machine = machine
        self.journal: dict[str, Entry] = {}
        self._nonces = 0
        self.forget()

    def forget(self) -> None:
        self._asked = (0, 0)
        self._nonce = 0
        self._hub_ms = 0
        self._epoch = 0
        self._seen: set[int] = set()
        self._counter = 0
        self._resumed = False
        self._followed: set[str] = set()
        self._reporting: set[str] = set()
        self._owed: set[str] = set()

    def crash(self) -> None:
        super().crash()
        self._broker.gone(self)

    @property
    def clock(self) -> int:
        """The hub's time as of the welcome, and what has passed since its hello was sent."""
        return self._hub_ms + self.world.now

    def begin(self) -> None:
        self._broker.consume(f"to {self.name}", self, self._came)
        self._say_hello()
        for entry in list(self.journal.values()):
            if entry.reported:
                continue
            if entry.state in ("starting", "running"):
                self._take_up(entry)
            elif entry.state == "cancelled":
                self._ended(entry, "cancelled", None, 0)
            elif entry.state == "ended" and entry.log_open:
                self._follow(entry)
            elif entry.state == "ended":
                self._report(entry)

    def reboot(self) -> None:
        self.world.note(f"{self.name} reboots")
        self.machine.reboot()
        self.crash()

    # Presence

    def _say_hello(self) -> None:
        self._nonces += 1
        nonce = int(self.name.rpartition("-")[2]) * 1_000_000 + self._nonces
        self._asked = (nonce, self.world.now)
        open_states = {"accepted": "accepted", "starting": "running", "running": "running"}
        reports = tuple((one.cid, open_states[one.state]) for one in self.journal.values() if one.state in open_states)
        self._send("results", Hello(self.name, nonce, reports), self._hello_sent)
        self.after(HELLO_MS, self._hello_again, nonce)

    def _hello_sent(self, taken: bool) -> None:
        if not taken:
            self.after(self.world.chance.randrange(500, 5_000), self._say_hello)

    def _hello_again(self, nonce: int) -> None:
        if self._asked[0] == nonce and self._nonce != nonce:
            self._say_hello()

    def _welcome(self, welcome: Welcome) -> None:
        nonce, asked_ms = self._asked
        if welcome.nonce != nonce or self._nonce == nonce or self.world.now - asked_ms > WELCOME_WITHIN_MS:
            return
        if welcome.epoch < self._epoch:
            return
        self._nonce, self._counter = nonce, 0
        self._hub_ms, self._epoch = welcome.hub_ms - asked_ms, welcome.epoch
        self._seen = set()
        self._beat(nonce)
        if not self._resumed:
            self._resumed = True
            for entry in list(self.journal.values()):
                if entry.state == "accepted":
                    self._carry_out(entry)

    def _ask_anew(self) -> None:
        self.after(self.world.chance.randrange(1, 1_000), self._say_hello)

    def _beat(self, nonce: int) -> None:
        if nonce != self._nonce:
            return
        self._counter += 1
        self._send("results", Beat(self.name, nonce, self._counter), self._beat_sent)
        self.after(BEAT_MS, self._beat, nonce)

    def _beat_sent(self, taken: bool) -> None:
        if not taken:
            self._ask_anew()

    # What comes

    def _came(self, message: Message, connection: int) -> None:
        body = message.body
        if isinstance(body, Welcome):
            self._welcome(body)
        elif isinstance(body, Call):
            if body.nonce == self._nonce and body.epoch >= self._epoch:
                self._ask_anew()
        else:
            self._take(body)
        self.point()
        self._broker.ack(message, connection)

    def _take(self, command: Command) -> None:
        if command.epoch < self._epoch:
            self._reject(command, "ENV_EPOCH")
            return
        if command.nonce != self._nonce:
            self._reject(command, "ENV_SESSION")
            return
        known = command.seq in self._seen
        self._seen.add(command.seq)
        if command.issued_ms > self.clock + SKEW_MS:
            self._reject(command, "ENV_FUTURE")
            self._ask_anew()
        elif self.clock >= command.expires_ms:
            self._reject(command, "ENV_EXPIRED")
            self._ask_anew()
        elif command.kind == "order":
            self._take_order(command)
        elif command.kind == "cancel":
            self._cancel(command)
        else:
            self._accept(command, known=known)

    def _reject(self, command: Command, code: str) -> None:
        """Whoever has it in the journal never says that it was refused."""
        if not self._nonce:
            return
        entry = self.journal.get(command.cid)
        if entry is not None and command.kind == "command":
            self._send("results", Ack(self.name, entry.cid, command.frame, entry.state == "running"), None)
            if entry.state == "ended":
                self._report(entry)
            return
        over = command.nonce if code in ("ENV_SESSION", "ENV_EXPIRED", "ENV_FUTURE") else 0
        self._send("results", Reject(self.name, command.frame, code, over), None)

    def _accept(self, command: Command, *, known: bool) -> None:
        entry = self.journal.get(command.cid)
        if entry is None:
            self.point()
            at_once = self.world.chance.random() < 0.5
            entry = Entry(command.cid, command.frame, command.expires_ms, "starting" if at_once else "accepted")
            self.journal[command.cid] = entry
            self.point()
            self._owed.add(entry.cid)
            self.after(ACK_MS, self._acknowledge, entry)
            self._carry_out(entry, at_once=at_once)
            return
        entry.frame = command.frame
        if entry.state == "accepted":
            entry.expires_ms = max(entry.expires_ms, command.expires_ms)
        self.point()
        self._send("results", Ack(self.name, entry.cid, entry.frame, entry.state == "running"), None)
        if entry.state == "cancelled":
            self._ended(entry, "cancelled", None, 0)
        elif entry.state == "accepted" and entry.cid not in self._followed:
            self._carry_out(entry)
        elif entry.state in ("starting", "running") and entry.cid not in self._followed:
            self._take_up(entry)
        elif entry.state == "ended":
            self._report(entry)

    def _take_order(self, command: Command) -> None:
        """Part of a log once more."""
        entry = self.journal.get(command.cid)
        if entry is None:
            entry = Entry(command.cid, command.frame, command.expires_ms, "accepted", about=command.about)
            self.journal[command.cid] = entry
            self.point()
            self._send("results", Ack(self.name, entry.cid, entry.frame, running=False), None)
            self._carry_out(entry)
        elif entry.state == "ended":
            entry.frame = command.frame
            self._report(entry)

    def _acknowledge(self, entry: Entry) -> None:
        if entry.cid in self._owed:
            self._owed.discard(entry.cid)
            self._send("results", Ack(self.name, entry.cid, entry.frame, running=False), None)

    def _cancel(self, command: Command) -> None:
        entry = self.journal.get(command.cid)
        if entry is None:
            entry = Entry(command.cid, command.frame, command.expires_ms, "cancelled")
            self.journal[command.cid] = entry
        elif entry.state == "accepted":
            entry.state = "cancelled"
        self.point()
        if entry.state == "cancelled":
            self._ended(entry, "cancelled", None, 0)
        elif entry.state == "ended":
            self._report(entry)
        else:
            self.machine.cancel(entry.cid)

    # Runs

    def _carry_out(self, entry: Entry, *, at_once: bool = False) -> None:
        self._followed.add(entry.cid)
        if entry.about is not None:
            self.after(self.world.chance.choice((1, 20, 2_000)), self._send_again, entry, list(entry.about[1]))
            return
        # At once, after a fetch, or when one of its places is free.
        wait_ms = 0 if at_once else self.world.chance.choice((1, 5, 300, 3_000, 3_000, 80_000))
        self.after(wait_ms, self._prepared, entry, at_once)

    def _send_again(self, entry: Entry, spans: list[tuple[int, int]]) -> None:
        assert entry.about is not None
        cid = entry.about[0]
        run = self.machine.runs.get(cid)
        if run is None or self.machine.spools_gone:
            self._ended(entry, "refused", None, 0)
            return
        if not spans:
            self._ended(entry, "succeeded", None, 0)
            return
        first, last = spans[0]
        records = tuple(record(number) for number in range(first, min(last + 1, run.records(self.world.now))))
        if not records:
            self._ended(entry, "refused", None, 0)
            return
        log = Log(self.name, cid, first, chain_before(first), records, again=True)
        self._send("logs", log, lambda taken: self._sent_again(entry, spans, taken=taken))

    def _sent_again(self, entry: Entry, spans: list[tuple[int, int]], *, taken: bool) -> None:
        if taken:
            self._send_again(entry, spans[1:])
        else:
            self._ended(entry, "failed", None, 0)

    def _prepared(self, entry: Entry, at_once: bool) -> None:
        if self.clock >= entry.expires_ms:
            self._never(entry, "expired")
            return
        if not at_once:
            if entry.state != "accepted":
                return
            self.point()
            entry.state = "starting"
        self.point()
        self.machine.start(entry.cid, self.clock, entry.expires_ms)
        self.point()
        entry.state = "running"
        self._follow(entry)

    def _never(self, entry: Entry, state: str) -> None:
        if entry.state in ("accepted", "starting"):
            self._ended(entry, state, None, 0)

    def _take_up(self, entry: Entry) -> None:
        """A run of an earlier life: its folder says how far it is."""
        self._followed.add(entry.cid)
        if entry.cid not in self.machine.runs:
            # Its folder is claimed for nobody; after a reboot that says nothing.
            state = "unknown" if self.machine.rebooted else "failed"
            self.machine.claimed.add(entry.cid)
            self._ended(entry, state, None, 0)
            return
        self._follow(entry)

    def _follow(self, entry: Entry) -> None:
        run = self.machine.runs[entry.cid]
        self._look(entry, run, run.shipped)

    def _look(self, entry: Entry, run: Run, sent: int) -> None:
        """Ship what is new; behind the last of it, the result."""
        now = self.world.now
        count = run.records(now)
        if count > sent and self._nonce:
            self._owed.discard(entry.cid)
            records = tuple(record(number) for number in range(sent, count))
            log = Log(self.name, entry.cid, sent, chain_before(sent), records)
            self._send("logs", log, lambda taken: self._shipped(entry, run, sent, count, taken=taken))
        elif count > sent or not run.is_over(now):
            wait_ms = max(1, min(1_000, run.next_change(now) - now)) if count == sent else 500
            self.after(wait_ms, self._look, entry, run, sent)
        elif entry.log_open:
            entry.log_open = False
            self._report(entry)
        elif run.lost:
            self._ended(entry, "unknown", None, count)
        else:
            code = run.script.exit_code if run.state in ("succeeded", "failed") else None
            self._ended(entry, run.state, code, count)

    def _shipped(self, entry: Entry, run: Run, before: int, after: int, *, taken: bool) -> None:
        if not taken and run.is_over(self.world.now) and entry.result is None and not run.lost:
            # The broker takes no log: the result goes ahead of it.
            code = run.script.exit_code if run.state in ("succeeded", "failed") else None
            entry.log_open = True
            self._ended(entry, run.state, code, run.records(self.world.now))
        if taken and self.world.chance.random() < 0.7:
            # Remembered now and then; after a crash the rest is sent twice.
            run.shipped = max(run.shipped, after)
        self.after(1 if taken else 700, self._look, entry, run, after if taken else before)

    # Reports

    def _ended(self, entry: Entry, state: str, exit_code: int | None, records: int) -> None:
        if entry.result is None:
            entry.result = (state, exit_code, records)
            entry.state = "cancelled" if entry.state == "cancelled" else "ended"
        self._owed.discard(entry.cid)
        self.point()
        self._report(entry)

    def _report(self, entry: Entry) -> None:
        if entry.cid in self._reporting or entry.result is None:
            return
        if not self._nonce:
            self.after(1_000, self._report, entry)
            return
        self._reporting.add(entry.cid)
        state, exit_code, records = entry.result
        result = Result(
            self.name, entry.cid, entry.frame, state, exit_code, records, began=entry.cid in self.machine.runs
        )
        self._send("results", result, lambda taken: self._reported(entry, taken=taken))

    def _reported(self, entry: Entry, *, taken: bool) -> None:
        self._reporting.discard(entry.cid)
        if taken:
            # With its log at the hub too; until then a next life takes it up again.
            entry.reported = entry.reported or not entry.log_open
        else:
            self.after(self.world.chance.randrange(100, 5_000), self._report, entry)

    def _send(self, queue: str, body: object, done: Callable[[bool], None] | None) -> None:
        self.point()
        self._broker.publish(self, queue, body, done or _unasked, stamp_ms=self.clock)


def _unasked(taken: bool) -> None:
    """Nobody waits for this one."""
