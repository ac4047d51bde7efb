"""The oracle finds each kind of disagreement, and nothing where all four agree."""

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.evidence import Case, Evidence, Hub, Journal, Request, Spool
from tests.chaos.oracle import Kind, findings, of_job

LINES = ("line 1", "line 2")
HUB = Hub(
    "succeeded",
    began=True,
    result_sha256="r",
    records=5,
    chain="c5",
    log_next_record=5,
    log_chain="c5",
    log_state="complete",
    lines=LINES,
)
SOUND = Evidence(
    "j",
    "web-1",
    starts=1,
    ends=1,
    journal=Journal("finished", "succeeded", "r", reported=True),
    spool=Spool(5, "c5"),
    hub=HUB,
    expected=LINES,
)
WORDS = {"explained": "its supervisor was killed"}


def with_hub(job: Evidence = SOUND, **changes: Any) -> Evidence:
    assert job.hub is not None
    return replace(job, hub=replace(job.hub, **changes))


def with_journal(job: Evidence = SOUND, **changes: Any) -> Evidence:
    assert job.journal is not None
    return replace(job, journal=replace(job.journal, **changes))


def never_began(state: str) -> Evidence:
    """As it should be for a job that nobody took."""
    return Evidence("j", "web-1", hub=Hub(state, message="why"), explained="its spoke stood still")


def unknown(**changes: Any) -> Evidence:
    """A start without an end, which its spoke could not know."""
    made = Evidence(
        "j",
        "web-1",
        starts=1,
        journal=Journal("unknown", "unknown", "r", reported=True),
        hub=Hub("unknown", message="the end of this run is not known", began=True, result_sha256="r"),
        explained="its supervisor was killed",
    )
    return replace(made, **changes)


@pytest.mark.parametrize(
    "job",
    [
        SOUND,
        unknown(),
        never_began("expired"),
        never_began("refused"),
        Evidence("j", "web-1", hub=Hub("cancelled")),
        with_hub(with_journal(replace(SOUND, ends=0), result="cancelled"), state="cancelled"),
        with_hub(lines=("line 2", "line 1"), told_late=True),
        # Given up by the hub, and finished later: told, and not counted.
        with_hub(replace(SOUND, **WORDS), state="unknown", message="not heard of by its time"),
    ],
    ids=["succeeded", "unknown", "expired", "refused", "cancelled-before", "cancelled-amid", "late", "given-up"],
)
def test_where_all_agree_nothing_is_found(job):
    assert of_job(job) == []


@pytest.mark.parametrize(
    ("job", "kind", "words"),
    [
        (replace(SOUND, starts=2), Kind.DOUBLED, "started 2 times"),
        (replace(SOUND, ends=2), Kind.DOUBLED, "ended 2 times"),
        (replace(SOUND, hub=None), Kind.LOST, "does not know it"),
        (with_hub(state="running"), Kind.LOST, "still says running"),
        (with_hub(state="sent"), Kind.LOST, "still says sent"),
        (replace(SOUND, ends=0), Kind.LOST, "never came to its end"),
        (replace(SOUND, starts=0, ends=0), Kind.LOST, "started 0 times"),
        (replace(SOUND, journal=None), Kind.LOST, "journal does not know it"),
        (replace(never_began("expired"), starts=1), Kind.FALSE, "never began, and it did"),
        (replace(never_began("refused"), starts=1), Kind.FALSE, "never began, and it did"),
        (Evidence("j", "web-1", starts=1, hub=Hub("cancelled")), Kind.FALSE, "cancelled before it began"),
        (unknown(explained=""), Kind.UNEXPLAINED, "unknown"),
        (replace(never_began("expired"), explained=""), Kind.UNEXPLAINED, "expired"),
        (with_hub(with_journal(result="failed"), state="failed"), Kind.UNEXPLAINED, "without a word"),
        (with_hub(unknown(), message=""), Kind.UNEXPLAINED, "without a word"),
        (with_journal(result=""), Kind.DISAGREE, "no end"),
        (with_journal(result="failed"), Kind.DISAGREE, "the hub says succeeded, its spoke failed"),
        (with_journal(result_sha256="other"), Kind.DISAGREE, "different bytes"),
        (with_journal(reported=False), Kind.RESIDUE, "still tries to report"),
        (with_hub(log_state="gap"), Kind.LOG, "calls its log gap"),
        (with_hub(log_next_record=4), Kind.LOG, "4 records of 5"),
        (with_hub(log_chain="other"), Kind.LOG, "others than were written"),
        (with_hub(chain="other"), Kind.LOG, "its result speaks of 5 records"),
        (with_hub(lines=("line 1",)), Kind.LOG, "the hub shows"),
        (with_hub(lines=("line 1", "line 1", "line 2")), Kind.LOG, "the hub shows"),
        (with_hub(lines=("line 2", "line 1")), Kind.LOG, "the hub shows"),
        (with_hub(lines=("line 1",), told_late=True), Kind.LOG, "the hub shows"),
        (replace(SOUND, spool=None), Kind.LOG, "left no spool"),
        (replace(SOUND, spool=Spool(5, "c5", "record 3")), Kind.LOG, "damaged"),
        (with_hub(log_next_record=6, log_chain="c6", records=6, chain="c6"), Kind.LOG, "6 records of 5"),
    ],
)
def test_each_kind_of_disagreement_is_found(job, kind, words):
    assert any(one.kind is kind and words in one.words for one in of_job(job)), [str(one) for one in of_job(job)]


@pytest.mark.parametrize(
    ("case", "kind", "words"),
    [
        (Case((), (Request("k", None),)), Kind.LOST, "nobody ever answered"),
        (Case((), (Request("k", None, "404 no such target"),)), Kind.LOST, "404 no such target"),
        (Case((), (Request("k", "t", "running"),)), Kind.LOST, "is running"),
        (Case((), (Request("k", "t", ""),)), Kind.LOST, "is nowhere"),
        (Case((), (Request("k", "t", "cancelled"),)), Kind.FALSE, "nobody cancelled it"),
        (Case((), (Request("a", "t", "failed"), Request("b", "t", "failed"))), Kind.LOST, "requests a and b"),
        (Case((), (), ("t",)), Kind.DOUBLED, "nobody asked for it"),
        (Case((), residue=("process 12 of job j",)), Kind.RESIDUE, "process 12"),
        (Case((replace(SOUND, starts=2),)), Kind.DOUBLED, "started 2 times"),
    ],
)
def test_each_kind_of_wrong_answer_is_found(case, kind, words):
    assert [(one.kind, words in one.words) for one in findings(case)] == [(kind, True)]


def test_a_request_that_was_answered_and_done_is_right():
    done = Request("a", "t", "succeeded"), Request("b", "u", "cancelled", cancelled=True)
    assert findings(Case((SOUND,), done)) == []
