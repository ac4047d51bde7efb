"""Abuse of the audit log: whoever can write SQL cannot change what happened without being found."""

import io
import json
import threading

import pytest

from hub.events.audit import export, verify_database, verify_file
from hub.events.checkpoint import ChainPoint, checkpoint_if_due, sign_checkpoint
from hub.events.record import chain_hash, record
from hub.storage.database import write_tx
from hub.storage.hub_keys import public_keys, signing_key
from hub.storage.hub_trust import trust_chain
from hub.storage.models import ChainHead, Checkpoint, Environment, Event, User
from wire.keys import SigningKey
from wire.roles import Role


@pytest.fixture
def hub(installed_hub_on_each):
    """A hub with some history: events 1 to 40, a checkpoint at 20."""
    made = installed_hub_on_each
    signer = signing_key(made.vault, Role.HUB_AUDIT)
    _write(19)
    checkpoint_if_due(made.installed.hub_id, 1, signer, 10**13)
    _write(20)
    assert verify(made).ok
    assert Event.select().count() == 40
    return made


def verify(hub):
    keys = [key.verify_key for key in trust_chain().document.trusted(Role.HUB_AUDIT)]
    return verify_database(hub.installed.hub_id, keys)


def _write(count):
    for number in range(count):
        with write_tx():
            record("thing.happen", f"thing:{number}", actor="user:1", detail={"number": number})


def _export(hub, tmp_path):
    text = io.StringIO()
    export(text, hub.installed.hub_id, public_keys(Role.HUB_AUDIT))
    path = tmp_path / "audit.jsonl"
    path.write_text(text.getvalue())
    return path


@pytest.mark.parametrize("seq", [1, 20, 40])
def test_t195_one_changed_byte_of_an_old_row_is_named(hub, seq):
    row = Event.get_by_id(seq)
    Event.update(bytes=row.bytes.replace(b'"ok"', b'"no"')).where(Event.seq == seq).execute()
    found = verify(hub)
    assert (found.ok, found.first_bad_seq, found.code) == (False, seq, "AUDIT_CHAIN")


@pytest.mark.parametrize("change", [{"actor": "user:2"}, {"at": 5}, {"outcome": "refused"}, {"project": "p"}])
def test_t195_a_column_that_says_something_else_than_its_event_is_named(hub, change):
    Event.update(change).where(Event.seq == 7).execute()
    assert verify(hub).first_bad_seq == 7


def test_t195_a_changed_line_of_an_exported_file_is_named(hub, tmp_path):
    path = _export(hub, tmp_path)
    assert verify_file(path, public_keys(Role.HUB_AUDIT)).events == 40
    lines = path.read_text().splitlines()
    entry = json.loads(lines[30])
    entry["bytes"] = entry["bytes"][:-8] + "AAAA" + entry["bytes"][-4:]
    lines[30] = json.dumps(entry)
    path.write_text("\n".join(lines) + "\n")
    assert verify_file(path, public_keys(Role.HUB_AUDIT)).first_bad_seq == 30


def test_t196_a_deleted_row_is_named(hub):
    Event.delete().where(Event.seq == 13).execute()
    assert verify(hub).first_bad_seq == 13


@pytest.mark.parametrize("count", [1, 15, 25])
def test_t196_a_cut_off_end_is_named(hub, count):
    Event.delete().where(Event.seq > 40 - count).execute()
    assert verify(hub).first_bad_seq == 40 - count + 1


def test_t196_a_cut_off_end_is_named_by_the_checkpoint_where_the_head_was_cut_too(hub):
    Event.delete().where(Event.seq > 15).execute()
    last = Event.get_by_id(15)
    ChainHead.update(seq=15, hash=last.hash).where(ChainHead.id == 1).execute()
    found = verify(hub)
    assert (found.ok, found.first_bad_seq) == (False, 16)


def test_t196_a_row_put_between_others_is_named(hub):
    _shift(13)
    row = Event.get_by_id(12)
    content = json.dumps({**json.loads(row.bytes), "seq": 13}).encode()
    Event.insert(
        seq=13, at=row.at, actor=row.actor, action=row.action, object=row.object, outcome="ok", bytes=content,
        hash=chain_hash(row.hash, 13, content),
    ).execute()  # fmt: skip
    assert verify(hub).first_bad_seq in {13, 14}


def test_t196_two_exchanged_rows_are_named(hub):
    Event.update(seq=99).where(Event.seq == 10).execute()
    Event.update(seq=10).where(Event.seq == 11).execute()
    Event.update(seq=11).where(Event.seq == 99).execute()
    assert verify(hub).first_bad_seq == 10


def test_t198_a_chain_written_anew_is_named_by_its_checkpoint(hub):
    _rewrite_from(5)
    found = verify(hub)
    assert (found.ok, found.first_bad_seq) == (False, 20)


def test_t198_a_checkpoint_by_another_key_is_refused(hub):
    _rewrite_from(5)
    forged = ChainPoint(hub.installed.hub_id, 20, bytes(Event.get_by_id(20).hash), 1)
    Checkpoint.update(text=sign_checkpoint(forged, SigningKey.generate())).execute()
    assert verify(hub).code == "AUDIT_SIG"


def test_t200_hostile_text_is_one_row_that_shows_itself_escaped(hub):
    hostile = '\n\x1b[2J","actor":"root\r\u2028\u202e\x00\ud800' + "A" * 1_000_000
    with write_tx():
        record("thing.happen", hostile, actor=hostile, detail={"text": hostile})
    row = Event.get_by_id(41)
    assert Event.select().count() == 41
    for text in (row.actor, row.object):
        assert len(text) == 200
        assert text.isprintable()
    assert len(row.bytes) < 10_000
    assert verify(hub).ok


def test_t201_fifty_writers_at_once_leave_one_unbroken_chain(hub):
    failures = []

    def write(number):
        try:
            for turn in range(4):
                with write_tx():
                    Environment.create(name=f"{number}-{turn}")
                    record("environment.create", f"environment:{number}-{turn}", actor=f"user:{number}")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [seq for (seq,) in Event.select(Event.seq).order_by(Event.seq).tuples()] == list(range(1, 241))
    assert verify(hub).ok


def test_t201_the_first_events_ever_may_come_at_once(database):
    failures = []
    barrier = threading.Barrier(8)

    def write():
        try:
            barrier.wait()
            with write_tx():
                record("a.b", "x", actor="user:1")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [seq for (seq,) in Event.select(Event.seq).order_by(Event.seq).tuples()] == list(range(1, 9))


def test_t201_a_transaction_that_is_rolled_back_leaves_no_gap(hub):
    def fails():
        with write_tx():
            record("thing.happen", "thing:lost", actor="user:1")
            _ = 1 // 0

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            fails()
        _write(1)
    assert Event.select().order_by(Event.seq.desc()).first().seq == 43
    assert verify(hub).ok


def test_t202_a_clock_set_back_is_a_warning_row_and_the_order_stays(hub):
    with write_tx():
        record("thing.happen", "thing:1", actor="user:1", at=2 * 10**12)
    with write_tx():
        record("thing.happen", "thing:2", actor="user:1", at=10**12)
    with write_tx():
        record("thing.happen", "thing:3", actor="user:1", at=10**12 - 500)
    rows = Event.select().where(Event.seq > 40).order_by(Event.seq)
    assert [(row.seq, row.action, row.outcome, row.at) for row in rows] == [
        (41, "thing.happen", "ok", 2 * 10**12),
        (42, "clock.stepped-back", "warning", 10**12),
        (43, "thing.happen", "ok", 10**12),
        (44, "thing.happen", "ok", 10**12 - 500),
    ]
    assert verify(hub).ok


def test_t177_a_row_put_back_with_its_old_seal_is_named(hub):
    with write_tx():
        user = User(name="ann", name_key="ann", password_hash="$old")
        hub.seals.seal(user)
        user.save(force_insert=True)
        record("user.create", f"user:{user.id}", actor="user:1")
    old = User.select().where(User.id == user.id).dicts().get()
    with write_tx():
        user.password_hash, user.version = "$new", 2
        hub.seals.seal(user)
        user.save()
        record("user.password", f"user:{user.id}", actor="user:1")
    assert verify(hub).ok
    User.update({name: old[name] for name in ("password_hash", "version", "seal")}).where(User.id == user.id).execute()
    assert hub.seals.holds(User.get_by_id(user.id))
    found = verify(hub)
    assert (found.ok, found.code) == (False, "TRUST_MAC")
    assert found.stale[0].startswith(f"user {user.id}")


def _shift(first):
    for seq in range(40, first - 1, -1):
        Event.update(seq=seq + 1).where(Event.seq == seq).execute()


def _rewrite_from(first):
    previous = bytes(Event.get_by_id(first - 1).hash)
    for row in Event.select().where(Event.seq >= first).order_by(Event.seq):
        content = row.bytes.replace(b"thing:", b"other:") if row.seq == first else row.bytes
        previous = chain_hash(previous, row.seq, content)
        shown = json.loads(content)["object"]
        Event.update(bytes=content, hash=previous, object=shown).where(Event.seq == row.seq).execute()
    ChainHead.update(hash=previous).where(ChainHead.id == 1).execute()
