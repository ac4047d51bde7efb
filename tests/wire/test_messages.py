"""Every message goes through its one encoding and back, and what is out of bounds is refused on both sides."""

import json
from dataclasses import replace

import pytest

from tests.fakes.parties import PLATFORM, command
from wire import canonical, messages
from wire.envelope import MessageType
from wire.errors import Code, Refused
from wire.keys import new_id
from wire.messages import (
    Ack,
    AckState,
    ArtifactRef,
    BrokerAccess,
    Cancel,
    Credential,
    CredentialKind,
    EndState,
    Enrol,
    Enrolled,
    Heartbeat,
    Hello,
    Intent,
    JobReport,
    JobState,
    Load,
    Log,
    Output,
    PackageRef,
    PackageRole,
    Reject,
    Result,
    Rotate,
    Welcome,
)
from wire.secret import Secret

DIGEST = "5a" * 32
PACKAGE = PackageRef(
    PackageRole.PACKAGE, new_id(), DIGEST, DIGEST, "storefront", "1.4.2", "tar.zst", 10_000, DIGEST, ""
)
SAMPLES = {
    MessageType.COMMAND: command(packages=(PACKAGE,), job={"deep": [{"ü": None}, True, -5]}),
    MessageType.CANCEL: Cancel(new_id(), "asked by Ann"),
    MessageType.WELCOME: Welcome(new_id(), new_id(), 1_800_000_000, 3, 1, "hub/audit\n7\n", 10, "4d4144"),
    MessageType.HELLO: Hello(
        new_id(), 0, 3, 1, DIGEST, "manyarm 0.1.0", PLATFORM, (JobReport(new_id(), JobState.RUNNING),)
    ),
    MessageType.ACK: Ack(AckState.KNOWN, ""),
    MessageType.RESULT: Result(
        EndState.TIMED_OUT,
        None,
        "took too long",
        (Output("Url", "http://x", secret=False),),
        (ArtifactRef("report.html", 5, DIGEST, ""),),
        ("4711 sleep",),
        3,
        False,
        1,
        2,
        17,
        DIGEST,
        "",
    ),
    MessageType.LOG: Log(b"\0\xff records"),
    MessageType.HEARTBEAT: Heartbeat(new_id(), 1, 0, Load(250, 100, 5000, 1), (new_id(),)),
    MessageType.REJECT: Reject(new_id(), "ENV_SEAL", ""),
    MessageType.ROTATE: Rotate(DIGEST, DIGEST * 2),
    MessageType.ENROL: Enrol(
        "ab" * 8,
        new_id(),
        DIGEST,
        "",
        new_id(),
        PLATFORM,
        "web-1",
        "listening",
        "web-1:10933",
        ("web",),
        ("Production",),
    ),
    MessageType.ENROLLED: Enrolled(
        new_id(), DIGEST, 3, BrokerAccess("amqps://hub:5673", "spoke-1", "pw", "manyarm", DIGEST), "hub:8443", new_id()
    ),
    MessageType.INTENT: Intent(
        "deployment.create", Credential(CredentialKind.API_KEY, new_id()), {"project": "Storefront"}, "k-1", {"A": "s"}
    ),
}
JSON_KINDS = [kind for kind in MessageType if kind is not MessageType.LOG]


def refusal(act, *args):
    with pytest.raises(Refused) as caught:
        act(*args)
    return caught.value


def fields_of(kind: MessageType) -> dict:
    return json.loads(messages.encode(SAMPLES[kind]))


@pytest.mark.parametrize("kind", MessageType)
def test_each_message_comes_back_as_it_was(kind):
    body = SAMPLES[kind]
    data = messages.encode(body)
    assert messages.decode(kind, data) == body
    assert messages.kind_of(body) is kind
    assert messages.encode(messages.decode(kind, data)) == data


@pytest.mark.parametrize("kind", JSON_KINDS)
def test_each_message_refuses_unknown_missing_and_wrong_fields_by_name(kind):
    good = fields_of(kind)
    for name in good:
        fewer = {key: value for key, value in good.items() if key != name}
        refused = refusal(messages.decode, kind, canonical.encode(fewer))
        assert (refused.code, refused.field) == (Code.ENV_SCHEMA, name)
        refused = refusal(messages.decode, kind, json.dumps(good | {name: 1.5}, sort_keys=True).encode())
        assert refused.code is Code.ENV_FLOAT
        wrong = {"wrong": 1} if not isinstance(good[name], dict) else "wrong"
        refused = refusal(messages.decode, kind, canonical.encode(good | {name: wrong}))
        assert refused.code is Code.ENV_SCHEMA
        assert refused.field.startswith(name)
    refused = refusal(messages.decode, kind, canonical.encode(good | {"extra": 0}))
    assert (refused.code, refused.field) == (Code.ENV_SCHEMA, "extra")


@pytest.mark.parametrize("kind", JSON_KINDS)
def test_no_text_of_a_message_is_without_bound(kind):
    good = fields_of(kind)
    for name, value in good.items():
        if isinstance(value, str):
            refused = refusal(messages.decode, kind, canonical.encode(good | {name: "a" * 300_000}))
            assert refused.code in (Code.ENV_SCHEMA, Code.ENV_OP)
            assert refused.field == name


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cid": "A" * 32}, "cid"),
        ({"cid": "../" + "0" * 29}, "cid"),
        ({"packages": (PACKAGE,) * 65}, "packages"),
        ({"packages": (replace(PACKAGE, size=-1),)}, "packages[0].size"),
        ({"packages": (replace(PACKAGE, sha256="x"),)}, "packages[0].sha256"),
        ({"secrets": {"Api Token": Secret("x")}}, "secrets.'Api Token'"),
        ({"secrets": {"A": "x" * 300_000}}, "secrets.A"),
        ({"not_before": True}, "not_before"),
        ({"job": {str(at): 0 for at in range(201)}}, "job"),
    ],
)
def test_what_a_receiver_would_refuse_is_not_sent(change, field):
    refused = refusal(messages.encode, command(**change))
    assert (refused.code, refused.field) == (Code.ENV_SCHEMA, field)


@pytest.mark.parametrize(
    ("job", "code"),
    [
        ({"x": 1.0}, Code.ENV_FLOAT),
        ({"x": float("nan")}, Code.ENV_FLOAT),
        ({"x": 2**53}, Code.ENV_SCHEMA),
        ({"x": "\ud800"}, Code.ENV_SCHEMA),
        ({"x": b"bytes"}, Code.ENV_SCHEMA),
        ({1: "x"}, Code.ENV_SCHEMA),
    ],
)
def test_a_job_holds_json_without_floats_alone(job, code):
    assert refusal(messages.encode, command(job=job)).code is code


def test_a_job_nested_beyond_reason_is_refused():
    deep: list = []
    for _ in range(100):
        deep = [deep]
    assert refusal(messages.encode, command(job={"x": deep})).code is Code.ENV_SCHEMA
    flat = command(job={"x": ['"[[[{{{\\"' * 50] * 50})
    assert messages.decode(MessageType.COMMAND, messages.encode(flat)) == flat


def test_empty_and_oversized_logs_are_refused():
    for records in (b"", b"x" * (messages.LOG_BODY_MAX + 1)):
        assert refusal(messages.encode, Log(records)).field == "records"
        assert refusal(messages.decode, MessageType.LOG, records).field == "records"


def test_no_message_prints_its_secrets():
    canary = "canary"
    shown = [
        repr(command(secrets={"a": canary}, capability=canary)),
        repr(replace(PACKAGE, manifest_key=canary)),
        repr(replace(SAMPLES[MessageType.ENROL], token_secret=canary)),
        repr(BrokerAccess("u", "u", canary, "v", "")),
        repr(Output("a", canary, secret=True)),
        repr(replace(SAMPLES[MessageType.INTENT], sealed={"a": canary})),
        repr(Log(canary.encode())),
    ]
    assert not [text for text in shown if canary in text]


def nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (1.5, Code.ENV_FLOAT),
        ({"a": float("nan")}, Code.ENV_FLOAT),
        ([2**53], Code.ENV_SCHEMA),
        ([-(2**53)], Code.ENV_SCHEMA),
        ("half \ud800", Code.ENV_SCHEMA),
        ({"half \udc00": 1}, Code.ENV_SCHEMA),
        ({1: "a number as a name"}, Code.ENV_SCHEMA),
        ({"a": b"bytes"}, Code.ENV_SCHEMA),
        (nested(canonical.DEPTH_MAX + 1), Code.ENV_SCHEMA),
    ],
)
def test_what_no_receiver_would_take_is_not_written(value, code):
    assert refusal(canonical.encode, value).code is code


def test_what_is_just_within_the_limits_is_written_and_read_back():
    for value in (2**53 - 1, -(2**53 - 1), "é \U0001f600", nested(canonical.DEPTH_MAX), True, None):
        assert canonical.decode(canonical.encode(value)) == value
