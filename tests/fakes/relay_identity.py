"""A relay as the hub sees it: its enrolment, its TLS key, and what it shows to the gateway."""

import http.client
import secrets
import ssl
from dataclasses import dataclass, field

from hub.states import Approval
from hub.storage.models import Spoke
from tests.fakes.enrolling import EnrollingHub, Machine
from wire.tls import client_context, make_client_certificate, spki_sha256


@dataclass
class RelayIdentity:
    """The TLS key of a relay; `spoke` is its row once it has enrolled."""

    seed: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    spoke: Spoke | None = None

    @property
    def spki(self) -> str:
        return spki_sha256(make_client_certificate(self.seed, "relay")[0])

    def enrol(self, enrolling: EnrollingHub, approve: Approval = Approval.AUTO) -> Spoke:
        machine = Machine(enrolling.hub, f"relay-{self.spki[:8]}", "relay")
        machine.tls_spki = self.spki
        enrolling.take(machine.frame(enrolling.code(role="relay", approve=approve)))
        enrolling.rollout.sweep()
        self.spoke = Spoke.get(Spoke.sign_kid == machine.signing.kid.hex())
        return self.spoke

    def ask(
        self,
        address: str,
        gateway_pins: tuple[str, ...],
        path: str = "/gateway/v1/fleet",
        *,
        certificate: tuple[bytes, bytes] | None = None,
        etag: str = "",
    ) -> http.client.HTTPResponse:
        """The gateway's answer to a request with our certificate; ssl.SSLError or OSError where it hangs up on us."""
        shown, key = certificate or make_client_certificate(self.seed, "relay")
        return ask(address, client_context(gateway_pins, certificate=shown, key=key), path, etag)


def ask(address: str, context: ssl.SSLContext, path: str, etag: str = "") -> http.client.HTTPResponse:
    """One request, its body read."""
    connection = http.client.HTTPSConnection(address, context=context, timeout=20)
    connection.request("GET", path, headers={"If-None-Match": etag} if etag else {})
    answer = connection.getresponse()
    answer.content = answer.read()
    connection.close()
    return answer
