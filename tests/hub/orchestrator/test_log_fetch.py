"""What of a log never came is asked for again, so often and so long, and then it is here, or is said to stay missing."""

from types import SimpleNamespace

import pytest

from hub.orchestrator import missing_logs, task_log
from hub.orchestrator.missing_logs import ATTEMPTS_MAX
from hub.states import FetchState, JobState, LogState, OutboxKind, OutboxState, SpokeState
from hub.storage.database import write_tx
from hub.storage.models import Job, LogFetch, Outbox, Spoke
from tests.hub.orchestrator.rig import CHAIN_START, Rig, Run, until
from wire.envelope import MessageType
from wire.messages import EndState, Reject
from wire.topology import EventKind

LINES = tuple(f"line {number}\n" for number in range(20))


@pytest.fixture
def rig(installed_hub):
    made = Rig(installed_hub)
    made.engine.start()
    yield made
    made.close()


@pytest.fixture
def begun(rig):
    return begin(rig)


def begin(rig):
    """A run that is accepted and of which nothing was said yet: spoke, task, what the spoke has of it."""
    web = rig.spoke("web-01", lambda _: None).start()
    task = rig.run("true", web)
    kept = until(lambda: next(iter(web.journal.values()), None))
    web.mute_logs = True
    return SimpleNamespace(web=web, task=task, kept=kept)


def job_of(task):
    return Job.get(Job.task == task.id)


def texts(rig, task):
    return [line.text for line in task_log.read(rig.hub.vault, task.id, target="web-01")[0]]


def printed(rig, task):
    return [text for text in texts(rig, task) if text.startswith("line ")]


def lose(begun, *numbers):
    """It prints, these records are lost on the way, and it ends."""
    begun.web.log(begun.kept, LINES)
    for number in range(len(LINES)):
        if number not in numbers:
            begun.web.send_records(begun.kept, number, 1)
    begun.web.report(begun.kept, Run())


def chain_of(kept):
    return kept.spool[-1][1].hex() if kept.spool else CHAIN_START.hex()


def given_up(begun):
    return until(lambda: LogFetch.get_or_none(LogFetch.job == job_of(begun.task).id, state=FetchState.GIVEN_UP))


@pytest.mark.parametrize("lost", [(0, 3, 4, 7), (19,), tuple(range(20))])
def test_r4_what_was_lost_on_the_way_is_fetched_again_and_every_line_is_there_once(rig, begun, lost):
    lose(begun, *lost)
    rig.ended(begun.task)
    job = until(lambda: (row := job_of(begun.task)).log_state is LogState.COMPLETE and row)
    assert sorted(printed(rig, begun.task)) == sorted(line.strip() for line in LINES)
    assert (job.log_next_record, job.log_chain) == (job.records, job.chain) == (len(LINES), chain_of(begun.kept))
    assert job.log_gaps == []
    assert any("LOG_GAP: log incomplete" in text for text in texts(rig, begun.task))
    until(lambda: LogFetch.get(LogFetch.job == job.id).state is FetchState.DONE)


def test_r4_what_was_lost_is_fetched_again_on_each_database(installed_hub_on_each):
    rig = Rig(installed_hub_on_each)
    rig.engine.start()
    try:
        begun = begin(rig)
        lose(begun, 3, 4, 19)
        rig.ended(begun.task)
        until(lambda: job_of(begun.task).log_state is LogState.COMPLETE)
        assert sorted(printed(rig, begun.task)) == sorted(line.strip() for line in LINES)
        until(lambda: LogFetch.get().state is FetchState.DONE)
    finally:
        rig.close()


def test_a_log_without_a_hole_is_asked_for_by_nobody(rig, begun):
    lose(begun)
    rig.ended(begun.task)
    assert job_of(begun.task).log_state is LogState.COMPLETE
    assert not LogFetch.select().exists()


def test_a_part_that_overtook_another_waits_for_it_and_nothing_is_called_missing(rig, begun):
    begun.web.log(begun.kept, LINES)
    for number in (1, 3, 2, 0, *range(4, len(LINES))):
        before = len(printed(rig, begun.task))
        begun.web.send_records(begun.kept, number, 1)
        if number in (0, 4):
            until(lambda before=before: len(printed(rig, begun.task)) > before)
    begun.web.report(begun.kept, Run())
    rig.ended(begun.task)
    assert printed(rig, begun.task) == [line.strip() for line in LINES]
    assert not any("LOG_GAP" in text for text in texts(rig, begun.task))
    assert not LogFetch.select().exists()


def test_a_spool_that_is_gone_leaves_the_gap_and_the_log_says_so(rig, begun):
    begun.web.on_send_log = lambda kept: begun.web.answer_order(
        kept, EndState.REFUSED, "the spool is not kept any more"
    )
    lose(begun, 3, 4, 7)
    rig.ended(begun.task)
    row = given_up(begun)
    assert job_of(begun.task).log_state is LogState.GAP
    assert (
        texts(rig, begun.task)[-1] == "LOG_GAP: records 3–4, 7 of the log stay missing: the spool is not kept any more"
    )
    assert missing_logs.words(row) == "missing for good: the spool is not kept any more"
    assert len(begun.web.resends) == 1


def test_what_is_missing_at_the_end_is_named_too_where_its_gaps_were_given_up_before(rig, begun):
    begun.web.on_send_log = lambda kept: begun.web.answer_order(kept, EndState.REFUSED, "gone")
    begun.web.log(begun.kept, LINES)
    for number in (0, 1, 5, 6):
        begun.web.send_records(begun.kept, number, 1)
    given_up(begun)
    begun.web.report(begun.kept, Run())
    rig.ended(begun.task)
    until(lambda: [gap[:2] for gap in job_of(begun.task).log_gaps] == [[2, 4], [7, 19]])
    until(lambda: texts(rig, begun.task)[-1] == "LOG_GAP: records 2–4, 7–19 of the log stay missing: gone")


def test_who_fails_to_send_is_asked_so_many_times_and_no_more(rig, begun):
    begun.web.on_send_log = lambda kept: begun.web.answer_order(kept, EndState.FAILED, "the machine does not answer")
    lose(begun, 5)
    rig.ended(begun.task)
    for attempt in range(1, ATTEMPTS_MAX + 1):
        until(lambda attempt=attempt: LogFetch.get().attempts >= attempt and LogFetch.get().asked is None)
        rig.shift_ms += 40_000
    assert given_up(begun).answer == "the machine does not answer"
    assert len(begun.web.resends) == ATTEMPTS_MAX


def test_who_answers_and_sends_nothing_is_asked_so_many_times_and_no_more(rig, begun):
    begun.web.on_send_log = lambda kept: begun.web.answer_order(kept, EndState.SUCCEEDED, "sent")
    lose(begun, 5)
    rig.ended(begun.task)
    for attempt in range(1, ATTEMPTS_MAX + 1):
        until(lambda attempt=attempt: LogFetch.get().attempts >= attempt and LogFetch.get().asked is None)
        rig.shift_ms += 10_000
    assert given_up(begun).answer == f"asked for {ATTEMPTS_MAX} times in vain"


def test_a_spoke_of_an_older_release_refuses_and_the_gap_stays(rig, begun):
    def refuse(kept):
        body = Reject(kept.mid, "ENV_OP", "no op send_log")
        begun.web.publish(EventKind.REJECT, begun.web.seal(MessageType.REJECT, body).frame)

    begun.web.on_send_log = refuse
    lose(begun, 5)
    rig.ended(begun.task)
    assert given_up(begun).answer == "its spoke does not send a log again (ENV_OP)"
    assert Outbox.get(Outbox.kind == OutboxKind.ORDER).state is OutboxState.DEAD


def test_a_spoke_that_is_away_is_asked_when_it_is_back(rig, begun):
    begun.web.receive = lambda frame: None
    lose(begun, 5)
    begun.web.stop()
    rig.ended(begun.task)
    until(lambda: Outbox.get_or_none(Outbox.kind == OutboxKind.ORDER))
    del begun.web.receive
    begun.web.restart()
    until(lambda: job_of(begun.task).log_state is LogState.COMPLETE)


def test_who_took_the_question_and_never_answers_is_asked_anew(rig, begun):
    begun.web.on_send_log = lambda kept: None
    lose(begun, 5)
    rig.ended(begun.task)
    until(lambda: begun.web.resends)
    begun.web.on_send_log = begun.web.send_log
    until(lambda: Outbox.get(Outbox.kind == OutboxKind.ORDER).state is OutboxState.ACCEPTED)
    rig.shift_ms = 20 * 60 * 1000
    until(lambda: job_of(begun.task).log_state is LogState.COMPLETE)
    assert len(begun.web.resends) == 2


def test_a_deadline_ends_the_waiting_for_a_spoke_that_never_comes_back(rig, begun):
    begun.web.on_send_log = lambda kept: None
    lose(begun, 5)
    rig.ended(begun.task)
    until(lambda: begun.web.resends)
    begun.web.stop()
    rig.shift_ms = 25 * 3600 * 1000
    assert given_up(begun).answer == "its spoke did not send it in time"


def test_nobody_asks_a_spoke_that_was_revoked(rig, begun):
    begun.web.mute_logs = True
    begun.web.on_send_log = lambda kept: None
    lose(begun, 5)
    rig.ended(begun.task)
    until(lambda: begun.web.resends)
    with write_tx():
        row = Spoke.get_by_id(begun.web.id)
        row.state = SpokeState.REVOKED
        rig.hub.seals.seal(row)
        row.save()
        Outbox.update(state=OutboxState.DEAD).execute()
    rig.shift_ms = 10_000
    assert given_up(begun).answer == "its spoke is not trusted any more"


def test_an_end_that_is_not_the_one_of_the_log_is_called_different(rig, begun):
    begun.web.log(begun.kept, LINES)
    begun.web.send_records(begun.kept, 0, len(LINES))
    begun.kept.spool[-1] = (begun.kept.spool[-1][0], bytes(32))
    begun.web.report(begun.kept, Run())
    rig.ended(begun.task)
    assert job_of(begun.task).log_state is LogState.DIFFERS
    assert "LOG_GAP: the end of the log is not what the target's result says" in texts(rig, begun.task)


def test_a_log_that_comes_behind_its_result_is_held_against_it_all_the_same(rig, begun):
    begun.web.on_send_log = lambda kept: None
    begun.web.log(begun.kept, LINES)
    genuine = begun.kept.spool[-1]
    begun.kept.spool[-1] = (genuine[0], bytes(32))
    begun.web.report(begun.kept, Run())
    rig.ended(begun.task)
    begun.kept.spool[-1] = genuine
    begun.web.send_records(begun.kept, 0, len(LINES))
    until(lambda: job_of(begun.task).log_state is LogState.DIFFERS)


def test_a_late_result_brings_the_digest_of_a_log_of_which_the_end_was_not_known(rig, begun):
    begun.web.log(begun.kept, LINES)
    for number in range(10):
        begun.web.send_records(begun.kept, number, 1)
    until(lambda: job_of(begun.task).log_next_record == 10)
    rig.shift_ms = 2 * 24 * 3600 * 1000
    until(lambda: job_of(begun.task).state is JobState.UNKNOWN)
    begun.web.restart()
    assert begun.web.live.wait(10)
    begun.web.report(begun.kept, Run())
    job = until(lambda: (row := job_of(begun.task)).log_state is LogState.COMPLETE and row)
    assert job.chain == job.log_chain == chain_of(begun.kept)
    assert job.state is JobState.UNKNOWN
