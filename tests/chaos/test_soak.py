"""A short soak with a fixed seed: faults at random on a small fleet, and afterwards everybody tells the same story."""

import pytest

from tests.chaos.fleet import fleet
from tests.chaos.oracle import findings
from tests.chaos.soak import Plan, Soak
from tests.chaos.summary import summary_of, words
from tests.services.requires import requires

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(900)]

PLAN = Plan(seed=5, fault_s=60, ask_every_s=4.0, strike_every_s=(3.0, 9.0), fault_lasts_s=(1.0, 8.0), faults_at_once=2)


def test_after_faults_at_random_nothing_is_lost_and_nothing_was_done_twice():
    requires("rabbitmq")
    with fleet(real=("polling", "listening", "local"), light=5) as made:
        soak = Soak(made, PLAN, print)
        case = soak.run()
        said = words(summary_of(soak, case, PLAN.fault_s))
        print(said)
        assert findings(case) == [], said
        assert len(case.requests) >= 5
        assert soak.faults
        assert any(job.hub is not None and job.hub.state == "succeeded" for job in case.jobs)
