"""F16 and F17: hundreds of spokes dial at once after the broker was away, and all answer at once with 64 KiB each.

Broker, hub, doors and all spokes share this machine, so its cores decide how many: more of them would measure only that.
"""

import os
import time
from collections import Counter

import pytest

from tests.chaos.fleet import Fleet, fleet
from tests.chaos.test_broker_away import broker_gone
from tests.services.requires import requires
from tests.services.whole import until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.chaos, pytest.mark.timeout(3_600)]

SPOKES = 150 * (os.cpu_count() or 1)
A_PROCESS = 75
# As it is by default; the kit's shorter one would keep the machine busy with beats.
HEARTBEAT_S = 10
SPOOL_BYTES = 64 * 1024
MB = 1_000_000


@pytest.fixture(scope="module")
def many():
    requires("rabbitmq")
    with fleet(real=(), light=SPOKES, a_process=A_PROCESS, light_bytes=SPOOL_BYTES, heartbeat_s=HEARTBEAT_S) as made:
        yield made


def healthy(made: Fleet) -> int:
    return int(made.rows("SELECT count(*) FROM target WHERE health = 'healthy' AND name LIKE 'light-%'")[0][0])


def test_f16_hundreds_of_spokes_come_back_spread_over_time_and_none_is_refused(many):
    before = many.broker_door.accepted
    refused_before = many.broker_says("PLAIN login refused")
    with broker_gone(many):
        until(lambda: healthy(many) == 0, "their absence is not noticed", 180)
    began = time.monotonic()
    until(lambda: healthy(many) == SPOKES, lambda: f"{healthy(many)} are healthy", 600)
    took = time.monotonic() - began
    came = [at - began for at in many.broker_door.accepted_at[before:] if at >= began]
    seconds = Counter(int(at) for at in came)
    print(
        f"F16: {SPOKES} were healthy {took:.1f} s after the broker was let start; arrivals by second: {sorted(seconds.items())}"
    )
    assert many.broker_says("PLAIN login refused") == refused_before
    # Not one wave: whoever is refused by a port that is closed comes again after a pause of its own.
    assert len(seconds) > 1


def test_f17_hundreds_of_answers_at_once_stay_within_memory_and_all_count(many):
    hub = many.processes()["hub"]
    before = most = hub.memory_info().rss
    began = time.monotonic()
    body = {"script": "true", "roles": ["light"], "timeout_s": 600}
    task = str(many.call("POST", "/runs", body)["task"])
    count = f"SELECT count(*) FROM job WHERE task_id = '{task}' AND state = 'succeeded'"
    until_s = time.monotonic() + 900
    while many.rows(count)[0][0] < SPOKES and time.monotonic() < until_s:
        most = max(most, hub.memory_info().rss)
        time.sleep(0.1)
    took = time.monotonic() - began
    assert many.rows(count)[0][0] == SPOKES
    many.until_succeeded(task)
    size = many.rows(
        f"SELECT sum(log_bytes), count(DISTINCT log_state), min(log_state) FROM job WHERE task_id = '{task}'"
    )
    (total, states, state) = size[0]
    print(
        f"F17: {SPOKES} answers with {total / MB:.0f} MB in {took:.1f} s; the engine grew by {(most - before) / MB:.0f} MB"
    )
    assert (states, state) == (1, "complete")
    assert total > SPOKES * SPOOL_BYTES
    assert most - before < 400 * MB
