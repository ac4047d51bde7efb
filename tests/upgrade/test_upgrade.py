"""One release apart: what each release wrote, today's code reads, and an older one is told nothing that it does not know.

Recorded under recorded/<release>/ and never changed: bodies of all messages, a job, a spoke's journal, the API's surface.
(Whole frames are in tests/wire/recorded, plans in tests/simulation/recorded; tables in tests/hub/storage.)
"""

import json
import sqlite3
from dataclasses import dataclass

import pytest

from hub.api.app import release
from runner.contract.job import Job
from spokes.agent.journal import Arrival, Journal, State, Verdict
from tests.upgrade.examples import AT, BODIES, JOB, RECORDED, surface
from wire import messages, schema
from wire.envelope import MessageType
from wire.errors import Refused

RELEASES = sorted(RECORDED.iterdir())


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def recorded(request):
    return request.param


def test_this_release_or_the_one_before_is_recorded():
    assert RELEASES
    assert any(release().startswith(path.name.rpartition(".")[0]) for path in RELEASES)


def test_every_message_of_each_release_is_read_and_means_what_it_meant(recorded):
    found = json.loads((recorded / "messages.json").read_text())
    assert set(found) <= {kind.name for kind in MessageType}, "a kind of message was taken away"
    for name, bodies in found.items():
        for body in bodies:
            read = messages.decode(MessageType[name], bytes.fromhex(body))
            # Said again today, the older side reads it: nothing was added that it does not know.
            assert messages.encode(read).hex() == body


def test_every_kind_of_message_has_an_example_that_is_recorded(recorded):
    assert set(BODIES) == set(MessageType)
    if recorded == RELEASES[-1]:
        assert set(json.loads((recorded / "messages.json").read_text())) == {kind.name for kind in BODIES}


def test_a_job_of_each_release_is_read_and_says_the_same_again(recorded):
    found = json.loads((recorded / "job.json").read_text())
    assert Job.from_json(found).to_json() == found
    if recorded == RELEASES[-1]:
        assert Job.from_json(found) == JOB


def test_a_spoke_goes_on_with_the_journal_that_each_release_left(recorded, tmp_path):
    database = sqlite3.connect(tmp_path / "journal.db")
    database.executescript((recorded / "journal.sql").read_text())
    database.close()
    journal = Journal(tmp_path / "journal.db")
    left = {entry.cid: entry.state for entry in journal.unreported()}
    assert {str(state) for state in left.values()} == {str(state) for state in State}
    cid = next(cid for cid, state in left.items() if state is State.RUNNING)
    again = Arrival(cid, "e" * 32, "f" * 32, 99, "run_job", "0c" * 32, "0c" * 32, AT + 900, "", "", b"f", AT)
    ((verdict, entry),) = journal.accept([again])
    assert (verdict, entry.state) == (Verdict.KNOWN, State.RUNNING), "a job of before would run twice"
    journal.close()


def test_the_api_takes_and_gives_what_each_release_did(recorded):
    now = surface()
    for path, methods in json.loads((recorded / "api.json").read_text()).items():
        for method, was in methods.items():
            assert method in now.get(path, {}), f"{method} {path} was taken away"
            found = now[path][method]
            for part in ("parameters", "fields", "answer"):
                assert set(was[part]) <= set(found[part]), f"{method} {path}: {part} were taken away"
            assert set(found["required"]) <= set(was["required"]), f"{method} {path} asks for more than it did"


def test_a_field_that_a_later_release_adds_may_be_absent_and_is_not_written_while_it_says_nothing():
    @dataclass(frozen=True)
    class Before:
        name: messages.Name

    @dataclass(frozen=True)
    class After:
        name: messages.Name
        more: bool = False

    assert schema.read(After, {"name": "x"}) == After("x")
    assert schema.read(Before, schema.write_object(After("x"))) == Before("x")
    assert schema.read(After, schema.write_object(After("x", more=True))) == After("x", more=True)
    with pytest.raises(Refused):
        schema.read(Before, schema.write_object(After("x", more=True)))
    with pytest.raises(Refused):
        schema.read(After, {"more": True})
