"""A log's state is that of its job's end, whichever of the two is counted first, and whatever comes between."""

import threading

import pytest

from hub.orchestrator import task_log
from hub.states import LogState
from hub.storage.database import connection
from hub.storage.models import Job
from tests.hub.orchestrator.rig import Rig, Run, until

LINES = tuple(f"line {number}\n" for number in range(5))


@pytest.fixture
def rig(installed_hub):
    made = Rig(installed_hub)
    made.engine.start()
    yield made
    made.close()


def test_a_result_that_is_counted_while_its_log_is_prepared_does_not_leave_the_log_open(rig, monkeypatch):
    """As after a crash, when a result comes twice: the second one does not wait for what the first one waits for."""
    web = rig.spoke("web-01", lambda _: None).start()
    task = rig.run("true", web)
    kept = until(lambda: next(iter(web.journal.values()), None))
    job, prepare, crossed = Job.get(Job.task == task.id).id, task_log.prepare, threading.Event()

    def slowly(vault, lines):
        prepared = prepare(vault, lines)
        if threading.current_thread().name == "logs" and not crossed.is_set():
            crossed.set()
            web.report(kept, Run())
            web.report(kept, Run())
            with connection():
                until(lambda: Job.get_by_id(job).records is not None)
        return prepared

    monkeypatch.setattr(task_log, "prepare", slowly)
    web.mute_logs = True
    web.log(kept, LINES)
    web.send_records(kept, 0, len(LINES))
    rig.ended(task)
    assert crossed.is_set()
    until(lambda: Job.get_by_id(job).log_state is LogState.COMPLETE)
    assert [line.text for line in task_log.read(rig.hub.vault, task.id, target="web-01")[0]][-5:] == [
        line.strip() for line in LINES
    ]
