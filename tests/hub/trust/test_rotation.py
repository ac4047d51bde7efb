"""Each of the hub's own keys can be replaced, in one transaction, with the former one valid as long as it is needed."""

from types import SimpleNamespace

import pytest

from hub.errors import Conflict, SealBroken
from hub.events.audit import verify_database
from hub.events.checkpoint import checkpoint_if_due
from hub.states import HubKeyState
from hub.storage.database import write_tx
from hub.storage.hub_keys import HUB_BOX, box_document, box_keys, signing_key
from hub.storage.hub_trust import audit_keys, joining_root, load_seals, trust_chain
from hub.storage.models import ALL_TABLES, Event, HubKey, TrustFrame, User
from hub.storage.models.table import SealedTable
from hub.trust.command_keys import former_command
from hub.trust.rotation import BOX_KEPT_DAYS, OVERLAP_S, KeyName, rotate
from hub.trust.upkeep import BOX_AGE_S, YEAR_S, Upkeep, UpkeepParts
from wire.documents import BoxDocument
from wire.errors import Refused
from wire.roles import Role
from wire.trust import TrustChain

DAY_MS = 86_400_000


@pytest.fixture
def installed_hub(installed_hub_on_each):
    return installed_hub_on_each


@pytest.fixture
def upkeep(acting):
    return Upkeep(UpkeepParts(lambda: acting, lambda: None))


def turn(acting, name, **how):
    with write_tx():
        return rotate(acting, name, **how)


def states(role):
    query = HubKey.select().where(HubKey.role == role).order_by(HubKey.created_at)
    return [str(row.state) for row in query]


def test_the_command_key_changes_and_the_former_one_is_valid_for_its_overlap(installed_hub, acting, upkeep):
    former = signing_key(installed_hub.vault, Role.HUB_COMMAND)
    made = turn(acting, KeyName.COMMAND)
    now_s = acting.now_ms // 1000
    present = signing_key(installed_hub.vault, Role.HUB_COMMAND)
    assert (present.kid.hex(), made.published.version) == (made.kid, 2)
    assert states(Role.HUB_COMMAND) == ["previous", "active"]
    keys = trust_chain().directory()
    assert keys.key(former.kid, Role.HUB_COMMAND, now_s + OVERLAP_S - 1).pk == former.verify_key.pk
    with pytest.raises(Refused, match="not valid at this time"):
        keys.key(former.kid, Role.HUB_COMMAND, now_s + OVERLAP_S)
    acting.now_ms += OVERLAP_S * 1000
    upkeep.look_at_ages(acting)
    assert states(Role.HUB_COMMAND) == ["retired", "active"]
    assert HubKey.get(HubKey.kid == former.kid.hex()).private_sealed is None


def test_a_spoke_that_has_not_heard_is_answered_with_the_key_that_it_knows(installed_hub, acting):
    former = signing_key(installed_hub.vault, Role.HUB_COMMAND)
    turn(acting, KeyName.COMMAND)
    present = signing_key(installed_hub.vault, Role.HUB_COMMAND)
    now_s = acting.now_ms // 1000
    found = former_command(installed_hub.vault, trust_chain(), present.kid, now_s)
    assert (found.key.kid, found.until) == (former.kid, 2)
    frames = [bytes(row.frame) for row in TrustFrame.select().order_by(TrustFrame.version)]
    root = joining_root()
    old, new = TrustChain.from_root(root, frames[:1]), TrustChain.from_root(root, frames)
    hub = installed_hub.installed.hub_id
    assert BoxDocument.open(bytes.fromhex(found.box), old.directory(), now_s, hub)
    assert BoxDocument.open(box_document(), new.directory(), now_s, hub)
    with pytest.raises(Refused):
        BoxDocument.open(box_document(), old.directory(), now_s, hub)
    assert former_command(installed_hub.vault, trust_chain(), present.kid, now_s + OVERLAP_S) is None


def test_a_command_key_that_somebody_else_has_counts_no_longer_at_once(installed_hub, acting):
    former = signing_key(installed_hub.vault, Role.HUB_COMMAND)
    turn(acting, KeyName.COMMAND, revoke=True)
    document = trust_chain().document
    assert former.kid.hex() in document.revoked
    assert states(Role.HUB_COMMAND) == ["retired", "active"]
    present = signing_key(installed_hub.vault, Role.HUB_COMMAND)
    assert former_command(installed_hub.vault, trust_chain(), present.kid, acting.now_ms // 1000) is None
    assert trust_chain().revoked_since() == 2


def test_the_box_key_changes_and_the_former_one_opens_for_a_week(installed_hub, acting, upkeep):
    (former,) = box_keys(installed_hub.vault)
    turn(acting, KeyName.BOX)
    present, second = box_keys(installed_hub.vault)
    assert second.kid == former.kid
    now_s = acting.now_ms // 1000
    document = BoxDocument.open(box_document(), trust_chain().directory(), now_s, installed_hub.installed.hub_id)
    assert document.box == present.public
    assert trust_chain().version == 1
    acting.now_ms += BOX_KEPT_DAYS * DAY_MS
    upkeep.look_at_ages(acting)
    assert [key.kid for key in box_keys(installed_hub.vault)] == [present.kid]
    assert HubKey.get(HubKey.kid == former.kid.hex()).private_sealed is None


def test_rows_are_sealed_anew_in_batches_and_then_the_former_key_is_gone(installed_hub, acting, upkeep):
    with write_tx():
        for number in range(120):
            user = User(name=f"u{number}", name_key=f"u{number}")
            acting.seals.seal(user)
            user.save(force_insert=True)
    former = signing_key(installed_hub.vault, Role.HUB_ROWS).kid.hex()
    turn(acting, KeyName.ROWS)
    assert acting.seals.signer_kid != former
    steps = 0
    # Each step is a life of its own: what is left to do stands in the rows.
    while Upkeep(UpkeepParts(lambda: acting, lambda: None)).reseal(acting):
        steps += 1
    assert steps > 3
    assert len(trust_chain().document.trusted(Role.HUB_ROWS)) == 2
    acting.now_ms += 60_000
    upkeep.sweep()
    assert trust_chain().document.trusted(Role.HUB_ROWS)[0].kid.hex() == acting.seals.signer_kid
    assert states(Role.HUB_ROWS) == ["retired", "active"]
    upkeep.sweep()
    fresh = load_seals(installed_hub.vault)
    rows = [row for model in ALL_TABLES if issubclass(model, SealedTable) for row in model.select()]
    assert {row.seal.partition(":")[0] for row in rows} == {acting.seals.signer_kid}
    for row in rows:
        fresh.check(row)
    assert verify_database(installed_hub.installed.hub_id, audit_keys()).ok


def test_a_forged_row_is_not_made_good_by_sealing_anew(installed_hub, acting, upkeep):
    with write_tx():
        user = User(name="ada", name_key="ada")
        acting.seals.seal(user)
        user.save(force_insert=True)
    turn(acting, KeyName.ROWS)
    User.update(name="mallory").where(User.id == user.id).execute()
    while upkeep.reseal(acting):
        continue
    with pytest.raises(SealBroken):
        load_seals(installed_hub.vault).check(User.get_by_id(user.id))


def test_a_process_that_only_checks_learns_of_the_new_rows_key_by_itself(installed_hub, acting):
    portal = load_seals(installed_hub.vault_of("portal"))
    turn(acting, KeyName.ROWS)
    with write_tx():
        user = User(name="ada", name_key="ada")
        acting.seals.seal(user)
        user.save(force_insert=True)
    portal.check(User.get_by_id(user.id))


def test_checkpoints_of_a_former_audit_key_still_verify(installed_hub, acting):
    hub = installed_hub.installed.hub_id
    checkpoint_if_due(hub, 1, signing_key(installed_hub.vault, Role.HUB_AUDIT), acting.now_ms)
    turn(acting, KeyName.AUDIT)
    acting.now_ms += 500 * DAY_MS
    turn(acting, KeyName.PORTAL)
    checkpoint_if_due(hub, 1, signing_key(installed_hub.vault, Role.HUB_AUDIT), acting.now_ms)
    assert len(trust_chain().document.trusted(Role.HUB_AUDIT)) <= 2
    assert verify_database(hub, audit_keys()).ok


def test_the_root_hands_over_and_both_have_signed(installed_hub, acting):
    anchor = joining_root()
    first = trust_chain()
    turn(acting, KeyName.ROOT)
    assert joining_root() != anchor
    assert states(Role.HUB_ROOT) == ["retired", "active"]
    frames = [bytes(row.frame) for row in TrustFrame.select().order_by(TrustFrame.version)]
    assert first.update(frames).version == 2
    assert TrustChain.from_root(joining_root(), frames).version == 2


def test_keys_are_replaced_by_themselves_at_their_age(installed_hub, acting, upkeep):
    upkeep.look_at_ages(acting)
    made = {row.role for row in HubKey.select().where(HubKey.state == HubKeyState.ACTIVE, HubKey.not_before > 0)}
    assert HUB_BOX in made
    begun = trust_chain().version
    acting.now_ms += BOX_AGE_S * 1000 + DAY_MS
    upkeep.look_at_ages(acting)
    assert trust_chain().version == begun
    acting.now_ms += YEAR_S * 1000
    upkeep.look_at_ages(acting)
    assert trust_chain().version == begun + 5
    assert trust_chain().document.roots[0].kid == signing_key(installed_hub.vault, Role.HUB_ROOT).kid


def test_a_second_rotation_while_the_first_waits_is_refused(installed_hub, acting):
    HubKey.update(private_sealed=None).where(HubKey.role == Role.HUB_ROOT).execute()
    made = turn(acting, KeyName.COMMAND)
    assert "manyarm key sign-trust" in made.published.sentence
    assert states(Role.HUB_COMMAND) == ["active", "pending"]
    with pytest.raises(Conflict, match="sign-trust"):
        turn(acting, KeyName.COMMAND)
    with pytest.raises(Conflict, match="sealed anew"):
        turn(acting, KeyName.ROWS, revoke=True)


def test_the_hub_itself_acts_under_its_own_name(installed_hub, acting):
    acting.caller = SimpleNamespace(user_id="system")
    turn(acting, KeyName.BOX)
    assert Event.get(Event.action == "key.rotate").actor == "system"
