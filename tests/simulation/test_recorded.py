"""The upgrade gate: tasks that an earlier release had under way are taken up by this one, at any of their turns."""

import base64
import json

import pytest

from hub.orchestrator import events
from hub.orchestrator.effects import SendJob
from hub.orchestrator.plan_codec import decode_plan, encode_plan
from hub.orchestrator.progress import advance_all
from hub.orchestrator.standing import decode_progress, encode_progress
from hub.states import JobState
from tests.simulation.recording import RECORDED

RELEASES = sorted(RECORDED.glob("*.json"))
HISTORIES = [
    pytest.param(history, id=f"{path.stem}-{history['seed']}")
    for path in RELEASES
    for history in json.loads(path.read_text(encoding="ascii"))["histories"]
]


def plan_of(history):
    return decode_plan(base64.b64decode(history["plan"]))


def event_of(written):
    """As a release wrote it: what it did not know of has its default."""
    name, fields = written
    if "state" in fields:
        fields = {**fields, "state": JobState(fields["state"])}
    return getattr(events, name)(**fields)


def lived_through(plan, progress, turns):
    """Where these turns lead, and which jobs are sent in them."""
    sent = []
    for turn in turns:
        progress, effects = advance_all(plan, progress, [event_of(one) for one in turn["events"]], turn["now_ms"])
        sent += [effect.job for effect in effects if isinstance(effect, SendJob)]
    return progress, sent


def ends_as_recorded(progress, history):
    return (progress.state, {job: one.state for job, one in progress.jobs.items()}) == (
        history["task"],
        history["jobs"],
    )


def test_every_release_has_its_recording():
    assert "0.1.0" in {path.stem for path in RELEASES}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_plan_of_an_earlier_release_says_the_same_to_the_runner(history):
    plan = plan_of(history)
    assert decode_plan(encode_plan(plan)) == plan
    for cid, told in history["told"].items():
        now = json.loads(json.dumps(plan.job_json(cid)))
        assert {name: now[name] for name in told} == told


@pytest.mark.parametrize("history", HISTORIES)
def test_what_happened_to_it_leads_to_the_same_end(history):
    progress, sent = lived_through(plan_of(history), decode_progress(history["begins"]), history["turns"])
    assert ends_as_recorded(progress, history)
    assert sent == [cid for turn in history["turns"] for cid in turn["sends"]]


@pytest.mark.parametrize("history", HISTORIES)
def test_it_is_taken_up_after_any_turn_and_nothing_is_sent_twice(history):
    plan, turns = plan_of(history), history["turns"]
    for at, turn in enumerate(turns, 1):
        stored = decode_progress(turn["progress"])
        assert decode_progress(encode_progress(stored)) == stored
        progress, sent = lived_through(plan, stored, turns[at:])
        assert ends_as_recorded(progress, history), f"taken up after turn {at}"
        before = {cid for former in turns[:at] for cid in former["sends"]}
        assert not before & set(sent), f"taken up after turn {at}"
