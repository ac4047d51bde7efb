"""Spokes and hubs that break one promise each: the verdict has to see it, and each mistake once found is played again."""

from hub.orchestrator.missing_logs import ATTEMPTS_MAX
from tests.simulation.hub_model import Hub
from tests.simulation.spoke_model import Spoke

PAST_ANY_EXPIRY_MS = 100_000


class ForgetsItsJournal(Spoke):
    """Its disk keeps nothing."""

    def forget(self):
        super().forget()
        self.journal.clear()


class StartsWhatItFindsStarting(Spoke):
    """Instead of saying that it cannot know."""

    def _take_up(self, entry):
        if entry.cid in self.machine.runs:
            super()._take_up(entry)
        else:
            self.machine.start(entry.cid, self.clock, entry.expires_ms)
            self._follow(entry)

    def _prepared(self, entry, at_once):
        if self.clock < entry.expires_ms:
            self.machine.start(entry.cid, self.clock, entry.expires_ms)
            self.point()
            entry.state = "running"
            self._follow(entry)


class LooksAtNoClock(Spoke):
    def _prepared(self, entry, at_once):
        self.after(PAST_ANY_EXPIRY_MS, self._far_too_late, entry)

    def _far_too_late(self, entry):
        entry.state = "running"
        self.machine.start(entry.cid, self.clock, entry.expires_ms)
        self._follow(entry)


class BelievesWhatItSent(Spoke):
    """Takes a log for delivered that nobody took, and has nothing to send again."""

    def _shipped(self, entry, run, before, after, *, taken):
        super()._shipped(entry, run, before, after, taken=True)

    def _send_again(self, entry, spans):
        self._ended(entry, "refused", None, 0)


class IsDeafToCancels(Spoke):
    def _cancel(self, command):
        self._owed.discard(command.cid)
        self._ended(self.journal.get(command.cid) or self._unheard_of(command), "cancelled", None, 0)

    def _unheard_of(self, command):
        self._accept(command, known=False)
        return self.journal[command.cid]


class AnswersNoCancelOfBefore(Spoke):
    """Killed between writing down a cancel and answering it, it never answers."""

    def begin(self):
        cancelled = [entry for entry in self.journal.values() if entry.state == "cancelled" and entry.result is None]
        for entry in cancelled:
            entry.state = "left alone"
        super().begin()


class SaysItBeforeItIsCommitted(Hub):
    """Acknowledges first; what it had taken is gone with it."""

    def _take_results(self):
        for message, connection in self._results:
            self._broker.ack(message, connection)
        super()._take_results()


class GuessesThatItExpired(Hub):
    def _may_have_been_taken(self, cid):
        return False


class RefusesWhatMayBeTaken(Hub):
    """After ten frames for a session that is over, though the eleventh is on its way."""

    def _reject(self, reject):
        cid, _ = self.rows.issued.get(reject.frame, ("", ""))
        if cid in self.rows.jobs:
            self.rows.rejected |= {frame for frame, (one, _) in self.rows.issued.items() if one == cid}
            self.rows.jobs[cid].sent_frames += 10
        super()._reject(reject)


class SendsOnce(Hub):
    """And never again, whatever becomes of it."""

    def _publish(self):
        super()._publish()
        for row in self.rows.outbox:
            if row.state == "waiting" and row.attempts:
                row.state = "published"
                row.published_ms = 10**12


class ForgetsItsTimers(Hub):
    def forget(self):
        super().forget()
        self.rows.timers.clear()


class CountsEveryFrame(Hub):
    """Of a log, though it may have come before."""

    def _followed(self, job, log):
        super()._followed(job, log)
        return list(log.records)


class AsksForNoLog(Hub):
    """What is lost is lost."""

    def _fetch(self, cid, fetch):
        fetch.attempts = ATTEMPTS_MAX
        super()._fetch(cid, fetch)


class NamesNoEndAfterGivingUp(Hub):
    """What is missing at the end of a log whose gaps it had given up before is not even named."""

    def _look_at_log(self, cid, wait_ms, *, ended=False):
        super()._look_at_log(cid, wait_ms)


class LivesInThePast(Hub):
    """Its clock was set back, and what spokes say is from its future."""

    def _is_early(self, message):
        self._latest = 0
        return super()._is_early(message)


class GoesOnAfterARestore(Hub):
    """As if it knew what was done since."""

    def restored(self):
        self.world.note("and goes on")


SPOKES = (
    ForgetsItsJournal,
    StartsWhatItFindsStarting,
    LooksAtNoClock,
    BelievesWhatItSent,
    IsDeafToCancels,
    AnswersNoCancelOfBefore,
)
HUBS = (
    SaysItBeforeItIsCommitted,
    GuessesThatItExpired,
    RefusesWhatMayBeTaken,
    SendsOnce,
    ForgetsItsTimers,
    CountsEveryFrame,
    AsksForNoLog,
    NamesNoEndAfterGivingUp,
    LivesInThePast,
    GoesOnAfterARestore,
)
BY_NAME = {one.__name__: {"spoke_kind": one} for one in SPOKES} | {one.__name__: {"hub_kind": one} for one in HUBS}
