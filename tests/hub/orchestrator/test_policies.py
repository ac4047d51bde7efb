"""What deployments do with targets that are away, as their machine policies say: fail, skip, wait, catch up."""

import pytest

from hub.acting import Itself
from hub.infrastructure import machine_policies, targets
from hub.infrastructure.machine_policies import PolicyRequest
from hub.orchestrator import task_log
from hub.orchestrator.catching_up import CatchingUp, CatchingUpParts
from hub.orchestrator.errors import PlanImpossible
from hub.orchestrator.submitting import plan_shown
from hub.states import Health, JobState, OutboxState, TaskState, Unavailable
from hub.storage.database import write_tx
from hub.storage.models import Event, Job, MachinePolicy, MissedDeployment, Outbox, Target, Task, now_ms
from tests.hub.orchestrator.rig import Rig, Run, until
from wire.messages import Op

STEPS = ({"name": "Greet", "roles": ["web"]}, {"name": "Migrate", "roles": ["db"]})


@pytest.fixture
def rig(installed_hub_on_each):
    made = Rig(installed_hub_on_each)
    yield made
    made.close()


def acting(rig):
    return Itself(now_ms(), rig.hub.vault, rig.hub.seals)


def give(rig, *rows, **wanted):
    """A policy of its own for these targets."""
    with write_tx():
        policy = machine_policies.create_policy(acting(rig), PolicyRequest("web", **wanted))
        for row in rows:
            machine_policies.give_policy(row, policy, now_ms())
    return policy


def is_now(row, health):
    return until(lambda: Target.get_by_id(row.id).health is health)


def away(spoke):
    """It was there, and falls silent."""
    is_now(spoke.target, Health.HEALTHY)
    spoke.stop()
    is_now(spoke.target, Health.UNAVAILABLE)


def two(rig, **wanted):
    """web-01 is there, web-02 is away and has this policy; the engine runs."""
    one, other = (rig.spoke(name, roles=["web"]).start() for name in ("web-01", "web-02"))
    rig.engine.start()
    give(rig, other.target, **wanted)
    is_now(one.target, Health.HEALTHY)
    away(other)
    return one, other


def back(spoke):
    spoke.restart()
    is_now(spoke.target, Health.HEALTHY)


def catching_up(rig):
    return CatchingUp(CatchingUpParts(rig.hub.vault, rig.hub.seals, rig.engine.orchestrator))


def reached(task):
    return {job.target_name for job in Job.select().where(Job.task == task.id)}


def test_a_policy_that_fails_makes_the_plan_impossible_and_says_who_and_why(rig):
    two(rig, unavailable=Unavailable.FAIL)
    words = r"target 'web-02' is unavailable \(no heartbeat since .*\), and its policy 'web' lets no deployment begin"
    with pytest.raises(PlanImpossible, match=words):
        rig.deploy(rig.release(STEPS[:1]))
    assert Task.select().count() == 0


def test_a_policy_that_skips_leaves_it_out_and_the_plan_says_so_before_anything_moves(rig):
    two(rig, unavailable=Unavailable.SKIP)
    release = rig.release(STEPS[:1])
    shown = plan_shown(rig.context, release=release, environment=rig.environment)
    assert shown["steps"][0]["batches"] == [["web-01"]]
    (warning,) = shown["warnings"]
    assert warning.startswith("web-02 is left out: it is unavailable (no heartbeat since")
    assert warning.endswith("and its policy 'web' skips it")
    task = rig.ended(rig.deploy(release))
    assert reached(task) == {"web-01"}
    assert warning in [line.text for line in task_log.read(rig.hub.vault, task.id)[0]]
    assert MissedDeployment.select().count() == 0


def test_a_target_that_is_there_is_never_skipped(rig):
    one, other = (rig.spoke(name, roles=["web"]).start() for name in ("web-01", "web-02"))
    rig.engine.start()
    give(rig, one.target, other.target, unavailable=Unavailable.SKIP)
    is_now(one.target, Health.HEALTHY)
    is_now(other.target, Health.HEALTHY)
    assert reached(rig.ended(rig.deploy(rig.release(STEPS[:1])))) == {"web-01", "web-02"}


def test_a_policy_that_waits_says_so_and_goes_on_when_it_is_back(rig):
    _, other = two(rig, unavailable=Unavailable.WAIT, wait_s=3600)
    task = rig.deploy(rig.release([{"name": "Greet", "roles": ["web"], "rolling": "100%"}]))
    words = until(lambda: Task.get_by_id(task.id).waiting_for)
    assert words.startswith("waits for web-02: last heartbeat ")
    assert words.endswith(" UTC by policy 'web'")
    back(other)
    assert reached(rig.ended(task)) == {"web-01", "web-02"}


def test_a_policy_waits_no_longer_than_it_says(rig):
    two(rig, unavailable=Unavailable.WAIT, wait_s=60)
    task = rig.deploy(rig.release([{"name": "Greet", "roles": ["web"], "rolling": "100%"}]))
    until(lambda: Job.select().where(Job.state == JobState.SUCCEEDED).count() == 1)
    assert rig.state(task) is TaskState.RUNNING
    rig.shift_ms = 130_000
    found = rig.ended(task, TaskState.FAILED)
    assert found.failure == "Greet on web-02: expired: its spoke did not take it within 1 min"


def test_a_target_that_comes_back_gets_what_it_missed(rig):
    one, other = two(rig, unavailable=Unavailable.SKIP, catch_up=True)
    db = rig.spoke("db-01", roles=["db"]).start()
    is_now(db.target, Health.HEALTHY)
    for version in ("1.0.0", "1.0.1"):
        missed = rig.ended(rig.deploy(rig.release(STEPS, version=version)))
    assert reached(missed) == {"web-01", "db-01"}
    assert MissedDeployment.select().count() == 2
    assert catching_up(rig).sweep() == 0
    back(other)
    assert catching_up(rig).sweep() == 1
    task = Task.select().where(Task.title.startswith("Catch up")).get()
    assert task.title == "Catch up web-02: Storefront 1.0.1 to Production"
    assert task.created_by == "system"
    assert reached(rig.ended(task)) == {"web-02"}
    assert {kept.command.job["release"]["version"] for kept in other.journal.values()} == {"1.0.1"}
    event = Event.get(Event.action == "deployment.catch-up")
    assert (event.object, event.outcome) == (f"task:{task.id}", "ok")
    assert MissedDeployment.select().count() == 0
    assert catching_up(rig).sweep() == 0
    assert len(one.journal) == 2


def test_a_target_that_got_it_or_something_newer_meanwhile_is_left_alone(rig):
    _, other = two(rig, unavailable=Unavailable.SKIP, catch_up=True)
    rig.ended(rig.deploy(rig.release(STEPS[:1])))
    back(other)
    rig.ended(rig.deploy(rig.release(STEPS[:1], version="1.0.1")))
    assert catching_up(rig).sweep() == 0
    assert MissedDeployment.select().count() == 0
    assert len(other.journal) == 1


def test_a_target_that_was_disabled_meanwhile_gets_nothing(rig):
    _, other = two(rig, unavailable=Unavailable.SKIP, catch_up=True)
    rig.ended(rig.deploy(rig.release(STEPS[:1])))
    with write_tx():
        targets.disable_target(acting(rig), other.target.id, "being repaired")
    back(other)
    assert catching_up(rig).sweep() == 0
    with write_tx():
        targets.enable_target(acting(rig), other.target.id)
    assert catching_up(rig).sweep() == 0
    assert other.journal == {}


def test_what_failed_elsewhere_is_not_caught_up_with(rig):
    one, other = two(rig, unavailable=Unavailable.SKIP, catch_up=True)
    one.work = lambda _: Run(state="failed", exit_code=1)
    rig.ended(rig.deploy(rig.release(STEPS[:1])), TaskState.FAILED)
    back(other)
    assert catching_up(rig).sweep() == 0
    assert other.journal == {}


def test_a_deployment_that_is_tried_again_is_caught_up_with_as_well(rig):
    one, other = two(rig, unavailable=Unavailable.SKIP, catch_up=True)
    one.work = lambda _: Run(state="failed", exit_code=1)
    failed = rig.ended(rig.deploy(rig.release(STEPS[:1])), TaskState.FAILED)
    one.work = lambda _: Run()
    with write_tx():
        again = rig.engine.orchestrator.retry(rig.context, failed)
    rig.ended(again)
    back(other)
    assert catching_up(rig).sweep() == 1
    until(lambda: len(other.journal) == 1)


def test_a_policy_that_was_changed_outside_the_hub_says_nothing(rig):
    _, _ = two(rig, unavailable=Unavailable.FAIL)
    with write_tx():
        MachinePolicy.update(unavailable=Unavailable.WAIT).execute()
    task = rig.ended(rig.deploy(rig.release(STEPS[:1])))
    assert reached(task) == {"web-01"}


def test_work_for_an_ssh_machine_that_is_out_of_reach_is_held_until_a_check_gets_through(rig):
    ends = [("unavailable", "failed"), ("healthy", "succeeded")]

    def work(command):
        if command.op != Op.CHECK:
            return Run()
        word, state = ends.pop(0)
        return Run(outputs=(("health", word, False),), state=state, message="no answer", begun=False)

    spoke = rig.ssh_spoke(work).start()
    row = rig.ssh_target("web-1", roles=["web"])
    rig.engine.start()
    spoke.live.wait(10)

    def check():
        with write_tx():
            return rig.engine.orchestrator.submit_check(rig.context, row)

    rig.ended(check(), TaskState.FAILED)
    assert Target.get_by_id(row.id).health is Health.UNAVAILABLE
    task = rig.deploy(rig.release(STEPS[:1]))
    job = Job.get(Job.task == task.id)
    assert (job.state, Outbox.get(Outbox.cid == job.id).state) == (JobState.SENT, OutboxState.HELD)
    words = until(lambda: Task.get_by_id(task.id).waiting_for)
    assert words.startswith("waits for web-1: no answer; fails at ")
    rig.ended(check())
    rig.ended(task)
