"""F6, F7, F21: what lies between hub and spokes is cut, one way or both, vanishes without a word, or turns bits."""

import hashlib
import random

import pytest

from tests.chaos.proxy import Trouble, Way
from tests.chaos.steps import begun, health_of, must_have_run_once
from tests.flow.conftest import archive
from tests.services.whole import until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.mark.parametrize("way", [Way.BOTH, Way.UP, Way.DOWN], ids=["both ways", "to the broker", "from the broker"])
def test_f6_a_partition_is_shown_and_what_ran_meanwhile_is_brought_when_it_heals(whole_field, way):
    counting = begun(whole_field, {"polling": [8, 20]})
    whole_field.broker_door.meet(Trouble(way, held=True))
    # What it says still arrives where only the other way is cut, until it gives the connection up by itself.
    until(lambda: health_of(whole_field, "polling") == "unavailable", "nobody notices", 180)
    until(lambda: all("end" in one.witness.read_text() for one in counting), "the scripts do not go on")
    whole_field.broker_door.heal()
    must_have_run_once(whole_field, counting)
    whole_field.until_whole()


def test_f7_a_peer_that_vanished_without_a_word_is_noticed_by_heartbeat_and_dialled_again(whole_field):
    """The old connection stays silent for ever, and nothing is healed: only a new connection helps."""
    counting = begun(whole_field, {"polling": [12, 30]})
    before = whole_field.broker_door.accepted
    whole_field.broker_door.vanish()
    # Sooner than any system gives up a connection by itself.
    until(lambda: whole_field.broker_door.accepted > before, "nobody dials again", 180)
    must_have_run_once(whole_field, counting)
    whole_field.until_whole()


@pytest.mark.parametrize(
    "trouble",
    [Trouble(Way.DOWN, flip_at=400_000), Trouble(Way.DOWN, reset_after=400_000)],
    ids=["a turned bit", "a reset"],
)
def test_f21_a_package_that_is_harmed_on_its_way_is_fetched_again_and_arrives_whole(whole_field, trouble, tmp_path):
    """Each connection is harmed once the same way, after more than the largest chunk has passed: what arrived is kept."""
    name = "harmed-flip" if trouble.flip_at else "harmed-reset"
    content = random.Random(name).randbytes(1_000_000)
    archive(tmp_path / f"{name}.1.0.0.tar", {"content.bin": content})
    whole_field.manyarm("package", "push", str(tmp_path / f"{name}.1.0.0.tar"))
    whole_field.project_of_package(name, "polling")
    whole_field.gateway_door.meet(trouble)
    task = whole_field.begin_deployment(name, "Here")
    whole_field.until_succeeded(task, 300)
    assert f"sum {hashlib.sha256(content).hexdigest()}" in " ".join(whole_field.printed(task))
