"""The gateway's application over an installed hub, with what the gateway's own key class can open and no more."""

import time

from flask import Flask

from hub.gateway.app import create_gateway
from hub.gateway.parts import GatewayLimits, GatewayParts
from hub.gateway.rates import Rate
from hub.packages.chunk_store import ChunkStore
from tests.fakes.installed_hub import InstalledHub

# A test knocks more often than a machine does.
PATIENT = GatewayLimits(enrolments=Rate(1_000, 1_000), questions=Rate(10_000, 10_000))


def parts_of(hub: InstalledHub, limits: GatewayLimits = PATIENT) -> GatewayParts:
    return GatewayParts(
        store=ChunkStore(hub.home / "chunks"),
        capability_key=hub.gateway.capability_key(),
        artifacts=hub.home / "artifacts" / "incoming",
        wheels=hub.home / "wheels",
        clock_ms=lambda: time.time_ns() // 1_000_000,
        limits=limits,
    )


def gateway_of(hub: InstalledHub, limits: GatewayLimits = PATIENT) -> Flask:
    return create_gateway(parts_of(hub, limits))
