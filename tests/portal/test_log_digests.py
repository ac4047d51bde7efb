"""A task says of each job's log whether it is here to the last byte: page, API and command the same."""

import pytest
from click.testing import CliRunner

from hub.cli.client.task import task
from hub.orchestrator.effects import Level
from hub.states import FetchState, JobState, LogState
from hub.storage.database import connection, write_tx
from hub.storage.models import Job, LogFetch, now_ms
from tests.fakes.portal_hub import running_portal

DIGEST, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    with running_portal(tmp_path_factory.mktemp("hub")) as running:
        running.task = running.tell_story()
        yield running


@pytest.fixture(scope="module")
def ann(portal):
    return portal.signed_in("ann", "system-admin")


def stands(portal, fetch=None, **columns):
    """The first job's log stands so."""
    ended = {"state": JobState.SUCCEEDED, "log_next_record": 12, "log_chain": DIGEST, "records": 12, "chain": DIGEST}
    with connection(), write_tx():
        job = Job.select().where(Job.task == portal.task).order_by(Job.step_index).get()
        Job.update({**ended, "log_gaps": [], "log_state": LogState.COMPLETE, **columns}).where(
            Job.id == job.id
        ).execute()
        LogFetch.delete().execute()
        if fetch:
            soon = now_ms() + 3_600_000
            LogFetch.create(job=job.id, task=portal.task, due_at=soon, deadline_at=soon, **fetch)


def told(portal):
    return portal.api.get(f"/tasks/{portal.task}").json["steps"][0]["targets"][0]


@pytest.fixture(scope="module")
def show(portal):
    """What `manyarm task show` prints, asked over HTTP."""
    with portal.served() as address:

        def shown():
            environ = {"MANYARM_API_KEY": portal.api.key}
            done = CliRunner().invoke(task, ["show", portal.task], obj={"url": address}, env=environ)
            assert done.exit_code == 0, done.output
            return done.output

        yield shown


def test_a_whole_log_shows_its_digest_and_that_it_is_the_outcomes(portal, ann, show):
    stands(portal)
    (log,) = told(portal)["logs"]
    assert (log["digest"], log["outcome_digest"], log["agrees"], log["missing"]) == (DIGEST, DIGEST, True, [])
    page = ann.get(f"/tasks/{portal.task}").text
    assert DIGEST in page
    assert "as its outcome says" in page
    assert "1 of 1 log is here to the last byte" in page
    assert f"complete\t12\t{DIGEST}\tagrees\t" in show()


def test_a_gap_is_shown_with_its_records_and_what_is_done_about_it(portal, ann, show):
    gaps = [[3, 4, OTHER, OTHER], [7, 7, OTHER, OTHER]]
    stands(portal, {"asked": "1" * 32, "attempts": 2}, log_gaps=gaps, log_state=LogState.GAP)
    (log,) = told(portal)["logs"]
    assert (log["records"], log["digest"], log["agrees"]) == (9, None, False)
    assert log["missing"] == [[3, 4], [7, 7]]
    assert log["fetch"] == "asked for again (try 2 of 5)"
    assert log["fetch_until"]
    page = ann.get(f"/tasks/{portal.task}").text
    words = "records 3–4, 7 missing; asked for again (try 2 of 5)"
    assert words in page
    assert "of 1 some is missing" in page
    assert words.replace(" missing;", ";") in show()


def test_a_gap_that_stays_says_why(portal, ann, show):
    gone = {"state": FetchState.GIVEN_UP, "attempts": 5, "answer": "the spool of that run is not kept any more"}
    stands(portal, gone, log_gaps=[[3, 4, OTHER, OTHER]], log_state=LogState.GAP)
    (log,) = told(portal)["logs"]
    assert log["fetch"] == "missing for good: the spool of that run is not kept any more"
    assert log["fetch_until"] is None
    assert "missing for good" in ann.get(f"/tasks/{portal.task}").text
    assert "missing for good" in show()


def test_a_log_that_is_not_what_the_target_says_is_shown_as_such(portal, ann, show):
    stands(portal, chain=OTHER, log_state=LogState.DIFFERS)
    (log,) = told(portal)["logs"]
    assert (log["digest"], log["outcome_digest"], log["agrees"]) == (DIGEST, OTHER, False)
    assert "not what its outcome says" in ann.get(f"/tasks/{portal.task}").text
    assert "differs\t12" in show()
    assert "does not agree" in show()


def test_nothing_is_said_of_agreement_while_no_outcome_names_a_spool(portal, ann):
    stands(portal, state=JobState.RUNNING, records=None, chain=None, log_state=LogState.OPEN)
    assert told(portal)["logs"][0]["agrees"] is None
    assert "it goes on" in ann.get(f"/tasks/{portal.task}").text
    stands(portal, state=JobState.UNKNOWN, records=0, chain="0" * 64)
    assert (told(portal)["logs"][0]["outcome_digest"], told(portal)["logs"][0]["agrees"]) == (None, None)


def test_a_gap_stands_among_the_lines_where_it_is(portal, ann):
    portal.print_lines(portal.task, "before the gap")
    portal.print_lines(portal.task, "LOG_GAP: log incomplete: records 3–4 missing", level=str(Level.WARNING))
    portal.print_lines(portal.task, "behind the gap")
    lines = [item["text"] for item in portal.api.get(f"/tasks/{portal.task}/log?limit=1000&target=web-1").json["items"]]
    assert lines[-3:] == ["before the gap", "LOG_GAP: log incomplete: records 3–4 missing", "behind the gap"]
    assert "LOG_GAP: log incomplete: records 3–4 missing" in ann.get(f"/tasks/{portal.task}/log.txt").text
