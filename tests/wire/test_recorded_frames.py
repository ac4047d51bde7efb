"""What earlier releases wrote must still open. The files in recorded/ are added to, never written anew."""

import hashlib
import json
from pathlib import Path

import pytest

from wire import canonical, messages
from wire.documents import BoxDocument, FleetDocument
from wire.envelope import unseal, verify, verify_enrol
from wire.keys import BoxKey, VerifyKey
from wire.roles import KeyTable, Role, TrustedKey
from wire.trust import TrustChain

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.json"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_frames_recorded_by_each_release_still_open(path):
    release = json.loads(path.read_text(encoding="utf-8"))
    root_sha256 = hashlib.sha256(bytes.fromhex(release["root_pk"])).digest()
    chain = TrustChain.from_root(root_sha256, [bytes.fromhex(release["trust"])])
    hub_keys = chain.directory()
    assert BoxDocument.open(bytes.fromhex(release["box"]), hub_keys, release["at"], release["hub_id"])
    assert FleetDocument.open(bytes.fromhex(release["fleet"]), hub_keys, release["at"], release["hub_id"]).spokes
    spoke = TrustedKey(VerifyKey(bytes.fromhex(release["spoke_pk"])), Role.SPOKE_SIGN, release["spoke_id"])
    boxes = [BoxKey.from_bytes(bytes.fromhex(release[name])) for name in ("hub_box_secret", "spoke_box_secret")]
    for recorded in release["frames"]:
        keys = hub_keys if recorded["name"] in ("welcome", "command") else KeyTable([spoke])
        frame = bytes.fromhex(recorded["frame"])
        verified = verify_enrol(frame) if recorded["name"] == "enrol" else verify(frame, keys, release["at"])
        opened = unseal(verified, boxes)
        assert {name: getattr(verified.header, name) for name in recorded["header"]} == recorded["header"]
        assert opened == canonical.encode(recorded["body"])
        assert messages.decode(verified.kind, opened)


def test_every_release_has_its_recording():
    assert "0.1.0" in {path.stem for path in RECORDED}
