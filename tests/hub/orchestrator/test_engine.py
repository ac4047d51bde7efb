"""The engine over real rows and the real wire: only the broker and the supervisors are simulated."""

import time
from threading import Event as Gate
from threading import Thread

import pytest

from hub.orchestrator import task_log
from hub.orchestrator.engine import Engine
from hub.orchestrator.events import CancelAsked
from hub.orchestrator.task_steps import task_steps
from hub.states import Health, JobState, LogState, OutboxKind, OutboxState, SpokeState, TaskState
from hub.storage.database import connection, write_tx
from hub.storage.models import Event, Job, Outbox, OutputVariable, Spoke, Target, Task
from runner.contract.spool import CHAIN_START
from tests.hub.orchestrator.rig import Rig, Run, until, variable
from wire.envelope import MessageType
from wire.messages import Ack, AckState, Command, EndState, Reject, Result
from wire.topology import EventKind


@pytest.fixture
def rig(installed_hub_on_each):
    made = Rig(installed_hub_on_each)
    yield made
    made.close()


def texts(rig, task, **filters):
    lines, _ = task_log.read(rig.hub.vault, task.id, **filters)
    return [line.text for line in lines]


def test_a_script_goes_out_and_its_lines_and_its_end_come_back(rig):
    web = rig.spoke("web-01", lambda _: Run(("hello\n", "world\n"))).start()
    rig.engine.start()
    task = rig.ended(rig.run("echo hello", web))
    assert texts(rig, task, target="web-01") == ["hello", "world"]
    job = Job.get(Job.task == task.id)
    assert (job.state, job.exit_code, job.log_state) == (JobState.SUCCEEDED, 0, LogState.COMPLETE)
    assert task_steps(task.id)[0]["state"] == "succeeded"
    command = web.journal[job.id].command
    assert command.job["properties"]["script"] == "echo hello"
    assert [ref.package for ref in command.packages] == ["manyarm-runner"]
    assert Outbox.get(Outbox.cid == job.id).state is OutboxState.DONE
    assert Event.select().where(Event.action == "script-run.succeeded").count() == 1


def test_a_task_submitted_before_its_spoke_is_live_waits_with_words_and_then_runs(rig):
    web = rig.spoke("web-01")
    rig.engine.start()
    task = rig.run("true", web)
    words = until(lambda: Task.get_by_id(task.id).waiting_for)
    assert words.startswith("waits for web-01: never heard of yet; fails at ")
    web.start()
    assert rig.ended(task).waiting_for == ""


def test_while_the_broker_takes_nothing_a_task_says_so_and_not_that_its_spoke_is_silent(rig):
    rig.broker_trouble = "the broker takes no messages"
    web = rig.spoke("web-01")
    rig.engine.start()
    task = rig.run("true", web)
    words = until(lambda: Task.get_by_id(task.id).waiting_for)
    assert words.startswith("waits for web-01: the broker takes no messages; fails at ")
    rig.broker_trouble = ""
    web.start()
    assert rig.ended(task).waiting_for == ""


def test_a_spoke_that_restarts_gets_the_same_job_under_its_new_session_and_runs_it_once(rig):
    starts = []
    web = rig.spoke("web-01", lambda command: starts.append(command.cid))
    rig.engine.start()
    web.start()
    assert web.live.wait(10)
    task = rig.run("true", web)
    until(lambda: starts)
    web.restart()
    kept = until(lambda: next(iter(web.journal.values())))
    assert web.live.wait(10)
    web.report(kept, Run(("late\n",)))
    rig.ended(task)
    assert len(starts) == 1


def test_a_command_that_nobody_acknowledged_is_sent_again_under_the_same_cid(rig):
    web = rig.spoke("web-01")
    rig.engine.start()
    web.start()
    assert web.live.wait(10)
    receive, dropped = web.receive, []
    web.receive = dropped.append
    task = rig.run("true", web)
    until(lambda: dropped)
    web.receive = receive
    rig.ended(task)
    assert len(web.journal) == 1


def test_outputs_of_a_step_reach_the_next_one_byte_identical_as_literals(rig):
    hostile = "{{ config }} #{Secret} $(id) ${jndi:} %(x)s"

    def work(command):
        if command.job["step"]["name"] == "first":
            return Run(outputs=(("Found", hostile, False), ("Token", "s3cr3t-value", True)))
        return Run(("it is s3cr3t-value here\n",))

    web = rig.spoke("web-01", work).start()
    rig.engine.start()
    task = rig.ended(rig.deploy(rig.release([{"name": "first"}, {"name": "second"}])))
    second = Job.get((Job.task == task.id) & (Job.step == "second"))
    command = web.journal[second.id].command
    assert command.job["literals"]["Manyarm.Step[first].Output.Found"] == hostile
    assert command.job["literals"]["Manyarm.Step[first].Output[web-01].Found"] == hostile
    assert command.secrets["Manyarm.Step[first].Output.Token"] == "s3cr3t-value"
    assert "Manyarm.Step[first].Output.Token" in command.job["secret_names"]
    row = OutputVariable.get(OutputVariable.name == "Token")
    assert row.value == ""
    assert "s3cr3t" not in row.value_sealed
    assert texts(rig, task, step="second", target="web-01") == ["it is *** here"]


def test_secrets_are_opened_when_the_job_is_sealed_and_masked_in_its_log(rig):
    web = rig.spoke("web-01", lambda _: Run(("the token is hunter2-hunter2\n",))).start()
    rig.release([{"name": "x"}], version="0.0.1")
    found = rig.secret("ApiToken", "hunter2-hunter2")
    rig.engine.start()
    task = rig.ended(rig.deploy(rig.release([{"name": "call"}], [found, variable("Greeting", "hello")])))
    command = next(iter(web.journal.values())).command
    assert command.secrets == {"ApiToken": "hunter2-hunter2"}
    assert command.job["variables"]["Greeting"] == "hello"
    assert "hunter2" not in str(command.job)
    assert texts(rig, task, target="web-01") == ["the token is ***"]


def test_a_job_whose_lines_come_is_running_and_a_short_one_says_when_it_began(rig):
    gate = Gate()
    web = rig.spoke("web-01", lambda _: Run(gate=gate)).start()
    rig.engine.start()
    reply = web.reply
    # The real spoke says that it accepted, and next how it ended; in between its lines are all that is heard.
    web.reply = lambda kept, kind, body: body == Ack(AckState.RUNNING, "") or reply(kept, kind, body)
    task = rig.run("sleep 60", web)
    kept = until(lambda: next(iter(web.journal.values()), None))
    until(lambda: Job.get(Job.task == task.id).state is JobState.ACCEPTED)
    web.log(kept, ("begun\n",))
    until(lambda: Job.get(Job.task == task.id).state is JobState.RUNNING)
    gate.set()
    assert Job.get(Job.task == rig.ended(task).id).started_at is not None
    web.work = lambda _: Run()
    short = Job.get(Job.task == rig.ended(rig.run("true", web)).id)
    assert short.sent_at <= short.started_at <= short.ended_at


def test_a_cancel_overtakes_the_work_and_ends_it(rig):
    gate = Gate()
    web = rig.spoke("web-01", lambda _: Run(("begun\n",), gate=gate)).start()
    rig.engine.start()
    task = rig.run("sleep 60", web)
    until(lambda: Job.select().where(Job.state == JobState.RUNNING).exists())
    with write_tx():
        rig.engine.orchestrator.ask_cancel(rig.context, Task.get_by_id(task.id))
    ended = rig.ended(task, TaskState.CANCELLED)
    assert texts(rig, ended, target="web-01")[0] == "begun"


def test_a_cancel_that_comes_before_its_command_is_answered_and_counts(rig):
    web = rig.spoke("web-01").start()
    rig.engine.start()
    assert web.live.wait(10)
    lost = []

    def receive(frame):
        received = web.session.receive(frame, time.monotonic())
        if isinstance(received.body, Command):
            lost.append(received)
            return
        at = int(time.time() * 1000)
        body = Result(EndState.CANCELLED, None, "", (), (), (), 0, None, at, at, 0, CHAIN_START.hex(), "")
        header = {"cid": received.header.cid, "re": received.header.mid, "rh": received.frame_sha256}
        web.publish(EventKind.RESULT, web.seal(MessageType.RESULT, body, **header).frame)

    web.receive = receive
    task = rig.run("sleep 60", web)
    until(lambda: lost)
    with write_tx():
        rig.engine.orchestrator.ask_cancel(rig.context, Task.get_by_id(task.id))
    rig.ended(task, TaskState.CANCELLED)
    assert not Event.select().where(Event.action == "reply.refused").exists()


def test_a_reject_of_a_second_delivery_ends_no_job_that_was_accepted(rig):
    gate = Gate()
    web = rig.spoke("web-01", lambda _: Run(gate=gate)).start()
    rig.engine.start()
    task = rig.run("sleep 60", web)
    until(lambda: Job.get(Job.task == task.id).state is JobState.RUNNING)
    body = Reject(next(iter(web.journal.values())).mid, "ENV_POLICY", "")
    web.publish(EventKind.REJECT, web.seal(MessageType.REJECT, body).frame)
    gate.set()
    rig.ended(task)


def test_a_cancel_behind_a_job_that_was_given_up_ends_with_its_answer_or_its_time(rig):
    gate = Gate()
    web = rig.spoke("web-01", lambda _: Run(gate=gate)).start()
    rig.engine.start()
    task = rig.run("sleep 60", web)
    until(lambda: Job.get(Job.task == task.id).state is JobState.RUNNING)
    cancel = web._cancel
    web._cancel = lambda *_: None
    rig.shift_ms = 3 * 3600 * 1000
    rig.ended(task, TaskState.UNKNOWN)
    rig.shift_ms = 0
    sent = until(lambda: Outbox.get_or_none(Outbox.kind == OutboxKind.CANCEL))
    assert sent.state not in (OutboxState.DONE, OutboxState.DEAD)
    web._cancel = cancel
    gate.set()
    until(lambda: Outbox.get_by_id(sent.id).state is OutboxState.DONE)
    Outbox.update(state=OutboxState.WAITING).where(Outbox.id == sent.id).execute()
    rig.shift_ms = 3 * 24 * 3600 * 1000
    rig.engine.clockwork._tidy(rig.parts.clock_ms())
    assert Outbox.get_or_none(Outbox.id == sent.id) is None


def test_a_cancel_before_the_spoke_was_ever_live_takes_the_command_back(rig):
    web = rig.spoke("web-01")
    rig.engine.start()
    task = rig.run("true", web)
    with write_tx():
        rig.engine.orchestrator.ask_cancel(rig.context, Task.get_by_id(task.id))
    rig.ended(task, TaskState.CANCELLED)
    web.start()
    assert web.live.wait(10)
    assert web.journal == {}


def test_the_second_deployment_to_an_environment_waits_for_the_first(rig):
    gate = Gate()
    rig.spoke("web-01", lambda _: Run(gate=gate)).start()
    rig.engine.start()
    release = rig.release([{"name": "deploy"}])
    first, second = rig.deploy(release), rig.deploy(release)
    waiting = Task.get_by_id(second.id)
    assert waiting.state is TaskState.QUEUED
    assert waiting.waiting_for.startswith("waits for Deploy Storefront 1.0.0 to Production")
    gate.set()
    rig.ended(first)
    rig.ended(second)
    assert Task.get_by_id(second.id).started_at >= Task.get_by_id(first.id).ended_at


def test_two_deployments_of_the_same_instant_run_one_after_the_other(rig):
    web = rig.spoke("web-01")
    release = rig.release([{"name": "x"}])
    second = []

    def deploy():
        with connection():
            second.append(rig.deploy(release))

    # Two engines on one PostgreSQL: neither sees what the other has not committed.
    with write_tx():
        first = rig.deploy(release)
        other = Thread(target=deploy)
        other.start()
        other.join(0.5)
    other.join(10)
    assert rig.state(first) is TaskState.RUNNING
    assert rig.state(second[0]) is TaskState.QUEUED
    web.start()
    rig.engine.start()
    rig.ended(first)
    rig.ended(second[0])


def test_a_deployment_that_comes_while_the_one_before_it_ends_is_not_forgotten(rig):
    web = rig.spoke("web-01")
    release = rig.release([{"name": "x"}])
    first = rig.deploy(release)
    ended = Gate()

    def end():
        with connection():
            rig.engine.feed(first.id, CancelAsked("ada"))
        ended.set()

    with write_tx():
        second = rig.deploy(release)
        other = Thread(target=end)
        other.start()
        ended.wait(0.5)
    other.join(10)
    assert rig.state(first) is TaskState.CANCELLED
    web.start()
    rig.engine.start()
    rig.ended(second)


def test_a_revoked_spoke_fails_its_job_and_what_it_says_later_is_refused(rig):
    gate = Gate()
    web = rig.spoke("web-01", lambda _: Run(("begun\n",), gate=gate)).start()
    rig.engine.start()
    task = rig.run("sleep 60", web)
    until(lambda: Job.select().where(Job.state == JobState.RUNNING).exists())
    with write_tx():
        row = Spoke.get_by_id(web.id)
        row.state = SpokeState.REVOKED
        rig.hub.seals.seal(row)
        row.save()
    rig.engine.spoke_revoked(web.id)
    ended = rig.ended(task, TaskState.FAILED)
    assert "not trusted any more" in ended.failure
    gate.set()
    until(lambda: rig.engine.quarantine.total)
    assert Job.get(Job.task == task.id).state is JobState.REVOKED


def test_a_restarted_engine_goes_on_where_the_former_one_stopped(rig):
    gate = Gate()
    web = rig.spoke("web-01", lambda _: Run(("one\n",), gate=gate)).start()
    rig.engine.start()
    task = rig.run("sleep", web)
    until(lambda: Job.select().where(Job.state == JobState.RUNNING).exists())
    rig.engine.stop()
    gate.set()
    rig.engine = Engine(rig.parts)
    rig.engine.start()
    assert texts(rig, rig.ended(task), target="web-01") == ["one"]
    assert len(web.journal) == 1


def test_a_spoke_that_falls_silent_is_shown_unavailable_and_healthy_again_when_it_speaks(rig):
    web = rig.spoke("web-01").start()
    rig.engine.start()
    health = lambda: Target.get_by_id(web.target.id).health  # noqa: E731
    until(lambda: health() is Health.HEALTHY)
    web.stop()
    until(lambda: health() is Health.UNAVAILABLE)
    web.start()
    until(lambda: health() is Health.HEALTHY)


def test_a_result_waits_for_the_log_before_it(rig):
    web = rig.spoke("web-01", lambda _: None).start()
    rig.engine.start()
    task = rig.run("true", web)
    kept = until(lambda: next(iter(web.journal.values()), None))
    web.mute_logs = True
    web.report(kept, Run(("one\n", "two\n")))
    until(lambda: len(web.sent) > 4)
    assert Task.get_by_id(task.id).ended_at is None
    web.send_records(kept, 0, 2)
    assert texts(rig, rig.ended(task), target="web-01") == ["one", "two"]


def test_many_jobs_on_many_spokes_all_end_once(rig):
    spokes = [rig.spoke(f"s{number:02}", lambda _: Run(("line\n",))).start() for number in range(10)]
    rig.engine.start()
    tasks = [rig.run("true", *spokes) for _ in range(10)]
    for task in tasks:
        rig.ended(task)
    assert Job.select().where(Job.state == JobState.SUCCEEDED).count() == 100
    assert sum(len(spoke.journal) for spoke in spokes) == 100
    assert all(Task.get_by_id(task.id).log_lines >= 11 for task in tasks)
