"""Who this spoke is: its keys and what the hub answered to its enrolment, readable by nobody else."""

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spokes.agent.errors import HomeUnsafe, NotEnrolled
from spokes.agent.home import SpokeHome
from spokes.agent.private_files import read_private, sync_folder, write_private
from wire import schema
from wire.errors import Refused
from wire.keys import BoxKey, SigningKey, parse_thumbprint, thumbprint, thumbprint_of_digest
from wire.messages import BrokerAccess, Enrolled
from wire.secret import Secret

_SIGN, _BOX, _TLS, _SPOKE, _ROOT = "sign.key", "box.key", "tls.key", "spoke.json", "root"
_NEXT = "sign-next.key"


@dataclass(frozen=True, slots=True)
class Keys:
    signing: SigningKey
    box: BoxKey

    @classmethod
    def generate(cls) -> "Keys":
        return cls(SigningKey.generate(), BoxKey.generate())

    @property
    def thumbprint(self) -> str:
        return thumbprint(self.signing.verify_key.pk)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an enrolled spoke knows beside its keys; `root` is the SHA-256 of the root key that it believes."""

    spoke_id: str
    hub_id: str
    name: str
    root: bytes
    gateway: str
    broker_url: str
    broker_user: str
    broker_password: Secret = field(repr=False)
    broker_vhost: str = "manyarm"
    broker_spki: str = ""
    kind: str = "polling"
    listen: str = ""

    @classmethod
    def of(cls, answer: Enrolled, *, name: str, root: bytes, kind: str, listen: str = "") -> "Enrolment":
        broker = answer.broker
        return cls(
            spoke_id=answer.spoke_id,
            hub_id=answer.hub_id,
            name=name,
            root=root,
            gateway=answer.gateway,
            broker_url=broker.url,
            broker_user=broker.user,
            broker_password=Secret(broker.password),
            broker_vhost=broker.vhost,
            broker_spki=broker.spki,
            kind=kind,
            listen=listen,
        )


class IdentityStore:
    """Reads and writes the folder `identity`."""

    def __init__(self, home: SpokeHome) -> None:
        self._folder = home.identity

    def keys(self) -> Keys:
        """Raises NotEnrolled where there are none yet, HomeUnsafe where others could have read them."""
        try:
            seed, secret = read_private(self._folder / _SIGN), read_private(self._folder / _BOX)
        except FileNotFoundError as error:
            raise NotEnrolled(
                f"{self._folder} has no keys yet; run: manyarm-spoke enrol JOIN-CODE --name NAME"
            ) from error
        if len(seed) != 32 or len(secret) != 32:
            raise HomeUnsafe(f"a key file in {self._folder} is damaged; restore it, or enrol anew in an empty home")
        return Keys(SigningKey.from_seed(seed), BoxKey.from_bytes(secret))

    def save_keys(self, keys: Keys) -> None:
        write_private(self._folder / _SIGN, keys.signing.seed)
        write_private(self._folder / _BOX, keys.box.secret)

    def signing_key(self) -> SigningKey:
        """For one that has no box key any more, as a relay; raises as `keys`."""
        try:
            seed = read_private(self._folder / _SIGN)
        except FileNotFoundError as error:
            raise NotEnrolled(f"{self._folder} has no key yet; enrol this spoke first") from error
        if len(seed) != 32:
            raise HomeUnsafe(f"a key file in {self._folder} is damaged; restore it, or enrol anew in an empty home")
        return SigningKey.from_seed(seed)

    def tls_seed(self) -> bytes:
        """Of the TLS key, which is made when it is first asked for; HomeUnsafe where others could have read it."""
        path = self._folder / _TLS
        try:
            seed = read_private(path)
        except FileNotFoundError:
            seed = secrets.token_bytes(32)
            write_private(path, seed)
        if len(seed) != 32:
            raise HomeUnsafe(f"{path} is damaged; restore it, or enrol anew in an empty home")
        return seed

    def next_signing(self) -> SigningKey | None:
        """The signing key that is announced, or about to be; None most of the time."""
        try:
            return SigningKey.from_seed(read_private(self._folder / _NEXT))
        except FileNotFoundError:
            return None

    def save_next_signing(self, key: SigningKey) -> None:
        write_private(self._folder / _NEXT, key.seed)

    def take_over_next(self) -> None:
        """The next signing key becomes the key: one rename, so there is always exactly one."""
        (self._folder / _NEXT).rename(self._folder / _SIGN)
        sync_folder(self._folder)

    def former_boxes(self) -> dict[int, BoxKey]:
        """Box keys that were replaced and may still be needed, newest first, by the hub's time of their replacement."""
        found = {int(path.stem.partition("-")[2]): path for path in self._folder.glob("box-*.key")}
        return {at: BoxKey.from_bytes(read_private(found[at])) for at in sorted(found, reverse=True)}

    def replace_box(self, new: BoxKey, at: int) -> None:
        """The present box key is kept under that time, then replaced; a crash between the two leaves it twice."""
        write_private(self._folder / f"box-{at}.key", read_private(self._folder / _BOX))
        write_private(self._folder / _BOX, new.secret)

    def erase_box(self, at: int) -> None:
        """What was sealed to it can be read by nobody any more."""
        (self._folder / f"box-{at}.key").unlink(missing_ok=True)
        sync_folder(self._folder)

    def enrolment(self) -> Enrolment:
        """Raises NotEnrolled."""
        path = self._folder / _SPOKE
        try:
            found = json.loads(read_private(path))
            broker = schema.read(BrokerAccess, found["broker"])
            return Enrolment(
                spoke_id=found["spoke_id"],
                hub_id=found["hub_id"],
                name=found["name"],
                root=bytes.fromhex(found["root"]),
                gateway=found["gateway"],
                broker_url=broker.url,
                broker_user=broker.user,
                broker_password=Secret(broker.password),
                broker_vhost=broker.vhost,
                broker_spki=broker.spki,
                kind=found["kind"],
                listen=found["listen"],
            )
        except FileNotFoundError as error:
            raise NotEnrolled("this spoke is not enrolled; run: manyarm-spoke enrol JOIN-CODE --name NAME") from error
        except (ValueError, KeyError, TypeError, Refused) as error:
            raise HomeUnsafe(f"{path} is damaged; restore it, or enrol anew in an empty home") from error

    def save_enrolment(self, enrolment: Enrolment) -> None:
        content: dict[str, Any] = {
            "spoke_id": enrolment.spoke_id,
            "hub_id": enrolment.hub_id,
            "name": enrolment.name,
            "root": enrolment.root.hex(),
            "gateway": enrolment.gateway,
            "kind": enrolment.kind,
            "listen": enrolment.listen,
            "broker": {
                "url": enrolment.broker_url,
                "user": enrolment.broker_user,
                "password": enrolment.broker_password.reveal(),
                "vhost": enrolment.broker_vhost,
                "spki": enrolment.broker_spki,
            },
        }
        write_private(self._folder / _SPOKE, json.dumps(content, indent=2).encode())

    def required_root(self) -> bytes | None:
        """The root key that the owner of this machine named with `manyarm-spoke trust`, if one was named."""
        try:
            text = read_private(self._folder / _ROOT).decode("ascii", "replace").strip()
        except FileNotFoundError:
            return None
        return parse_thumbprint(text)

    def require_root(self, root: bytes) -> None:
        write_private(self._folder / _ROOT, thumbprint_of_digest(root).encode() + b"\n")

    def remember(self, name: str, content: dict[str, Any]) -> None:
        """Keep something small and private beside the keys."""
        write_private(self._path(name), json.dumps(content).encode())

    def recall(self, name: str) -> dict[str, Any] | None:
        try:
            found = json.loads(read_private(self._path(name)))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise HomeUnsafe(f"{self._path(name)} is damaged; remove it") from error
        return found if isinstance(found, dict) else None

    def forget(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def forget_keys(self) -> None:
        for name in (_SIGN, _BOX):
            (self._folder / name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
