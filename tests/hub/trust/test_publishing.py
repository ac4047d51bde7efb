"""The next trust document is signed, linked, stored with its event, or waits for the root that is elsewhere."""

from dataclasses import replace

import pytest

from hub.errors import Conflict
from hub.events.audit import verify_database
from hub.storage.database import write_tx
from hub.storage.hub_trust import trust_chain
from hub.storage.models import Event, TrustFrame, TrustRequest
from hub.trust.publishing import publish_trust, waiting_request, with_pin, without_pin
from wire.roles import Role
from wire.trust import read_trust

SPKI = "ab" * 32


def publish(acting, change, reason="relay west approved"):
    with write_tx():
        return publish_trust(acting, change, reason=reason)


def test_a_pin_is_in_force_at_once_and_every_version_is_kept(installed_hub, acting):
    before = trust_chain()
    published = publish(acting, with_pin("relay", SPKI))
    assert (published.version, published.in_force, published.sentence) == (2, True, "")
    after = before.update([bytes(row.frame) for row in TrustFrame.select().order_by(TrustFrame.version)])
    assert (after.version, after.document.pins("relay")) == (2, (SPKI,))
    assert after.document.issued == acting.now_ms // 1000
    assert publish(acting, without_pin("relay", SPKI)).version == 3
    assert trust_chain().document.pins("relay") == ()
    assert [row.version for row in TrustFrame.select().order_by(TrustFrame.version)] == [1, 2, 3]


def test_its_event_row_is_of_the_same_transaction_and_the_log_holds(installed_hub, acting):
    publish(acting, with_pin("relay", SPKI))
    event = Event.get(Event.action == "trust.publish")
    assert (event.object, event.actor) == ("trust:2", f"user:{acting.caller.user_id}")
    keys = [key.verify_key for key in trust_chain().document.trusted(Role.HUB_AUDIT)]
    assert verify_database(installed_hub.installed.hub_id, keys).ok


def test_a_transaction_that_fails_publishes_nothing(installed_hub, acting):
    def publish_and_fail():
        with write_tx():
            publish_trust(acting, with_pin("relay", SPKI), reason="it fails after this")
            raise Conflict("a fault")

    with pytest.raises(Conflict):
        publish_and_fail()
    assert trust_chain().version == 1
    assert not Event.select().where(Event.action == "trust.publish").exists()


def test_what_changes_nothing_publishes_nothing(installed_hub, acting):
    publish(acting, with_pin("relay", SPKI))
    assert publish(acting, with_pin("relay", SPKI)).version == 2
    assert trust_chain().version == 2


def test_a_document_that_nobody_would_take_is_refused(installed_hub, acting):
    with pytest.raises(Conflict, match="threshold 2 of 1"):
        publish(acting, lambda held: replace(held, threshold=2))
    assert trust_chain().version == 1


def test_with_the_root_offline_the_document_waits_and_one_sentence_says_for_what(installed_hub, acting, offline):
    published = publish(acting, with_pin("relay", SPKI))
    assert not published.in_force
    assert "manyarm key sign-trust" in published.sentence
    assert trust_chain().version == 1
    again = publish(acting, with_pin("relay", "cd" * 32), "another one")
    assert again.version == 2
    request = waiting_request(acting)
    assert request.reasons == ["relay west approved", "another one"]
    assert set(read_trust(bytes(request.frame)).pins("relay")) == {SPKI, "cd" * 32}
    assert TrustRequest.select().count() == 1
    assert publish(acting, with_pin("relay", SPKI)).sentence
