"""Who can open what, and that nothing opens anywhere but where it was sealed."""

import os

import pytest

from hub.errors import FieldDamaged, KeyringDamaged, NotAllowed
from hub.storage.hub_keys import TLS_GATEWAY, box_keys, signing_key
from hub.storage.hub_trust import load_seals
from hub.storage.models import DataKey, HubKey
from hub.storage.vault import HOLDERS, Kek, ProcessClass, Purpose, Vault, length_prefixed, new_data_keys
from wire.roles import Role

PORTAL = {Purpose.CONTENT, Purpose.CHUNK_ID, Purpose.SESSION, Purpose.PORTAL_KEY}
GATEWAY = {Purpose.CAPABILITY, Purpose.GATEWAY_KEY}


@pytest.fixture
def vault():
    master = os.urandom(32)
    keks = {cls: Kek.derive(master, cls) for cls in ProcessClass}
    return Vault.open(keks[ProcessClass.ENGINE], [DataKey(**row) for row in new_data_keys(keks)])


def test_a_field_opens_where_it_was_sealed(vault):
    sealed = vault.seal_field("variable", "value_sealed", "a" * 32, 3, "geheim €")
    assert vault.open_field("variable", "value_sealed", "a" * 32, 3, sealed).decode() == "geheim €"
    assert sealed.startswith("e1:")


@pytest.mark.parametrize(
    "place", [("user", "value_sealed", "a", 3), ("variable", "value", "a", 3), ("variable", "value_sealed", "b", 3),
              ("variable", "value_sealed", "a", 2)]
)  # fmt: skip
def test_a_field_does_not_open_in_another_place_or_version(vault, place):
    sealed = vault.seal_field("variable", "value_sealed", "a", 3, b"x")
    with pytest.raises(FieldDamaged):
        vault.open_field(*place, sealed)


def test_a_block_is_bound_to_its_purpose_and_context(vault):
    sealed = vault.seal_block(Purpose.CONTENT, ("log", "t", "b"), b"lines")
    assert vault.open_block("content", ("log", "t", "b"), sealed) == b"lines"
    for purpose, context in [
        ("session", ("log", "t", "b")),
        ("content", ("log", "t", "c")),
        ("content", ("log", "tb")),
    ]:
        with pytest.raises(FieldDamaged):
            vault.open_block(purpose, context, sealed)


def test_an_altered_block_does_not_open(vault):
    sealed = bytearray(vault.seal_block(Purpose.CONTENT, ("log",), b"lines"))
    for position in range(len(sealed)):
        sealed[position] ^= 1
        with pytest.raises(FieldDamaged):
            vault.open_block(Purpose.CONTENT, ("log",), bytes(sealed))
        sealed[position] ^= 1


def test_a_retired_key_is_gone_and_a_read_key_still_opens(vault):
    master = os.urandom(32)
    keks = {cls: Kek.derive(master, cls) for cls in ProcessClass}
    rows = [DataKey(**row) for row in new_data_keys(keks)]
    old = Vault.open(keks[ProcessClass.ENGINE], rows)
    sealed = old.seal_block(Purpose.CONTENT, ("x",), b"old")
    fresh = [DataKey(**row) for row in new_data_keys(keks)]
    for row in rows:
        row.state = "read"
    both = Vault.open(keks[ProcessClass.ENGINE], rows + fresh)
    assert both.open_block(Purpose.CONTENT, ("x",), sealed) == b"old"
    assert both.seal_block(Purpose.CONTENT, ("x",), b"new")[:18] != sealed[:18]
    for row in rows:
        row.state = "retired"
    with pytest.raises(FieldDamaged):
        Vault.open(keks[ProcessClass.ENGINE], rows + fresh).open_block(Purpose.CONTENT, ("x",), sealed)


def test_a_data_key_moved_to_another_purpose_or_class_is_noticed():
    master = os.urandom(32)
    keks = {cls: Kek.derive(master, cls) for cls in ProcessClass}
    rows = [DataKey(**row) for row in new_data_keys(keks)]
    content = next(row for row in rows if row.purpose == "content" and row.cls == "portal")
    field = next(row for row in rows if row.purpose == "field")
    content.wrapped, content.dek_id = field.wrapped, field.dek_id
    with pytest.raises(KeyringDamaged):
        Vault.open(keks[ProcessClass.PORTAL], rows)


def test_portal_and_gateway_hold_exactly_their_own_purposes():
    assert {purpose for purpose, classes in HOLDERS.items() if ProcessClass.PORTAL in classes} == PORTAL
    assert {purpose for purpose, classes in HOLDERS.items() if ProcessClass.GATEWAY in classes} == GATEWAY
    assert all(ProcessClass.ENGINE in classes for classes in HOLDERS.values())


@pytest.mark.parametrize(("process_class", "held"), [("portal", PORTAL), ("gateway", GATEWAY)])
def test_all_that_a_process_holds_opens_none_of_the_rest(installed_hub, process_class, held):
    hub = installed_hub
    kek = hub.master.kek(process_class)
    own = hub.vault_of(process_class)
    for purpose in Purpose:
        sealed = hub.vault.seal_block(purpose, ("canary",), b"canary")
        if purpose in held:
            assert own.open_block(purpose, ("canary",), sealed) == b"canary"
            continue
        with pytest.raises(NotAllowed):
            own.open_block(purpose, ("canary",), sealed)
        for name in held:
            with pytest.raises(FieldDamaged):
                own.open_block(name, ("canary",), sealed)
    # With the key itself, every wrapped row of the other classes is tried under every name it could have.
    for row in DataKey.select().where(DataKey.cls != process_class):
        for purpose in Purpose:
            with pytest.raises(KeyringDamaged):
                kek.unwrap(row.dek_id, purpose, row.wrapped)


def test_the_portal_has_its_own_signing_key_and_no_other(installed_hub):
    portal = installed_hub.vault_of("portal")
    assert signing_key(portal, Role.HUB_PORTAL).kid == signing_key(installed_hub.vault, Role.HUB_PORTAL).kid
    for role in [row.role for row in HubKey.select() if row.role not in {Role.HUB_PORTAL, "hub-box"}]:
        with pytest.raises(NotAllowed):
            signing_key(portal, role)
    with pytest.raises(NotAllowed):
        box_keys(portal)


def test_the_gateway_has_its_tls_and_capability_keys_and_no_other(installed_hub):
    gateway = installed_hub.vault_of("gateway")
    assert signing_key(gateway, TLS_GATEWAY).kid == signing_key(installed_hub.vault, TLS_GATEWAY).kid
    assert gateway.capability_key() == installed_hub.vault.capability_key()
    for role in (Role.HUB_COMMAND, Role.HUB_PORTAL, Role.HUB_ROOT):
        with pytest.raises(NotAllowed):
            signing_key(gateway, role)


def test_the_portal_checks_seals_and_makes_none(installed_hub):
    seals = load_seals(installed_hub.vault_of("portal"))
    row = HubKey.get(HubKey.role == Role.HUB_COMMAND)
    seals.check(row)
    with pytest.raises(RuntimeError):
        seals.seal_of(row)


def test_parts_are_never_confused_with_one_another():
    assert length_prefixed("a", "bc") != length_prefixed("ab", "c") != length_prefixed("abc")
