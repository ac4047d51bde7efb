"""Approval and revocation against a real broker."""

import dataclasses

import pika
import pika.exceptions
import pytest

from hub.infrastructure.rollout import Rollout
from hub.infrastructure.spokes import revoke_spoke
from hub.states import Approval
from hub.storage.database import write_tx
from hub.storage.models import Enrolment, Spoke
from tests.fakes.enrolling import Machine
from wire.topology import spoke_queue

pytestmark = pytest.mark.rabbitmq


def test_an_approved_spoke_can_log_in_and_a_revoked_one_cannot(broker, hub, enrolling):
    rollout = Rollout(dataclasses.replace(enrolling.rollout._parts, accounts=broker.admin))
    machine = Machine(hub)
    frame = machine.frame(enrolling.code(approve=Approval.AUTO))
    enrolling.take(frame)
    assert rollout.sweep() == 1
    told = machine.opened(Enrolment.get_by_id(frame.sha256).answer, frame)
    url = broker.url_for(told.broker.user, told.broker.password)
    connection = pika.BlockingConnection(pika.URLParameters(url))
    connection.channel().basic_get(spoke_queue(told.spoke_id))
    with write_tx():
        revoke_spoke(hub.acting(), told.spoke_id)
    assert rollout.sweep() == 1
    assert enrolling.failed_jobs == [told.spoke_id]
    with pytest.raises(pika.exceptions.AMQPError):
        _use(connection)
    with pytest.raises(pika.exceptions.AMQPError):
        pika.BlockingConnection(pika.URLParameters(url))
    assert spoke_queue(told.spoke_id) not in broker.admin.queues()
    assert Spoke.get().broker_user == ""


def _use(connection: pika.BlockingConnection) -> None:
    connection.process_data_events(time_limit=10)
    connection.channel()
