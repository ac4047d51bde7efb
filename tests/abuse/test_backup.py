"""Abuse of what a hub is put back to: an old epoch, the wrong key, a log that was longer yesterday."""

import hashlib
import json
import time

import pytest

from hub.backup.creating import Source, create
from hub.backup.fitting import Destination
from hub.backup.restoring import restore
from hub.errors import MasterKeyWrong
from hub.events.record import record
from hub.states import OutboxKind, OutboxState
from hub.storage.models import Event, Outbox, Quarantine, Task
from hub.storage.vault_master import MasterKey
from hub.storage.vault_rotation import rotate_master
from spokes.agent.witness import Witness
from tests.fakes.parties import trust_document
from tests.hub.orchestrator.rig import Rig, until
from wire.checkpoint import ChainPoint, sign_checkpoint
from wire.envelope import MessageType
from wire.errors import Code
from wire.exchange import seal_to_spoke
from wire.keys import SigningKey, new_id
from wire.messages import Cancel
from wire.roles import Role
from wire.trust import TrustChain, sign_trust


def now_ms():
    return time.time_ns() // 1_000_000


# T033


@pytest.fixture
def rig(installed_hub):
    made = Rig(installed_hub)
    made.engine.start()
    yield made
    made.close()


def hears_of_a_later_epoch(rig, spoke, epoch):
    """A hub that was restored from a backup of this one speaks to the spoke: same keys, later epoch."""
    cid = new_id()
    sealed = seal_to_spoke(
        MessageType.CANCEL,
        Cancel(cid, "from the other hub"),
        signer=rig.parts.command_key(),
        spoke_box=spoke.box.public,
        hub_id=rig.hub_id,
        spoke_id=spoke.id,
        ses=spoke.session.nonce,
        seq=500,
        epoch=epoch,
        now_s=int(time.time()),
        ttl_s=60,
        cid=cid,
    )
    with spoke._lock:
        spoke.session.receive(sealed.frame, spoke._mono_s())


def test_t033_of_two_hubs_the_one_of_the_lower_epoch_stops_and_says_why(rig):
    web = rig.spoke("web")
    web.start()
    until(web.live.is_set)
    assert rig.engine.stopped() == ""
    hears_of_a_later_epoch(rig, web, 7)
    # The next beat says in which epoch the spoke lives.
    until(lambda: rig.engine.stopped().startswith(Code.ENV_EPOCH))
    assert "epoch 7, this hub in 1" in rig.engine.stopped()
    assert "new-epoch" in rig.engine.stopped()
    task = rig.run("echo never", web)
    until(lambda: "ENV_EPOCH" in Task.get_by_id(task.id).waiting_for)
    assert not Outbox.select().where(Outbox.kind == OutboxKind.COMMAND, Outbox.state != OutboxState.WAITING).exists()
    assert web.journal == {}
    (noted,) = Event.select().where(Event.action == "trust.rollback")
    assert json.loads(noted.bytes)["detail"]["epoch"] == 7
    until(lambda: Quarantine.select().where(Quarantine.code == Code.ENV_EPOCH).exists())


def test_t033_what_the_lower_epoch_sends_is_refused_by_who_heard_of_the_higher(rig):
    web = rig.spoke("web", beats=False)
    web.start()
    until(web.live.is_set)
    web.beat()
    hears_of_a_later_epoch(rig, web, 7)
    rig.run("echo never", web)
    until(lambda: Code.ENV_EPOCH in web.rejects)
    assert web.journal == {}


# T184


def master(hub):
    return MasterKey.read(hub.settings.master_key_source, hub.settings.home)


def kept(hub, folder, name):
    source = Source(hub.settings.home, hub.settings.database, master(hub), "0.1.0", now_ms)
    create(source, folder / name)
    return folder / name


@pytest.mark.parametrize("which", ["old backup, new key", "new backup, old key"])
def test_t184_key_and_backup_that_do_not_fit_are_named_and_nothing_is_written(installed_hub, tmp_path, which):
    hub, old = installed_hub, master(installed_hub)
    yesterday = kept(hub, tmp_path, "yesterday.mab")
    new = rotate_master(
        hub.settings.master_key_source,
        hub.settings.home,
        old,
        lambda _: record("key.rotate-master", "hub", actor="console"),
    )
    today = kept(hub, tmp_path, "today.mab")
    file, given, needed = (yesterday, new, old) if which.startswith("old") else (today, old, new)
    key = tmp_path / "given"
    key.touch(mode=0o600)
    key.write_text(given.key.hex())
    home = tmp_path / "elsewhere"
    before = contents(tmp_path)
    destination = Destination(home, str(home / "manyarm.db"), f"file:{key}", now_ms)
    with pytest.raises(MasterKeyWrong) as refused:
        restore(destination, file, passphrase=str)
    assert f"{given.id} was given" in refused.value.detail
    assert f"needs {needed.id}" in refused.value.detail
    assert "recovery string" in refused.value.detail
    assert contents(tmp_path) == before
    key.write_text(needed.recovery_string())
    assert restore(destination, file, passphrase=str).head.mk_check == needed.check


def contents(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).digest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith("-shm")
    }


# T199

HUB = "ab" * 16
ROOT, AUDIT = SigningKey.generate(), SigningKey.generate()


def chain(hub_id=HUB, audit=AUDIT):
    document = trust_document(hub_id, {ROOT: Role.HUB_ROOT, audit: Role.HUB_AUDIT})
    return TrustChain.from_root(hashlib.sha256(ROOT.verify_key.pk).digest(), [sign_trust(document, [ROOT])])


def note(seq, epoch=1, *, hub_id=HUB, signer=AUDIT, content=b""):
    point = ChainPoint(hub_id, seq, hashlib.sha256(content or str(seq).encode()).digest(), epoch)
    return sign_checkpoint(point, signer)


class Clock:
    """A time that passes as the test says."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        self.now_s += 60
        return self.now_s


@pytest.fixture
def witness(tmp_path):
    made = Witness(tmp_path, Clock())
    made.shown(note(100), HUB, chain())
    assert made.seen == "100 events in epoch 1"
    return made


@pytest.mark.parametrize(
    "shown",
    [
        note(900, hub_id="cd" * 16),
        note(900, signer=SigningKey.generate()),
        note(900)[:-20],
        "not a note",
        "",
    ],
    ids=["another hub", "another key", "cut", "no note", "none"],
)
def test_t199_a_checkpoint_that_is_not_this_hubs_is_ignored(witness, shown):
    witness.shown(shown, HUB, chain())
    assert witness.seen == "100 events in epoch 1"
    assert witness.alarm == ""


@pytest.mark.parametrize(
    "shown", [note(99), note(100, content=b"rewritten"), note(5)], ids=["shorter", "another one", "much shorter"]
)
def test_t199_an_older_checkpoint_is_an_alarm_that_stays(witness, tmp_path, shown):
    witness.shown(shown, HUB, chain())
    assert witness.seen == "100 events in epoch 1"
    alarm = json.loads(witness.alarm)
    assert (alarm["held"], alarm["shown"]) == (note(100), shown)
    # After a restart too, and whatever comes later.
    again = Witness(tmp_path, Clock())
    again.shown(note(101), HUB, chain())
    assert json.loads(again.alarm) == alarm
    assert again.seen == "101 events in epoch 1"


def test_t199_what_a_spoke_has_seen_it_knows_after_a_restart(witness, tmp_path):
    assert witness.alarm == ""
    again = Witness(tmp_path, Clock())
    again.shown(note(7), HUB, chain())
    assert "had 100" in json.loads(again.alarm)["why"]


def test_t199_in_a_new_epoch_the_log_may_be_shorter_and_the_old_epoch_is_over(witness):
    witness.shown(note(40, epoch=9), HUB, chain())
    assert (witness.seen, witness.alarm) == ("40 events in epoch 9", "")
    witness.shown(note(500, epoch=1), HUB, chain())
    assert witness.seen == "40 events in epoch 9"
    assert "epoch 1, known is 9" in json.loads(witness.alarm)["why"]
