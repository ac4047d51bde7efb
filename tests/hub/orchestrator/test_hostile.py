"""A broker that lies and spokes that err: the engine stays up, counts nothing false, and finishes what is genuine."""

import os
import random
import time

import pytest

from hub.orchestrator import task_log
from hub.orchestrator.replies import _ALARMS_A_MINUTE
from hub.states import JobState, LogState, OutboxKind, TaskState
from hub.storage.database import write_tx
from hub.storage.models import Event, IssuedFrame, Job, Outbox, Quarantine, Spoke, SpokeSession, Task
from tests.hub.orchestrator.rig import Rig, Run, until
from wire.connection import Outgoing
from wire.envelope import MessageType
from wire.keys import BoxKey
from wire.messages import Ack, AckState, Reject
from wire.topology import EVENTS, HUB_LOGS, EventKind, event_key, spoke_queue


@pytest.fixture
def rig(installed_hub):
    made = Rig(installed_hub)
    yield made
    made.close()


def texts(rig, task, **filters):
    return [line.text for line in task_log.read(rig.hub.vault, task.id, **filters)[0]]


def codes():
    return {row.code for row in Quarantine.select()}


def test_t040_ten_thousand_bad_messages_stop_nothing_and_leave_a_hundred_heads_and_one_alarm(rig):
    gate_open = []
    web = rig.spoke("web-01", lambda _: gate_open.append(1) or None).start()
    rig.engine.start()
    task = rig.run("true", web)
    kept = until(lambda: next(iter(web.journal.values()), None))
    dice = random.Random(40)
    genuine = [frame for _, frame in web.sent]
    kinds = [EventKind.RESULT, EventKind.ACK, EventKind.LOG, EventKind.BEAT, EventKind.HELLO]
    for number in range(10_000):
        if number % 3:
            frame = os.urandom(dice.randrange(0, 600))
        else:
            frame = bytearray(dice.choice(genuine))
            frame[dice.randrange(len(frame))] ^= 1 << dice.randrange(8)
        web.connection.publish(Outgoing(EVENTS, event_key(web.id, dice.choice(kinds)), bytes(frame))).result()
    web.report(kept, Run(("still here\n",)))
    rig.ended(task, wait_s=60)
    assert texts(rig, task, target="web-01") == ["still here"]
    until(lambda: rig.engine.quarantine.total >= 10_000)
    assert Quarantine.select().count() <= 100
    assert Event.select().where(Event.action == "frames.refused").count() <= 2


def test_a_key_under_another_name_and_cc_headers_are_refused(rig):
    web = rig.spoke("web-01")
    rig.engine.start()
    frame = _hello_of(web)
    rig.broker.route(Outgoing(EVENTS, event_key(web.id, EventKind.HELLO), frame), "hub")
    rig.broker.route(Outgoing(EVENTS, event_key(web.id, EventKind.HELLO), frame), web.connection._user, suspicious=True)
    until(lambda: rig.engine.quarantine.total == 2)
    until(lambda: codes() == {"ENV_ISS", "ENV_POLICY"})
    assert not SpokeSession.select().exists()


def test_t044_swapped_results_are_refused_and_the_genuine_ones_count(rig):
    web = rig.spoke("web-01", lambda _: None).start()
    rig.engine.start()
    first, second = rig.run("one", web), rig.run("two", web)
    until(lambda: len(web.journal) == 2)
    a, b = web.journal.values()
    a.rh, b.rh, a.mid, b.mid = b.rh, a.rh, b.mid, a.mid
    web.report(a, Run())
    web.report(b, Run())
    until(lambda: rig.engine.quarantine.total == 2)
    assert until(codes) == {"REPLY_BINDING"}
    assert {Task.get_by_id(task.id).state for task in (first, second)} == {TaskState.RUNNING}
    a.rh, b.rh, a.mid, b.mid = b.rh, a.rh, b.mid, a.mid
    web.report(a, Run())
    web.report(b, Run())
    rig.ended(first)
    rig.ended(second)


def test_a_spoke_cannot_answer_for_another_ones_job(rig):
    web, db = rig.spoke("web-01", lambda _: None).start(), rig.spoke("db-01").start()
    rig.engine.start()
    assert db.live.wait(10)
    task = rig.run("true", web)
    kept = until(lambda: next(iter(web.journal.values()), None))
    db.report(kept, Run(("not mine\n",)))
    until(lambda: rig.engine.quarantine.total == 2)
    assert until(codes) == {"REPLY_BINDING"}
    web.mute_logs = False
    kept.spool.clear()
    web.report(kept, Run(("mine\n",)))
    assert texts(rig, rig.ended(task), target="web-01") == ["mine"]


def test_the_first_final_state_wins_and_another_one_is_an_alarm(rig):
    web = rig.spoke("web-01").start()
    rig.engine.start()
    task = rig.ended(rig.run("true", web))
    kept = next(iter(web.journal.values()))
    web.reply(kept, MessageType.RESULT, kept.result)
    web.report(kept, Run(state="failed", exit_code=1))
    until(lambda: rig.engine.quarantine.total == 1)
    assert until(codes) == {"REPLY_STATE"}
    assert Job.get(Job.task == task.id).state is JobState.SUCCEEDED
    assert Task.get_by_id(task.id).state is TaskState.SUCCEEDED


def test_a_spoke_that_answers_without_end_for_jobs_of_nobody_does_not_fill_the_audit_log(rig):
    web = rig.spoke("web-01").start()
    rig.engine.start()
    rig.ended(rig.run("true", web))
    kept = next(iter(web.journal.values()))
    for _ in range(300):
        web.report(kept, Run(state="failed", exit_code=1))
    until(lambda: rig.engine.quarantine.total >= 300)
    alarms = Event.select().where(Event.action == "reply.refused").count()
    assert 0 < alarms <= 3 * _ALARMS_A_MINUTE
    until(lambda: Event.select().where(Event.action == "frames.refused").exists())


def test_replayed_acks_hellos_and_beats_change_nothing(rig):
    web = rig.spoke("web-01").start()
    rig.engine.start()
    rig.ended(rig.run("true", web))
    web.stop()
    before = (SpokeSession.get().last_counter, SpokeSession.select().count(), len(web.commands))
    recorded = list(web.sent)
    for kind, frame in recorded:
        web.connection.publish(Outgoing(EVENTS, event_key(web.id, kind), frame)).result()
    until(lambda: rig.broker.depth(HUB_LOGS) == 0 and rig.engine.quarantine.total)
    until(lambda: "ENV_REPLAY" in codes())
    assert (SpokeSession.get().last_counter, SpokeSession.select().count(), len(web.commands)) == before


def test_a_replayed_hello_of_yesterday_opens_nothing_and_moves_no_key(rig):
    web = rig.spoke("web-01")
    old = _hello_of(web)
    rig.engine.start()
    web.start()
    assert web.live.wait(10)
    live = until(lambda: SpokeSession.get_or_none(SpokeSession.live))
    web.connection.publish(Outgoing(EVENTS, event_key(web.id, EventKind.HELLO), old)).result()
    until(lambda: SpokeSession.select().count() == 2)
    rig.ended(rig.run("true", web))
    assert SpokeSession.get(SpokeSession.live).nonce == live.nonce


def test_t041_dropped_and_doubled_log_frames_show_as_named_gaps_and_the_end_is_right(rig):
    web = rig.spoke("web-01", lambda _: None).start()
    rig.engine.start()
    task = rig.run("true", web)
    kept = until(lambda: next(iter(web.journal.values()), None))
    web.mute_logs = True
    web.on_send_log = lambda kept: None
    web.report(kept, Run(tuple(f"line {number}\n" for number in range(20))))
    for first in (0, 1, 1, 2, 5, 6, 19):
        web.send_records(kept, first, 1)
    ended = rig.ended(task)
    job = Job.get(Job.task == task.id)
    assert job.log_state is LogState.GAP
    assert [gap[:2] for gap in job.log_gaps] == [[3, 4], [7, 18]]
    said = texts(rig, ended, target="web-01")
    assert "LOG_GAP: log incomplete: records 3–4 missing" in said
    assert sorted(text for text in said if text.startswith("line ")) == sorted(f"line {n}" for n in (0, 1, 2, 5, 6, 19))
    web.send_records(kept, 3, 2)
    web.send_records(kept, 7, 12)
    until(lambda: Job.get(Job.task == task.id).log_state is LogState.COMPLETE)


def test_t042_a_command_that_the_broker_held_too_long_expires_at_the_hub_too_and_the_next_one_runs_once(rig):
    web = rig.spoke("web-01")
    rig.engine.start()
    web.start()
    assert web.live.wait(10)
    receive, held = web.receive, []
    web.receive = lambda frame: held.append(frame) if is_a(MessageType.COMMAND, frame) else receive(frame)
    task = rig.run("true", web)
    until(lambda: held)
    rig.shift_ms = 20 * 60 * 1000
    ended = rig.ended(task, TaskState.FAILED)
    assert Job.get(Job.task == task.id).state is JobState.EXPIRED
    assert "did not take it within 15 min" in ended.failure
    web.receive = receive
    for frame in held:
        receive(frame)
    again = rig.run("true", web)
    rig.ended(again)
    started = [cid for cid, kept in web.journal.items() if kept.result is not None and kept.result.started_at]
    assert started == [Job.get(Job.task == again.id).id]


def test_t042_what_was_sent_and_is_never_heard_of_again_is_unknown_and_not_guessed_at(rig):
    web = rig.spoke("web-01")
    rig.engine.start()
    web.start()
    assert web.live.wait(10)
    web.receive = lambda frame: None
    task = rig.run("true", web)
    until(lambda: Job.get(Job.task == task.id).sent_at)
    rig.shift_ms = 20 * 60 * 1000
    until(lambda: Outbox.get_or_none(Outbox.kind == OutboxKind.CANCEL))
    rig.shift_ms += 60 * 1000
    ended = rig.ended(task, TaskState.UNKNOWN)
    assert Job.get(Job.task == task.id).state is JobState.UNKNOWN
    assert ended.failure.endswith("it was sent, and nobody said within 15 min that it was taken")


def test_f12_a_hub_whose_clock_was_set_forward_is_believed_after_another_hello(rig):
    """A spoke goes by the time of its welcome; what comes from its future it refuses, and says hello anew."""
    web = rig.spoke("web-01", beats=False)
    rig.engine.start()
    web.start()
    assert web.live.wait(10)
    until(lambda: SpokeSession.get_or_none(SpokeSession.live))
    receive, early = web.receive, []
    web.receive = lambda frame: early.append(frame) if is_a(MessageType.COMMAND, frame) else receive(frame)
    task = rig.run("true", web)
    until(lambda: early)
    web.receive = receive
    body = Reject(IssuedFrame.get().mid, "ENV_FUTURE", "")
    web.publish(EventKind.REJECT, web.seal(MessageType.REJECT, body).frame)
    until(lambda: not SpokeSession.select().where(SpokeSession.live).exists())
    web.hello()
    rig.ended(task)
    assert IssuedFrame.select().count() == 2


def test_f12_a_hub_whose_clock_is_set_back_loses_nothing_of_what_spokes_say(rig):
    web = rig.spoke("web-01", lambda _: None)
    # A spoke's time is that of its welcome and what has passed since; only the hub's clock is wrong.
    web._mono_s = time.monotonic
    web.start()
    rig.engine.start()
    assert web.live.wait(10)
    task = rig.run("true", web)
    kept = until(lambda: next(iter(web.journal.values()), None))
    until(lambda: Job.get(Job.task == task.id).state is JobState.ACCEPTED)
    rig.shift_ms = -10 * 60 * 1000
    web.report(kept, Run(("said in time\n",)))
    rig.ended(task)
    assert texts(rig, task, target="web-01") == ["said in time"]
    assert "ENV_FUTURE" not in codes()


def test_a_command_for_a_session_that_is_over_is_not_sent_again_and_again(rig):
    web = rig.spoke("web-01", beats=False)
    rig.engine.start()
    web.start()
    assert web.live.wait(10)
    until(lambda: SpokeSession.get_or_none(SpokeSession.live))
    # Another process of it, of which the hub has not heard yet.
    web.stop()
    web.session = web._session()
    beat, web.beat = web.beat, lambda: None
    web.live.clear()
    web.start()
    assert web.live.wait(10)
    task = rig.run("true", web)
    until(lambda: web.rejects)
    until(lambda: not SpokeSession.select().where(SpokeSession.live).exists())
    assert IssuedFrame.select().where(IssuedFrame.refused).count() == 1
    web.beat = beat
    web.beat()
    rig.ended(task)
    assert IssuedFrame.select().count() == 2


def is_a(kind, frame):
    return frame[4:6] == kind.to_bytes(2, "big")


def test_t048_lost_queues_are_declared_anew_and_the_job_runs_once(rig):
    web = rig.spoke("web-01", lambda _: Run(("once\n",)))
    rig.engine.start()
    web.start()
    assert web.live.wait(10)
    web.stop()
    rig.broker.remove_queue(spoke_queue(web.id))
    task = rig.run("true", web)
    until(lambda: rig.broker._queues.get(spoke_queue(web.id)))
    web.start()
    assert texts(rig, rig.ended(task), target="web-01") == ["once"]
    assert len(web.journal) == 1


def test_a_reject_for_a_retired_key_seals_the_same_job_anew_and_another_reject_ends_it(rig):
    from wire.messages import Reject

    web = rig.spoke("web-01")
    rig.engine.start()
    web.start()
    assert web.live.wait(10)
    receive, first = web.receive, []

    def refuse_once(frame):
        if first:
            return receive(frame)
        first.append(frame)
        received = web.session.receive(frame, time.monotonic())
        body = Reject(received.header.mid, "ENV_SEAL", "")
        return web.publish(EventKind.REJECT, web.seal(MessageType.REJECT, body).frame)

    web.receive = refuse_once
    rig.ended(rig.run("true", web))
    assert len(web.journal) == 1

    def refuse(frame):
        received = web.session.receive(frame, time.monotonic())
        body = Reject(received.header.mid, "ENV_POLICY", "run_as root is not allowed here")
        web.publish(EventKind.REJECT, web.seal(MessageType.REJECT, body).frame)

    web.receive = refuse
    ended = rig.ended(rig.run("true", web), TaskState.FAILED)
    assert "ENV_POLICY: run_as root is not allowed here" in ended.failure


def test_a_job_begun_after_it_was_given_up_is_asked_to_stop(rig):
    web = rig.spoke("web-01", lambda _: None)
    rig.engine.start()
    web.start()
    assert web.live.wait(10)
    reply, held = web.reply, []
    web.reply = lambda kept, kind, body: held.append((kept, kind, body))
    task = rig.run("true", web)
    kept = until(lambda: next(iter(web.journal.values()), None))
    rig.shift_ms = 16 * 60 * 1000
    assert kept.cancelled.wait(10)
    rig.shift_ms += 60 * 1000
    rig.ended(task, TaskState.UNKNOWN)
    asked = Outbox.select().where(Outbox.kind == OutboxKind.CANCEL).count()
    reply(kept, MessageType.ACK, Ack(AckState.RUNNING, ""))
    until(lambda: Outbox.select().where(Outbox.kind == OutboxKind.CANCEL).count() > asked)


def test_a_secret_that_was_changed_behind_the_hubs_back_is_never_sent(rig):
    from hub.storage.models import Variable

    web = rig.spoke("web-01").start()
    rig.release([{"name": "x"}], version="0.0.1")
    found = rig.secret("ApiToken", "hunter2-hunter2")
    task = rig.deploy(rig.release([{"name": "call"}], [found]))
    with write_tx():
        Variable.update(name="Other").where(Variable.id == found["id"]).execute()
    rig.engine.start()
    ended = rig.ended(task, TaskState.FAILED)
    assert "'ApiToken' cannot be used" in ended.failure
    assert web.journal == {}


def test_a_spoke_whose_row_was_altered_takes_no_other_with_it(rig):
    web, db = rig.spoke("web-01"), rig.spoke("db-01")
    rig.engine.start()
    web.start()
    assert web.live.wait(10)
    web.stop()
    web.box = BoxKey.generate()
    with write_tx():
        Spoke.update(broker_user="someone else").where(Spoke.id == web.id).execute()
    web.restart()
    db.start()
    assert db.live.wait(10)
    rig.ended(rig.run("true", db))
    assert not until(lambda: SpokeSession.get_or_none(SpokeSession.spoke == db.id)).valid_until


def _hello_of(spoke):
    sent, spoke.publish = [], lambda kind, frame: sent.append(frame)
    spoke.hello()
    del spoke.publish
    return sent[0]
