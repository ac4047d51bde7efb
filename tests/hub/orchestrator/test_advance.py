import random
import tomllib
from pathlib import Path

import pytest

from hub.orchestrator.effects import Say, SendCancel, SendJob, SetDeadline, SetJob, SetTask, SetTimer
from hub.orchestrator.events import (
    CancelAsked,
    HubRestored,
    JobAccepted,
    JobEnded,
    JobExpired,
    JobRenewed,
    JobStarted,
    SpokeRevoked,
    Started,
    TimerFired,
)
from hub.orchestrator.planner import StepInput, TargetInput, plan
from hub.orchestrator.progress import advance, advance_all
from hub.orchestrator.standing import beginning, decode_progress, encode_progress
from hub.orchestrator.states import OPEN_JOBS
from hub.states import JOB_ENDED, TASK_ENDED, JobState, TaskState
from tests.hub.orchestrator.plans import counted, inputs, target

CASES = tomllib.loads((Path(__file__).parent / "cases/advance.toml").read_text())["case"]
NOW = 1_000_000
ALONE = {"started": Started(), "cancel": CancelAsked("ada"), "restored": HubRestored("the hub was restored")}


class Story:
    """A task told in words."""

    def __init__(self, lines):
        parts = [_step(line) for line in lines]
        names = sorted({name for _, targets in parts for name in targets})
        everyone = [target(name, roles=frozenset(s.name for s, t in parts if name in t)) for name in names]
        self.plan = plan(inputs([step for step, _ in parts], everyone), counted())
        self.progress = beginning(self.plan)
        self.now = NOW
        self.effects = []

    def tell(self, line):
        event = self._event(line)
        if event is not None:
            self.progress, effects = advance(self.plan, self.progress, event, self.now)
            # What is stored comes back as it was.
            assert decode_progress(encode_progress(self.progress)) == self.progress
            self.effects += effects

    def names(self, kind):
        return [self._name(effect.job) for effect in self.effects if isinstance(effect, kind)]

    def _event(self, line):
        words = line.split()
        if words[0] == "later":
            self.now += int(words[1]) * 1000
            return None
        if words[0] in ALONE:
            return ALONE[words[0]]
        if words[0] == "timer":
            return TimerFired(words[1])
        if words[0] == "revoke":
            return SpokeRevoked(f"spoke-{words[1]}")
        return _of_job(self._present(words[0]), words[1])

    def _present(self, name):
        target_name, step_name = name.split("/")
        for job, _ in self.plan.attempts.values():
            if job.target.name == target_name and self.plan.step_of(job).name == step_name:
                standing = self.progress.jobs.get(job.id)
                return job.attempts[standing.attempt - 1] if standing else job.id
        raise AssertionError(name)

    def _name(self, cid):
        job, attempt = self.plan.attempts[cid]
        name = f"{job.target.name}/{self.plan.step_of(job).name}"
        return name if attempt == 1 else f"{name}#{attempt}"


def _of_job(cid, word):
    told = {
        "accepted": JobAccepted,
        "running": JobStarted,
        "renewed": JobRenewed,
        "expired": JobExpired,
        "stopped": _stopped,
    }.get(word)
    if word.startswith("ended-"):
        return JobEnded(cid, JobState.CANCELLED, ended_processes=int(word.removeprefix("ended-")))
    return told(cid) if told else JobEnded(cid, JobState(word))


def _stopped(cid):
    return JobEnded(cid, JobState.CANCELLED, began=True)


def _step(line):
    name, *words = line.split()
    options = dict(word.split("=") for word in words if "=" in word)
    for number in ("retries", "rolling", "timeout_s"):
        if number in options:
            options[number] = int(options[number])
    return StepInput(name, "run-script", roles=(name,), **options), [word for word in words if "=" not in word]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_table_of_stories(case):
    story = Story(case["steps"])
    for line in case["told"]:
        story.tell(line)
    assert story.names(SendJob) == case["sent"]
    assert story.names(SendCancel) == case.get("cancelled", [])
    assert story.progress.state == case["ends"]
    assert [str(state) for state in story.progress.steps] == case["states"]
    if "failure" in case:
        ends = [effect for effect in story.effects if isinstance(effect, SetTask)]
        assert ends[-1].failure == case["failure"]


def test_a_batch_of_events_is_as_good_as_one_after_the_other():
    one, many = Story(["build a b c rolling=2", "deploy a"]), Story(["build a b c rolling=2", "deploy a"])
    told = ["started", "a/build succeeded", "b/build accepted", "b/build succeeded", "c/build failed"]
    for line in told:
        one.tell(line)
    events = [many._event(line) for line in told]
    progress, effects = advance_all(many.plan, many.progress, events, NOW)
    assert progress == one.progress
    assert list(effects) == one.effects


def test_a_run_has_two_clocks_until_when_it_may_be_taken_and_until_when_it_may_last():
    story = Story(["build a timeout_s=100"])
    story.tell("started")
    (sent,) = story.names(SendJob)
    (send,) = [effect for effect in story.effects if isinstance(effect, SendJob)]
    assert (sent, send.deadline_ms) == ("a/build", NOW + 900_000)
    story.tell("later 60")
    story.tell("a/build running")
    last = [effect for effect in story.effects if isinstance(effect, SetDeadline)][-1]
    assert last.run_ms == NOW + 160_000
    assert last.until_ms > last.run_ms


def test_a_job_that_waits_at_its_spoke_has_as_much_time_again_when_it_is_renewed():
    story = Story(["build a"])
    for line in ("started", "a/build accepted"):
        story.tell(line)
    before = story.progress.jobs[story._present("a/build")].deadline_ms
    story.tell("later 3000")
    story.tell("a/build renewed")
    assert story.progress.jobs[story._present("a/build")].deadline_ms == before + 3_000_000
    story.tell("a/build running")
    running = story.progress
    story.tell("later 10")
    story.tell("a/build renewed")
    assert story.progress == running


def told_by_the_end(*told):
    story = Story(["build a b rolling=9"])
    for line in told:
        story.tell(line)
    return [effect.text for effect in story.effects if isinstance(effect, Say)][-1]


def test_a_cancel_says_in_the_log_how_it_was_confirmed():
    assert told_by_the_end("cancel") == "the task was cancelled before it began"
    assert told_by_the_end("started", "cancel", "a/build ended-3", "b/build ended-4") == (
        "the task was cancelled, confirmed: 7 processes ended"
    )
    assert told_by_the_end("started", "cancel", "a/build cancelled", "b/build cancelled") == (
        "the task was cancelled, confirmed: nothing of it was running"
    )
    silent = told_by_the_end("started", "a/build running", "cancel", "b/build cancelled", "later 80", "timer deadline")
    assert "the cancel was not confirmed" in silent


@pytest.mark.parametrize("block", range(8))
def test_whatever_happens_each_attempt_is_sent_once_and_every_task_ends(block):
    for seed in range(block * 100, block * 100 + 100):
        try:
            _walk(random.Random(seed))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def _walk(dice):
    planned = _random_plan(dice)
    progress, now, sent, ends, alarms, deadlines = beginning(planned), NOW, [], {}, {}, {}
    cids = list(planned.attempts)
    for turn in range(400):
        event = _random_event(dice, cids, planned, started=turn > 0)
        before = progress
        progress, effects = advance(planned, progress, event, now)
        for effect in effects:
            match effect:
                case SendJob(job):
                    sent.append(job)
                    assert before.state is not TaskState.CANCELLING, "sent after a cancel"
                case SetJob(job, state) if state in JOB_ENDED:
                    assert job not in ends, "a job ended twice"
                    ends[job] = state
                case SetTimer(name, due_ms):
                    alarms[name] = due_ms
                case SetDeadline(job, until_ms):
                    deadlines[job] = until_ms
        for key, job in progress.jobs.items():
            if job.state in OPEN_JOBS:
                cid = planned.attempts[key][0].attempts[job.attempt - 1]
                assert deadlines[cid] == job.deadline_ms > 0, "an open job whose row knows another deadline"
        if before.state in TASK_ENDED:
            assert progress.state is before.state, "an ended task moved"
            assert all(isinstance(effect, SendCancel | Say) for effect in effects), "an ended task did more than that"
        now += dice.randrange(0, 60_000)
    assert len(sent) == len(set(sent)), "an attempt was sent twice"
    # Nobody says anything any more: the timers alone must bring it to its end.
    for _ in range(2_000):
        if progress.state in TASK_ENDED:
            break
        due = progress.alarm_ms or alarms.get("task", now)
        now = max(now, due) + 1
        progress, _ = advance(planned, progress, TimerFired("deadline" if progress.alarm_ms else "task"), now)
    assert progress.state in TASK_ENDED, f"never ended: {progress.state}"
    if progress.state is TaskState.SUCCEEDED:
        retried = {cid for job, _ in planned.attempts.values() for cid in job.attempts[:-1]}
        assert all(state is JobState.SUCCEEDED for cid, state in ends.items() if cid not in retried)


def _random_plan(dice):
    names = [f"t{number}" for number in range(dice.randint(1, 5))]
    steps = [
        StepInput(
            f"s{index}",
            "run-script",
            rolling=dice.choice([None, 1, 2, "50%", "100%"]),
            retries=dice.choice([0, 0, 1, 2]),
            when=dice.choice(["success", "success", "failure", "always"]),
        )
        for index in range(dice.randint(1, 4))
    ]
    targets = [TargetInput(name, name, f"spoke-{dice.choice(names)}") for name in names]
    return plan(inputs(steps, targets), counted())


def _random_event(dice, cids, planned, *, started):
    if not started:
        return Started()
    cid = dice.choice(cids)
    kinds = (
        (60, lambda: JobEnded(cid, dice.choice([JobState.SUCCEEDED] * 6 + sorted(JOB_ENDED)))),
        (34, lambda: dice.choice([JobAccepted, JobStarted, JobStarted, JobRenewed])(cid)),
        (2, lambda: JobExpired(cid)),
        (2, lambda: TimerFired(dice.choice(["deadline", "deadline", "queue", "nonsense"]))),
        (1, lambda: SpokeRevoked(planned.attempts[cid][0].target.spoke)),
        (1, lambda: dice.choice([CancelAsked("ada"), Started()])),
    )
    (make,) = dice.choices([kind for _, kind in kinds], weights=[weight for weight, _ in kinds])
    return make()
