"""Checks of targets over real rows and the real wire: what they find, when they begin, and whom they do not hold up."""

import itertools

import pytest

from hub.acting import Itself
from hub.infrastructure import machine_policies
from hub.infrastructure.machine_policies import PolicyRequest
from hub.infrastructure.target_health import check_says, spoke_says
from hub.orchestrator.routine_checks import AT_ONCE, CheckParts, RoutineChecks
from hub.states import Health, TaskKind, TaskState
from hub.storage.database import write_tx
from hub.storage.models import Event, MachinePolicy, Target, TargetCare, Task, now_ms
from tests.hub.orchestrator.rig import RUN_SCRIPT, Rig, Run, until
from wire.messages import Op


@pytest.fixture
def rig(installed_hub_on_each):
    made = Rig(installed_hub_on_each)
    yield made
    made.close()


def routine(rig, chance=lambda: 0.5):
    step_kinds = {"run-script": RUN_SCRIPT}
    return RoutineChecks(
        CheckParts(
            rig.hub.vault, rig.hub.seals, rig.engine.orchestrator, lambda: step_kinds, rig.parts.clock_ms, chance
        )
    )


def check(rig, target):
    with write_tx():
        return rig.engine.orchestrator.submit_check(rig.context, target)


def health(row):
    row = Target.get_by_id(row.id)
    return row.health, row.health_reason


def answering(**words):
    """What an SSH spoke answers to a check."""

    def work(command):
        assert command.op in (Op.CHECK, Op.RUN_JOB)
        return words[command.job["target"]["name"].replace("-", "_")] if command.op == Op.CHECK else Run()

    return work


def found(word, message):
    state = "succeeded" if word in ("healthy", "warning") else "failed"
    return Run(outputs=(("health", word, False),), state=state, message=message, begun=False)


def make_policy(rig, **wanted):
    with write_tx():
        itself = Itself(now_ms(), rig.hub.vault, rig.hub.seals)
        return machine_policies.create_policy(itself, PolicyRequest("web", **wanted))


def test_what_a_check_finds_becomes_the_health_with_its_words(rig):
    said = {
        "web_1": found("healthy", "Python 3.11"),
        "web_2": found("warning", "Python 3.11; warning: 100 MiB of disk are left"),
        "web_3": found("unhealthy", "no Python 3.9 or newer"),
        "web_4": found("unavailable", "nothing listens at web-4:22"),
    }
    rig.ssh_spoke(answering(**said)).start()
    rows = [rig.ssh_target(name.replace("_", "-")) for name in said]
    rig.engine.start()
    for row in rows:
        check(rig, row)
    until(lambda: Task.select().where(Task.ended_at.is_null(False)).count() == len(rows))
    assert [health(row) for row in rows] == [
        (Health.HEALTHY, ""),
        (Health.WARNING, said["web_2"].message),
        (Health.UNHEALTHY, said["web_3"].message),
        (Health.UNAVAILABLE, said["web_4"].message),
    ]
    assert Event.select().where(Event.action == "target.health").count() == len(rows)


def test_heartbeats_of_the_ssh_spoke_do_not_make_its_targets_healthy(rig):
    row = rig.ssh_target("web-1")
    spoke = rig.ssh_spoke()
    with write_tx():
        Target.update(spoke=spoke.id).where(Target.id == row.id).execute()
    spoke.start()
    rig.engine.start()
    spoke.live.wait(10)
    until(lambda: rig.engine.sessions._health.get(spoke.id, ())[:2] == (Health.HEALTHY, ""))
    assert health(row)[0] is Health.UNKNOWN


def test_nobody_can_look_while_the_ssh_spoke_is_away_and_it_is_looked_at_anew_when_it_is_back(rig):
    spoke = rig.ssh_spoke(answering(web_1=found("healthy", ""))).start()
    row = rig.ssh_target("web-1")
    rig.engine.start()
    until(lambda: routine(rig).sweep() or health(row)[0] is Health.HEALTHY)
    until(lambda: health(row)[0] is Health.HEALTHY)
    assert TargetCare.get(TargetCare.target == row.id).due_at > now_ms()
    spoke.stop()
    until(lambda: health(row)[0] is Health.UNAVAILABLE)
    assert health(row)[1].startswith("nobody can look: the SSH spoke beside the hub is away: no heartbeat since")
    assert routine(rig).sweep() == 0
    spoke.restart()
    until(lambda: routine(rig).sweep() == 1)
    until(lambda: health(row)[0] is Health.HEALTHY)


def test_what_is_not_well_is_looked_at_again_before_its_interval_is_over(rig):
    answers = [found("unavailable", "no answer"), found("healthy", "")]
    spoke = rig.ssh_spoke(lambda _: answers.pop(0)).start()
    row = rig.ssh_target("web-1")
    rig.engine.start()
    spoke.live.wait(10)
    until(lambda: routine(rig).sweep() == 1)
    until(lambda: health(row)[0] is Health.UNAVAILABLE)
    assert routine(rig).sweep() == 0
    assert TargetCare.get(TargetCare.target == row.id).due_at <= now_ms() + 300_000


def test_checks_that_came_together_do_not_stay_together(rig):
    spoke = rig.ssh_spoke(lambda _: found("healthy", "")).start()
    rows = [rig.ssh_target(f"web-{number}") for number in range(8)]
    rig.engine.start()
    spoke.live.wait(10)
    chances = iter(number / 8 for number in range(8))
    until(lambda: routine(rig, lambda: next(chances)).sweep() == len(rows))
    due = sorted(care.due_at for care in TargetCare.select())
    assert due[-1] - due[0] > machine_policies.INTERVAL_S * 1000 * 0.7
    assert all(after - before > 60_000 for before, after in itertools.pairwise(due))


def test_a_policys_script_decides_beside_the_heartbeat(rig):
    ends = [Run(("disk is full\n",), state="failed", exit_code=3, message="disk is full"), Run()]
    web = rig.spoke("web-01", lambda command: ends.pop(0) if command.op == Op.RUN_JOB else Run()).start()
    rig.engine.start()
    until(lambda: health(web.target)[0] is Health.HEALTHY)
    assert routine(rig).sweep() == 0
    policy = make_policy(rig, script="df /")
    with write_tx():
        assert machine_policies.give_policy(web.target, policy, now_ms())
    until(lambda: routine(rig).sweep() == 1)
    until(lambda: health(web.target) == (Health.UNHEALTHY, "health script: disk is full"))
    web.restart()  # Its first heartbeats are news to the engine.
    web.live.wait(10)
    rig.engine.sessions._health.clear()
    until(lambda: rig.engine.sessions._health.get(web.id, ())[:2] == (Health.HEALTHY, ""))
    assert health(web.target)[0] is Health.UNHEALTHY
    check(rig, web.target)
    until(lambda: health(web.target) == (Health.HEALTHY, ""))


def test_a_good_check_does_not_talk_a_warning_of_the_spoke_away_and_a_taken_policy_takes_its_verdict_along(rig):
    ends = [Run(state="failed", exit_code=3), Run()]
    web = rig.spoke("web-01", lambda command: ends.pop(0) if command.op == Op.RUN_JOB else Run()).start()
    rig.engine.start()
    until(lambda: health(web.target)[0] is Health.HEALTHY)
    policy = make_policy(rig, script="df /")
    with write_tx():
        machine_policies.give_policy(web.target, policy, now_ms())
    check(rig, web.target)
    until(lambda: health(web.target) == (Health.UNHEALTHY, "health script: exit code 3"))
    with write_tx():
        spoke_says(web.id, Health.WARNING, "its clock is off", now_ms())
    assert health(web.target)[0] is Health.UNHEALTHY
    check(rig, web.target)
    until(lambda: health(web.target) == (Health.WARNING, "its clock is off"))
    with write_tx():
        check_says(Target.get_by_id(web.target.id), Health.UNHEALTHY, "health script: exit code 4", now_ms())
    assert health(web.target)[0] is Health.UNHEALTHY
    with write_tx():
        machine_policies.give_policy(Target.get_by_id(web.target.id), None, now_ms())
    assert health(web.target) == (Health.WARNING, "its clock is off")


def test_a_script_that_was_changed_outside_the_hub_runs_nowhere(rig):
    web = rig.spoke("web-01").start()
    rig.engine.start()
    until(lambda: health(web.target)[0] is Health.HEALTHY)
    policy = make_policy(rig, script="df /")
    with write_tx():
        machine_policies.give_policy(web.target, policy, now_ms())
        MachinePolicy.update(script="rm -rf /").where(MachinePolicy.id == policy.id).execute()
    assert routine(rig).sweep() == 0
    assert health(web.target)[0] is Health.UNHEALTHY
    assert web.journal == {}


def test_a_script_check_waits_while_its_target_has_work(rig):
    web = rig.spoke("web-01", lambda _: None).start()
    rig.engine.start()
    until(lambda: health(web.target)[0] is Health.HEALTHY)
    policy = make_policy(rig, script="df /")
    with write_tx():
        machine_policies.give_policy(web.target, policy, now_ms())
    rig.run("sleep 100", web)
    assert routine(rig).sweep() == 0
    assert Task.select().where(Task.kind == TaskKind.HEALTH_CHECK).count() == 0


def test_of_five_hundred_targets_few_are_checked_at_once_and_a_deployment_starts_meanwhile(rig):
    silent = rig.ssh_spoke(lambda command: None if command.op == Op.CHECK else Run()).start()
    rows = [rig.ssh_target(f"web-{number:03}", roles=["web"]) for number in range(500)]
    rig.engine.start()
    silent.live.wait(10)
    checks = routine(rig)
    until(lambda: checks.sweep() == AT_ONCE)
    assert checks.sweep() == 0
    until(lambda: len(silent.journal) == AT_ONCE)
    busy = {kept.command.job["target"]["id"] for kept in silent.journal.values()}
    under_check = next(row for row in rows if row.id in busy)
    release = rig.release([{"name": "Greet", "roles": ["web"]}])
    # On a target of which a check is under way, through the spoke that all checks go through.
    rig.ended(rig.deploy(release, only_targets=[under_check.id]))
    still = Task.select().where(Task.kind == TaskKind.HEALTH_CHECK, Task.state == TaskState.RUNNING).count()
    assert still == AT_ONCE


def test_routine_checks_leave_no_trail_in_the_audit_and_go_after_a_while(rig):
    spoke = rig.ssh_spoke(lambda _: found("healthy", "")).start()
    rig.ssh_target("web-1")
    rig.engine.start()
    spoke.live.wait(10)
    checks = routine(rig)
    until(lambda: checks.sweep() == 1)
    until(lambda: Task.get().ended_at)
    assert Event.select().where(Event.action.startswith("health-check")).count() == 0
    checks.tidy()
    assert Task.select().count() == 1
    rig.shift_ms = 7 * 3600 * 1000
    checks.tidy()
    assert Task.select().count() == 0
