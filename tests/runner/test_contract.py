"""Job, step kinds, service messages and spool records: strict both ways."""

import json
from pathlib import Path

import pytest

from runner.contract.errors import JobMalformed, MessageRefused, SpoolDamaged
from runner.contract.fields import parse_object
from runner.contract.job import Job
from runner.contract.service_messages import frame, parse_message, take_frame
from runner.contract.spool import CHAIN_START, Kind, Stream, encode_record, read_records
from runner.contract.step_kind import Property, StepKind, read_step_kinds
from runner.steps import step_kinds
from tests.runner.rig import Rig


@pytest.fixture
def job(tmp_path):
    package = {"id": "p", "version": "1", "extension": "zip", "manifest_id": "m", "sha256": "s"}
    return {
        **Rig([], tmp_path).job(package=package, secret_names=["S"], expose_env=["E"], variables={"a": "b"}),
        "literals": {},
    }


def test_a_job_goes_through_json_unchanged(job):
    assert Job.from_json(json.loads(json.dumps(job))).to_json() == job
    assert Job.from_json(Job.from_json(job).to_json()) == Job.from_json(job)


def test_each_field_missing_unknown_or_of_another_type_is_named(job):
    for name in set(job) - {"literals"}:
        with pytest.raises(JobMalformed) as refusal:
            Job.from_json({k: v for k, v in job.items() if k != name})
        assert refusal.value.field == name
        with pytest.raises(JobMalformed) as refusal:
            Job.from_json({**job, name: 1.5})
        assert refusal.value.field == name
    with pytest.raises(JobMalformed, match="extra"):
        Job.from_json({**job, "extra": 1})
    with pytest.raises(JobMalformed, match=r"step\.more"):
        Job.from_json({**job, "step": {**job["step"], "more": 1}})


@pytest.mark.parametrize(
    "text", ['{"a":1,"a":2}', "[1]", '{"a":NaN}', '{"a":"\\ud800"}', "\ufeff{}", "{" * 99999, '{"a":1}x']
)
def test_json_that_readers_disagree_about_is_refused(text):
    with pytest.raises(JobMalformed):
        parse_object(text)


def test_step_kinds_are_read_back_as_they_were_written():
    kinds = read_step_kinds(json.loads(json.dumps(step_kinds())))
    files = {path.stem for path in (Path(__file__).resolve().parents[2] / "runner/steps").glob("[a-z]*.py")}
    assert set(kinds) == {name.replace("_", "-") for name in files}
    assert kinds["deploy-package"].needs_package
    assert not kinds["run-script"].needs_package
    assert kinds["run-script"].check({"script": "x"}) == {"shell": "bash", "strict": True, "script": "x"}
    assert all(isinstance(kind, StepKind) and kind.title and kind.description for kind in kinds.values())
    for properties, field in (
        ({}, "script"),
        ({"script": 1}, "script"),
        ({"script": "", "shell": "fish"}, "shell"),
        ({"script": "", "x": 1}, "x"),
    ):
        with pytest.raises(JobMalformed) as refusal:
            kinds["run-script"].check(properties)
        assert refusal.value.field == f"properties.{field}"


@pytest.mark.parametrize(
    ("value", "fault"), [(0, "expected 1 or more"), (10, "expected 9 or less"), (True, "whole"), (1, "")]
)
def test_a_whole_number_stays_within_its_bounds(value, fault):
    assert fault in Property("count", "integer", "How many.", least=1, most=9).fault(value)
    assert bool(Property("count", "integer", "How many.", least=1, most=9).fault(value)) == bool(fault)


def test_records_are_read_back_whole_and_a_cut_one_waits():
    data, chain = b"", CHAIN_START
    for number in range(5):
        record, chain = encode_record(number, Kind.TEXT, 123, Stream.STDOUT, b"line\n" * number, chain=chain)
        data += record
    for cut in range(len(data) + 1):
        records = read_records(data[:cut])
        assert [r.number for r in records] == list(range(len(records)))
        assert sum(r.size for r in records) <= cut
    assert records[-1].chain == chain
    assert read_records(data[records[0].size :], 1, records[0].chain) == records[1:]


def test_any_changed_byte_of_a_record_is_found():
    record, _ = encode_record(0, Kind.TEXT, 123, Stream.STDOUT, b"line\n", chain=CHAIN_START)
    for at in range(len(record)):
        broken = bytearray(record)
        broken[at] ^= 1
        try:
            assert read_records(bytes(broken)) == []
        except SpoolDamaged:
            continue


def test_frames_are_taken_off_one_by_one_however_they_come():
    buffer = bytearray()
    taken = []
    for byte in frame(b"one") + frame(b"") + frame(b"three"):
        buffer.append(byte)
        found = take_frame(buffer)
        if found is not None:
            taken.append(found)
    assert taken == [b"one", b"", b"three"]
    with pytest.raises(MessageRefused):
        take_frame(bytearray(b"\xff\xff\xff\xff"))


def test_defaults_of_messages_are_filled_in():
    message = parse_message(b'{"do":"set_variable","name":"A","value":"b","reply":"text"}')
    assert (message.verb, message.fields, message.wants_text) == (
        "set_variable",
        {"name": "A", "value": "b", "secret": False},
        True,
    )
