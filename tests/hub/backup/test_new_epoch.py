"""After a restore a new epoch begins, and nothing that waited in the rows of the backup is done."""

import hashlib

from hub.access.users import create_user
from hub.acting import Itself
from hub.storage.database import connection, open_database, write_tx
from hub.storage.hub_trust import hub_epoch, installation, load_seals, trust_chain
from hub.storage.models import (
    Checkpoint,
    Event,
    IntentRow,
    JoinToken,
    Outbox,
    Session,
    Spoke,
    SpokeSession,
)
from hub.storage.vault_export import forget_exported, read_exported, write_exported
from hub.trust.publishing import publish_trust
from hub.trust.root_signing import accept, request_frame, signed_by
from tests.hub.backup.conftest import CHEAP, PHRASE, now_ms
from wire.checkpoint import open_checkpoint
from wire.roles import Role


def opened(kept, home):
    """The restored hub's database bound, and who acts in it."""
    open_database(str(kept.folder / home / "manyarm.db"))
    with connection():
        return Itself(now_ms(), kept.hub.engine, load_seals(kept.hub.engine), "console")


def test_nothing_that_waited_is_done(kept):
    hub = kept.hub
    with write_tx():
        spoke = Spoke(name="web-1", sign_pk="a" * 64, sign_kid="a" * 32, box_pk="b" * 64, state="trusted")
        hub.seals.seal(spoke)
        spoke.save(force_insert=True)
        SpokeSession.create(spoke=spoke.id, nonce="c" * 32, hub_nonce="d" * 32, live=True)
        for state in ("waiting", "held", "published", "accepted"):
            Outbox.create(
                kind="command", spoke=spoke.id, cid=hashlib.sha256(state.encode()).hexdigest()[:32], state=state
            )
        IntentRow.create(operation="deployment.create", body_sealed=b"x", actor="a", state="new")
        person = create_user(hub.seals, "ada", now_ms(), password_hash="x")
        Session.create(id_sha256="e" * 64, user=person.id, expires_at=now_ms() + 10**9)
    kept.create()
    kept.restore("other")
    opened(kept, "other")
    with connection():
        assert {str(row.state) for row in Outbox.select()} == {"dead"}
        assert [str(row.state) for row in IntentRow.select()] == ["failed"]
        assert SpokeSession.select().count() == Session.select().count() == 0
        assert Spoke.get().name == "web-1"


def test_the_audit_log_says_it_under_a_checkpoint_of_the_new_epoch(kept):
    kept.create()
    done = kept.restore("other")
    opened(kept, "other")
    with connection():
        (event,) = Event.select().where(Event.action == "backup.restore")
        newest = Checkpoint.select().order_by(Checkpoint.seq.desc()).first()
        point = open_checkpoint(newest.text, kept.hub.hub_id, trust_chain().ever(Role.HUB_AUDIT))
        assert point.epoch == done.begun.epoch
        assert point.seq >= event.seq


def test_two_restores_of_one_backup_are_two_epochs(kept):
    kept.create()
    first, second = kept.restore("one"), kept.restore("two")
    assert second.begun.epoch >= first.begun.epoch > 1
    again = kept.restore("one", replace=True, above=first.begun.trust_version)
    assert again.begun.trust_version > first.begun.trust_version


def test_spokes_that_have_seen_many_documents_since_take_the_new_one(kept):
    kept.create()
    ahead = kept.hub.acting()
    for number in range(3):
        with write_tx():
            publish_trust(ahead, lambda held: held, reason=f"day {number}", anew=True)
    spokes = trust_chain()
    assert spokes.version == 4
    kept.restore("other")
    opened(kept, "other")
    with connection():
        # The gateway gives what is newer than what the spoke holds.
        offered = trust_chain().frames[-1:]
        assert trust_chain().version > spokes.version
        assert spokes.update(offered).document.epoch == hub_epoch()


def test_with_the_root_offline_nothing_goes_out_before_it_has_signed(kept):
    file = kept.folder / "root"
    write_exported(kept.hub.engine, Role.HUB_ROOT, PHRASE, file, CHEAP)
    with write_tx():
        forget_exported(kept.hub.seals, Role.HUB_ROOT, file, PHRASE)
    kept.create()
    done = kept.restore("other")
    assert "sign-trust" in done.begun.sentence
    context = opened(kept, "other")
    with connection():
        assert trust_chain().document.epoch < installation().epoch == hub_epoch() == done.begun.epoch
        signed = signed_by(request_frame(context), [read_exported(file, PHRASE)])
        with write_tx():
            assert accept(context, signed).in_force
        assert trust_chain().document.epoch == done.begun.epoch


def test_open_join_codes_are_closed_for_they_may_have_been_used(kept):
    with write_tx():
        JoinToken.create(
            id="a" * 16, secret_sha256="b" * 64, created_by="c" * 32, expires_at=now_ms() + 10**8, seal="x"
        )
    kept.create()
    kept.restore("other")
    opened(kept, "other")
    with connection():
        assert JoinToken.get().revoked_at is not None
