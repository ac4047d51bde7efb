"""The queue over real rows, on both databases: who begins when something ends, and what those read that wait."""

from threading import Event as Gate
from threading import Thread

import pytest

from hub.access import users
from hub.errors import Conflict
from hub.orchestrator import admitting
from hub.orchestrator.admitting import Place, QueueLimits
from hub.orchestrator.engine import Engine
from hub.orchestrator.events import CancelAsked
from hub.states import Priority, TaskState
from hub.storage.database import connection, write_tx
from hub.storage.models import Environment, Event, Plan, Project, QueuePause, TargetEnvironment, Task, User
from tests.hub.orchestrator.rig import Rig


@pytest.fixture
def small(installed_hub_on_each):
    """A hub with two places."""
    made = Rig(installed_hub_on_each, queue_limits=QueueLimits(tasks_at_once=2, project_tasks_at_once=2))
    yield made
    made.close()


def state(task):
    return Task.get_by_id(task.id).state


def words(task):
    return Task.get_by_id(task.id).waiting_for


def end(rig, task):
    rig.engine.feed(task.id, CancelAsked("ada"))
    assert state(task) is TaskState.CANCELLED


def look_after(rig):
    rig.engine.steering.turns.look_after()


def pause(rig, place, **where):
    with write_tx():
        ada = User.get_or_none(User.name == "ada") or users.create_user(rig.hub.seals, "ada", 0)
        QueuePause.create(place=place, paused_by=ada.id, created_at=0, **where)


def resume(rig, place):
    with write_tx():
        QueuePause.delete().where(QueuePause.place == place).execute()
        rig.engine.orchestrator.queue_changed()


def project(rig, release, **columns):
    with write_tx():
        Project.update(columns).where(Project.id == release.project).execute()


def deploy(rig, release, environment=None, **place):
    with write_tx():
        return rig.engine.orchestrator.submit_deployment(
            rig.context, release=release, environment=environment or rig.environment, place=Place(**place)
        )


def elsewhere(rig, name):
    """One more environment, with every target in it."""
    with write_tx():
        made = Environment.create(name=name)
        for spoke in rig.spokes.values():
            TargetEnvironment.create(target=spoke.target.id, environment=made.id)
    return made


def test_a_full_hub_says_so_and_the_next_begins_when_a_place_is_free(small):
    web = small.spoke("web-01")
    first, second, third = (small.run("true", web) for _ in range(3))
    assert [state(task) for task in (first, second, third)] == ["running", "running", "queued"]
    assert words(third) == "waits for a place: the hub runs 2 tasks, as many as it may at once"
    end(small, first)
    assert state(third) is TaskState.RUNNING
    assert words(third) == ""


def test_a_check_of_a_target_takes_no_place_and_waits_for_none(small):
    web = small.spoke("web-01")
    for _ in range(2):
        small.run("true", web)
    with write_tx():
        check = small.engine.orchestrator.submit_check(small.context, web.target)
    assert state(check) is TaskState.RUNNING


def test_a_project_may_have_a_cap_of_its_own(small):
    small.spoke("web-01")
    release = small.release([{"name": "x"}])
    test = elsewhere(small, "Test")
    project(small, release, tasks_at_once=1)
    first, second = deploy(small, release), deploy(small, release, test)
    assert words(second) == "waits for a place: project Storefront runs 1 task, as many as it may at once"
    end(small, first)
    assert state(second) is TaskState.RUNNING


def test_a_paused_hub_holds_what_is_asked_for_and_lets_go_when_it_is_resumed(small):
    web = small.spoke("web-01")
    running = small.run("true", web)
    pause(small, "/", reason="new disks")
    held = small.run("true", web)
    assert words(held) == "the hub is paused by ada since 1970-01-01 00:00 UTC: new disks"
    end(small, running)
    assert state(held) is TaskState.QUEUED
    resume(small, "/")
    assert state(held) is TaskState.RUNNING


def test_a_paused_project_or_environment_holds_its_own_tasks(small):
    web = small.spoke("web-01")
    release = small.release([{"name": "x"}])
    test = elsewhere(small, "Test")
    pause(small, f"/{small.environment.id}", environment=small.environment.id)
    there, script = deploy(small, release), small.run("true", web)
    assert words(there) == words(script) == "environment Production is paused by ada since 1970-01-01 00:00 UTC"
    assert state(deploy(small, release, test)) is TaskState.RUNNING
    resume(small, f"/{small.environment.id}")
    pause(small, f"{release.project}/", project=release.project)
    assert words(deploy(small, release, test)).startswith("project Storefront is paused by ada since ")


def test_what_waits_for_one_thing_and_then_for_another_is_told_so(small):
    small.spoke("web-01")
    release = small.release([{"name": "x"}])
    first, second = deploy(small, release), deploy(small, release)
    assert words(second).startswith("waits for Deploy Storefront 1.0.0 to Production: one deployment of a project")
    pause(small, "/")
    look_after(small)
    assert words(second).startswith("the hub is paused by ada")
    end(small, first)
    resume(small, "/")
    assert state(second) is TaskState.RUNNING


def test_two_projects_with_one_concurrency_key_take_turns(small):
    small.spoke("web-01")
    release = small.release([{"name": "x"}])
    test = elsewhere(small, "Test")
    project(small, release, concurrency="the database")
    first, second = deploy(small, release), deploy(small, release, test)
    assert words(second) == (
        'waits for Deploy Storefront 1.0.0 to Production: both have the concurrency key "the database"'
    )
    end(small, first)
    assert state(second) is TaskState.RUNNING


def test_priorities_order_what_waits(small):
    web = small.spoke("web-01")
    first, _ = small.run("true", web), small.run("true", web)
    with write_tx():
        low, high = (
            small.engine.orchestrator.submit_run(
                small.context, script="true", shell="bash", targets=[web.target], place=Place(priority)
            )
            for priority in (Priority.LOW, Priority.HIGH)
        )
    end(small, first)
    assert (state(low), state(high)) == ("queued", "running")


def test_a_child_begins_in_the_place_of_the_task_that_waits_for_it(small):
    web = small.spoke("web-01")
    release = small.release([{"name": "x"}])
    parent, other = deploy(small, release), small.run("true", web)
    child = deploy(small, release, parent=parent.id)
    assert state(child) is TaskState.RUNNING, "in a full hub, with its parent's key"
    following = deploy(small, release, parent=parent.id)
    assert words(following).startswith("waits for Deploy Storefront 1.0.0 to Production")
    end(small, child)
    assert state(following) is TaskState.RUNNING
    assert state(other) is TaskState.RUNNING


def test_a_child_that_would_wait_for_ever_is_refused(small):
    small.spoke("web-01")
    release = small.release([{"name": "x"}])
    test = elsewhere(small, "Test")
    first, second = deploy(small, release), deploy(small, release, test)
    waiting = deploy(small, release, test, parent=first.id)
    assert state(waiting) is TaskState.QUEUED
    with pytest.raises(Conflict, match="which waits for the very task"):
        deploy(small, release, parent=second.id)
    with pytest.raises(Conflict, match="only a task that runs"):
        deploy(small, release, parent=waiting.id)


def test_tasks_nest_only_so_deep(small):
    small.spoke("web-01")
    release = small.release([{"name": "x"}])
    last = deploy(small, release)
    for _ in range(7):
        last = deploy(small, release, parent=last.id)
        assert state(last) is TaskState.RUNNING
    with pytest.raises(Conflict, match="8 deep"):
        deploy(small, release, parent=last.id)


def test_a_commit_that_forgot_to_let_the_next_one_in_is_made_good_by_the_clock(small):
    web = small.spoke("web-01")
    first, _, third = (small.run("true", web) for _ in range(3))
    with write_tx():
        # As a hub leaves it that was killed between the commit and what follows it.
        Task.update(state=TaskState.CANCELLED, ended_at=1).where(Task.id == first.id).execute()
    assert state(third) is TaskState.QUEUED
    small.engine.clockwork.work()
    assert state(third) is TaskState.RUNNING


def test_a_turn_that_does_not_come_in_time_fails(small):
    web = small.spoke("web-01")
    for _ in range(2):
        small.run("true", web)
    third = small.run("true", web)
    small.shift_ms = 86_400_000 + 1_000
    small.engine.clockwork.work()
    found = Task.get_by_id(third.id)
    assert (found.state, found.failure) == (TaskState.FAILED, "its turn did not come in time")


def test_of_many_who_ask_at_once_no_more_begin_than_there_are_places(small):
    web = small.spoke("web-01")
    made, together = [], Gate()

    def ask():
        together.wait(10)
        with connection():
            made.extend(small.run("true", web) for _ in range(3))

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    together.set()
    for thread in threads:
        thread.join(30)
    assert sum(state(task) is TaskState.RUNNING for task in made) == 2
    for left in range(10, 0, -1):
        running = next(task for task in made if state(task) is TaskState.RUNNING)
        end(small, running)
        assert sum(state(task) is TaskState.RUNNING for task in made) == min(2, left + 1)


def test_a_queued_task_that_cannot_be_read_fails_and_keeps_nobody_from_beginning(small):
    web = small.spoke("web-01")
    first, _, broken, following = (small.run("true", web) for _ in range(4))
    with write_tx():
        Plan.update(body=b"altered").where(Plan.task == broken.id).execute()
        # Another engine on these rows: it has not read the plan before.
        Engine(small.parts).steering.feed({first.id: [CancelAsked("ada")]})
    assert state(broken) is TaskState.FAILED
    assert "its plan is gone or was altered" in Task.get_by_id(broken.id).failure
    assert state(following) is TaskState.RUNNING
    assert Event.select().where(Event.action == "script-run.failed", Event.object == f"task:{broken.id}").count() == 1


def test_a_long_queue_runs_through_with_its_engine(small):
    web = small.spoke("web-01").start()
    small.engine.start()
    tasks = [small.run("true", web) for _ in range(8)]
    for task in tasks:
        small.ended(task, wait_s=60.0)
    assert not admitting.is_anything_queued()


def test_what_is_held_does_not_hide_what_may_begin(small):
    web, other = small.spoke("web-01"), small.spoke("web-02")
    release = small.release([{"name": "x"}])
    with write_tx():
        test = Environment.create(name="Test")
        TargetEnvironment.update(environment=test.id).where(TargetEnvironment.target == other.target.id).execute()
    first, second = small.run("true", other), small.run("true", other)
    pause(small, f"/{small.environment.id}", environment=small.environment.id)
    held = [*(small.run("true", web) for _ in range(5)), deploy(small, release)]
    last = small.run("true", other)
    assert state(last) is TaskState.QUEUED
    end(small, first)
    assert state(last) is TaskState.RUNNING
    end(small, second)
    assert {state(task) for task in held} == {TaskState.QUEUED}
