"""Who a relay is: what its enrolment left on disk, read without anything that could open an envelope."""

import json
import urllib.parse
from dataclasses import dataclass, field

from spokes.agent.errors import HomeUnsafe, NotEnrolled
from spokes.agent.home import SpokeHome
from spokes.agent.private_files import read_private
from wire.secret import Secret
from wire.tls import make_client_certificate

_SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class RelayIdentity:
    """`certificate` and `key` are PEM, made anew at each start of the one TLS key that the trust document pins."""

    relay_id: str
    hub_id: str
    name: str
    root: bytes
    gateway: str
    certificate: bytes
    key: bytes = field(repr=False)
    _broker_url: Secret = field(repr=False)
    broker_spki: str = ""

    @classmethod
    def load(cls, home: SpokeHome) -> "RelayIdentity":
        """What is in this home.

        Raises:
            NotEnrolled, HomeUnsafe.
        """
        # It opened the answer to our enrolment, which nobody needs again. Nothing else is ever sealed to a relay.
        (home.identity / "box.key").unlink(missing_ok=True)
        path = home.identity / "spoke.json"
        try:
            found = json.loads(read_private(path))
            seed = read_private(home.identity / "tls.key")
            certificate, key = make_client_certificate(_checked(seed), f"relay {found['name']}")
            return cls(
                relay_id=found["spoke_id"],
                hub_id=found["hub_id"],
                name=found["name"],
                root=bytes.fromhex(found["root"]),
                gateway=found["gateway"],
                certificate=certificate,
                key=key,
                _broker_url=Secret(_login(found["broker"])),
                broker_spki=found["broker"]["spki"],
            )
        except FileNotFoundError as error:
            raise NotEnrolled(
                "this relay is not enrolled; start it with --join-file, or enrol it with a code"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise HomeUnsafe(f"{path} is damaged; restore it, or enrol anew in an empty home") from error

    @property
    def broker_url(self) -> str:
        """With user and password."""
        return self._broker_url.reveal()


def _checked(seed: bytes) -> bytes:
    if len(seed) != _SEED_BYTES:
        raise ValueError("a TLS key has 32 bytes")
    return seed


def _login(broker: dict[str, str]) -> str:
    address = urllib.parse.urlsplit(broker["url"])
    user, password, vhost = (urllib.parse.quote(broker[name], safe="") for name in ("user", "password", "vhost"))
    place = address.netloc.rpartition("@")[2]
    return f"{address.scheme}://{user}:{password}@{place}/{vhost}"
