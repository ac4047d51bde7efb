"""Portal asks, engine answers: what counts is the row, who asks is judged at the end, and nothing happens by half."""

import hashlib
import json
import threading
import time

import pytest

from hub.access.caller import Caller, caller_of
from hub.errors import Conflict
from hub.operations.answering import KEEP_MS, Answering
from hub.operations.asking import Answer
from hub.operations.catalogue import CATALOGUE
from hub.states import IntentState
from hub.storage.database import connection, write_tx
from hub.storage.models import Event, IntentRow, Project, now_ms
from tests.fakes.api_hub import ApiHub, running_api
from wire.canonical import encode
from wire.envelope import verify
from wire.exchange import seal_intent
from wire.keys import SigningKey
from wire.messages import Credential, CredentialKind, Intent


@pytest.fixture
def api(tmp_path):
    """Nobody answers unless the test does."""
    with running_api(tmp_path, engine=False) as running:
        yield running


def caller(api: ApiHub, key: str = "") -> Caller:
    with connection():
        found = Credential(CredentialKind.API_KEY, (key or api.key).split("_")[1])
        return caller_of(found, now_ms(), api.installed.seals)


def ask(api: ApiHub, name: str, request: dict, **options) -> Answer:
    return api.parts.asking.ask(CATALOGUE[name], request, caller(api), wait_s=options.pop("wait_s", 0), **options)


def frame_of(api: ApiHub, intent: Intent, *, signer: SigningKey | None = None, now_s: int | None = None) -> bytes:
    asking = api.parts.asking
    hub = asking._hub()
    return seal_intent(
        intent,
        signer=signer or asking._signer(),
        hub_box=hub.box,
        hub_id=hub.hub_id,
        epoch=hub.epoch,
        now_s=now_s or int(time.time()),
    ).frame


def test_a_message_is_answered_at_once_and_its_row_keeps_the_answer_sealed(api):
    waiting = ask(api, "project.create", {"name": "Storefront"})
    assert waiting.status == 202
    assert api.answering.handle(api.broker.published[-1].body) == waiting.intent
    row = IntentRow.get_by_id(waiting.intent)
    assert (row.state, row.status) == (IntentState.DONE, 201)
    assert b"Storefront" not in row.answer_sealed
    assert api.parts.asking.answer(caller(api), waiting.intent).body["slug"] == "storefront"


def test_with_the_broker_down_the_row_is_found_by_the_sweep(api):
    api.broker.down = True
    waiting = ask(api, "project.create", {"name": "Storefront"})
    assert api.broker.published == []
    assert api.answering.sweep() == 0  # Fresh: its message may be under way.
    time.sleep(0.3)
    assert api.answering.sweep() == 1
    assert IntentRow.get_by_id(waiting.intent).state is IntentState.DONE


def test_a_message_that_comes_again_runs_nothing_again(api):
    waiting = ask(api, "release.create", {"project": "nowhere"})
    frame = api.broker.published[-1].body
    first = api.answering.handle(frame)
    events = Event.select().count()
    assert api.answering.handle(frame) == first == waiting.intent
    assert Event.select().count() == events


def test_a_row_that_a_database_writer_sets_back_is_not_run_again(api):
    waiting = ask(api, "project.create", {"name": "Storefront"})
    frame = api.broker.published[-1].body
    api.answering.handle(frame)
    api.delete("/projects/storefront")
    with write_tx():
        Project.delete().execute()
        IntentRow.update(state=IntentState.NEW).where(IntentRow.id == waiting.intent).execute()
    api.answering.handle(frame)
    assert not Project.select().exists()


def test_an_intent_that_is_too_late_is_answered_and_not_run(api):
    waiting = ask(api, "project.create", {"name": "Storefront"})
    frame = api.broker.published[-1].body
    parts = api.answering._parts
    late = Answering(
        type(parts)(
            **{name: getattr(parts, name) for name in parts.__slots__} | {"clock_ms": lambda: now_ms() + 3_600_000}
        )
    )
    assert late.handle(frame) is None
    row = IntentRow.get_by_id(waiting.intent)
    assert (row.state, row.status) == (IntentState.FAILED, 503)
    assert not Project.select().exists()


def test_a_request_that_never_came_to_anything_may_be_asked_again_under_its_key(api):
    first = ask(api, "project.create", {"name": "Storefront"}, idempotency_key="once")
    with write_tx():
        api.answering._answer(first.intent, IntentState.FAILED, 503, {"code": "ENV_EXPIRED", "detail": "late"})
    second = ask(api, "project.create", {"name": "Storefront"}, idempotency_key="once")
    assert second.intent != first.intent
    api.answering.handle(api.broker.published[-1].body)
    assert api.parts.asking.answer(caller(api), second.intent).status == 201


def test_what_was_refused_is_rolled_back_and_on_the_record(api):
    api.answering.handle(
        frame_for_row(api, "apply", {"documents": [{"kind": "Environment", "name": "Test"}, {"kind": "Nothing"}]})
    )
    assert api.answering.sweep() == 0
    event = Event.select().order_by(Event.seq.desc()).first()
    assert (event.action, event.outcome) == ("apply", "refused")
    assert json.loads(event.bytes)["detail"]["code"] == "INVALID"
    row = IntentRow.select().first()
    assert (row.state, row.status) == (IntentState.FAILED, 400)


def frame_for_row(api: ApiHub, name: str, request: dict) -> bytes:
    ask(api, name, request)
    return api.broker.published[-1].body


@pytest.mark.parametrize(
    ("operation", "credential", "status"),
    [
        ("project.create", Credential(CredentialKind.LOCAL, "root"), 401),
        ("project.create", Credential(CredentialKind.API_KEY, "ffffffff"), 401),
        ("project.create", Credential(CredentialKind.SESSION, "f" * 64), 401),
        ("os.system", None, 400),
    ],
)
def test_a_stolen_portal_can_ask_only_for_what_is_listed_and_in_a_name_that_counts(api, operation, credential, status):
    intent = Intent(operation, credential or caller(api).credential, {"name": "Evil"}, "k", {})
    frame = frame_of(api, intent)
    mid = verify(frame, api.installed.trust.directory(), int(time.time())).header.mid
    with write_tx():
        IntentRow.create(id=mid, operation=operation, body_sealed=frame, actor="x", idempotency_key="k")
    api.answering.handle(frame)
    assert IntentRow.get_by_id(mid).status == status
    assert not Project.select().exists()


def test_an_intent_of_another_key_is_dropped_and_touches_no_row(api):
    intent = Intent("project.create", caller(api).credential, {"name": "Evil"}, "k", {})
    assert api.answering.handle(frame_of(api, intent, signer=SigningKey.generate())) is None
    assert api.answering.handle(b"MAE1 nonsense") is None
    assert not Project.select().exists()


def test_a_crash_in_an_operation_leaves_nothing_but_a_reference(api, monkeypatch, caplog):
    def crash(*_args, **_options):
        raise ZeroDivisionError("with a secret in it")

    monkeypatch.setattr("hub.projects.projects.include_sets", crash)
    api.answering.handle(frame_for_row(api, "project.create", {"name": "Storefront"}))
    row = IntentRow.select().first()
    answer = api.parts.asking.answer(caller(api), row.id)
    assert (answer.status, "secret" in answer.body["detail"]) == (500, False)
    assert answer.body["detail"].split()[-1] in {record.ref for record in caplog.records if hasattr(record, "ref")}
    assert not Project.select().exists()


def test_secrets_stand_in_no_row_and_not_in_the_hash_as_they_are(api):
    request = {"project": "storefront", "name": "Token", "value": "pin-1234", "secret": True}
    ask(api, "variable.set", request)
    row = IntentRow.select().first()
    assert b"pin-1234" not in row.body_sealed
    assert row.request_sha256 != hashlib.sha256(encode(request)).hexdigest()


def test_the_same_key_with_another_secret_is_another_request(api):
    request = {"project": "storefront", "name": "Token", "value": "first-one", "secret": True}
    ask(api, "variable.set", request, idempotency_key="k")
    assert ask(api, "variable.set", request, idempotency_key="k").replayed
    with pytest.raises(Conflict, match="another request"):
        ask(api, "variable.set", request | {"value": "other-one"}, idempotency_key="k")


def test_yesterday_s_intents_are_forgotten(api):
    old = ask(api, "project.create", {"name": "Storefront"})
    ask(api, "project.create", {"name": "Backoffice"})
    with write_tx():
        IntentRow.update(created_at=now_ms() - KEEP_MS - 1).where(IntentRow.id == old.intent).execute()
    assert api.answering.tidy() == 1
    assert IntentRow.select().count() == 1


def test_an_answer_is_for_whoever_asked(api):
    waiting = ask(api, "project.create", {"name": "Storefront"})
    other = api.as_user("other", "system-admin")
    assert api.parts.asking.answer(caller(api, other), waiting.intent) is None


def test_the_loop_answers_messages_and_ends_when_told(api):
    stop = threading.Event()
    loop = threading.Thread(target=api.answering.run, args=(stop,))
    loop.start()
    try:
        assert ask(api, "project.create", {"name": "Storefront"}, wait_s=10).status == 201
    finally:
        stop.set()
        loop.join(10)
    assert not loop.is_alive()


def test_every_operation_has_a_name_of_two_words_and_its_own_body():
    for name, operation in CATALOGUE.items():
        assert operation.name == name
        assert "extra" in operation.body.model_config
        assert operation.body.model_config["extra"] == "forbid"
        assert operation.body.model_config["strict"] is True
        assert operation.summary
