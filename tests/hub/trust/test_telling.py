"""Spokes that are there hear of a new trust document at once, by a command with no task behind it."""

import pytest

from hub.states import OutboxKind, OutboxState
from hub.storage.database import write_tx
from hub.storage.hub_trust import trust_chain
from hub.storage.models import Event, Outbox, Spoke, SpokeSession
from hub.trust.publishing import publish_trust, with_pin
from hub.trust.telling import forget_orders, order
from tests.hub.orchestrator.rig import Rig, until
from wire.messages import Op


@pytest.fixture
def rig(installed_hub):
    made = Rig(installed_hub)
    made.engine.start()
    yield made
    made.close()


def is_live(spoke):
    return SpokeSession.select().where(SpokeSession.spoke == spoke.id, SpokeSession.live).exists()


def orders():
    return list(Outbox.select().where(Outbox.kind == OutboxKind.ORDER))


def test_a_live_spoke_is_asked_to_fetch_a_new_document_and_its_answer_is_no_alarm(rig, acting):
    spoke = rig.spoke("web").start()
    away = rig.spoke("away")
    until(lambda: is_live(spoke))
    with write_tx():
        publish_trust(acting, with_pin("relay", "ab" * 32), reason="a relay")
    until(lambda: [row.state for row in orders()] == [OutboxState.DONE])
    (command,) = [kept.command for kept in spoke.journal.values()]
    assert (command.op, command.job) == (Op.UPDATE_TRUST, {})
    assert away.id not in {row.spoke for row in orders()}
    assert not Event.select().where(Event.action == "reply.refused").exists()


def test_a_spoke_that_has_fetched_the_documents_is_known_to_hold_them_without_another_hello(rig, acting):
    spoke = rig.spoke("web").start()
    until(lambda: is_live(spoke))
    before = Spoke.get_by_id(spoke.id).trust_version
    with write_tx():
        version = publish_trust(acting, with_pin("relay", "ab" * 32), reason="a relay").version
    until(lambda: [row.state for row in orders()] == [OutboxState.DONE])
    assert before < version
    assert Spoke.get_by_id(spoke.id).trust_version == version


def test_an_order_that_nobody_took_is_forgotten(rig, acting):
    away = rig.spoke("away")
    with write_tx():
        order(away.id, Op.UPDATE_TRUST, acting.now_ms)
    with write_tx():
        forget_orders(acting.now_ms + 16 * 60 * 1000)
    assert orders() == []


def test_another_spokes_answer_to_an_order_is_an_alarm(rig, acting):
    honest, thief = rig.spoke("web").start(), rig.spoke("thief").start()
    until(lambda: is_live(honest) and is_live(thief))
    with write_tx():
        order(honest.id, Op.UPDATE_TRUST, acting.now_ms)
    until(lambda: honest.journal)
    (kept,) = honest.journal.values()
    thief.report(kept, thief.work(kept.command))
    until(lambda: Event.select().where(Event.action == "reply.refused").exists())


def test_a_spoke_that_fetched_a_document_before_the_engine_looked_again_is_no_rollback(rig, acting):
    with write_tx():
        publish_trust(acting, with_pin("relay", "ab" * 32), reason="a relay")
    # The rig's engine goes on believing that version 1 is the newest; the spoke is ahead of it.
    rig.chain = trust_chain()
    spoke = rig.spoke("web").start()
    until(lambda: is_live(spoke))
    assert Spoke.get_by_id(spoke.id).trust_version == 2
    assert rig.engine.stopped() == ""
    rig.ended(rig.run("true", spoke))
