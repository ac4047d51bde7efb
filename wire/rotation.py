"""A spoke's next signing key: announced under the old one, with a proof that the new one is held. PURE.

The hub keeps the old key valid until the first frame under the new one arrives, so a crash on either side leaves at
least one key that works.
"""

from wire.keys import SigningKey, VerifyKey, hex_bytes
from wire.messages import Rotate


def rotation_to(new: SigningKey, *, spoke_id: str, hub_id: str) -> Rotate:
    proof = new.sign(_statement(new.verify_key.pk, spoke_id, hub_id))
    return Rotate(new.verify_key.pk.hex(), proof.hex())


def rotated_key(body: Rotate, *, spoke_id: str, hub_id: str) -> VerifyKey:
    """The new key; Refused with KEY_WEAK, or ENV_SIG where its holder did not sign for this spoke and hub."""
    key = VerifyKey(hex_bytes(body.new_pk, 32))
    key.verify(_statement(key.pk, spoke_id, hub_id), hex_bytes(body.proof, 64))
    return key


def _statement(pk: bytes, spoke_id: str, hub_id: str) -> bytes:
    return b"manyarm/v1/rotation-proof\0" + f"{spoke_id}{hub_id}".encode("ascii") + pk
