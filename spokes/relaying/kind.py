"""What `manyarm-spoke relay` starts: once enrolled, this process is replaced by one that has never opened anything.

Enrolling takes a key that opens the hub's answer, and the code for it. A relay at work has neither: it is a new program
in the same process, and all it imports is what spokes/relay.py reaches.
"""

import os
import sys
from typing import NoReturn

from config import parent
from config.settings import SpokeSettings
from spokes.agent.home import SpokeHome
from spokes.agent.identity import IdentityStore
from spokes.agent.kind import SpokeKind
from wire.tls import make_client_certificate, spki_sha256


def serve(settings: SpokeSettings) -> NoReturn:
    """Does not return; raises NotEnrolled before."""
    IdentityStore(SpokeHome(settings.home)).enrolment()
    sys.stdout.flush()
    sys.stderr.flush()
    program = [sys.executable, "-m", "spokes.relay", "--home", str(settings.home)]
    os.execve(sys.executable, program, parent.environment_for_successor())  # noqa: S606  No shell is wanted.


def tls_pin(home: SpokeHome) -> str:
    """Of this home's TLS key: what listening spokes will know the relay by."""
    certificate, _ = make_client_certificate(IdentityStore(home).tls_seed(), "relay")
    return spki_sha256(certificate)


KIND = SpokeKind(
    name="relay",
    title="Relay: carries the mail of listening spokes",
    ops=frozenset(),
    serve=serve,
    tls_pin=tls_pin,
)
