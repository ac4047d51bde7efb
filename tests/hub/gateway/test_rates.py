"""The token buckets of the gateway."""

from hub.gateway.rates import Rate, Rates


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_address_gets_its_burst_and_then_its_rate():
    clock = Clock()
    rates = Rates(Rate(burst=3, per_minute=60), clock)
    assert [rates.wait_s("192.0.2.1") for _ in range(3)] == [0, 0, 0]
    assert rates.wait_s("192.0.2.1") == 1.0
    clock.now += 1
    assert rates.wait_s("192.0.2.1") == 0
    assert rates.wait_s("192.0.2.1") > 0


def test_another_address_is_not_held_up():
    rates = Rates(Rate(burst=1, per_minute=1), Clock())
    assert rates.wait_s("192.0.2.1") == 0
    assert rates.wait_s("192.0.2.1") > 0
    assert rates.wait_s("192.0.2.2") == 0


def test_ipv6_counts_by_its_network_and_a_mapped_address_as_what_it_maps():
    rates = Rates(Rate(burst=1, per_minute=1), Clock())
    assert rates.wait_s("2001:db8::1") == 0
    assert rates.wait_s("2001:db8::ffff:2") > 0
    assert rates.wait_s("2001:db8:0:1::1") == 0
    assert rates.wait_s("192.0.2.1") == 0
    assert rates.wait_s("::ffff:192.0.2.1") > 0


def test_a_hundred_thousand_addresses_are_not_all_remembered():
    rates = Rates(Rate(burst=1, per_minute=1), Clock(), addresses=100)
    for number in range(100_000):
        rates.wait_s(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(rates._buckets) == 100
