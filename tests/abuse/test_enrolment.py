"""Strangers at the enrolment endpoint, and what a machine that is not approved gets to see."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hub.gateway.parts import GatewayLimits
from hub.gateway.rates import Rate
from hub.infrastructure.join_codes import revoke_join_code
from hub.infrastructure.spoke_keys import SpokeDirectory
from hub.packages.references import refs_for
from hub.states import Approval, EnrolmentState, SpokeState
from hub.storage.database import connection, write_tx
from hub.storage.hub_keys import signing_key
from hub.storage.hub_trust import trust_chain
from hub.storage.models import (
    Enrolment,
    Environment,
    Event,
    GatewayInbox,
    JoinToken,
    Spoke,
    Target,
    TrustFrame,
)
from tests.fakes.enrolling import EnrollingHub, Machine
from tests.fakes.feed import Feed, zip_of
from tests.fakes.gateway import gateway_of
from tests.fakes.installed_hub import InstalledHub, installed_hub
from wire.errors import Code, Refused
from wire.keys import SigningKey
from wire.messages import Platform
from wire.roles import Role
from wire.trust import sign_trust


@pytest.fixture
def hub(tmp_path) -> Iterator[InstalledHub]:
    with installed_hub(tmp_path) as installed:
        yield installed


@pytest.fixture
def enrolling(hub) -> EnrollingHub:
    return EnrollingHub(hub)


@pytest.fixture
def client(hub):
    return gateway_of(hub).test_client()


def honest_enrolment_still_works(enrolling: EnrollingHub, client) -> None:
    """Half of the common oracle: nothing was lost."""
    machine = Machine(enrolling.hub, "honest")
    frame = machine.frame(enrolling.code(approve=Approval.AUTO))
    assert client.post("/gateway/v1/enrol", data=frame.frame).status_code == 202
    enrolling.take()
    enrolling.rollout.sweep()
    assert machine.opened(client.get(f"/gateway/v1/enrol/{frame.sha256}").data, frame).spoke_id


def test_t064_a_join_token_used_twice_lets_one_in(enrolling, hub, client):
    code = enrolling.code()
    first, second = Machine(hub, "one").frame(code), Machine(hub, "two").frame(code)
    enrolling.take(first, second)
    assert [spoke.name for spoke in Spoke.select()] == ["one"]
    assert enrolling.refusals() == ["JOIN_USED"]
    assert client.get(f"/gateway/v1/enrol/{second.sha256}").status_code == 400
    honest_enrolment_still_works(enrolling, client)


def _sixteen_at_once(enrolling: EnrollingHub) -> None:
    hub = enrolling.hub
    code = enrolling.code()
    frames = [Machine(hub, f"web-{number}").frame(code) for number in range(16)]
    start = threading.Barrier(16)
    failures: list[BaseException] = []

    def engine(frame) -> None:
        try:
            with connection():
                enrolling.arrive(frame)
                start.wait(30)
                while GatewayInbox.get_or_none(GatewayInbox.sha256 == frame.sha256) is not None:
                    enrolling.enrolments.sweep()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=engine, args=(frame,)) for frame in frames]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    (spoke,) = Spoke.select()
    token = JoinToken.get_by_id(code.row.id)
    assert spoke.state == SpokeState.PENDING
    assert token.used_by == spoke.id
    hub.seals.check(token)
    hub.seals.check(spoke)
    assert sorted(row.state for row in Enrolment.select()) == ["refused"] * 15 + ["waiting"]
    assert enrolling.refusals() == ["JOIN_USED"] * 15


def test_t064_sixteen_enrolments_at_once_let_one_in(enrolling, client):
    _sixteen_at_once(enrolling)
    honest_enrolment_still_works(enrolling, client)


@pytest.mark.postgres
def test_t064_sixteen_enrolments_at_once_let_one_in_on_postgresql(tmp_path, postgres_url):
    with installed_hub(tmp_path, postgres_url) as hub:
        _sixteen_at_once(EnrollingHub(hub))


def test_t066_whatever_is_wrong_with_a_token_the_outsider_sees_one_answer(enrolling, hub, client, tmp_path):
    expired, revoked, used, good = (enrolling.code() for _ in range(4))
    with write_tx():
        revoke_join_code(hub.acting(), revoked.row.id)
    enrolling.take(Machine(hub, "first").frame(used))
    wrong = {
        "JOIN_USED": Machine(hub).frame(used),
        "JOIN_BAD": Machine(hub).frame(good, token_secret="0" * 32),
        "unknown": Machine(hub).frame(good, token_id="0" * 16),
        "revoked": Machine(hub).frame(revoked),
    }
    answers = set()
    for frame in wrong.values():
        assert client.post("/gateway/v1/enrol", data=frame.frame).status_code == 202
        enrolling.take()
        answer = client.get(f"/gateway/v1/enrol/{frame.sha256}")
        answers.add((answer.status_code, answer.data))
    enrolling.now_ms += 31 * 60 * 1_000
    late = Machine(hub).frame(expired)
    enrolling.take(late)
    late_answer = client.get(f"/gateway/v1/enrol/{late.sha256}")
    answers.add((late_answer.status_code, late_answer.data))
    unknown = client.get(f"/gateway/v1/enrol/{'0' * 64}")
    answers.add((unknown.status_code, unknown.data))
    garbage = client.post("/gateway/v1/enrol", data=b"MAE1 garbage")
    answers.add((garbage.status_code, garbage.data))
    ((status, body),) = answers
    assert status == 400
    assert b"JOIN_BAD" in body
    assert enrolling.refusals() == ["JOIN_USED", "JOIN_BAD", "JOIN_BAD", "JOIN_EXPIRED", "JOIN_EXPIRED"]
    assert Spoke.select().count() == 1
    enrolling.now_ms = hub.acting().now_ms
    honest_enrolment_still_works(enrolling, client)


def test_t066_a_token_of_another_hub_is_refused(enrolling, hub, client):
    """Sealed to another hub's box, or made with its trust document: neither is for us."""
    code = enrolling.code()
    machine = Machine(hub)
    foreign, other_trust = machine.frame(code, hub_id="f" * 32), machine.frame(code, trust_sha256="e" * 64)
    enrolling.take(foreign, other_trust)
    assert enrolling.refusals() == ["ENV_AUD", "JOIN_BAD"]
    assert JoinToken.get_by_id(code.row.id).used_at is None
    enrolling.take(machine.frame(code))
    assert Spoke.select().count() == 1


def test_t066_a_wrong_secret_costs_the_same_work_as_an_unknown_token(enrolling, hub, caplog):
    """Equal time by equal work: the same statements, whether the token exists or not."""
    code = enrolling.code()
    work = {}
    for kind, change in (("unknown", {"token_id": "0" * 16}), ("wrong", {"token_secret": "0" * 32})):
        enrolling.arrive(Machine(hub).frame(code, **change))
        with caplog.at_level(logging.DEBUG, logger="peewee"):
            caplog.clear()
            enrolling.enrolments.sweep()
            work[kind] = [record.msg[0] for record in caplog.records if record.name == "peewee"]
    assert len(work["unknown"]) > 5
    assert work["unknown"] == work["wrong"]


@pytest.mark.parametrize(
    ("terms", "asks"),
    [
        ({"role": "relay"}, {}),
        ({"role": "relay"}, {"kind": "listening", "address": "web-1:10933"}),
        ({"role": "ssh"}, {"kind": "relay"}),
        ({"role": "local"}, {"kind": "ssh"}),
        ({}, {"kind": "relay"}),
        ({}, {"kind": "ssh"}),
        ({}, {"kind": "local"}),
        ({"name_pattern": "web-*"}, {"requested_name": "db-1"}),
        ({"name_pattern": "web-?"}, {"requested_name": "web-10"}),
        ({"roles": ("web",)}, {"roles": ("web", "db")}),
        ({"environments": ("Development",)}, {"environments": ("Production",)}),
        ({}, {"environments": ("Nowhere",)}),
    ],
    ids=str,
)
def test_t067_a_token_lets_in_only_what_it_names(enrolling, hub, client, terms, asks):
    ids = {name: Environment.create(name=name).id for name in ("Development", "Production")}
    if "environments" in terms:
        terms = terms | {"environments": tuple(ids[name] for name in terms["environments"])}
    code = enrolling.code(**terms)
    enrolling.take(Machine(hub).frame(code, **asks))
    assert enrolling.refusals() == ["JOIN_SCOPE"]
    assert Spoke.select().count() == 0
    assert JoinToken.get_by_id(code.row.id).used_at is None
    honest_enrolment_still_works(enrolling, client)


def test_t069_an_unapproved_spoke_gets_nothing_and_sees_no_names(enrolling, hub, client):
    feed = Feed(hub)
    package = feed.push("secret-project.1.0.0.zip", zip_of(**{"a.txt": b"x"}))
    manifest = refs_for(hub.engine, package.id).manifest_id
    machine = Machine(hub)
    frame = machine.frame(enrolling.code())
    enrolling.take(frame)
    enrolling.rollout.sweep()
    with pytest.raises(Refused) as refused:
        SpokeDirectory(hub.seals).key(machine.signing.kid, Role.SPOKE_SIGN, 0)
    assert refused.value.code is Code.JOIN_PENDING
    assert enrolling.accounts.calls == []
    answers = [
        client.get(f"/gateway/v1/enrol/{frame.sha256}"),
        client.get(f"/gateway/v1/manifests/{manifest}"),
        client.get(f"/gateway/v1/chunks/{'0' * 64}"),
        client.put(f"/gateway/v1/artifacts/{'0' * 32}", data=b"x"),
        client.post("/gateway/v1/chunks", json={"capability": "", "ids": ["0" * 64]}),
    ]
    assert [answer.json["code"] for answer in answers] == ["JOIN_PENDING"] * 5
    for answer in answers:
        assert b"secret-project" not in answer.data


def hostile_frame(enrolling: EnrollingHub, **body):
    """None where the wire's own schema refuses such a text, at both ends alike."""
    try:
        return Machine(enrolling.hub).frame(enrolling.code(approve=Approval.AUTO), **body)
    except Refused as refusal:
        if refusal.code is Code.ENV_SCHEMA:
            return None
        raise


HOSTILE = ["../x", "a/b", "C:\\x", "%2e%2e", "a" * 300, "a\u202eb", "a\x00b", "a\nb", "-rf", "{{7*7}}"]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_t070_a_hostile_name_is_refused_or_only_shown(enrolling, hub, client, text, caplog):
    before = set(hub.home.rglob("*"))
    platform = Platform(text[:64], "x", "x", "x", text[:255])
    frame = hostile_frame(enrolling, requested_name=text, platform=platform)
    if frame is None:
        return
    enrolling.take(frame)
    enrolling.rollout.sweep()
    after = set(hub.home.rglob("*"))
    assert {path.suffix for path in after - before} <= {".db-wal", ".db-shm"}
    assert "\n" not in "".join(record.getMessage() for record in caplog.records)
    if text == "{{7*7}}":
        assert Target.get().name == text
        assert [user for _, user in enrolling.accounts.calls] == [Spoke.get().id]
    else:
        assert enrolling.refusals() == ["JOIN_SCOPE"]
        assert Spoke.select().count() == 0
    for event in Event.select():
        assert b"\x00" not in bytes(event.bytes)
        assert event.object.isascii()
        assert text not in event.object
    honest_enrolment_still_works(enrolling, client)


@pytest.mark.parametrize("role", HOSTILE, ids=ascii)
def test_t070_a_hostile_role_is_refused_or_only_shown(enrolling, hub, role):
    frame = hostile_frame(enrolling, roles=(role,))
    if frame is None:
        return
    enrolling.take(frame)
    assert enrolling.refusals() == ([] if role == "{{7*7}}" else ["JOIN_SCOPE"])


@pytest.mark.parametrize("where", ["enrol", "manifests", "chunks", "wheel"])
@pytest.mark.parametrize("text", ["..%2f..%2fmanyarm.db", "%252e%252e", "a%00b", "..\\x", "-rf", "{{7*7}}", "a" * 300])
def test_t070_no_path_is_built_from_what_a_stranger_names(client, where, text):
    path = f"/wheel/{text}" if where == "wheel" else f"/gateway/v1/{where}/{text}"
    answer = client.get(path)
    assert answer.status_code in {400, 403, 404, 405}
    assert b"SQLite" not in answer.data
    assert b"Traceback" not in answer.data


def test_t073_a_bad_trust_document_in_the_database_is_not_believed_and_the_old_one_stays(hub):
    """The hub's half: what SQL put in is refused at the next load, and the chain before it is still whole."""
    chain = hub.trust
    stranger = SigningKey.generate()
    bad = replace(chain.document, version=2, prev_sha256=chain.sha256)
    with write_tx():
        TrustFrame.create(version=2, sha256=bad.sha256, frame=sign_trust(bad, [stranger]), issued_at=1)
    with pytest.raises(Exception, match=r"TRUST_SIG|TRUST_THRESHOLD"):
        trust_chain()
    with pytest.raises(Refused):
        chain.update([bytes(TrustFrame.get_by_id(2).frame)])
    assert chain.version == 1
    with write_tx():
        TrustFrame.delete().where(TrustFrame.version == 2).execute()
    assert trust_chain().version == 1
    good = sign_trust(bad, [signing_key(hub.engine, Role.HUB_ROOT)])
    assert chain.update([good]).version == 2


def test_t084_guessing_is_limited_and_locks_no_honest_token_out(enrolling, hub):
    limits = GatewayLimits(enrolments=Rate(burst=20, per_minute=30), questions=Rate(10_000, 10_000))
    client = gateway_of(hub, limits).test_client()
    code = enrolling.code()
    guess = Machine(hub).frame(code, token_secret="0" * 32)
    attacker = {"REMOTE_ADDR": "198.51.100.7"}
    answers = [
        client.post("/gateway/v1/enrol", data=guess.frame, environ_overrides=attacker).status_code for _ in range(3_000)
    ]
    assert answers.count(202) <= 40
    assert set(answers[100:]) <= {429, 202}
    refused = client.post("/gateway/v1/enrol", data=guess.frame, environ_overrides=attacker)
    assert int(refused.headers["Retry-After"]) >= 1
    enrolling.take()
    honest = Machine(hub).frame(code)
    accepted = client.post("/gateway/v1/enrol", data=honest.frame, environ_overrides={"REMOTE_ADDR": "192.0.2.9"})
    assert accepted.status_code == 202
    enrolling.take()
    assert Enrolment.get_by_id(honest.sha256).state == EnrolmentState.WAITING


def test_t084_what_waits_for_the_engine_is_bounded(enrolling, hub):
    limits = GatewayLimits(enrolments=Rate(10_000, 10_000), unopened=25)
    client = gateway_of(hub, limits).test_client()
    code = enrolling.code()
    frames = [Machine(hub).frame(code, token_secret="0" * 32) for _ in range(40)]
    answers = [client.post("/gateway/v1/enrol", data=frame.frame).status_code for frame in frames]
    assert (answers.count(202), answers.count(429)) == (25, 15)
    assert GatewayInbox.select().count() == 25
    enrolling.take()
    honest_enrolment_still_works(enrolling, client)


@pytest.mark.parametrize("size", [0, 1, 27, 2_048, 2_049, 1_000_000])
def test_t084_a_frame_of_any_size_is_answered_alike(client, size):
    answer = client.post("/gateway/v1/enrol", data=b"M" * size)
    assert (answer.status_code, answer.json["code"]) == (400, "JOIN_BAD")
    assert GatewayInbox.select().count() == 0
