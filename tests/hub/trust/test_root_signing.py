"""With the root offline, what waits is signed elsewhere and comes back; nothing else than what waits gets in."""

from dataclasses import replace

import pytest

from hub.errors import Conflict, NotFound
from hub.storage.database import write_tx
from hub.storage.hub_keys import signing_key
from hub.storage.hub_trust import joining_root, load_seals, trust_chain
from hub.storage.models import HubKey, TrustFrame, TrustRequest
from hub.storage.vault_export import read_exported
from hub.trust.publishing import publish_trust, with_pin
from hub.trust.root_signing import accept, differences, request_frame, signed_by
from hub.trust.rotation import KeyName, rotate
from tests.hub.trust.conftest import PHRASE
from wire import schema
from wire.documents import DocumentKind, sign_document
from wire.keys import SigningKey
from wire.roles import Role
from wire.trust import TrustChain, read_trust

SPKI = "ab" * 32


@pytest.fixture
def installed_hub(installed_hub_on_each):
    return installed_hub_on_each


def turn(acting, name, **how):
    with write_tx():
        return rotate(acting, name, **how)


def take(acting, frame):
    with write_tx():
        return accept(acting, frame)


def test_a_rotated_key_waits_and_takes_over_when_the_root_has_signed(installed_hub, acting, offline):
    before = signing_key(installed_hub.vault, Role.HUB_COMMAND)
    made = turn(acting, KeyName.COMMAND)
    assert signing_key(installed_hub.vault, Role.HUB_COMMAND).kid == before.kid
    root = read_exported(offline, PHRASE)
    published = take(acting, signed_by(request_frame(acting), [root]))
    assert (published.version, published.in_force) == (2, True)
    assert signing_key(installed_hub.vault, Role.HUB_COMMAND).kid.hex() == made.kid
    assert TrustRequest.select().count() == 0
    with pytest.raises(NotFound):
        request_frame(acting)


def test_whoever_signs_is_shown_what_changes(installed_hub, acting, offline):
    with write_tx():
        publish_trust(acting, with_pin("relay", SPKI), reason="a relay")
    made = turn(acting, KeyName.PORTAL)
    lines = differences(trust_chain().document, read_trust(request_frame(acting)))
    assert lines == [f"new hub-portal key {made.kid}", f"new relay pin {SPKI}"]


def test_the_offline_root_hands_over_to_a_new_one_and_both_must_sign(installed_hub, acting, offline):
    first, anchor = trust_chain(), joining_root()
    turn(acting, KeyName.ROOT)
    request = request_frame(acting)
    assert not take(acting, request).in_force
    assert joining_root() == anchor
    published = take(acting, signed_by(request, [read_exported(offline, PHRASE)]))
    assert published.in_force
    frames = [bytes(row.frame) for row in TrustFrame.select().order_by(TrustFrame.version)]
    assert first.update(frames).version == 2
    assert TrustChain.from_root(joining_root(), frames).version == 2
    assert joining_root() != anchor


def test_a_stranger_and_a_false_signature_put_nothing_in_force(installed_hub, acting, offline):
    turn(acting, KeyName.COMMAND)
    request = request_frame(acting)
    assert not take(acting, signed_by(request, [SigningKey.generate()])).in_force
    good = signed_by(request, [read_exported(offline, PHRASE)])
    with pytest.raises(Conflict, match="TRUST_SIG"):
        take(acting, good[:-1] + bytes([good[-1] ^ 1]))
    assert trust_chain().version == 1
    assert take(acting, good).in_force


def test_another_document_than_the_one_that_waits_is_refused_though_the_root_signed_it(installed_hub, acting, offline):
    turn(acting, KeyName.COMMAND)
    root = read_exported(offline, PHRASE)
    other = replace(read_trust(request_frame(acting)), min_envelope=2)
    frame = sign_document(DocumentKind.TRUST, schema.write_object(other), root)
    with pytest.raises(Conflict, match="not the trust document that waits"):
        take(acting, frame)
    with pytest.raises(Conflict, match="could sign"):
        signed_by(b"MAD1 but nothing more", [root])


def test_a_request_that_was_changed_in_the_database_is_not_shown_for_signing(installed_hub, acting, offline):
    turn(acting, KeyName.COMMAND)
    other = replace(read_trust(request_frame(acting)), min_envelope=2)
    frame = sign_document(DocumentKind.TRUST, schema.write_object(other))
    TrustRequest.update(frame=frame).execute()
    with pytest.raises(Conflict, match="changed outside"):
        request_frame(acting)
    with pytest.raises(Conflict, match="changed outside"), write_tx():
        publish_trust(acting, with_pin("relay", SPKI), reason="a relay")


def test_a_hub_starts_while_a_rows_key_waits(installed_hub, acting, offline):
    turn(acting, KeyName.ROWS)
    seals = load_seals(installed_hub.vault)
    for row in HubKey.select():
        seals.check(row)
