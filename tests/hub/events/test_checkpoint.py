"""Checkpoints are signed notes of the chain's head, made when due, believed when signed by hub-audit."""

import pytest

from hub.errors import AuditBroken
from hub.events.checkpoint import (
    EVERY_MS,
    EVERY_ROWS,
    ChainPoint,
    checkpoint_if_due,
    newest_checkpoint,
    open_checkpoint,
    sign_checkpoint,
)
from hub.events.record import record
from hub.storage.database import write_tx
from wire.keys import SigningKey

HUB = "ab" * 16


@pytest.fixture
def signer():
    return SigningKey.from_seed(b"\x07" * 32)


def _record(count):
    with write_tx():
        for _ in range(count):
            record("a.b", "x", actor="user:1")


def test_a_note_says_what_was_signed(signer):
    point = ChainPoint(HUB, 42, b"\x01" * 32, 3)
    note = sign_checkpoint(point, signer)
    assert note.startswith(f"{HUB}/audit\n42\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n3\n\n— {HUB}/audit ")
    assert open_checkpoint(note, HUB, [signer.verify_key]) == point


def test_no_changed_character_is_accepted(signer):
    note = sign_checkpoint(ChainPoint(HUB, 42, b"\x01" * 32, 3), signer)
    for position in range(len(note)):
        for other in ("0", "z", "\n"):
            changed = note[:position] + other + note[position + 1 :]
            if changed == note:
                continue
            with pytest.raises(AuditBroken):
                open_checkpoint(changed, HUB, [signer.verify_key])


def test_another_key_another_hub_or_no_signature_is_refused(signer):
    point = ChainPoint(HUB, 42, b"\x01" * 32, 3)
    note = sign_checkpoint(point, signer)
    for text, hub, key in [
        (note, HUB, SigningKey.generate().verify_key),
        (note, "cd" * 16, signer.verify_key),
        (point.text + "\n", HUB, signer.verify_key),
        (note + "x", HUB, SigningKey.generate().verify_key),
    ]:
        with pytest.raises(AuditBroken) as refused:
            open_checkpoint(text, hub, [key])
        assert refused.value.code == "AUDIT_SIG"


def test_it_is_due_after_a_hundred_events_or_a_minute(database, signer):
    assert checkpoint_if_due(HUB, 1, signer, 0) is None
    assert newest_checkpoint() == ""
    _record(1)
    first = checkpoint_if_due(HUB, 1, signer, 1_000)
    assert first == newest_checkpoint()
    assert checkpoint_if_due(HUB, 1, signer, 1_000 + 10 * EVERY_MS) is None
    _record(EVERY_ROWS - 1)
    assert checkpoint_if_due(HUB, 1, signer, 1_001) is None
    _record(1)
    assert open_checkpoint(checkpoint_if_due(HUB, 1, signer, 1_002), HUB, [signer.verify_key]).seq == 101
    _record(1)
    assert checkpoint_if_due(HUB, 1, signer, 1_002 + EVERY_MS - 1) is None
    assert checkpoint_if_due(HUB, 1, signer, 1_002 + EVERY_MS) is not None
