"""Events are chained as the last act of their transaction: numbered without holes, whatever else happens."""

import json

import pytest

from hub.events.record import chain_hash, one_line, record
from hub.storage.database import write_tx
from hub.storage.models import ChainHead, Environment, Event, User


def _bodies():
    return [json.loads(row.bytes) for row in Event.select().order_by(Event.seq)]


def test_an_event_stands_in_the_transaction_of_what_it_records(database):
    with write_tx():
        Environment.create(name="Development")
        record("environment.create", "environment:1", actor="user:1", project="p", detail={"name": "Development"})
    assert [(row.seq, row.action, row.actor, row.outcome, row.project) for row in Event.select()] == [
        (1, "environment.create", "user:1", "ok", "p")
    ]
    assert _bodies()[0]["detail"] == {"name": "Development"}


def test_outside_a_transaction_nothing_is_recorded(database):
    with pytest.raises(RuntimeError):
        record("a.b", "x", actor="user:1")


def test_several_events_of_one_transaction_keep_their_order(database):
    with write_tx():
        for number in range(20):
            record(f"a.{number}", "x", actor="user:1")
    assert [body["action"] for body in _bodies()] == [f"a.{number}" for number in range(20)]
    assert [body["seq"] for body in _bodies()] == list(range(1, 21))


def test_an_inner_write_that_fails_takes_its_events_back(database):
    def fails():
        with write_tx():
            record("a.lost", "x", actor="user:1")
            _ = 1 // 0

    with write_tx():
        record("a.first", "x", actor="user:1")
        with pytest.raises(ZeroDivisionError):
            fails()
        record("a.second", "x", actor="user:1")
    assert [body["action"] for body in _bodies()] == ["a.first", "a.second"]


def test_the_chain_is_the_published_formula(database):
    with write_tx():
        record("a.b", "x", actor="user:1", at=1_000)
        record("a.c", "x", actor="user:1", at=1_001)
    first, second = Event.select().order_by(Event.seq)
    assert first.hash == chain_hash(bytes(32), 1, first.bytes)
    assert second.hash == chain_hash(first.hash, 2, second.bytes)
    head = ChainHead.get()
    assert (head.seq, bytes(head.hash), head.at) == (2, second.hash, 1_001)
    assert first.bytes == (
        b'{"action":"a.b","actor":"user:1","actor_kid":null,"at":1000,"detail":{},"environment":null,'
        b'"object":"x","outcome":"ok","project":null,"seq":1}'
    )


def test_a_long_detail_is_represented_by_its_hash(database):
    with write_tx():
        record("a.b", "x", actor="user:1", detail={"text": "y" * 100_000})
    detail = _bodies()[0]["detail"]
    assert set(detail) == {"cut", "length"}


def test_a_row_sealed_without_a_word_is_recorded_all_the_same(installed_hub):
    with write_tx():
        row = User(name="ann", name_key="ann")
        installed_hub.seals.seal(row)
        row.save(force_insert=True)
    last = _bodies()[-1]
    assert (last["action"], last["detail"]["sealed"][0][:3]) == ("row.sealed", ["user", row.id, 1])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Grüße", "Grüße"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("\u202eevil\u2028", "\\u202eevil\\u2028"),
        ("\x00\ud800", "\\x00\\ud800"),
    ],
)
def test_text_stays_in_its_line(text, shown):
    assert one_line(text) == shown
    assert len(one_line(text * 1000)) == 200
